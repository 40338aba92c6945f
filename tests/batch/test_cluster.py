"""A real Ray cluster of three machines on this one, and the death of one of them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from genesis.batch.cluster import Cluster
from genesis.errors import ResourceError

DRIVER = Path(__file__).with_name("cluster_driver.py")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra `cluster`)")
def test_a_machine_that_dies_changes_no_byte(tmp_path: Path) -> None:
    command = [sys.executable, str(DRIVER), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=7_200)
    assert done.returncode == 0, done.stderr[-3_000:]
    report = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert (report["machines"], report["machines_left"], report["workers"]) == (3, 2, 3)
    assert report["killed_at_shard"][0] < 25, "killed in the middle"
    assert report["same_bytes"]
    assert report["same_hash"]
    assert report["verified"]
    assert report["rows"] == 400, "Ray reads the folder as it is"


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ResourceError, match=r'a cluster needs Ray; run `pip install "genesis-engine\[cluster\]"`'):
        Cluster()

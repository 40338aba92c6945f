"""kill -9 at any moment, of two processes on one folder: nothing is lost, nothing doubled, no byte is another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("kill_driver.py")
SLOW = pytest.mark.slow
HANGS = 7_200  # seconds: no measure of speed, which a busy machine would fail


@pytest.mark.parametrize(
    ("kills", "kind"),
    [(20, "words"), *(pytest.param(200, kind, marks=SLOW) for kind in ("words", "molecules", "music"))],
)
def test_a_killed_run_ends_with_the_same_bytes(tmp_path: Path, kills: int, kind: str) -> None:
    command = [sys.executable, str(DRIVER), str(tmp_path), str(kills), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["killed"] >= kills
    assert report["finished"] >= 1
    assert report["again"] > 5, "equal items of which one may stay"

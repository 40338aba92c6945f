"""kill -9 at any moment costs the steps since the last checkpoint, and changes no bit of what comes out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("kill_driver.py")


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_a_killed_run_ends_with_the_same_weights(tmp_path, kills):
    command = [sys.executable, str(DRIVER), str(tmp_path), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300 + 60 * kills)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["killed"] == kills
    assert report["finished"] >= 1

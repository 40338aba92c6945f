"""Everything in ``interpreted/``, in a process that runs kernels on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the kernels need Triton, which this system has no wheel of")
FOLDER = Path(__file__).with_name("interpreted")


def run(marker: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marker, str(FOLDER)]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, cwd=FOLDER.parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.slow  # six minutes and more of one core
def test_kernels_in_the_interpreter() -> None:
    run("not slow")


@pytest.mark.slow
def test_every_size_in_the_interpreter() -> None:
    run("slow")

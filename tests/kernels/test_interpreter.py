"""Everything in ``interpreted/``, in processes that run kernels on the CPU: one a file, so that a failure has a name.

The interpreter takes about 12 ms a program of the sampler and 5 to 40 ms one of attention, so the ordinary cases are
small and of odd sizes; those of every tile and of more draws are marked slow.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the kernels need Triton, which this system has no wheel of")
FOLDER = Path(__file__).with_name("interpreted")
FILES = sorted(path.name for path in FOLDER.glob("test_*.py"))
WITH_SLOW = ("test_decoding.py", "test_short_attention.py", "test_token_sampler.py")


def run(name: str, marker: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", marker, str(FOLDER / name)]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, cwd=FOLDER.parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.parametrize("name", FILES)
def test_kernels_in_the_interpreter(name: str) -> None:
    run(name, "not slow")


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_SLOW)
def test_every_size_in_the_interpreter(name: str) -> None:
    run(name, "slow")


def test_every_kernel_has_a_file() -> None:
    from genesis.ops import KERNELS

    assert {f"test_{op}.py" for op in KERNELS} <= set(FILES)
    assert set(WITH_SLOW) <= set(FILES)

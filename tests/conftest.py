"""What every test may rely on: one thread, repeatable examples in CI, and the shared folder where it exists."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Read by torch when it is first imported, and by every process a test starts. Tensors here are small, and two threads
# that wait for one another on a busy machine took 69 s of processor time where one took 7
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Inductor imports setuptools, which wants its own distutils in place of the one that pip, once imported, insists on
if sys.version_info < (3, 12):
    os.environ.setdefault("SETUPTOOLS_USE_DISTUTILS", "stdlib")

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; the test is skipped where there is none."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no folder `shared` beside the checkout")
    return folder


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")

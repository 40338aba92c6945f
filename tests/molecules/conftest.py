"""Files that a user fetches; tests that need them are skipped where they were not fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from genesis.data import fetch
from genesis.errors import ResourceError


def _fetched(name: str) -> Path:
    try:
        return fetch.cached(name)
    except ResourceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def moses() -> Path:
    """The folder of the MOSES files."""
    return _fetched("moses")


@pytest.fixture(scope="session")
def chemnet() -> Path:
    """The folder of ChemNet's weights."""
    return _fetched("chemnet")


@pytest.fixture(scope="session")
def training_smiles(shared: Path) -> list[str]:
    """1,000 training molecules of MOSES in random order."""
    return (shared / "reference" / "moses" / "train_10000.smi").read_text().split()[:1_000]

"""The import contracts of pyproject.toml catch what they are there for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = "imports go downward"
PLANTED = {  # file -> its import, and the contract that must break
    "genesis/nn/planted.py": ("genesis.train", FLOORS),
    "genesis/models/planted.py": ("genesis.decoding.loop", FLOORS),
    "genesis/rng_planted.py": ("os", FLOORS),  # a module without a floor
    "genesis/metrics/planted.py": ("rdkit", "the engine knows no domain, no chemistry and no music"),
    "genesis/data/planted.py": ("genesis_domains", "the engine knows no domain, no chemistry and no music"),
    "kernels/genesis_kernels/planted.py": ("genesis.errors", "kernels know nothing of genesis"),
    "genesis/decoding/planted.py": ("genesis_kernels.reference", "genesis.ops is the one importer of kernels"),
    "domains/genesis_domains/planted.py": (
        "genesis.engine",
        "domains see genesis.domain, errors, metrics and automata",
    ),
}


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What import-linter says of a copy of the tree with every forbidden import planted in it."""
    copy = tmp_path_factory.mktemp("floors")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for package in ("genesis", "kernels", "domains"):
        ignored = shutil.ignore_patterns("__pycache__", "presets")
        shutil.copytree(ROOT / package, copy / package, ignore=ignored)
    for file, (module, _) in PLANTED.items():
        (copy / file).write_text(f"import {module}\n")
    path = os.pathsep.join(str(copy / folder) for folder in (".", "kernels", "domains"))
    lint = Path(sys.executable).with_name("lint-imports")
    command = [lint, "--no-logo", "--no-cache", "--config", copy / "pyproject.toml"]
    done = subprocess.run(command, cwd=copy, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("file", PLANTED)
def test_a_planted_import_breaks_its_contract(verdict: str, file: str) -> None:
    module, contract = PLANTED[file]
    importer = file.removeprefix("kernels/").removeprefix("domains/").removesuffix(".py").replace("/", ".")
    assert f"{contract} BROKEN" in verdict
    said = f"- {importer}" if module == "os" else f"{importer} -> {module}"
    assert said in verdict

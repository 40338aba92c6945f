"""Tiny untrained models in folders, and runs of them in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="batch runs write Parquet, which is an extra")
sys.path.insert(0, str(Path(__file__).parent))

from library_of_words import save_model, save_music

import genesis
from genesis.batch.library import Library
from genesis.batch.local import Inline, Pool
from genesis.batch.plan import Plan
from genesis.batch.run import Run
from genesis.batch.session import begin
from genesis.batch.tally import Tally
from genesis.batch.worker import Source
from genesis.engine import Engine


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="session")
def engine(model: Path) -> Engine:
    return genesis.load(model, "cpu")


@pytest.fixture
def make_plan(model: Path) -> Callable[..., Plan]:
    """A plan of a few hundred molecules in shards of 32."""

    def make(**settings: Any) -> Plan:
        given = {"domain": "molecules", "model": str(model), "count": 150, "shard": 32, "batch_size": 16}
        return Plan.of({**given, **settings})

    return make


@pytest.fixture
def run_here(engine: Engine) -> Callable[..., tuple[Library, Tally]]:
    """Run a plan in this process."""

    def run(plan: Plan, out: Path, pool: Pool | None = None) -> tuple[Library, Tally]:
        library = begin(plan, engine, out)
        return library, Run(library, Source.of(library.order, engine), pool or Inline()).run()

    return run

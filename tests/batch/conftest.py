"""A tiny untrained model of molecules in a folder, and runs of it in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import genesis
from genesis.batch.library import Library
from genesis.batch.local import Inline, Pool
from genesis.batch.plan import Plan
from genesis.batch.run import Run
from genesis.batch.session import begin
from genesis.batch.tally import Tally
from genesis.batch.worker import Source
from genesis.checkpoint import Config, Provenance
from genesis.engine import TRAINING_KEYS, Engine
from genesis.metrics.sets import KeySet
from genesis.models.transformer import Transformer, TransformerConfig
from genesis.nn.conditioner import NumberField
from genesis_domains.molecules.smiles import IDS, VOCAB

pytest.importorskip("pyarrow", reason="batch runs write Parquet, which is an extra")

FIELDS = (
    NumberField(name="logp", mean=2, std=1, quantiles=(-2, 1, 2, 3, 6)),
    NumberField(name="mol_weight", mean=300, std=30, quantiles=(150, 280, 300, 320, 500)),
    NumberField(name="pic50", mean=6, std=1, quantiles=(4, 5, 6, 7, 8)),
)


def save_model(folder: Path, name: str = "tiny", carbon: float = 5.0) -> Path:
    """A model that writes short molecules of a few elements, so that some come again."""
    torch.manual_seed(0)
    model = Transformer(TransformerConfig.of("tiny", 272, 16, FIELDS)).eval()
    with torch.no_grad():
        for token in ("C", "N", "O", "=C", "(", ")", "1"):  # otherwise every element is as likely as carbon
            model.head.bias[IDS[token]] += carbon
        model.head.bias[IDS["C"]] += 1
    config = Config(
        domain="molecules",
        vocab=VOCAB,
        model=model.config,
        provenance=Provenance(corpus="none", licence="CC0", items=0),
    )
    engine = Engine(model, config)
    engine.save(folder / name)
    KeySet.build(["C", "CC", "CCC", "CO", "CN", "CCO", "C1CC1"], folder / name / TRAINING_KEYS)
    return folder / name


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


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

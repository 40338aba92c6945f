"""A toy corpus, a tiny network and short runs: what every test of training uses, and the programs they start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from genesis.data.encoded import Encoded, Row, write
from genesis.metrics.sets import held_out
from genesis.models.transformer import Transformer, TransformerConfig
from genesis.nn.conditioner import NumberField
from genesis.train import TrainConfig, loop

FIELDS = (NumberField(name="length", mean=7, std=3, quantiles=()),)
SHAPE = TransformerConfig(
    vocab=8, max_length=16, dim=16, depth=1, heads=2, kv_heads=1, ff_dim=16, cond_dim=8, fields=FIELDS
)


def corpus_in(target: Path, name: str = "toy") -> Encoded:
    """600 runs of one letter, 3 to 12 long, with their length as the property."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(600):
        length = int(rng.integers(3, 13))
        tokens = np.full(length, rng.integers(3, 8), np.uint16)
        rows.append(Row(tokens, np.array([length], np.float32), held_out(str(i), 0.05)))
    return write(rows, target, {"properties": ["length"], "corpus": name, "vocab_hash": "toy"})


def make_model(seed: int = 0, shape: TransformerConfig = SHAPE, kind: type[Transformer] = Transformer) -> Transformer:
    torch.manual_seed(seed)
    return kind(shape)


def make_config(**changes: Any) -> TrainConfig:
    """A run of 20 steps."""
    defaults = {"items": 400, "batch_tokens": 256, "precision": "fp32", "every": 5, "warmup": 0.1}
    return TrainConfig(**{**defaults, **changes})


def last_step(run: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of the newest checkpoint of a run."""
    step = max((run / "steps").glob("[0-9]*"), key=lambda p: int(p.name))
    assert (step / "COMPLETE").exists()
    return {kind: load_file(step / f"{kind}.safetensors") for kind in ("model", "average", "optimizer")}


def same(a: dict[str, dict[str, torch.Tensor]], b: dict[str, dict[str, torch.Tensor]]) -> bool:
    """Bit for bit."""
    return all(
        a[kind].keys() == b[kind].keys() and all(torch.equal(t, b[kind][name]) for name, t in a[kind].items())
        for kind in ("model", "average", "optimizer")
    )


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Encoded:
    return corpus_in(tmp_path_factory.mktemp("toy") / "corpus")


@pytest.fixture
def model() -> Transformer:
    return make_model()


@pytest.fixture(scope="session")
def new_model() -> Callable[..., Transformer]:
    return make_model


@pytest.fixture(scope="session")
def config() -> Callable[..., TrainConfig]:
    return make_config


@pytest.fixture(scope="session")
def tensors() -> Callable[[Path], dict[str, dict[str, torch.Tensor]]]:
    return last_step


@pytest.fixture(scope="session")
def equal() -> Callable[..., bool]:
    return same


@pytest.fixture(autouse=True)
def _repeatable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sums in one order, and no report that is due to a slow machine."""
    monkeypatch.setattr(loop, "PATIENCE", float("inf"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

"""What the tests of batch runs and their drivers draw from: tiny untrained models, and words that take no time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from genesis.batch.columns import key128
from genesis.batch.plan import Order
from genesis.batch.worker import Source
from genesis.checkpoint import Config, Provenance
from genesis.drawing import Drawn
from genesis.engine import TRAINING_KEYS, Engine
from genesis.metrics.sets import KeySet
from genesis.models.transformer import Transformer, TransformerConfig
from genesis.nn.conditioner import CategoryField, NumberField
from genesis_domains.molecules.smiles import IDS, VOCAB
from genesis_domains.music.vocabulary import VOCAB as NOTES

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
    _save(model, "molecules", VOCAB, folder / name)
    KeySet.build(["C", "CC", "CCC", "CO", "CN", "CCO", "C1CC1"], folder / name / TRAINING_KEYS)
    return folder / name


def save_music(folder: Path, name: str = "tunes") -> Path:
    """A model that writes a bar or two."""
    torch.manual_seed(0)
    fields = (
        CategoryField(name="style", values=("air", "reel")),
        NumberField(name="bars", mean=4, std=1, quantiles=(1, 2, 3, 4, 8)),
    )
    model = Transformer(TransformerConfig.of("tiny", -(-len(NOTES) // 16) * 16, 32, fields)).eval()
    return _save(model, "music", NOTES, folder / name)


def _save(model: Transformer, domain: str, vocab: tuple[str, ...], path: Path) -> Path:
    provenance = Provenance(corpus="none", licence="CC0", items=0)
    Engine(model, Config(domain=domain, vocab=vocab, model=model.config, provenance=provenance)).save(path)
    return path


WORDS = 700  # different items that the fake drawer can draw


def fake_source(order: Order, engine: Engine) -> Source:
    """The columns of a real order, and a drawer of words that takes no time; three in a hundred are no item."""

    def draw(first: int, last: int) -> list[Drawn]:
        return [drawn(index) for index in range(first, last)]

    return dataclasses.replace(Source.of(order, engine), draw=draw, screen=None)


def drawn(index: int) -> Drawn:
    chosen = int.from_bytes(key128(str(index))[:4], "little")
    if chosen % 100 < 3:
        return Drawn(index, None, None, {}, -1.0)
    key = f"word-{chosen % WORDS}"
    return Drawn(index, key, key, {}, -float(chosen % 50), (chosen % 9, 4))


def winners(count: int) -> list[tuple[int, str]]:
    """The first ``count`` different words by index, found the plain way."""
    found: dict[str, int] = {}
    index = 0
    while len(found) < count:
        one = drawn(index)
        if one.key is not None:
            found.setdefault(one.key, index)
        index += 1
    return [(index, key) for key, index in found.items()]

"""Scores and a small untrained network that every test of music may use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genesis.checkpoint import Config, Provenance
from genesis.engine import Engine
from genesis.models.transformer import Transformer, TransformerConfig
from genesis.nn.conditioner import CategoryField, NumberField
from genesis_domains.music import DOMAIN
from genesis_domains.music.names import KEYS, METERS, PROGRAMS, program_of
from genesis_domains.music.score import Note, Score, Track
from genesis_domains.music.vocabulary import BAR, BASE, SIZE, VOCAB

SAMPLES = Path(__file__).parents[1] / "data" / "music"
FIELDS = (
    CategoryField(name="style", values=("bach-chorale", "irish")),
    CategoryField(name="key", values=KEYS),
    CategoryField(name="meter", values=METERS),
    CategoryField(name="instrument", values=PROGRAMS),
    NumberField(name="bars", mean=16, std=8, quantiles=(1, 8, 16, 24, 64)),
    NumberField(name="tempo", mean=100, std=30, quantiles=(40, 90, 100, 120, 200)),
    NumberField(name="tracks", mean=2, std=1, quantiles=(1, 2, 4)),
    NumberField(name="lowest", mean=50, std=10, quantiles=(30, 50, 60)),
    NumberField(name="highest", mean=76, std=6, quantiles=(60, 76, 90)),
)


def line(pitches: list[int], length: int = 24, program: str = "piano") -> Track:
    """Notes of one length, one after the other."""
    return Track(program_of(program), tuple(Note(i * length, p, length) for i, p in enumerate(pitches)))


@pytest.fixture(scope="session")
def hand() -> list[Score]:
    """The hand-made scores of ``tests/data/music``."""
    return DOMAIN.read(SAMPLES / "hand.jsonl").items


@pytest.fixture(scope="session")
def duet() -> Score:
    """Eight bars of 4/4 in C major: a melody of quarters over a bass of halves."""
    melody = [72, 74, 76, 77, 79, 77, 76, 74] * 4
    bass = [48, 55, 52, 55] * 4
    meter = METERS.index("4/4")
    return Score((line(melody), line(bass, 48, "cello")), (meter,) * 8, KEYS.index("C major"), 100).check()


@pytest.fixture(scope="session")
def engine() -> Engine:
    """A tiny untrained network: the automaton alone makes its scores valid, the bias makes them sparse."""
    torch.manual_seed(0)
    model = Transformer(TransformerConfig.of("tiny", -(-len(VOCAB) // 16) * 16, 400, FIELDS)).eval()
    with torch.no_grad():
        model.head.bias[BAR : BAR + SIZE["bar"]] += 4
        model.head.bias[BASE["for"] : BASE["for"] + 96] += 1
    provenance = Provenance(corpus="none", licence="CC0", items=0)
    return Engine(model, Config(domain="music", vocab=VOCAB, model=model.config, provenance=provenance))

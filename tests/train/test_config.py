"""The schedules in closed form, and the settings that are refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from genesis.train.config import TrainConfig, averaging, learning_rate


def test_learning_rate_at_places_known_by_hand():
    config = TrainConfig(items=100, learning_rate=0.4, warmup=0.2, final=0.25)
    assert learning_rate(0.0, config) == 0
    assert learning_rate(0.05, config) == pytest.approx(0.1)
    assert learning_rate(0.2, config) == pytest.approx(0.4)
    assert learning_rate(0.6, config) == pytest.approx(0.25)  # half of the cosine: the mean of 0.4 and 0.1
    assert learning_rate(0.4, config) == pytest.approx(0.1 + 0.3 * (1 + math.cos(math.pi / 4)) / 2)
    assert learning_rate(1.0, config) == pytest.approx(0.1)
    assert learning_rate(1.7, config) == pytest.approx(0.1)  # a run that was made shorter


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 2), st.floats(0, 2))
def test_learning_rate_rises_then_falls_between_its_ends(warmup, final, a, b):
    config = TrainConfig(items=1, learning_rate=0.5, warmup=warmup, final=final)
    a, b = sorted((a, b))
    low, high = learning_rate(a, config), learning_rate(b, config)
    assert min(low, high) >= 0
    assert max(low, high) <= 0.5 * (1 + 1e-12)
    if b < warmup:
        assert low <= high
    elif a >= warmup:
        assert low >= high >= 0.5 * final * (1 - 1e-12)


def test_averaging_follows_closely_at_first():
    config = TrainConfig(items=1, ema=0.9)
    assert [averaging(step, config) for step in (0, 1, 8)] == [0.1, 2 / 11, 0.5]
    assert averaging(79, config) == pytest.approx(80 / 89)
    assert averaging(10**6, config) == 0.9
    assert averaging(10**6, TrainConfig(items=1, ema=0)) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"items": -1},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"seed": -1},
        {"ema": 1},
        {"precision": "fp16"},
        {"every": 0},
        {"lr": 1e-3},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(ValidationError):
        TrainConfig(**{"items": 10, **wrong})

"""Cosine of counts and the Wasserstein-1 distance against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis.errors import UsageError
from genesis.metrics.histograms import cosine, wasserstein

COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 10**9), min_size=1)
NUMBERS = st.lists(st.floats(-100, 100), min_size=1, max_size=30)


def test_cosine_of_known_angles() -> None:
    assert cosine({"a": 3, "b": 4}, {"a": 3, "b": 4}) == pytest.approx(1)
    assert cosine({"a": 1}, {"b": 1}) == 0
    assert cosine({"a": 1}, {"a": 1, "b": 1}) == pytest.approx(math.sqrt(0.5))
    assert cosine({}, {"a": 1}) == cosine({}, {}) == 0


@given(COUNTS, COUNTS, st.integers(1, 10**9))
def test_cosine_ignores_order_and_scale(a: dict[str, int], b: dict[str, int], times: int) -> None:
    """The products here reach 10^36, past every integer of numpy."""
    assert 0 <= cosine(a, b) <= 1 + 1e-12
    assert cosine(a, b) == pytest.approx(cosine(b, a), rel=1e-12)
    assert cosine({name: count * times for name, count in a.items()}, b) == pytest.approx(cosine(a, b), rel=1e-12)


@given(NUMBERS, st.floats(-50, 50))
def test_a_shifted_sample_is_as_far_as_the_shift(x: list[float], shift: float) -> None:
    assert wasserstein(x, np.array(x) + shift) == pytest.approx(abs(shift), abs=1e-9)


@given(NUMBERS, NUMBERS)
def test_equal_sizes_pair_in_order(x: list[float], y: list[float]) -> None:
    size = min(len(x), len(y))
    paired = np.abs(np.sort(x[:size]) - np.sort(y[:size])).mean()
    assert wasserstein(x[:size], y[:size]) == pytest.approx(paired, abs=1e-9)


@given(NUMBERS, NUMBERS)
def test_sizes_may_differ(x: list[float], y: list[float]) -> None:
    """A sample repeated is the same distribution, so both can be brought to one size."""
    expected = np.abs(np.sort(x * len(y)) - np.sort(y * len(x))).mean()
    assert wasserstein(x, y) == pytest.approx(expected, abs=1e-9)


def test_an_empty_sample_has_no_distance() -> None:
    with pytest.raises(UsageError, match="samples of 0 and 2 numbers"):
        wasserstein([], [1, 2])

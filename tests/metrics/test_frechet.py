"""The Frechet distance against closed forms, and streamed moments against those of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genesis.errors import UsageError
from genesis.metrics.frechet import Gaussian, Moments, frechet_distance


def gaussian(mean: object, cov: object) -> Gaussian:
    return Gaussian(torch.as_tensor(mean, dtype=torch.float64), torch.as_tensor(cov, dtype=torch.float64), 100)


def positive(seed: int, size: int, rank: int) -> torch.Tensor:
    x = torch.randn(size, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x @ x.T / rank


def measured(x: torch.Tensor, cuts: list[int]) -> Gaussian:
    moments = Moments(x.shape[1])
    for part in torch.tensor_split(x, sorted(cuts)):
        moments.add(part)
    return moments.gaussian()


@settings(max_examples=40)
@given(st.floats(-9, 9), st.floats(-9, 9), st.floats(0, 9), st.floats(0, 9))
def test_on_a_line_it_is_the_distance_of_means_and_deviations(m1: float, m2: float, s1: float, s2: float) -> None:
    found = frechet_distance(gaussian([m1], [[s1**2]]), gaussian([m2], [[s2**2]]))
    assert found == pytest.approx((m1 - m2) ** 2 + (s1 - s2) ** 2, abs=1e-9)


@pytest.mark.parametrize("rank", [3, 20, 60])
def test_a_linear_map_has_a_closed_form(rank: int) -> None:
    """For symmetric positive T, x -> T x carries N(0, C) to N(0, TCT) in the best way: d^2 = tr((T - 1) C (T - 1))."""
    cov, stretch = positive(0, 20, rank), positive(1, 20, 40)
    step = stretch - torch.eye(20)
    found = frechet_distance(gaussian(torch.zeros(20), cov), gaussian(torch.zeros(20), stretch @ cov @ stretch))
    assert found == pytest.approx(float((step @ cov @ step).trace()), rel=1e-9)


@pytest.mark.parametrize("rank", [5, 80])
def test_it_is_symmetric_zero_on_itself_and_the_same_in_any_axes(rank: int) -> None:
    a, b = gaussian(torch.arange(30), positive(2, 30, rank)), gaussian(torch.ones(30), positive(3, 30, 80))
    turn = torch.linalg.qr(positive(4, 30, 30))[0]
    turned = [gaussian(turn @ g.mean, turn @ g.cov @ turn.T) for g in (a, b)]
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(*turned), rel=1e-9)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 50), max_size=5), st.integers(0, 2**31))
def test_moments_do_not_depend_on_the_batches(cuts: list[int], seed: int) -> None:
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(seed)) + 1_000  # a mean that would eat the digits
    found = measured(x, cuts)
    assert found.count == 50
    np.testing.assert_allclose(found.mean, x.double().mean(0), rtol=1e-14)
    np.testing.assert_allclose(found.cov, np.cov(x.double().numpy().T), rtol=1e-9, atol=1e-12)


def test_what_has_no_distance_is_refused() -> None:
    with pytest.raises(UsageError, match="covariance of 1 items; at least 2"):
        measured(torch.zeros(1, 3), [])
    with pytest.raises(UsageError, match="over 2 and 3 features"):
        frechet_distance(gaussian(torch.zeros(2), torch.eye(2)), gaussian(torch.zeros(3), torch.eye(3)))

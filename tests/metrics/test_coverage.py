"""Density and coverage on sets whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from genesis.errors import UsageError
from genesis.metrics.coverage import density_coverage


def sample(count: int, seed: int, modes: int = 8) -> np.ndarray:
    """Points about ``modes`` of eight places that lie far apart."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, modes, count)
    return (np.eye(8)[which] * 100 + rng.standard_normal((count, 8))).astype(np.float32)


def test_two_samples_of_one_source() -> None:
    """E density is 1; with as many made as real, coverage is about 1 - 1/2^k (Naeem et al. 2020, equation 9)."""
    got = density_coverage(sample(2_000, 0), sample(2_000, 1))
    assert got.density == pytest.approx(1, abs=0.1)
    assert got.coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_a_lost_mode_is_lost_coverage_and_not_lost_density() -> None:
    got = density_coverage(sample(2_000, 0), sample(2_000, 1, modes=4))
    assert got.coverage == pytest.approx(0.5, abs=0.05)
    assert got.density == pytest.approx(1, abs=0.1)


def test_one_point_for_everybody() -> None:
    real = sample(500, 0)
    assert density_coverage(real, np.repeat(real[:1], 500, 0)).coverage < 0.05
    assert density_coverage(real, real + 1e4).coverage == 0


def test_the_neighbourhood_by_hand() -> None:
    """Real 0, 1, 3 with k = 1 reach 1, 1 and 2; made 1.5 is within reach of 1 and of 3."""
    got = density_coverage(np.array([[0.0], [1], [3]], np.float32), np.array([[1.5]], np.float32), nearest=1)
    assert got.density == 2
    assert got.coverage == pytest.approx(2 / 3)


def test_too_few_to_compare() -> None:
    with pytest.raises(UsageError, match="5 real and 5 made vectors; more than 5"):
        density_coverage(sample(5, 0), sample(5, 0))

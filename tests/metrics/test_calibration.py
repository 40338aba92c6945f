"""Errors of measured against asked."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis.errors import UsageError
from genesis.metrics.calibration import calibrate, error

FINITE = st.floats(-100, 100)


@pytest.mark.parametrize(
    ("asked", "measured", "expected"),
    [
        (2.0, 3.5, 1.5),
        (2.0, 0.5, -1.5),
        ((1.0, 2.0), 1.0, 0.0),
        ((1.0, 2.0), 2.0, 0.0),
        ((1.0, 2.0), 0.25, -0.75),
        ((1.0, 2.0), 2.5, 0.5),
        ((-math.inf, 2.0), -1e9, 0.0),
        ((1.0, math.inf), 0.0, -1.0),
    ],
)
def test_error_is_signed_and_zero_inside_a_range(
    asked: float | tuple[float, float], measured: float, expected: float
) -> None:
    assert error(asked, measured) == expected


@given(FINITE, FINITE, FINITE)
def test_a_range_is_no_farther_than_its_ends(a: float, b: float, measured: float) -> None:
    low, high = min(a, b), max(a, b)
    distance = abs(error((low, high), measured))
    assert distance == pytest.approx(0 if low <= measured <= high else min(abs(measured - low), abs(measured - high)))


def test_calibration_of_a_few_items() -> None:
    found = calibrate([1.0, 1.0, (2.0, 3.0), 0.0], [1.5, 0.5, 2.5, 3.0], tolerance=0.5)
    assert found.count == 4
    assert found.mean_absolute_error == 1.0
    assert found.bias == 0.75
    assert found.within == 0.75


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match=r"3\.0 to 2\.0 holds no number; give the lower end first"):
        error((3.0, 2.0), 1.0)
    with pytest.raises(UsageError, match="holds no number"):
        error(math.nan, 1.0)
    with pytest.raises(UsageError, match="2 targets for 1 measured"):
        calibrate([1.0, 2.0], [1.0])
    with pytest.raises(UsageError, match="0 targets for 0"):
        calibrate([], [])
    with pytest.raises(UsageError, match="not finite"):
        calibrate([1.0], [math.nan])

"""How far what was measured lies from what was asked.

A target is a number, or a range ``(low, high)`` whose inside is distance 0; either end may be infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from genesis.errors import UsageError

Target = float | tuple[float, float]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Mean absolute error, mean signed error (measured above asked is positive) and the share within tolerance."""

    count: int
    mean_absolute_error: float
    bias: float
    within: float


def error(asked: Target, measured: float) -> float:
    """Signed distance of one measured number from its target: 0 inside a range, negative below, positive above."""
    low, high = asked if isinstance(asked, tuple) else (asked, asked)
    if not low <= high:
        raise UsageError(f"the range {low} to {high} holds no number; give the lower end first")
    return min(measured - low, 0.0) + max(measured - high, 0.0)


def calibrate(asked: Sequence[Target], measured: Sequence[float], tolerance: float = 0.0) -> Calibration:
    """Errors of one property over items, each with its own target."""
    if len(asked) != len(measured) or not measured:
        raise UsageError(f"{len(asked)} targets for {len(measured)} measured numbers; give one each, and at least one")
    if not all(map(math.isfinite, measured)):
        raise UsageError("a measured number is not finite; leave such items out and count them")
    errors = [error(target, value) for target, value in zip(asked, measured, strict=True)]
    return Calibration(
        len(errors),
        sum(map(abs, errors)) / len(errors),
        sum(errors) / len(errors),
        sum(abs(e) <= tolerance for e in errors) / len(errors),
    )

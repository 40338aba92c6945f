"""How alike two histograms or two samples of a number are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from genesis.errors import UsageError


def cosine(a: Mapping[str, int], b: Mapping[str, int]) -> float:
    """``<a, b> / (|a| |b|)`` of two tables of counts, 0 when one of them is empty.

    Python's integers and floats: squared counts overflow int32 and, in a large corpus, int64.
    """
    small, large = sorted((a, b), key=len)
    shared = sum(float(count) * large[name] for name, count in small.items() if name in large)
    norm = sum(float(x) * x for x in a.values()) * sum(float(x) * x for x in b.values())
    return shared / float(np.sqrt(norm)) if norm else 0.0


def wasserstein(x: ArrayLike, y: ArrayLike) -> float:
    """The Wasserstein-1 distance of two samples: the integral of ``|F_x - F_y|``, in the unit of the numbers."""
    x, y = np.sort(np.asarray(x, np.float64).ravel()), np.sort(np.asarray(y, np.float64).ravel())
    if not (x.size and y.size):
        raise UsageError(f"a distance between samples of {x.size} and {y.size} numbers; neither may be empty")
    steps = np.sort(np.concatenate([x, y]))
    below_x = np.searchsorted(x, steps[:-1], "right") / x.size
    below_y = np.searchsorted(y, steps[:-1], "right") / y.size
    return float(np.abs(below_x - below_y) @ np.diff(steps))

"""Whether a set of vectors fills the space that another fills: density and coverage (Naeem et al. 2020).

N  real    M  made    D  width
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genesis.errors import UsageError

NEAREST = 5  # their k: the fifth neighbour says how far a real vector's neighbourhood reaches
ROWS = 512  # compared at once


@dataclass(frozen=True, slots=True)
class Coverage:
    """``coverage``: share of the real vectors with a made one in their neighbourhood; a lost mode is missing in it.

    ``density``: how many neighbourhoods a made vector lies in, over k; 1 in the mean for a sample of the same source.
    """

    density: float
    coverage: float


def density_coverage(real: NDArray[np.float32], made: NDArray[np.float32], nearest: int = NEAREST) -> Coverage:
    """Of ``made [M, D]`` among ``real [N, D]``; needs more than ``nearest`` real vectors."""
    if len(real) <= nearest or not len(made):
        raise UsageError(
            f"{len(real)} real and {len(made)} made vectors; more than {nearest} and at least 1 are needed"
        )
    reach = np.concatenate([np.partition(_squares(part, real), nearest, axis=1)[:, nearest] for part in _parts(real)])
    inside = 0.0
    met = np.zeros(len(real), bool)
    for part in _parts(made):
        within = _squares(part, real) < reach
        inside += float(within.sum())
        met |= within.any(0)
    return Coverage(inside / (nearest * len(made)), float(met.mean()))


def _parts(x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [x[first : first + ROWS] for first in range(0, len(x), ROWS)]


def _squares(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """``[A, B]`` squared distances; a vector's own is below all others."""
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    squares: NDArray[np.float64] = (a64**2).sum(1)[:, None] - 2 * a64 @ b64.T + (b64**2).sum(1)
    return squares

"""The Frechet distance between two Gaussians, and the moments that make a Gaussian of features.

d^2 = |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^1/2)          (Dowson and Landau, 1982)

N  items    D  features
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genesis.errors import UsageError
from genesis.metrics.threads import one_core


@dataclass(frozen=True, slots=True)
class Gaussian:
    """``mean`` [D] and ``cov`` [D, D] (divided by N - 1), float64, measured on ``count`` items."""

    mean: Tensor
    cov: Tensor
    count: int


class Moments:
    """Mean and covariance of a stream of batches, in float64 (Chan, Golub and LeVeque, 1979, eq. 2.1)."""

    def __init__(self, features: int) -> None:
        self._count = 0
        self._mean = torch.zeros(features, dtype=torch.float64)
        self._scatter = torch.zeros(features, features, dtype=torch.float64)

    def add(self, batch: Tensor) -> None:
        """Take in one batch ``[N, D]``."""
        if len(batch) == 0:
            return
        x = batch.double()
        mean = x.mean(0)
        x = x - mean
        total = self._count + len(x)
        shift = mean - self._mean
        self._scatter += x.T @ x + torch.outer(shift, shift) * (self._count * len(x) / total)
        self._mean += shift * (len(x) / total)
        self._count = total

    def gaussian(self) -> Gaussian:
        if self._count < 2:
            raise UsageError(f"a covariance of {self._count} items; at least 2 are needed")
        return Gaussian(self._mean.clone(), self._scatter / (self._count - 1), self._count)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """d^2 of the module's formula, by eigenvalues.

    ``tr((C1 C2)^1/2)`` is the sum of the singular values of ``C1^1/2 C2^1/2``; singular values keep the small ones
    accurate, where the eigenvalues of the product would lose half the digits to the final square root.
    """
    if a.mean.shape != b.mean.shape:
        raise UsageError(f"Gaussians over {len(a.mean)} and {len(b.mean)} features have no distance")
    shift = a.mean - b.mean
    with one_core():
        overlap = torch.linalg.svdvals(_root(a.cov) @ _root(b.cov)).sum()
    return float(shift @ shift + a.cov.trace() + b.cov.trace() - 2 * overlap)


def _root(cov: Tensor) -> Tensor:
    """The symmetric square root, with directions below rounding error taken as flat."""
    values, vectors = torch.linalg.eigh(cov)
    flat = values < len(values) * torch.finfo(values.dtype).eps * values[-1].clamp(min=0)
    root: Tensor = (vectors * values.masked_fill(flat, 0).sqrt()) @ vectors.T
    return root

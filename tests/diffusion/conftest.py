"""Denoisers that are known exactly.

N  samples    M  modes
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]


def of_gaussian(mean: Tensor, std: float) -> Denoise:
    """E[x0 | x] where ``x0 ~ N(mean, std^2)``: the two sources weighted by the inverse of their variances."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        s = sigma[:, None] ** 2
        return (std**2 * x + s * mean) / (std**2 + s)

    return denoise


def of_mixture(modes: Tensor, std: float) -> Denoise:
    """E[x0 | x] of an even mixture of Gaussians about ``modes [M, 2]``, by Bayes' rule."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        s = sigma[:, None] ** 2
        far = (x[:, None] - modes).square().sum(-1)  # [N, M]
        p = (-far / (2 * (std**2 + s))).softmax(-1)
        means = (std**2 * x[:, None] + s[..., None] * modes) / (std**2 + s[..., None])
        return (p[..., None] * means).sum(1)

    return denoise


@pytest.fixture
def gaussian() -> Callable[[Tensor, float], Denoise]:
    return of_gaussian


@pytest.fixture
def mixture() -> Callable[[Tensor, float], Denoise]:
    return of_mixture


@pytest.fixture
def ring() -> Tensor:
    """Eight modes on a circle of radius 2."""
    angle = torch.arange(8, dtype=torch.float64) * (torch.pi / 4)
    return 2 * torch.stack((angle.cos(), angle.sin()), -1)

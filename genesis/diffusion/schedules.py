"""Noise levels: the ones a sampler walks down, and the ones a batch is trained at.

A schedule is a tensor ``sigmas [S + 1]`` that falls to 0; S is the number of steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genesis.errors import UsageError

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0  # Karras et al. 2022, table 1
P_MEAN, P_STD = -1.2, 1.2  # of ln(sigma) in training, same table


def karras(steps: int, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, rho: float = RHO) -> Tensor:
    """``(max^(1/rho) + i/(S-1) (min^(1/rho) - max^(1/rho)))^rho``, then 0 (Karras et al. 2022, equation 5)."""
    _check(steps, sigma_min, sigma_max)
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return _ended((high + ramp * (low - high)) ** rho)


def exponential(steps: int, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX) -> Tensor:
    """Evenly spaced in ``ln(sigma)``, then 0: the steps on which DPM-Solver++ is of second order."""
    _check(steps, sigma_min, sigma_max)
    return _ended(torch.linspace(math.log(sigma_max), math.log(sigma_min), steps, dtype=torch.float64).exp())


def straight(steps: int, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX) -> Tensor:
    """Evenly spaced in the time ``t = sigma / (1 + sigma)`` of flow matching (Lipman et al. 2023), then 0."""
    _check(steps, sigma_min, sigma_max)
    low, high = sigma_min / (1 + sigma_min), sigma_max / (1 + sigma_max)
    t = torch.linspace(high, low, steps, dtype=torch.float64)
    return _ended(t / (1 - t))


def lognormal(normal: Tensor, mean: float = P_MEAN, std: float = P_STD) -> Tensor:
    """``exp(mean + std n)`` of standard normal ``n``: the levels EDM is trained at (Karras et al. 2022, table 1)."""
    return (mean + std * normal).exp()


def _ended(sigmas: Tensor) -> Tensor:
    return torch.cat((sigmas, sigmas.new_zeros(1))).float()


def _check(steps: int, sigma_min: float, sigma_max: float) -> None:
    if steps < 2:
        raise UsageError(f"steps={steps}: a sampler needs at least 2")
    if not 0 < sigma_min < sigma_max:
        raise UsageError(f"sigma_min={sigma_min:g}, sigma_max={sigma_max:g}: needed is 0 < sigma_min < sigma_max")

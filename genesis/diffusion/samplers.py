"""Samplers: from noise at ``sigmas[0]`` to a sample, as functions over ``denoise(x, sigma)``.

Each takes ``x [B, ...]``, noise of standard deviation ``sigmas[0]``, walks down ``sigmas [S + 1]`` to 0, and returns
``x`` there. Between two levels the probability-flow equation ``dx/dsigma = (x - D(x, sigma)) / sigma`` holds (Karras et
al. 2022, equation 3 with s = 1 and sigma = t). Noise is an argument: ``noise(i)`` gives step i's ``[B, ...]``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Protocol

from torch import Tensor

from genesis.diffusion.preconditioning import Denoise
from genesis.errors import UsageError

Noise = Callable[[int], Tensor]


class Sampler(Protocol):
    """What every sampler is."""

    def __call__(self, denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise | None = None) -> Tensor: ...


def euler(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise | None = None) -> Tensor:
    """First order; one evaluation a step."""
    for sigma, after in itertools.pairwise(sigmas):
        x = x + (after - sigma) * (x - _at(denoise, x, sigma)) / sigma
    return x


def heun(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise | None = None) -> Tensor:
    """Second order: Algorithm 1 of Karras et al. 2022; two evaluations a step, one for the last."""
    for sigma, after in itertools.pairwise(sigmas):
        d = (x - _at(denoise, x, sigma)) / sigma
        ahead = x + (after - sigma) * d
        if after > 0:
            d = (d + (ahead - _at(denoise, ahead, after)) / after) / 2
            ahead = x + (after - sigma) * d
        x = ahead
    return x


def ddim(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise | None = None, eta: float = 0.0) -> Tensor:
    """Song et al. 2021 (DDIM), equations 12 and 16, in noise levels.

    The next x is the denoised one with ``sqrt(after^2 - up^2)`` of the noise it was found to have and ``up`` of new
    noise. ``eta`` 0 is deterministic, and then the same step as :func:`euler`; 1 is ancestral sampling.
    """
    if eta and noise is None:
        raise UsageError(f"eta={eta:g} adds noise at every step; give noise")
    for i, (sigma, after) in enumerate(itertools.pairwise(sigmas)):
        denoised = _at(denoise, x, sigma)
        up = eta * after * (1 - (after / sigma).square()).sqrt()
        down = (after.square() - up.square()).clamp(min=0).sqrt()
        x = denoised + down * (x - denoised) / sigma
        if noise is not None and up > 0:
            x = x + up * noise(i)
    return x


ancestral: Sampler = partial(ddim, eta=1.0)  # Ho et al. 2020 (DDPM), with the smaller of their two variances


def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise | None = None) -> Tensor:
    """DPM-Solver++(2M), Algorithm 2 of Lu et al. 2022 (arXiv 2211.01095): second order, one evaluation a step.

    With ``lambda = -ln(sigma)`` and ``h`` its step: ``x' = (sigma'/sigma) x - (e^-h - 1) D``, where ``D`` is
    extrapolated from the last two denoised samples. The last step, to 0, takes the denoised sample itself.
    """
    before: Tensor | None = None
    h_before = sigmas.new_zeros(())
    for sigma, after in itertools.pairwise(sigmas):
        denoised = _at(denoise, x, sigma)
        if after == 0:
            return denoised
        h = (sigma / after).log()
        extrapolated = denoised
        if before is not None:
            extrapolated = denoised + h / (2 * h_before) * (denoised - before)
        x = after / sigma * x - (-h).expm1() * extrapolated
        before, h_before = denoised, h
    return x


SAMPLERS: dict[str, Sampler] = {
    "euler": euler,
    "heun": heun,
    "ddim": ddim,
    "dpmpp_2m": dpmpp_2m,
    "ancestral": ancestral,
}


def _at(denoise: Denoise, x: Tensor, sigma: Tensor) -> Tensor:
    return denoise(x, sigma.expand(len(x)))

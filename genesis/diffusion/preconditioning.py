"""From a network ``F(x, t)`` to a denoiser ``D(x, sigma)``, and the loss that trains it.

    D(x, sigma) = c_skip x + c_out F(c_in x, c_noise)                    (Karras et al. 2022, equation 7)

``x = x0 + sigma noise``. EDM and flow matching differ in four functions of sigma and in the levels they are trained at,
so samplers, guidance and the loss know only the form above. ``c_skip x`` is what a network need not learn: the best
guess about data of which the variance alone is known. Where more is known, a ``skip`` takes its place.

    B  batch    ...  whatever a sample is
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]  # (x [B, ...], sigma [B]) -> the expected x0 [B, ...]
Network = Callable[[Tensor, Tensor], Tensor]  # (c_in x [B, ...], c_noise [B]) -> F [B, ...]


@dataclass(frozen=True, slots=True)
class Preconditioning:
    """The four coefficients at each level, ``[B]``."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


Precondition = Callable[[Tensor], Preconditioning]


def gaussian(axes: Tensor, spread: Tensor) -> Denoise:
    """The denoiser of ``N(0, U diag(spread) U^T)``, ``axes`` U ``[N, N]`` and ``spread [N]``, samples of N numbers.

    The score that every data set has at high noise, and most of it at any (Wang and Vastola 2024, arXiv 2412.09726).
    """

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        kept = spread / (spread + sigma.square()[:, None])
        return ((x.flatten(1) @ axes * kept) @ axes.T).view_as(x)

    return denoise


def edm(sigma: Tensor, sigma_data: float = 1.0) -> Preconditioning:
    """Inputs and targets of unit variance at every level (Karras et al. 2022, table 1, last column)."""
    total = sigma.square() + sigma_data**2
    return Preconditioning(
        c_skip=sigma_data**2 / total,
        c_out=sigma * sigma_data * total.rsqrt(),
        c_in=total.rsqrt(),
        c_noise=sigma.log() / 4,
    )


def flow(sigma: Tensor) -> Preconditioning:
    """Flow matching on straight paths (Lipman et al. 2023; Liu et al. 2023), told in noise levels.

    The path ``x_t = (1 - t) x0 + t noise`` is ``x / (1 + sigma)`` at ``t = sigma / (1 + sigma)``, and the network's
    velocity ``v = noise - x0`` gives ``x0 = x_t - t v``.
    """
    t = sigma / (1 + sigma)
    return Preconditioning(c_skip=1 - t, c_out=-t, c_in=1 - t, c_noise=t)


def denoiser(network: Network, precondition: Precondition, skip: Denoise | None = None) -> Denoise:
    """The denoiser of a network; ``skip`` instead of ``c_skip x``."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        p = precondition(sigma)
        known = skip(x, sigma) if skip else _wide(p.c_skip, x) * x
        return known + _wide(p.c_out, x) * network(_wide(p.c_in, x) * x, p.c_noise)

    return denoise


def loss(
    network: Network,
    precondition: Precondition,
    x0: Tensor,
    sigma: Tensor,
    noise: Tensor,
    skip: Denoise | None = None,
) -> Tensor:
    """``[B, ...]``: ``(F(c_in x) - (x0 - c_skip x) / c_out)^2``, with ``skip`` instead of ``c_skip x``.

    This is the denoising error under the weight ``1 / c_out^2`` (Karras et al. 2022, equation 8): for EDM their
    ``lambda(sigma)``, for flow matching the squared error of the velocity, whose target is ``noise - x0``.
    """
    p = precondition(sigma)
    x = x0 + _wide(sigma, x0) * noise
    known = skip(x, sigma) if skip else _wide(p.c_skip, x) * x
    target = (x0 - known) / _wide(p.c_out, x)
    return (network(_wide(p.c_in, x) * x, p.c_noise) - target).square()


def guided(conditional: Denoise, unconditional: Denoise, guidance: float) -> Denoise:
    """``u + w (c - u)`` (Ho and Salimans 2022); w of 1 asks the conditional denoiser alone."""
    if guidance == 1.0:
        return conditional

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        u = unconditional(x, sigma)
        return u + guidance * (conditional(x, sigma) - u)

    return denoise


def _wide(coefficient: Tensor, like: Tensor) -> Tensor:
    return coefficient.view(-1, *[1] * (like.ndim - 1))

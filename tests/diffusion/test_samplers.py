"""Samplers on denoisers that are known: exact end points, orders of convergence, moments, modes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genesis.diffusion import samplers
from genesis.diffusion.preconditioning import Denoise, guided
from genesis.diffusion.samplers import SAMPLERS, Sampler
from genesis.diffusion.schedules import exponential, karras
from genesis.errors import UsageError

OfGaussian = Callable[[Tensor, float], Denoise]
MEAN, STD = torch.tensor([1.0, -2.0], dtype=torch.float64), 0.5


def exact(x: Tensor, sigma: float, after: float) -> Tensor:
    """The probability flow of N(MEAN, STD^2) from one level to another: distances to the mean shrink alike."""
    return MEAN + (x - MEAN) * math.sqrt((STD**2 + after**2) / (STD**2 + sigma**2))


def noise_at(sigma: float, count: int, seed: int = 0) -> Tensor:
    return sigma * torch.randn(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def fresh(count: int) -> Callable[[int], Tensor]:
    return lambda step: noise_at(1.0, count, seed=1_000 + step)


@pytest.mark.parametrize(
    ("sampler", "order"), [(samplers.euler, 1), (samplers.ddim, 1), (samplers.heun, 2), (samplers.dpmpp_2m, 2)]
)
def test_the_error_falls_with_the_order_of_the_sampler(sampler: Sampler, order: int, gaussian: OfGaussian) -> None:
    x, denoise = noise_at(10.0, 64), gaussian(MEAN, STD)
    errors = []
    for steps in (41, 81, 161):
        sigmas = exponential(steps, 0.05, 10.0).double()[:-1]  # to 0.05, where every step is an ordinary one
        errors.append(float((sampler(denoise, x, sigmas) - exact(x, 10.0, 0.05)).abs().max()))
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


def test_ddim_without_noise_is_euler_and_with_all_of_it_ancestral(ring: Tensor, mixture: OfGaussian) -> None:
    x, denoise, sigmas = noise_at(80.0, 32), mixture(ring, 0.1), karras(12).double()
    torch.testing.assert_close(samplers.ddim(denoise, x, sigmas), samplers.euler(denoise, x, sigmas))
    a = samplers.ancestral(denoise, x, sigmas, fresh(32))
    assert torch.equal(a, samplers.ddim(denoise, x, sigmas, fresh(32), eta=1.0))
    with pytest.raises(UsageError, match="eta=1 adds noise at every step"):
        samplers.ancestral(denoise, x, sigmas)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_point_is_found_by_every_sampler(name: str, gaussian: OfGaussian) -> None:
    """Where all data is one point, its denoiser says so and the last step arrives."""
    got = SAMPLERS[name](gaussian(MEAN, 0.0), noise_at(80.0, 16), karras(8).double(), fresh(16))
    torch.testing.assert_close(got, MEAN.expand(16, 2), atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampled_moments(name: str, gaussian: OfGaussian) -> None:
    # the smaller variance of DDPM is too small by the order of a step
    count, steps = 20_000, {"ancestral": 400, "euler": 100, "ddim": 100}.get(name, 30)
    got = SAMPLERS[name](gaussian(MEAN, STD), noise_at(80.0, count), karras(steps).double(), fresh(count))
    torch.testing.assert_close(got.mean(0), MEAN, atol=0.04, rtol=0)  # x starts with mean 0 at sigma 80: 0.5/80 of bias
    torch.testing.assert_close(got.std(0), torch.full((2,), STD, dtype=torch.float64), atol=0.02, rtol=0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_mode_is_found_as_often_as_the_others(name: str, ring: Tensor, mixture: OfGaussian) -> None:
    got = SAMPLERS[name](mixture(ring, 0.1), noise_at(80.0, 8_000), karras(40).double(), fresh(8_000))
    far = torch.cdist(got, ring)
    shares = far.argmin(1).bincount(minlength=8) / 8_000
    assert float(far.amin(1).max()) < 0.7
    assert float((shares - 1 / 8).abs().max()) < 0.02  # 5.4 standard errors


def test_twenty_evaluations_score_like_two_hundred(ring: Tensor, mixture: OfGaussian) -> None:
    """Mean distance to the nearest mode, which is sqrt(pi/2) 0.1 for an exact sample."""
    x, denoise = noise_at(80.0, 8_000), mixture(ring, 0.1)
    few = samplers.dpmpp_2m(denoise, x, karras(20).double())
    many = samplers.dpmpp_2m(denoise, x, karras(200).double())
    near, nearer = (float(torch.cdist(got, ring).amin(1).mean()) for got in (few, many))
    assert nearer == pytest.approx(math.sqrt(math.pi / 2) * 0.1, rel=0.03)
    assert near == pytest.approx(nearer, rel=0.03)


def test_guidance_moves_a_gaussian_by_the_difference_of_the_means(gaussian: OfGaussian) -> None:
    """Two Gaussians of one width: guiding extrapolates their means, and w of 1 and 0 are the two denoisers."""
    c, u = gaussian(MEAN, STD), gaussian(torch.zeros(2, dtype=torch.float64), STD)
    x, sigma = noise_at(3.0, 16), torch.full((16,), 3.0, dtype=torch.float64)
    assert guided(c, u, 1.0) is c
    torch.testing.assert_close(guided(c, u, 0.0)(x, sigma), u(x, sigma))
    torch.testing.assert_close(guided(c, u, 3.0)(x, sigma), gaussian(3 * MEAN, STD)(x, sigma))

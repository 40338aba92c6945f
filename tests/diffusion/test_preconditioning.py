"""EDM and flow matching as two readings of one form, against their papers' own formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from genesis.diffusion import preconditioning as pc
from genesis.diffusion.schedules import exponential, karras, lognormal, straight
from genesis.errors import UsageError

SIGMA = torch.tensor([0.01, 0.5, 1.0, 7.0], dtype=torch.float64)


def pair(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(4, 3, 2, dtype=torch.float64, generator=generator) for _ in range(2))  # type: ignore[return-value]


def network(x: Tensor, t: Tensor) -> Tensor:
    return torch.tanh(x) + t[:, None, None]


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
def test_edm_keeps_inputs_and_targets_at_unit_variance(sigma_data: float) -> None:
    """Equations 114 to 117 of Karras et al. 2022: the two conditions that c_in, c_out and c_skip were derived from."""
    p = pc.edm(SIGMA, sigma_data)
    torch.testing.assert_close(p.c_in**2 * (sigma_data**2 + SIGMA**2), torch.ones_like(SIGMA))
    target = ((1 - p.c_skip) ** 2 * sigma_data**2 + p.c_skip**2 * SIGMA**2) / p.c_out**2
    torch.testing.assert_close(target, torch.ones_like(SIGMA))
    torch.testing.assert_close(p.c_noise, SIGMA.log() / 4)


def test_edm_loss_is_the_weighted_denoising_error() -> None:
    x0, noise = pair()
    sigma = SIGMA[:, None, None]
    denoised = pc.denoiser(network, pc.edm)(x0 + sigma * noise, SIGMA)
    weight = (sigma**2 + 1) / sigma**2  # lambda(sigma) of table 1 at sigma_data 1
    torch.testing.assert_close(pc.loss(network, pc.edm, x0, SIGMA, noise), weight * (denoised - x0) ** 2)


def test_flow_loss_is_the_error_of_the_velocity() -> None:
    x0, noise = pair()
    t = SIGMA / (1 + SIGMA)
    wide = t[:, None, None]
    velocity = network((1 - wide) * x0 + wide * noise, t)
    torch.testing.assert_close(pc.loss(network, pc.flow, x0, SIGMA, noise), (velocity - (noise - x0)) ** 2)


def test_a_right_velocity_denoises_exactly() -> None:
    x0, noise = pair()
    denoise = pc.denoiser(lambda x, t: noise - x0, pc.flow)
    torch.testing.assert_close(denoise(x0 + SIGMA[:, None, None] * noise, SIGMA), x0)


def test_the_denoiser_of_a_gaussian_is_its_conditional_mean() -> None:
    """E[x0 | x] = S (S + sigma^2 I)^-1 x of x0 ~ N(0, S); with nothing from the network it is the whole denoiser."""
    torch.manual_seed(0)
    half = torch.randn(6, 6, dtype=torch.float64)
    covariance = half @ half.T
    spread, axes = torch.linalg.eigh(covariance)
    x, _ = pair()
    expected = [
        covariance @ torch.linalg.solve(covariance + sigma**2 * torch.eye(6), row.flatten())
        for row, sigma in zip(x, SIGMA, strict=True)
    ]
    skip = pc.gaussian(axes, spread)
    found = pc.denoiser(lambda x, t: torch.zeros_like(x), pc.edm, skip)(x, SIGMA)
    torch.testing.assert_close(found.flatten(1), torch.stack(expected))


def test_the_loss_is_that_of_the_denoiser_whatever_is_known() -> None:
    x0, noise = pair()
    sigma = SIGMA[:, None, None]
    skip = pc.gaussian(torch.eye(6, dtype=torch.float64), torch.linspace(0.1, 3, 6, dtype=torch.float64))
    denoised = pc.denoiser(network, pc.edm, skip)(x0 + sigma * noise, SIGMA)
    weight = (sigma**2 + 1) / sigma**2
    torch.testing.assert_close(pc.loss(network, pc.edm, x0, SIGMA, noise, skip), weight * (denoised - x0) ** 2)


@pytest.mark.parametrize("precondition", [pc.edm, pc.flow])
def test_without_noise_the_denoiser_is_the_identity(precondition: pc.Precondition) -> None:
    x0, _ = pair()
    small = torch.full((4,), 1e-9, dtype=torch.float64)
    torch.testing.assert_close(pc.denoiser(network, precondition)(x0, small), x0)


@pytest.mark.parametrize("schedule", [karras, exponential, straight])
def test_a_schedule_falls_from_the_highest_level_to_nothing(schedule: object) -> None:
    sigmas = schedule(10, 0.01, 20.0)  # type: ignore[operator]
    assert sigmas.shape == (11,)
    assert (sigmas[:-1] > sigmas[1:]).all()
    assert float(sigmas[0]) == pytest.approx(20.0)
    assert float(sigmas[-2]) == pytest.approx(0.01, rel=1e-5)
    assert float(sigmas[-1]) == 0


def test_karras_in_numbers() -> None:
    """The middle of three: ((80^(1/7) + 0.002^(1/7)) / 2)^7."""
    assert float(karras(3)[1]) == pytest.approx(((80 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7)
    assert float(lognormal(torch.zeros(()))) == pytest.approx(0.301194, rel=1e-5)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"steps": 1}, "steps=1: a sampler needs at least 2"),
        ({"steps": 5, "sigma_min": 3.0, "sigma_max": 2.0}, "sigma_min=3, sigma_max=2: needed is 0 <"),
        ({"steps": 5, "sigma_min": 0.0}, "sigma_min=0"),
    ],
)
def test_what_is_no_schedule(asked: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        karras(**asked)  # type: ignore[arg-type]

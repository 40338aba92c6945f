"""The denoiser: shapes, conditions, and a mixture whose modes must be found under both objectives."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from genesis.diffusion import preconditioning as pc
from genesis.diffusion.samplers import SAMPLERS
from genesis.diffusion.schedules import karras, lognormal
from genesis.models.denoiser import Denoiser, DenoiserConfig, DiffusionConfig, LatentDiffusion
from genesis.models.vae import VAEConfig
from genesis.nn.conditioner import CategoryField

FIELDS = (CategoryField(name="mode", values=("0", "1", "2", "3")),)
POINT = DenoiserConfig(
    latents=1, latent_dim=2, dim=32, depth=2, heads=2, kv_heads=1, ff_dim=64, cond_dim=32, fields=FIELDS
)
MODES = torch.tensor([[1.4, 0.0], [0.0, 1.4], [-1.4, 0.0], [0.0, -1.4]])  # unit variance in both directions, nearly


def test_a_new_denoiser_gives_back_its_skip_connection() -> None:
    network = Denoiser(POINT)
    x, values = torch.randn(3, 1, 2), torch.full((3, 1), math.nan)
    assert not network(x, torch.zeros(3), values).any()


def test_what_changes_the_output() -> None:
    torch.manual_seed(0)
    network = Denoiser(DenoiserConfig.of("tiny", 4, 3, FIELDS)).double()
    for p in network.parameters():
        p.data += 0.1 * torch.randn_like(p)
    x, t, values = torch.randn(2, 4, 3).double(), torch.tensor([0.1, 0.2]).double(), torch.zeros(2, 1).double()
    y = network(x, t, values)
    assert y.shape == (2, 4, 3)
    assert not torch.equal(y, network(x, t + 0.3, values))
    assert not torch.equal(y, network(x, t, values + 1))
    moved = x.clone()
    moved[:, -1] += 1
    assert (network(moved, t, values) != y).all()  # every latent sees every other, before it and after
    torch.testing.assert_close(network(x[:1], t[:1], values[:1]), y[:1])


@pytest.mark.parametrize(("objective", "precondition"), [("edm", pc.edm), ("flow", pc.flow)])
def test_it_learns_a_mixture_with_and_without_conditions(objective: str, precondition: pc.Precondition) -> None:
    torch.manual_seed(0)
    network = Denoiser(POINT)
    adam = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(250):
        mode = torch.randint(4, (256,))
        x0 = (MODES[mode] + 0.1 * torch.randn(256, 2))[:, None]
        values = mode[:, None].float().masked_fill(torch.rand(256, 1) < 0.5, math.nan)
        sigma = lognormal(torch.randn(256), *((-1.2, 1.2) if objective == "edm" else (0.0, 1.0)))
        adam.zero_grad()
        pc.loss(
            lambda x, t, c=values: network(x, t, c), precondition, x0, sigma, torch.randn_like(x0)
        ).mean().backward()
        adam.step()

    def draw(values: torch.Tensor) -> torch.Tensor:
        denoise = pc.denoiser(lambda x, t: network(x, t, values), precondition)
        with torch.no_grad():
            return SAMPLERS["dpmpp_2m"](denoise, 20.0 * torch.randn(len(values), 1, 2), karras(20, 0.01, 20.0))[:, 0]

    free = torch.cdist(draw(torch.full((2_000, 1), math.nan)), MODES)
    shares = free.argmin(1).bincount(minlength=4) / 2_000
    assert float(free.amin(1).median()) < 0.25
    assert float((shares - 0.25).abs().max()) < 0.1
    told = draw(torch.arange(4.0).repeat_interleave(250)[:, None])
    assert float((torch.cdist(told, MODES).argmin(1) == torch.arange(4).repeat_interleave(250)).float().mean()) > 0.95


def test_the_prior_trains_alone_on_standardised_latents() -> None:
    torch.manual_seed(0)
    vae = VAEConfig.of("tiny", 16, 8, ())
    model = LatentDiffusion(DiffusionConfig(vae=vae, denoiser=DenoiserConfig.of("tiny", 4, 16, FIELDS)))
    tokens = torch.tensor([[1, 3, 4, 2], [1, 5, 2, 0], [0, 0, 0, 0]])
    model.measure(torch.randn(500, 4, 16) * 3 + 2)
    assert float((model.restored(torch.zeros(1, 4, 16)) - 2).abs().max()) < 0.6
    torch.testing.assert_close(model.std.mean(), torch.tensor(3.0), atol=0.1, rtol=0)
    torch.nn.init.normal_(model.denoiser.out.weight)
    model.loss(tokens, torch.full((3, 1), math.nan)).backward()
    assert all(p.grad is None for p in model.vae.parameters())
    assert model.denoiser.out.weight.grad is not None
    with pytest.raises(ValidationError, match="latents of different shapes"):
        DiffusionConfig(vae=vae, denoiser=DenoiserConfig.of("tiny", 3, 16, ()))


def test_an_untrained_prior_draws_the_gaussian_of_its_latents() -> None:
    """Mean and covariance of 4,000 draws beside those of the latents it was measured on."""
    torch.manual_seed(0)
    config = DiffusionConfig(
        vae=VAEConfig.of("tiny", 16, 8, ()), denoiser=DenoiserConfig.of("tiny", 4, 16, ()), correlated=True
    )
    model = LatentDiffusion(config)
    mix = torch.randn(64, 64) / 8
    z = (torch.randn(20_000, 64) @ mix + 2).view(-1, 4, 16)
    model.measure(z)
    values = torch.empty(4_000, 0)
    with torch.no_grad():
        noise = 80.0 * torch.randn(4_000, 4, 16)
        drawn = model.restored(SAMPLERS["dpmpp_2m"](model.denoise(values), noise, karras(40, 0.01, 80.0))).flatten(1)
    torch.testing.assert_close(drawn.mean(0), z.flatten(1).mean(0), atol=0.08, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), z.flatten(1).T.cov(), atol=0.15, rtol=0)
    assert float((drawn.T.cov() - drawn.T.cov().diag().diag()).abs().max()) > 0.3  # there is something to know

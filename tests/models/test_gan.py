"""The game: whose gradient is whose, the penalties, and a mixture none of whose modes may be lost."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from genesis.metrics.coverage import density_coverage
from genesis.models.gan import Game, GANConfig, LatentGAN
from genesis.models.vae import VAEConfig
from genesis.nn.conditioner import CategoryField

FIELDS = (CategoryField(name="half", values=("upper", "lower")),)
ANGLES = torch.arange(8) * (math.pi / 4) + math.pi / 8
RING = 1.4 * torch.stack((ANGLES.cos(), ANGLES.sin()), -1)  # eight modes, four above and four below the axis


def small(gamma: float = 1.0, fields: tuple[CategoryField, ...] = FIELDS) -> Game:
    torch.manual_seed(0)
    game = Game(2, 16, 1, 4, 8, fields, gamma)
    for p in game.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return game


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(6, 2), torch.zeros(6, 1), torch.randn(6, 4), torch.ones(6)


def test_the_loss_is_the_papers() -> None:
    """Both terms and both penalties, written out with a Jacobian."""
    game, (real, values, noise, weight) = small(gamma=0.7), batch()
    made = game.generator(noise, values).detach()

    def score(x: torch.Tensor) -> torch.Tensor:
        return game.critic(x, values)[:, 0]

    gap = score(made) - score(real)
    slopes = [
        torch.autograd.functional.jacobian(score, x).diagonal(dim1=0, dim2=1).square().sum() for x in (real, made)
    ]
    expected = F.softplus(gap).sum() + F.softplus(-gap).sum() + 0.7 / 2 * sum(slopes)
    assert game.loss(real, values, noise, weight).item() == pytest.approx(expected.item(), rel=1e-5)


def test_each_player_feels_its_own_term_only() -> None:
    game, (real, values, noise, weight) = small(gamma=0.0), batch()
    game.loss(real, values, noise, weight).backward()
    felt = {name: p.grad.clone() for name, p in game.named_parameters() if p.grad is not None}
    game.zero_grad()
    made = game.generator(noise, values)
    gap = game.critic(made, values) - game.critic(real, values)
    for name, term in (("generator", F.softplus(-gap).sum()), ("critic", F.softplus(gap).sum())):
        own = {n: p for n, p in game.named_parameters() if n.startswith(name)}
        for (n, _), g in zip(own.items(), torch.autograd.grad(term, own.values(), retain_graph=True), strict=True):
            torch.testing.assert_close(felt[n], g, atol=1e-5, rtol=1e-4)


def test_padding_counts_for_nothing_and_a_look_needs_no_gradient() -> None:
    game, (real, values, noise, weight) = small(), batch()
    weight[4:] = 0
    whole = float(game.loss(real, values, noise, weight).detach())
    assert whole == pytest.approx(float(game.loss(real[:4], values[:4], noise[:4], weight[:4]).detach()), rel=1e-5)
    with torch.no_grad():
        assert 0 < float(game.loss(real, values, noise, weight)) < whole  # without the penalties


def test_no_mode_of_a_mixture_is_lost_and_conditions_choose_among_them() -> None:
    torch.manual_seed(0)
    game = Game(2, 48, 2, 8, 16, FIELDS, gamma=0.3)
    adam = torch.optim.Adam(game.parameters(), 2e-3, betas=LatentGAN.betas)
    for step in range(500):
        mode = torch.randint(8, (128,))
        values = (mode >= 4).float()[:, None].masked_fill(torch.rand(128, 1) < 0.3, math.nan)
        real = RING[mode] + 0.1 * torch.randn(128, 2)
        for group in adam.param_groups:
            group["lr"] = 2e-3 * (1 - step / 500)
        adam.zero_grad()
        (game.loss(real, values, torch.randn(128, 8), torch.ones(128)) / 128).backward()
        adam.step()
    with torch.no_grad():
        made = game.generator(torch.randn(4_000, 8), torch.full((4_000, 1), math.nan))
        lower = game.generator(torch.randn(1_000, 8), torch.ones(1_000, 1))
    shares = torch.cdist(made, RING).argmin(1).bincount(minlength=8) / 4_000
    assert float(shares.min()) > 0.04, shares
    real = RING[torch.randint(8, (4_000,))] + 0.1 * torch.randn(4_000, 2)
    assert density_coverage(real.numpy(), made.numpy()).coverage > 0.3  # one mode alone would cover an eighth
    assert float((lower[:, 1] < 0).float().mean()) > 0.95
    assert float(game.figures["spread"]) == pytest.approx(1, abs=0.15)


def test_the_prior_trains_alone() -> None:
    torch.manual_seed(0)
    model = LatentGAN(GANConfig.of("tiny", VAEConfig.of("tiny", 16, 8, ()), ()))
    tokens = torch.tensor([[1, 3, 4, 2], [1, 5, 2, 0], [0, 0, 0, 0]])
    model.loss(tokens, torch.empty(3, 0)).backward()
    assert all(p.grad is None for p in model.vae.parameters())
    assert model.generate(torch.randn(5, 32), torch.empty(5, 0)).shape == (5, 4, 16)
    assert set(model.figures) == {"critic", "generator", "penalty", "spread"}

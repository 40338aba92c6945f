"""A VAE of grids: shapes that are no power of two, its bound by hand, and what it learns in seconds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from genesis.models.grid import LEAST, GridVAE, GridVAEConfig


def framed(grids: Tensor) -> Tensor:
    """Tokens of ``[B, H, W, C]``."""
    flat = grids.flatten(1).long() + 3
    one = flat.new_ones(len(flat), 1)
    return torch.cat((one, flat, 2 * one), 1)


def make(shape: tuple[int, int, int], levels: int = 256, **changes: float) -> GridVAE:
    torch.manual_seed(0)
    return GridVAE(GridVAEConfig.of("tiny", levels, shape, ()).model_copy(update=changes))


@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 64, 3), (5, 9, 2), (1, 1, 1), (33, 17, 3)])
def test_any_shape_goes_in_and_comes_out(shape: tuple[int, int, int]) -> None:
    model = make(shape)
    tokens = framed(torch.randint(0, 256, (2, *shape)))
    q = model.encode(tokens)
    assert q.mu.shape == (2, model.config.latents, model.config.latent_dim)
    assert model.paint(q.mu).shape == (2, shape[2], *shape[:2])
    written = model.tokens(q.mu)
    assert written.shape == (2, math.prod(shape))
    assert 3 <= written.min() <= written.max() < 256 + 3
    assert model.config.max_length == math.prod(shape) + 1


def test_numbers_become_the_range_from_minus_one_to_one_and_back() -> None:
    model = make((4, 4, 1), levels=5)
    grid = torch.arange(16).view(1, 4, 4, 1) % 5
    x = model.grid(framed(grid))
    assert x[0, 0, 0].tolist() == [-1, -0.5, 0, 0.5]
    model.paint = lambda z: x  # type: ignore[method-assign]
    assert torch.equal(model.tokens(torch.empty(1)), grid.flatten(1) + 3)


def test_the_loss_is_the_bound_with_the_variance_that_fits() -> None:
    """-log of a Gaussian whose variance is the mean squared error, but for a constant, and the KL."""
    model = make((8, 8, 1), free_nats=0.0)
    tokens = framed(torch.randint(0, 256, (3, 8, 8, 1)))
    torch.manual_seed(5)
    found = float(model.loss(tokens, torch.empty(3, 0)).detach())
    torch.manual_seed(5)
    with torch.no_grad():
        x, q = model.grid(tokens), model.encode(tokens)
        error = (model.paint(q.sample(torch.randn_like(q.mu))) - x).square().mean()
        kl = 0.5 * (q.logvar.exp() + q.mu.square() - 1 - q.logvar).sum() / 3
    assert found == pytest.approx(3 * float(64 / 2 * (error + LEAST).log() + kl), rel=1e-5)


def test_padding_rows_count_for_nothing() -> None:
    model = make((8, 8, 1))
    tokens = framed(torch.randint(0, 256, (2, 8, 8, 1)))
    torch.manual_seed(1)
    alone = float(model.loss(tokens, torch.empty(2, 0)).detach())
    torch.manual_seed(1)  # noise of the rows that count comes first
    beside = float(model.loss(torch.cat((tokens, torch.zeros_like(tokens))), torch.empty(4, 0)).detach())
    assert beside == pytest.approx(alone, rel=1e-5)


def test_it_learns_where_a_square_is() -> None:
    """Squares of light at sixteen places: after 150 steps each is drawn where it was."""
    model = make((8, 8, 1))
    grids = torch.zeros(16, 8, 8, 1)
    for place in range(16):
        row, column = 2 * (place // 4), 2 * (place % 4)
        grids[place, row : row + 2, column : column + 2] = 255
    tokens = framed(grids)
    adam = torch.optim.Adam(model.parameters(), 4e-3)
    for step in range(150):
        model.pace(step / 150)
        adam.zero_grad()
        (model.loss(tokens, torch.empty(16, 0)) / 16).backward()
        adam.step()
    with torch.no_grad():
        back = (model.tokens(model.encode(tokens).mu) - 3).view(16, 8, 8)
    light = back.view(16, 4, 2, 4, 2).float().mean((2, 4)).flatten(1)
    assert light.argmax(1).tolist() == list(range(16))
    assert float(model.figures["active"]) >= 2

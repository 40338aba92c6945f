"""A variational autoencoder of grids: convolutions to a few latent vectors and back.

The bound is that of ``models/vae.py`` with a Gaussian p(x | z) whose variance is the one that fits best, the mean
squared error itself (Rybkin et al. 2021, sigma-VAE), so that an error and a number of z need no weight between them.
Residual blocks without normalisation, whose branches start at nothing (Zhang et al. 2019, Fixup), as in
``models/gan.py``.

Convolutions, and not the blocks of ``nn/block.py``: neighbouring numbers are alike before anything is learned, and a
training of minutes has no time to learn that.

B  batch    H, W, C  rows, columns, numbers at a place    L  latent vectors    K  numbers in each    P  properties
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from genesis.models.transformer import Size
from genesis.models.vae import ANNEAL, VAE, Normal, VAEConfig, active
from genesis.nn.conditioner import Conditioner, ConditionField

# width of the finest level, residual blocks a level of the decoder (the encoder has one), K, condition width
SIZES = {
    "tiny": (8, 1, 4, 16),
    "micro": (16, 1, 16, 32),
    "mini": (24, 1, 16, 64),
    "small": (32, 1, 16, 64),
    "base": (64, 2, 16, 128),
    "large": (128, 3, 16, 256),
}
WIDEST = 4  # times the finest level's width
CELLS = 4  # latent vectors along the longer side
SPECIALS = 3  # tokens before those of the numbers
FREE_NATS = 0.05  # of each number
LEAST = 1e-5  # squared error, of numbers from -1 to 1, below which nothing is gained: half a level of 256 is 1.5e-5
FIRST_LOGVAR = -3.0


class GridVAEConfig(BaseModel):
    """The shape of a VAE of grids, as ``config.json`` records it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)
    kind: Literal["grid"] = "grid"
    height: int = Field(ge=1, le=1_024)
    width: int = Field(ge=1, le=1_024)
    channels: int = Field(ge=1, le=64)
    levels: int = Field(ge=2, le=65_000)
    halvings: int = Field(ge=1, le=8)
    dim: int = Field(ge=4, le=4_096)
    depth: int = Field(ge=1, le=32)
    latent_dim: int = Field(ge=1, le=4_096)
    cond_dim: int = Field(ge=8, le=8_192)
    free_nats: float = Field(default=FREE_NATS, ge=0, le=100)
    fields: tuple[ConditionField, ...] = Field(default=(), max_length=256)

    blur: ClassVar[float] = 0.0  # its decoder reads latents as they are

    @model_validator(mode="after")
    def _fits(self) -> GridVAEConfig:
        if self.latents > 1_024:
            raise ValueError(f"{self.latents} latent vectors; at most 1,024")
        return self

    @classmethod
    def of(
        cls, size: Size, levels: int, shape: tuple[int, int, int], fields: tuple[ConditionField, ...]
    ) -> GridVAEConfig:
        """The one dial: everything else follows from ``size`` and the shape ``(H, W, C)`` of the grids."""
        height, width, channels = shape
        dim, depth, latent_dim, cond_dim = SIZES[size]
        halvings = max(1, math.ceil(math.log2(max(height, width) / CELLS)))
        return cls(height=height, width=width, channels=channels, levels=levels, halvings=halvings, dim=dim,
                   depth=depth, latent_dim=latent_dim, cond_dim=cond_dim, fields=fields)  # fmt: skip

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of latent vectors."""
        return -(-self.height >> self.halvings), -(-self.width >> self.halvings)

    @property
    def latents(self) -> int:
        return self.cells[0] * self.cells[1]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    @property
    def vocab(self) -> int:
        return self.levels + SPECIALS

    @property
    def max_length(self) -> int:
        """Tokens of an item and ``<bos>``."""
        return self.height * self.width * self.channels + 1

    @property
    def widths(self) -> list[int]:
        """Channels of each level, the finest first; the first halving folds places into channels."""
        return [min(2**i, WIDEST) * self.dim for i in range(self.halvings)]


class Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(width, width, 3, padding=1)
        self.two = nn.Conv2d(width, width, 3, padding=1)
        if not self.two.weight.is_meta:
            nn.init.zeros_(self.two.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.two(F.silu(self.one(F.silu(x))))
        return out


class GridVAE(nn.Module):
    """Encoder, decoder, and the Gaussian prior that conditions move."""

    beta: Tensor

    def __init__(self, config: GridVAEConfig) -> None:
        super().__init__()
        self.config = config
        widths, k = config.widths, config.latent_dim
        down: list[nn.Module] = [nn.Conv2d(4 * config.channels, widths[0], 3, padding=1)]
        for i, width in enumerate(widths):
            if i:
                down.append(nn.Conv2d(widths[i - 1], width, 4, stride=2, padding=1))
            down.append(Residual(width))
        self.down = nn.Sequential(*down, nn.SiLU(), nn.Conv2d(widths[-1], 2 * k, 1))
        up: list[nn.Module] = [nn.Conv2d(k, widths[-1], 1)]
        for i in reversed(range(config.halvings)):
            up += [Residual(widths[i]) for _ in range(config.depth)]
            finer = widths[i - 1] if i else config.channels
            up += [nn.SiLU(), nn.Conv2d(widths[i], 4 * finer, 3, padding=1), nn.PixelShuffle(2)]
        self.up = nn.Sequential(*up)
        self.conditioner = Conditioner(config.fields, config.cond_dim)
        self.prior_head = nn.Linear(config.cond_dim, 2 * config.latents * k)
        self.figures: dict[str, Tensor] = {}
        self.register_buffer("beta", torch.ones(()), persistent=False)
        if not self.prior_head.weight.is_meta:  # the prior starts as the standard normal
            nn.init.zeros_(self.prior_head.weight)
            nn.init.zeros_(self.prior_head.bias)
            nn.init.constant_(self.down[-1].bias[k:], FIRST_LOGVAR)  # type: ignore[index]

    def fill_tables(self) -> None:
        """Compute the buffers, which follow from the config and are not stored in a checkpoint."""
        self.conditioner.fill_tables()
        self.beta = torch.ones(())

    def pace(self, done: float) -> None:
        """Set the weight of the KL for a training of which the share ``done`` is over."""
        self.beta.fill_(min(1.0, done / ANNEAL))

    def grid(self, tokens: Tensor) -> Tensor:
        """``[B, C, H, W]`` from -1 to 1 of ``tokens [B, T]`` (``<bos> ... <eos>``)."""
        numbers = (tokens[:, 1:-1] - SPECIALS).clamp(min=0).view(-1, *self.config.shape)
        return numbers.permute(0, 3, 1, 2).float() * (2 / (self.config.levels - 1)) - 1

    def encode(self, tokens: Tensor) -> Normal:
        """q(z | x) of ``tokens [B, T]`` (``<bos> ... <eos>``)."""
        return self.look(self.grid(tokens))

    def look(self, x: Tensor) -> Normal:
        """q(z | x) of ``x [B, C, H, W]``; what is missing to whole cells is repeated from the edge."""
        rows, columns = (n << self.config.halvings for n in self.config.cells)
        low, left = (rows - x.shape[2]) // 2, (columns - x.shape[3]) // 2
        x = F.pad(x, (left, columns - x.shape[3] - left, low, rows - x.shape[2] - low), mode="replicate")
        mu, logvar = self.down(F.pixel_unshuffle(x, 2)).float().flatten(2).transpose(1, 2).chunk(2, -1)
        return Normal(mu, logvar.clamp(-12, 6))

    def prior(self, values: Tensor) -> Normal:
        """p(z | c) for ``values [B, P]``."""
        mu, logvar = self.prior_head(self.conditioner(values)).float().chunk(2, -1)
        shape = (-1, self.config.latents, self.config.latent_dim)
        return Normal(mu.view(shape), logvar.view(shape))

    def paint(self, z: Tensor) -> Tensor:
        """The mean ``[B, C, H, W]`` of p(x | z), for ``z [B, L, K]``."""
        height, width = self.config.height, self.config.width
        x: Tensor = self.up(z.transpose(1, 2).unflatten(-1, self.config.cells)).float()
        low, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
        return x[:, :, low : low + height, left : left + width]

    def tokens(self, z: Tensor) -> Tensor:
        """``[B, T]``: the numbers nearest to the mean of p(x | z) as tokens, without ``<bos>`` and ``<eos>``."""
        x = self.paint(z).permute(0, 2, 3, 1).flatten(1)
        top = self.config.levels - 1
        return ((x + 1) * (top / 2)).round().clamp(0, top).long() + SPECIALS

    def loss(self, tokens: Tensor, values: Tensor) -> Tensor:
        """The bound summed over the batch, with ``free_nats`` of each number's mean KL for nothing, and ``beta``.

        Rows that are padding alone count for nothing.
        """
        x, real = self.grid(tokens), (tokens[:, 0] != 0).float()
        count = real.sum().clamp(min=1)
        q = self.look(x)
        made = self.paint(q.sample(torch.randn_like(q.mu)))
        error = ((made - x).square().mean((1, 2, 3)) * real).sum() / count
        nats = x[0].numel() / 2 * (error + LEAST).log()
        rate = (q.kl(self.prior(values)) * real[:, None, None]).sum(0) / count
        with torch.no_grad():
            self.figures = {
                "error": error.detach().sqrt() / 2,  # of the whole range
                "kl": rate.detach().sum(),
                "active": active(q.mu.detach()[: int(count)]),
            }
        return count * (nats + self.beta * rate.clamp(min=self.config.free_nats).sum())


def autoencoder(config: VAEConfig | GridVAEConfig) -> VAE | GridVAE:
    """The untrained VAE a config describes."""
    return GridVAE(config) if isinstance(config, GridVAEConfig) else VAE(config)

"""A transformer that denoises latents, and the diffusion prior p(z | c) over the latents of a VAE.

B  batch    L  latent vectors    K  numbers in each    D  width    P  properties
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from genesis.diffusion import preconditioning as pc
from genesis.diffusion.schedules import P_MEAN, P_STD, lognormal
from genesis.models.grid import GridVAEConfig, autoencoder
from genesis.models.transformer import SIZES, Size
from genesis.models.vae import BLUR, VAEConfig
from genesis.nn.block import Block, BlocksConfig, rotary_table
from genesis.nn.conditioner import Conditioner, ConditionField
from genesis.ops import modulated_norm

AnyVAE = Annotated[VAEConfig | GridVAEConfig, Field(discriminator="kind")]
WAVES = 32  # of the noise level: periods from 1/4 to 64 of c_noise, which spans 2.6 for EDM and 1 for flow matching


class DenoiserConfig(BlocksConfig):
    """The shape of a denoiser of ``[L, K]``."""

    latents: int = Field(ge=1, le=1_024)
    latent_dim: int = Field(ge=1, le=4_096)
    cond_dim: int = Field(ge=8, le=8_192)
    fields: tuple[ConditionField, ...] = Field(default=(), max_length=256)

    @classmethod
    def of(cls, size: Size, latents: int, latent_dim: int, fields: tuple[ConditionField, ...]) -> DenoiserConfig:
        """The one dial: everything else follows from ``size``."""
        dim, depth, heads, kv_heads, ff_dim, cond_dim, _ = SIZES[size]
        return cls(latents=latents, latent_dim=latent_dim, dim=dim, depth=depth, heads=heads, kv_heads=kv_heads,
                   ff_dim=ff_dim, cond_dim=cond_dim, fields=fields)  # fmt: skip


class Denoiser(nn.Module):
    """``F(x [B, L, K], t [B], values [B, P])``: bidirectional blocks whose norms the level and the conditions set."""

    cos: Tensor
    sin: Tensor
    frequency: Tensor

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        d, c = config.dim, config.cond_dim
        self.enter = nn.Linear(config.latent_dim, d)
        self.position = nn.Parameter(torch.empty(config.latents, d))
        self.level = nn.Sequential(nn.Linear(2 * WAVES, c), nn.SiLU(), nn.Linear(c, c))
        self.conditioner = Conditioner(config.fields, c)
        self.mix = nn.Sequential(nn.Linear(c, c), nn.SiLU())
        self.blocks = nn.ModuleList(
            Block(d, config.heads, config.kv_heads, config.ff_dim, c) for _ in range(config.depth)
        )
        self.head_norm = nn.Linear(c, 2 * d)
        self.out = nn.Linear(d, config.latent_dim)
        for name in ("cos", "sin", "frequency"):
            self.register_buffer(name, None, persistent=False)
        if not self.position.is_meta:
            self.fill_tables()
            nn.init.normal_(self.position, std=0.5)
            for layer in (self.head_norm, self.out):  # at first the denoiser is its skip connection
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def fill_tables(self) -> None:
        """Compute the buffers, which follow from the config and are not stored in a checkpoint."""
        self.cos, self.sin = rotary_table(self.config.latents, self.config.dim // self.config.heads)
        self.frequency = torch.logspace(math.log10(2 * math.pi / 64), math.log10(2 * math.pi * 4), WAVES)
        self.conditioner.fill_tables()

    def forward(self, x: Tensor, t: Tensor, values: Tensor) -> Tensor:
        angle = t.float()[:, None] * self.frequency
        c = self.mix(self.conditioner(values) + self.level(torch.cat((angle.sin(), angle.cos()), -1)))
        y = self.enter(x) + self.position
        branch = gate = None
        for block in cast(Sequence[Block], self.blocks):
            m = block.modulation(c)
            y, branch = block(y, branch, gate, m, self.cos, self.sin, causal=False)
            gate = m.gate_f
        scale, shift = self.head_norm(c)[:, None].chunk(2, -1)
        _, y = modulated_norm(y, branch, gate, 1 + scale, shift)
        out: Tensor = self.out(y)
        return out.float()


class DiffusionConfig(BaseModel):
    """A diffusion prior with the VAE it belongs to."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)
    kind: Literal["diffusion"] = "diffusion"
    vae: AnyVAE
    denoiser: DenoiserConfig
    objective: Literal["edm", "flow"] = "edm"
    blur: float = Field(default=BLUR, ge=0, le=1_000)  # at which the VAE's decoder reads what is drawn
    log_sigma: float = Field(default=P_MEAN, ge=-10, le=10)  # mean of ln(sigma) over the levels EDM is trained at
    correlated: bool = False  # whether the skip connection knows how the numbers of z vary together

    @model_validator(mode="after")
    def _fits(self) -> DiffusionConfig:
        if (self.denoiser.latents, self.denoiser.latent_dim) != (self.vae.latents, self.vae.latent_dim):
            raise ValueError("the denoiser and the VAE have latents of different shapes")
        return self

    @property
    def fields(self) -> tuple[ConditionField, ...]:
        return self.denoiser.fields

    @property
    def vocab(self) -> int:
        return self.vae.vocab

    @property
    def max_length(self) -> int:
        return self.vae.max_length


class OverLatents(nn.Module):
    """A prior that is learned over the latents of a VAE, which stays as it is.

    The prior sees latents of mean 0 and deviation 1: ``(z - mean) / std``, of each number over the training items.
    """

    def __init__(self, vae: VAEConfig | GridVAEConfig) -> None:
        super().__init__()
        self.vae = autoencoder(vae)
        shape = (vae.latents, vae.latent_dim)
        self.mean, self.std = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.ones(shape))
        self.figures: dict[str, Tensor] = {}
        self.freeze()

    def freeze(self) -> None:
        """Leave the VAE and the scale of its latents out of what is trained."""
        for p in (*self.vae.parameters(), self.mean, self.std):
            p.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Only the prior trains: the VAE leaves nothing out."""
        super().train(mode)
        self.vae.eval()
        return self

    @torch.no_grad()
    def measure(self, z: Tensor) -> None:
        """Take mean and deviation from latents ``[N, L, K]``; a number that never varies keeps a deviation of 1."""
        self.mean.copy_(z.mean(0))
        std = z.std(0, correction=0)
        self.std.copy_(torch.where(std > 1e-3, std, 1.0))

    @torch.no_grad()
    def latents(self, tokens: Tensor) -> Tensor:
        """``[B, L, K]``: standardised latents of a batch, drawn from q(z | x)."""
        q = self.vae.encode(tokens)
        return (q.sample(torch.randn_like(q.mu)) - self.mean) / self.std

    def restored(self, x: Tensor) -> Tensor:
        """The latents that the decoder reads, from standardised ones."""
        return x * self.std + self.mean


class LatentDiffusion(OverLatents):
    """p(z | c) by denoising: EDM (Karras et al. 2022) or flow matching (Lipman et al. 2023)."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__(config.vae)
        self.config = config
        self.denoiser = Denoiser(config.denoiser)
        if config.correlated:
            width = config.vae.latents * config.vae.latent_dim
            self.axes = nn.Parameter(torch.eye(width), requires_grad=False)
            self.spread = nn.Parameter(torch.ones(width), requires_grad=False)
        self.precondition = pc.edm if config.objective == "edm" else pc.flow

    def fill_tables(self) -> None:
        """Compute the buffers, which follow from the config and are not stored in a checkpoint."""
        self.vae.fill_tables()
        self.denoiser.fill_tables()

    @torch.no_grad()
    def measure(self, z: Tensor) -> None:
        """Take mean, deviation and covariance from latents ``[N, L, K]``."""
        super().measure(z)
        if self.config.correlated:
            x = ((z - self.mean) / self.std).flatten(1).double()
            spread, axes = torch.linalg.eigh(x.T @ x / len(x))
            self.spread.copy_(spread.clamp(min=0))
            self.axes.copy_(axes)

    @property
    def skip(self) -> pc.Denoise | None:
        """What is known of the latents before any training of the denoiser."""
        return pc.gaussian(self.axes, self.spread) if self.config.correlated else None

    def denoise(self, values: Tensor) -> pc.Denoise:
        """The denoiser of standardised latents under ``values [B, P]``."""
        return pc.denoiser(lambda x, t: self.denoiser(x, t, values), self.precondition, self.skip)

    def loss(self, tokens: Tensor, values: Tensor) -> Tensor:
        """The squared error of the network, summed over latents and items; padding rows count for nothing."""
        z = self.latents(tokens)
        normal = torch.randn(len(z), device=z.device)
        # flow matching: t = sigmoid(n) of a normal n (Esser et al. 2024, equation 19), which is sigma = exp(n)
        sigma = lognormal(normal, *((self.config.log_sigma, P_STD) if self.config.objective == "edm" else (0.0, 1.0)))
        noise = torch.randn_like(z)
        error = pc.loss(lambda x, t: self.denoiser(x, t, values), self.precondition, z, sigma, noise, self.skip)
        real = (tokens[:, 0] != 0).float()
        self.figures = {"error": (error.detach().mean((1, 2)) * real).sum() / real.sum().clamp(min=1)}
        return (error.sum((1, 2)) * real).sum()

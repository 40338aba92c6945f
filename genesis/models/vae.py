"""A variational autoencoder of sequences: log p(x | c) >= E_q[log p(x | z)] - KL(q(z | x) || p(z | c)).

Conditions shape the prior (Kingma and Welling 2014; Sohn et al. 2015 for the conditional prior). Every number of z has
``free_nats`` for nothing (free bits, Kingma et al. 2016, equation 15), and the KL enters over the first part of a
training (Bowman et al. 2016): a decoder as strong as this one would else learn to do without z before z says anything.

The decoder also learns to read a z that is blurred, z + sigma s n of the prior's deviation s, and is told how much
(noise conditioning, Ho et al. 2022, arXiv 2106.15282). Sharp, z says everything about an item and gives it back;
blurred, it is an outline of which the decoder is a language model, p(x | z + sigma s n, sigma, c), and at the far end
p(x | c). A prior that draws z needs to be right about no more than the outline.

The decoder is the conditional transformer of ``models/transformer.py``, account and all, and may begin as one.

B  batch    T  tokens    D  width    L  latent vectors    K  numbers in each    P  properties
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from genesis.models.transformer import Size, Transformer, TransformerConfig
from genesis.nn.block import Block, BlocksConfig, rotary_table
from genesis.nn.conditioner import Conditioner, ConditionField, embedding
from genesis.ops import modulated_norm

# L, K, depth of the encoder. About as many vectors as a molecule has tokens: measured for micro alone, where (40, 8)
# reconstructs at 3.9 nats a molecule after 200,000 shown and (8, 32) at 9.0 (docs/log.md)
LATENTS = {
    "tiny": (4, 16, 1),
    "micro": (40, 8, 2),
    "mini": (40, 8, 3),
    "small": (40, 8, 4),
    "base": (48, 8, 6),
    "large": (64, 8, 8),
}
FREE_NATS = 0.5  # of each number: 160 nats for the 320 of a small model, where a MOSES molecule holds about 19
BLURRED = 2 / 3  # share of a batch whose z the decoder reads blurred
BLUR = 4.0  # sigma at which what a prior draws is read
WAVES = 16  # of the blur
ACTIVE = 0.01  # variance of a mean over items from which a number counts as used (Burda et al. 2016, section 5)
FIRST_LOGVAR = -3.0
ANNEAL = 0.2  # share of a training over which the weight of the KL grows from 0 to 1


class VAEConfig(BaseModel):
    """The shape of a VAE, as ``config.json`` records it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)
    kind: Literal["vae"] = "vae"
    decoder: TransformerConfig  # its prefix is z
    encoder: BlocksConfig  # which need not be like the decoder
    latents: int = Field(ge=1, le=1_024)
    latent_dim: int = Field(ge=1, le=4_096)
    cond_dim: int = Field(ge=8, le=8_192)
    free_nats: float = Field(default=FREE_NATS, ge=0, le=100)
    blurred: float = Field(default=BLURRED, ge=0, le=1)
    blur: float = Field(default=BLUR, ge=0, le=1_000)
    fields: tuple[ConditionField, ...] = Field(default=(), max_length=256)

    @model_validator(mode="after")
    def _fits(self) -> VAEConfig:
        if [(f.kind, f.name) for f in self.decoder.fields] != [(f.kind, f.name) for f in self.fields]:
            raise ValueError("the decoder and the prior are told the same fields, in the same order")
        if self.decoder.prefix != self.latents:
            raise ValueError(f"the decoder reads {self.decoder.prefix} vectors before the tokens, not {self.latents}")
        return self

    @classmethod
    def of(cls, size: Size, vocab: int, max_length: int, fields: tuple[ConditionField, ...]) -> VAEConfig:
        """The one dial: everything else follows from ``size``."""
        latents, latent_dim, depth = LATENTS[size]
        decoder = TransformerConfig.of(size, vocab, max_length, fields, latents)
        encoder = BlocksConfig(dim=decoder.dim, depth=depth, heads=decoder.heads, kv_heads=decoder.kv_heads,
                               ff_dim=decoder.ff_dim)  # fmt: skip
        return cls(decoder=decoder, encoder=encoder, latents=latents, latent_dim=latent_dim,
                   cond_dim=decoder.cond_dim, fields=fields)  # fmt: skip

    def rewritten(self, size: Size, fields: tuple[ConditionField, ...]) -> VAEConfig:
        """The same latents under another decoder, which knows the numbers of ``fields`` by their scale."""
        decoder = TransformerConfig.of(size, self.vocab, self.max_length, fields, self.latents)
        return VAEConfig.model_validate(self.model_dump() | {"decoder": decoder.model_dump()})

    @property
    def vocab(self) -> int:
        return self.decoder.vocab

    @property
    def max_length(self) -> int:
        """Tokens fed to the decoder, ``<bos>`` among them."""
        return self.decoder.max_length


@dataclass(frozen=True, slots=True)
class Normal:
    """A diagonal Gaussian over z, ``[B, L, K]`` each."""

    mu: Tensor
    logvar: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        return self.mu + (self.logvar / 2).exp() * noise

    def kl(self, prior: Normal) -> Tensor:
        """KL(self || prior) of each number: ``(ln(s_p/s_q) + (s_q^2 + (m_q - m_p)^2) / s_p^2 - 1) / 2``."""
        gap = self.logvar - prior.logvar
        return 0.5 * (gap.exp() + (self.mu - prior.mu).square() * (-prior.logvar).exp() - 1 - gap)


class Encoder(nn.Module):
    """``tokens [B, T]`` to q(z | x): ``L`` learned queries that look at all tokens, and become the latents."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        shape = config.encoder
        d = shape.dim
        self.latents, self.positions = config.latents, config.latents + config.max_length + 1
        self.head_dim = d // shape.heads
        self.embed = embedding(config.vocab, d)
        self.query = nn.Parameter(torch.empty(config.latents, d))
        self.blocks = nn.ModuleList(
            Block(d, shape.heads, shape.kv_heads, shape.ff_dim, None) for _ in range(shape.depth)
        )
        self.out = nn.Linear(d, 2 * config.latent_dim)
        self.register_buffer("cos", None, persistent=False)
        self.register_buffer("sin", None, persistent=False)
        if not self.query.is_meta:
            self.fill_tables()
            nn.init.normal_(self.embed.weight, std=0.5)
            nn.init.normal_(self.query, std=0.5)
            with torch.no_grad():  # means of unit variance, known well: the decoder learns early to rely on them
                nn.init.normal_(self.out.weight[: config.latent_dim], std=d**-0.5)
                nn.init.zeros_(self.out.weight[config.latent_dim :])
                nn.init.zeros_(self.out.bias[: config.latent_dim])
                nn.init.constant_(self.out.bias[config.latent_dim :], FIRST_LOGVAR)

    def fill_tables(self) -> None:
        self.cos, self.sin = rotary_table(self.positions, self.head_dim)

    def forward(self, tokens: Tensor) -> Normal:
        x = torch.cat((self.query.expand(len(tokens), -1, -1), self.embed(tokens)), 1)
        keep = torch.cat((tokens.new_ones(len(tokens), self.latents), tokens), 1) != 0
        cos, sin = self.cos[: x.shape[1]], self.sin[: x.shape[1]]
        branch = gate = None
        blocks = cast(Sequence[Block], self.blocks)
        for block in blocks:
            m = block.modulation(x)
            x, branch = block(x, branch, gate, m, cos, sin, keep=keep)
            gate = m.gate_f
        one = x.new_ones(1, 1, x.shape[-1])
        _, y = modulated_norm(x, branch, gate, one, torch.zeros_like(one))
        mu, logvar = _wide(self.out(y[:, : self.latents])).chunk(2, -1)
        return Normal(mu, logvar.clamp(-12, 6))


class VAE(nn.Module):
    """Encoder, decoder, and the Gaussian prior that conditions move."""

    beta: Tensor
    frequency: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.enter = nn.Linear(config.latent_dim, config.decoder.dim)
        self.place = nn.Parameter(torch.empty(config.latents, config.decoder.dim))
        self.level = nn.Sequential(
            nn.Linear(2 * WAVES, config.cond_dim), nn.SiLU(), nn.Linear(config.cond_dim, config.decoder.dim)
        )
        self.decoder = Transformer(config.decoder)
        self.conditioner = Conditioner(config.fields, config.cond_dim)
        self.prior_head = nn.Linear(config.cond_dim, 2 * config.latents * config.latent_dim)
        self.figures: dict[str, Tensor] = {}
        self.register_buffer("beta", torch.ones(()), persistent=False)
        self.register_buffer("frequency", None, persistent=False)
        if not self.enter.weight.is_meta:  # the prior starts as the standard normal, the decoder not knowing of blur
            self.frequency = _frequency()
            nn.init.normal_(self.place, std=0.1)
            for layer in (self.prior_head, self.level[-1]):
                nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def fill_tables(self) -> None:
        """Compute the buffers, which follow from the config and are not stored in a checkpoint."""
        self.frequency = _frequency()
        self.encoder.fill_tables()
        self.decoder.fill_tables()
        self.conditioner.fill_tables()
        self.beta = torch.ones(())

    def freeze(self) -> None:
        """Leave the latents as they are: only the decoder is trained."""
        for part in self.latent_parts:
            part.requires_grad_(False)

    @property
    def latent_parts(self) -> tuple[nn.Module, ...]:
        """What the latents are made by: the encoder, and the prior."""
        return self.encoder, self.conditioner, self.prior_head

    def pace(self, done: float) -> None:
        """Set the weight of the KL for a training of which the share ``done`` is over."""
        self.beta.fill_(min(1.0, done / ANNEAL))

    def encode(self, tokens: Tensor) -> Normal:
        """q(z | x) of ``tokens [B, T]`` (``<bos> ... <eos>``, padded with 0)."""
        out: Normal = self.encoder(tokens)
        return out

    def prior(self, values: Tensor) -> Normal:
        """p(z | c) for ``values [B, P]``."""
        mu, logvar = _wide(self.prior_head(self.conditioner(values))).chunk(2, -1)
        shape = (-1, self.config.latents, self.config.latent_dim)
        return Normal(mu.view(shape), logvar.view(shape))

    @torch.no_grad()
    def width(self) -> Tensor:
        """``[L, K]``: the deviation of z where nothing is asked, the unit of blur."""
        return (self.prior(self.prior_head.weight.new_full((1, len(self.config.fields)), math.nan)).logvar[0] / 2).exp()

    def prefix(self, z: Tensor, sigma: Tensor) -> Tensor:
        """``[B, L, D]``: what the decoder reads of ``z [B, L, K]`` blurred by ``sigma [B]``.

        What enters of z is as wide whatever the blur.
        """
        angle = sigma.atan()[:, None]  # 0 to pi/2
        waves = angle * self.frequency
        level = self.level(torch.cat((waves.sin(), waves.cos()), -1))
        out: Tensor = self.enter(z * angle.cos()[..., None]) + self.place + level[:, None]
        return out

    def nats(self, tokens: Tensor, z: Tensor, sigma: Tensor | None = None, values: Tensor | None = None) -> Tensor:
        """-log p(x | z), summed over the batch; ``z`` is blurred by ``sigma [B]``, by default it is sharp."""
        rows = len(tokens)
        sigma = z.new_zeros(rows) if sigma is None else sigma
        values = z.new_full((rows, len(self.config.fields)), math.nan) if values is None else values
        return self.decoder.nats(tokens, values, self.prefix(z, sigma))

    def loss(self, tokens: Tensor, values: Tensor) -> Tensor:
        """The bound summed over the batch, with ``free_nats`` of each number's mean KL for nothing, and ``beta``.

        The last ``blurred`` of the rows are read blurred, by the tangent of an angle drawn from 0 to pi/2. Rows that
        are padding alone count for nothing.
        """
        real = (tokens[:, 0] != 0).float()
        count = real.sum().clamp(min=1)
        q = self.encode(tokens)
        z = q.sample(torch.randn_like(q.mu))
        sharp = len(tokens) - round(self.config.blurred * len(tokens)) if self.training else len(tokens)
        angle = torch.rand(len(tokens), device=tokens.device) * (0.999 * math.pi / 2)
        sigma = angle.tan().masked_fill(torch.arange(len(tokens), device=tokens.device) < sharp, 0.0)
        seen = self.prefix(z + sigma[:, None, None] * self.width() * torch.randn_like(z), sigma)
        each, error = self.decoder.costs(tokens, values, seen)
        kl = q.kl(self.prior(values))
        rate = (kl * real[:, None, None]).sum(0) / count
        with torch.no_grad():
            clear = real.clone()
            clear[sharp:] = 0
            self.figures = {
                "reconstruction": (each * clear).sum() / clear.sum().clamp(min=1),
                "blurred": (each * (real - clear)).sum() / (real - clear).sum().clamp(min=1),
                "kl": rate.detach().sum(),
                "active": active(q.mu.detach()[real > 0]),
            }
        return each.sum() + error + self.beta * count * rate.clamp(min=self.config.free_nats).sum()


def active(mu: Tensor) -> Tensor:
    """How many of the ``L K`` numbers are used: those whose mean ``[N, L, K]`` varies over items by ``ACTIVE``."""
    return (mu.var(0, correction=0) > ACTIVE).sum()


def _frequency() -> Tensor:
    return torch.arange(1, WAVES + 1, dtype=torch.float32)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()

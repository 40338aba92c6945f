"""A conditional transformer decoder: p(x | c) = prod_t p(x_t | x_<t, c).

B  batch    T  tokens    V  vocabulary    D  width    P  properties    C  condition width
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from genesis.errors import UsageError
from genesis.nn.account import Account
from genesis.nn.block import Block, Modulation, rotary_table
from genesis.nn.conditioner import Conditioner, ConditionField, NumberField, embedding
from genesis.ops import modulated_norm

Size = Literal["tiny", "micro", "mini", "small", "base", "large"]
# width, depth, heads, key-value heads, feed-forward width, condition width, blocks that read before conditions enter
SIZES: dict[str, tuple[int, int, int, int, int, int, int]] = {
    "tiny": (64, 2, 2, 1, 192, 32, 1),  # 0.17 M parameters with 272 tokens and 10 properties: tests
    "micro": (128, 4, 4, 2, 352, 64, 1),  # 0.9 M: what a CPU core trains in an hour
    "mini": (192, 5, 6, 2, 512, 96, 1),  # 2.6 M: sequences of hundreds of tokens on one CPU core
    "small": (256, 6, 8, 2, 640, 128, 2),  # 5.0 M: the presets trained on two CPU cores
    "base": (384, 8, 6, 2, 1024, 192, 2),  # 16 M
    "large": (768, 12, 12, 4, 2048, 256, 3),  # 87 M: a GPU
}


class TransformerConfig(BaseModel):
    """The shape of a decoder, as ``config.json`` records it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)
    vocab: int = Field(ge=4, le=65_536)
    max_length: int = Field(ge=2, le=8_192)  # tokens fed to the network, <bos> among them
    dim: int = Field(ge=8, le=8_192)
    depth: int = Field(ge=1, le=128)
    heads: int = Field(ge=1, le=128)
    kv_heads: int = Field(ge=1, le=128)
    ff_dim: int = Field(ge=8, le=32_768)
    cond_dim: int = Field(ge=8, le=8_192)
    fields: tuple[ConditionField, ...] = Field(default=(), max_length=256)
    # the first blocks read the tokens alone, to keep an account of the numeric properties; 0: no account
    reading: int = Field(default=0, ge=0, le=128)
    prefix: int = Field(default=0, ge=0, le=1_024)  # vectors that the blocks above see before the tokens: a latent

    @model_validator(mode="after")
    def _divides(self) -> TransformerConfig:
        if self.dim % (2 * self.heads):
            raise ValueError(f"dim {self.dim} is no multiple of 2 x {self.heads} heads, which rotary positions need")
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} key-value heads evenly")
        if self.reading and not (self.reading < self.depth and self.numbers):
            raise ValueError(
                f"reading {self.reading} of {self.depth} blocks with {self.numbers} numeric fields; an account needs a "
                "block above it and a number to keep"
            )
        if len({field.name for field in self.fields}) < len(self.fields):
            raise ValueError(f"a field occurs twice in {', '.join(field.name for field in self.fields)}")
        return self

    @classmethod
    def of(
        cls, size: Size, vocab: int, max_length: int, fields: tuple[ConditionField, ...], prefix: int = 0
    ) -> TransformerConfig:
        """The one dial: everything else follows from ``size``."""
        dim, depth, heads, kv_heads, ff_dim, cond_dim, reading = SIZES[size]
        numeric = any(isinstance(field, NumberField) for field in fields)
        return cls(vocab=vocab, max_length=max_length, dim=dim, depth=depth, heads=heads, kv_heads=kv_heads,
                   ff_dim=ff_dim, cond_dim=cond_dim, fields=fields, reading=reading if numeric else 0,
                   prefix=prefix)  # fmt: skip

    @property
    def numbers(self) -> int:
        """How many of the fields are numbers."""
        return sum(isinstance(field, NumberField) for field in self.fields)


class Transformer(nn.Module):
    """Tokens ``[B, T]`` and condition values ``[B, P]`` to logits ``[B, T, V]``.

    Under ``torch.device("meta")`` it is made of shapes alone, at once and without memory.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        d = config.dim
        self.embed = embedding(config.vocab, d)
        self.position = embedding(config.max_length, d)
        self.drop = nn.Dropout(0.0)
        self.conditioner = Conditioner(config.fields, config.cond_dim)
        self.blocks = nn.ModuleList(
            Block(d, config.heads, config.kv_heads, config.ff_dim, None if i < config.reading else config.cond_dim)
            for i in range(config.depth)
        )
        self.account = Account(config.numbers, d) if config.reading else None
        self.head_norm = nn.Linear(config.cond_dim, 2 * d)
        self.head = nn.Linear(d, config.vocab)
        self.register_buffer("cos", None, persistent=False)
        self.register_buffer("sin", None, persistent=False)
        if not self.embed.weight.is_meta:
            self.fill_tables()
            self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.embed.weight, std=0.5)
        nn.init.normal_(self.position.weight, std=0.1)
        nn.init.zeros_(self.head_norm.weight)
        nn.init.zeros_(self.head_norm.bias)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        if self.account is not None:
            self.account.initialise()
        for block in self.layers:  # so that the stream does not grow with the depth
            nn.init.normal_(block.out.weight, std=0.02 / (2 * self.config.depth) ** 0.5)
            nn.init.normal_(block.down.weight, std=0.02 / (2 * self.config.depth) ** 0.5)

    def fill_tables(self) -> None:
        """Compute the buffers, which follow from the config and are not stored in a checkpoint."""
        positions = self.config.prefix + self.config.max_length
        self.cos, self.sin = rotary_table(positions, self.config.dim // self.config.heads)
        self.conditioner.fill_tables()

    @property
    def layers(self) -> Sequence[Block]:
        """The blocks, for a type checker."""
        return cast(Sequence[Block], self.blocks)

    def modulations(self, values: Tensor) -> tuple[list[Modulation], Tensor, Tensor]:
        """What the conditions do to every block and to the head; computed once a sequence."""
        c = self.conditioner(values)
        scale, shift = self.head_norm(c)[:, None].chunk(2, -1)
        return [block.modulation(c) for block in self.layers], 1 + scale, shift

    def forward(self, tokens: Tensor, values: Tensor, prefix: Tensor | None = None) -> Tensor:
        """``prefix [B, L, D]`` stands before the tokens; the blocks that keep the account do not see it.

        They would else read there what an item amounts to, instead of adding it up.
        """
        return self._read(tokens, values, prefix)[0]

    def _read(self, tokens: Tensor, values: Tensor, prefix: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Logits, and the account ``[B, T, N]`` after each token."""
        T, most = tokens.shape[1], self.config.max_length
        L = 0 if prefix is None else prefix.shape[1]
        if most < T:
            raise UsageError(f"a sequence of {T} tokens; this network was made for at most {most}")
        modulations, gain, shift = self.modulations(values)
        x = self.drop(self.embed(tokens) + self.position.weight[:T])
        cos, sin = self.cos[:T], self.sin[:T]
        branch: Tensor | None = None
        gate = v = None
        for number, (block, m) in enumerate(zip(self.layers, modulations, strict=True)):
            if self.account is not None and number == self.config.reading:
                assert branch is not None
                x = x + branch  # no gate: nothing is modulated below
                v = self.account.contributions(x).cumsum(1)
                x, branch = x + self.account.enter(self.conditioner.standardised(values)[:, None], v), None
            if prefix is not None and number == self.config.reading:
                x = torch.cat((prefix.to(x.dtype), x), 1)
                cos, sin = self.cos[: L + T], self.sin[: L + T]
            x, branch = block(x, branch, gate, m, cos, sin)
            gate = m.gate_f
        _, y = modulated_norm(x, branch, gate, gain, shift)
        return self.head(y[:, L:]), v

    def nats(self, tokens: Tensor, values: Tensor, prefix: Tensor | None = None) -> Tensor:
        """-log p of ``tokens [B, T]`` (``<bos> ... <eos>``, padded with 0), summed over all but the padding."""
        return _cross_entropy(self(tokens[:, :-1], values, prefix), tokens).sum()

    def costs(self, tokens: Tensor, values: Tensor, prefix: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """:meth:`nats` of each row ``[B]``, and the error of the accounts at the ends, in standard deviations."""
        logits, v = self._read(tokens[:, :-1], values, prefix)
        each = _cross_entropy(logits, tokens)
        if self.account is None or v is None:
            return each, each.new_zeros(())
        last = ((tokens != 0).sum(1) - 2).clamp(min=0)  # the position that predicts <eos>
        closed = v.gather(1, last[:, None, None].expand(-1, 1, v.shape[-1]))[:, 0]
        return each, self.account.error(self.conditioner.standardised(values), closed)

    def loss(self, tokens: Tensor, values: Tensor) -> Tensor:
        """:meth:`costs`, summed over the batch."""
        each, error = self.costs(tokens, values)
        return each.sum() + error


def _cross_entropy(logits: Tensor, tokens: Tensor) -> Tensor:
    """``[B]``, padding left out."""
    each = F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten(), ignore_index=0, reduction="none")
    out: Tensor = each.unflatten(0, (len(tokens), -1)).sum(1)
    return out

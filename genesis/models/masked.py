"""Masked diffusion over tokens: MDLM (Sahoo et al. 2024), with the length as part of the sequence's probability.

A sequence is its ``T`` tokens and nothing else: ``p(x) = p(T | c) p(x | T, c)``. At time ``t`` every token is masked
with probability t, and a bidirectional network predicts each masked one from what is left. Under their SUBS form (a
mask is never predicted, what is not masked stays) the bound on ``-log p(x | T, c)`` is, for this linear schedule,

    NELBO = E_{t ~ U(0, 1)} (1/t) sum_masked -log p(x_i | x_t)                 (their equation 10)

which is the average, over all orders, of filling one token after the other. No time enters the network (their section
4).

B  batch    T  tokens    V  vocabulary    D  width    P  properties
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genesis.errors import UsageError
from genesis.models.transformer import SIZES, Size
from genesis.nn.block import Block, BlocksConfig, rotary_table
from genesis.nn.conditioner import Conditioner, ConditionField, embedding
from genesis.ops import modulated_norm

BOS, EOS = 1, 2  # what frames a sequence in a batch; neither is modelled here
LEAST = 1e-3  # of t: below it 1/t is too uneven to learn from


class MaskedConfig(BlocksConfig):
    """The shape of a masked diffusion model, as ``config.json`` records it."""

    kind: Literal["masked"] = "masked"
    vocab: int = Field(ge=4, le=65_536)
    max_length: int = Field(ge=2, le=8_192)  # tokens of the longest sequence
    cond_dim: int = Field(ge=8, le=8_192)
    fields: tuple[ConditionField, ...] = Field(default=(), max_length=256)

    @classmethod
    def of(cls, size: Size, vocab: int, max_length: int, fields: tuple[ConditionField, ...]) -> MaskedConfig:
        """The one dial: everything else follows from ``size``."""
        dim, depth, heads, kv_heads, ff_dim, cond_dim, _ = SIZES[size]
        return cls(vocab=vocab, max_length=max_length, dim=dim, depth=depth, heads=heads, kv_heads=kv_heads,
                   ff_dim=ff_dim, cond_dim=cond_dim, fields=fields)  # fmt: skip


class MaskedDiffusion(nn.Module):
    """Predicts masked tokens; the mask is one more row of the embedding, number ``vocab``."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: MaskedConfig) -> None:
        super().__init__()
        self.config = config
        d = config.dim
        self.mask = config.vocab
        self.embed = embedding(config.vocab + 1, d)
        self.position = embedding(config.max_length, d)
        self.size = embedding(config.max_length + 1, d)
        self.conditioner = Conditioner(config.fields, config.cond_dim)
        self.blocks = nn.ModuleList(
            Block(d, config.heads, config.kv_heads, config.ff_dim, config.cond_dim) for _ in range(config.depth)
        )
        self.head_norm = nn.Linear(config.cond_dim, 2 * d)
        self.head = nn.Linear(d, config.vocab)
        self.length = nn.Linear(config.cond_dim, config.max_length + 1)
        self.figures: dict[str, Tensor] = {}
        self.register_buffer("cos", None, persistent=False)
        self.register_buffer("sin", None, persistent=False)
        if not self.embed.weight.is_meta:
            self.fill_tables()
            nn.init.normal_(self.embed.weight, std=0.5)
            nn.init.normal_(self.position.weight, std=0.1)
            nn.init.normal_(self.size.weight, std=0.1)
            nn.init.normal_(self.head.weight, std=0.02)
            for tensor in (*self.head_norm.parameters(), self.head.bias, *self.length.parameters()):
                nn.init.zeros_(tensor)

    def fill_tables(self) -> None:
        """Compute the buffers, which follow from the config and are not stored in a checkpoint."""
        self.cos, self.sin = rotary_table(self.config.max_length, self.config.dim // self.config.heads)
        self.conditioner.fill_tables()

    def forward(self, tokens: Tensor, length: Tensor, values: Tensor) -> Tensor:
        """Logits ``[B, T, V]`` for ``tokens [B, T]`` of which the first ``length [B]`` are the sequence.

        The first three tokens of a vocabulary (``<pad> <bos> <eos>``) are in no sequence, so they are never predicted.
        """
        T = tokens.shape[1]
        if self.config.max_length < T:
            raise UsageError(f"a sequence of {T} tokens; this network was made for at most {self.config.max_length}")
        c = self.conditioner(values)
        x = self.embed(tokens) + self.position.weight[:T] + self.size(length)[:, None]
        keep = torch.arange(T, device=tokens.device) < length[:, None].clamp(min=1)
        branch = gate = None
        for block in cast(Sequence[Block], self.blocks):
            m = block.modulation(c)
            x, branch = block(x, branch, gate, m, self.cos[:T], self.sin[:T], keep=keep)
            gate = m.gate_f
        scale, shift = self.head_norm(c)[:, None].chunk(2, -1)
        _, y = modulated_norm(x, branch, gate, 1 + scale, shift)
        logits: Tensor = self.head(y)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return logits.index_fill(-1, torch.arange(3, device=logits.device), float("-inf"))

    def lengths(self, values: Tensor) -> Tensor:
        """``[B, max_length + 1]``: log p(T | c)."""
        out: Tensor = self.length(self.conditioner(values)).float().log_softmax(-1)
        return out

    def loss(self, tokens: Tensor, values: Tensor) -> Tensor:
        """The bound of ``tokens [B, T + 2]`` (``<bos> ... <eos>``, padded with 0), summed over the batch.

        One t an item, spread evenly over the batch (their low-discrepancy sampler).
        """
        body = tokens[:, 1:].masked_fill(tokens[:, 1:] == EOS, 0)[:, :-1]
        inside = body != 0
        length, real = inside.sum(1), tokens[:, 0] == BOS
        spread = torch.arange(len(tokens), device=tokens.device) / len(tokens)
        t = ((torch.rand((), device=tokens.device) + spread) % 1).clamp(min=LEAST)
        masked = (torch.rand(body.shape, device=tokens.device) < t[:, None]) & inside
        nats = self.masked_nats(body, length, values, masked)
        of_length = -self.lengths(values).gather(1, length[:, None])[:, 0] * real
        self.figures = {
            "masked nats": nats.detach().sum() / masked.sum().clamp(min=1),
            "length nats": of_length.detach().sum() / real.sum().clamp(min=1),
        }
        return (nats.sum(1) / t).sum() + of_length.sum()

    def masked_nats(self, body: Tensor, length: Tensor, values: Tensor, masked: Tensor) -> Tensor:
        """``[B, T]``: -log p of each masked token given those that are not, 0 elsewhere."""
        logits = self(body.masked_fill(masked, self.mask), length, values)
        nats = F.cross_entropy(logits.flatten(0, 1), body.flatten(), reduction="none", ignore_index=0)
        return nats.view_as(masked) * masked

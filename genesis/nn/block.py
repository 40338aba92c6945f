"""The transformer block: the same one for the decoder and for the denoiser.

B  batch    T  tokens    D  width    H  query heads    G  key-value heads    K  head width    C  condition width
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from genesis.ops import modulated_norm, short_attention, split_heads

QK_EPS = 2.0**-7  # bf16's epsilon: what keeps a query near zero from being blown up to unit length
ROTARY_BASE = 10_000.0  # Su et al. 2021; sequences here are short, so no long-context base is needed


class BlocksConfig(BaseModel):
    """The shape of a stack of blocks."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)
    dim: int = Field(ge=8, le=8_192)
    depth: int = Field(ge=1, le=128)
    heads: int = Field(ge=1, le=128)
    kv_heads: int = Field(ge=1, le=128)
    ff_dim: int = Field(ge=8, le=32_768)

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.dim % (2 * self.heads) or self.heads % self.kv_heads:
            raise ValueError(
                f"dim {self.dim}, {self.heads} heads, {self.kv_heads} key-value heads do not divide evenly"
            )
        return self


@dataclass(frozen=True, slots=True)
class Modulation:
    """What a condition does to one block: gain, shift and gate for each of its two branches, ``[B, 1, D]`` each."""

    gain_a: Tensor
    shift_a: Tensor
    gate_a: Tensor
    gain_f: Tensor
    shift_f: Tensor
    gate_f: Tensor

    def map(self, f: Callable[[Tensor], Tensor]) -> Modulation:
        """The same change made to all six."""
        return Modulation(*(f(getattr(self, name)) for name in self.__slots__))


def rotary_table(length: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """cos and sin ``[T, K/2]`` of position times frequency."""
    frequency = ROTARY_BASE ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angle = torch.arange(length, dtype=torch.float32)[:, None] * frequency
    return angle.cos(), angle.sin()


class Block(nn.Module):
    """Attention and a gated feed-forward (SwiGLU, Shazeer 2020), each behind a modulated RMS norm."""

    def __init__(self, dim: int, heads: int, kv_heads: int, ff_dim: int, cond_dim: int | None) -> None:
        """``cond_dim`` None: a block that no condition reaches."""
        super().__init__()
        self.dim, self.heads, self.kv_heads, self.head_dim = dim, heads, kv_heads, dim // heads
        self.qkv = nn.Linear(dim, (heads + 2 * kv_heads) * self.head_dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.up = nn.Linear(dim, 2 * ff_dim, bias=False)
        self.down = nn.Linear(ff_dim, dim, bias=False)
        self.drop = nn.Dropout(0.0)  # of each branch; a training sets the share
        self.modulate = None if cond_dim is None else nn.Linear(cond_dim, 6 * dim)
        if self.modulate is not None:  # every block starts unconditioned: gain 1, shift 0, gate 1
            nn.init.zeros_(self.modulate.weight)
            nn.init.zeros_(self.modulate.bias)

    def modulation(self, c: Tensor) -> Modulation:
        """The six vectors of a condition ``[B, C]``; one row that serves every item where no condition enters."""
        if self.modulate is None:
            one, zero = c.new_ones(1, 1, self.dim), c.new_zeros(1, 1, self.dim)
            return Modulation(one, zero, one, one, zero, one)
        scale_a, shift_a, gate_a, scale_f, shift_f, gate_f = self.modulate(c)[:, None].chunk(6, -1)
        return Modulation(1 + scale_a, shift_a, 1 + gate_a, 1 + scale_f, shift_f, 1 + gate_f)

    def project(self, y: Tensor) -> Tensor:
        """``[B, T, H + 2G, K]``: the heads of queries, keys and values, not yet normalised or rotated."""
        heads: Tensor = self.qkv(y).unflatten(-1, (-1, self.head_dim))
        return heads

    def feed_forward(self, y: Tensor) -> Tensor:
        gate, value = self.up(y).chunk(2, -1)
        out: Tensor = self.down(F.silu(gate) * value)
        return out

    def forward(
        self,
        x: Tensor,
        branch: Tensor | None,
        gate: Tensor | None,
        m: Modulation,
        cos: Tensor,
        sin: Tensor,
        causal: bool = True,
        keep: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The stream ``x`` and the branch that is still to be added to it (the next norm adds it).

        ``keep [B, T]`` bool: the positions that may be looked at, one at least in each row; everything sees them then.
        """
        x, y = modulated_norm(x, branch, gate, m.gain_a, m.shift_a)
        qkv = self.project(y)
        if keep is None:
            a = short_attention(qkv, self.heads, cos, sin, QK_EPS, causal)
        else:
            q, k, v = (t.transpose(1, 2) for t in split_heads(qkv, self.heads, cos, sin, QK_EPS))
            a = _seeing(q, k, v, keep).transpose(1, 2).flatten(2)
        x, y = modulated_norm(x, self.drop(self.out(a)), m.gate_a, m.gain_f, m.shift_f)
        return x, self.drop(self.feed_forward(y))


def leave_out(model: nn.Module, share: float) -> None:
    """Set the share of numbers that a step of training leaves out wherever ``model`` has a place for it."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share


def _seeing(q: Tensor, k: Tensor, v: Tensor, keep: Tensor) -> Tensor:
    """``[B, H, T, K]``: attention of ``q [B, H, T, K]`` to the kept positions of ``k, v [B, G, T, K]``.

    In float32 on a CPU, where torch's own attention is as fast as matrix products (and in bf16 far slower).
    """
    kind = torch.float32 if q.device.type == "cpu" and q.dtype != torch.float64 else v.dtype
    q, k, v = (t.to(kind) for t in (q, k, v))
    k, v = (t.repeat_interleave(q.shape[1] // k.shape[1], 1) for t in (k, v))
    with torch.autocast(q.device.type, enabled=False):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=keep[:, None, None])

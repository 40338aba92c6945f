"""Random numbers by counter: the draw for (seed, item, step) is a pure function of those three.

Item ``i`` of seed ``s`` is therefore the same item whatever the batch size, the order or the number of restarts.
The generator is Philox4x32-10, see ``genesis_kernels.philox``.

    B  batch    V  vocabulary
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genesis.ops import open_unit, philox, signed, spread

MASK32 = 0xFFFFFFFF
# one stream a purpose: they never share numbers
STREAM_TOKENS, STREAM_TARGETS, STREAM_DROPS, STREAM_ORDER = range(4)
STREAM_LATENTS, STREAM_LENGTHS, STREAM_GIVEN, STREAM_CHOICE = range(4, 8)

__all__ = [
    "STREAM_CHOICE",
    "STREAM_DROPS",
    "STREAM_GIVEN",
    "STREAM_LATENTS",
    "STREAM_LENGTHS",
    "STREAM_ORDER",
    "STREAM_TARGETS",
    "STREAM_TOKENS",
    "gumbel",
    "normal",
    "spread",
    "token_words",
    "uniform",
    "words",
]


def words(seed: int, item: Tensor, step: int, stream: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four 32-bit words ``[B]`` for each item index ``[B]`` (int64) at a step of a stream."""
    assert item.dtype == torch.int64
    c2, c3 = torch.full_like(item, step & MASK32), torch.full_like(item, stream)
    return philox(item & MASK32, (item >> 32) & MASK32, c2, c3, seed & MASK32, (seed >> 32) & MASK32)


def uniform(seed: int, item: Tensor, step: int, stream: int) -> Tensor:
    """``[B, 4]`` float32 in (0, 1): four draws an item."""
    return open_unit(torch.stack(words(seed, item, step, stream), -1) >> 9)


def normal(seed: int, item: Tensor, step: int, width: int, stream: int = STREAM_LATENTS) -> Tensor:
    """``[B, width]`` standard normal float32, by Box and Muller (1958) from two uniform numbers each pair."""
    lanes = torch.arange(-(-width // 4), device=item.device) << 8  # above the stream in its word
    low, high = item[:, None] & MASK32, (item[:, None] >> 32) & MASK32
    counted = torch.full_like(lanes, step & MASK32), lanes + stream
    u = open_unit(torch.stack(philox(low, high, *counted, seed & MASK32, (seed >> 32) & MASK32), -1) >> 9)
    radius, angle = (-2 * u[..., :2].log()).sqrt(), 2 * math.pi * u[..., 2:]
    return torch.cat((radius * angle.cos(), radius * angle.sin()), -1).flatten(1)[:, :width]


def token_words(seed: int, item: Tensor, steps: int) -> Tensor:
    """``[B, S, 2]`` int32: the two words of every item ``[B]`` at each of the first ``S`` steps, in one pass."""
    assert item.dtype == torch.int64
    step = torch.arange(steps, device=item.device)
    low, high = item[:, None] & MASK32, (item[:, None] >> 32) & MASK32
    w0, w1, _, _ = philox(low, high, step, torch.full_like(step, STREAM_TOKENS), seed & MASK32, (seed >> 32) & MASK32)
    return torch.stack((signed(w0), signed(w1)), -1)


def gumbel(seed: int, item: Tensor, step: int, vocab: int) -> Tensor:
    """``[B, V]``: the noise of each item ``[B]`` at one step; argmax(logits + noise) is a draw from the softmax."""
    return spread(token_words(seed, item, step + 1)[:, step], vocab)

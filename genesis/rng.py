"""Random numbers by counter: the draw for (seed, item, step) is a pure function of those three.

Item ``i`` of seed ``s`` is therefore the same item whatever the batch size, the order or the number of restarts.
The generator is Philox4x32-10 (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3"), the one that
Triton's ``tl.rand`` and CUDA's curand use; integer arithmetic in int64, so it gives the same bits on every device.

    B  batch    V  vocabulary
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MASK32 = 0xFFFFFFFF
ROUND_A, ROUND_B = 0xD2511F53, 0xCD9E8D57  # multipliers of the two lanes
WEYL_A, WEYL_B = 0x9E3779B9, 0xBB67AE85  # key schedule: golden ratio, sqrt(3) - 1
# one stream a purpose: they never share numbers
STREAM_TOKENS, STREAM_TARGETS, STREAM_DROPS, STREAM_ORDER, STREAM_LATENTS, STREAM_LENGTHS, STREAM_GIVEN = range(7)


def philox(c0: Tensor, c1: Tensor, c2: Tensor, c3: Tensor, k0: int, k1: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ten rounds of Philox4x32 on int64 tensors that hold 32-bit words; four words out, broadcast shape."""
    for _ in range(10):
        a, b = c0 * ROUND_A, c2 * ROUND_B
        # the products need 64 unsigned bits; int64 wraps, and the mask after the shift drops the sign
        c0, c1, c2, c3 = ((b >> 32) & MASK32) ^ c1 ^ k0, b & MASK32, ((a >> 32) & MASK32) ^ c3 ^ k1, a & MASK32
        k0, k1 = (k0 + WEYL_A) & MASK32, (k1 + WEYL_B) & MASK32
    return c0, c1, c2, c3


def words(seed: int, item: Tensor, step: int, stream: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four 32-bit words ``[B]`` for each item index ``[B]`` (int64) at a step of a stream."""
    assert item.dtype == torch.int64
    c2, c3 = torch.full_like(item, step & MASK32), torch.full_like(item, stream)
    return philox(item & MASK32, (item >> 32) & MASK32, c2, c3, seed & MASK32, (seed >> 32) & MASK32)


def uniform(seed: int, item: Tensor, step: int, stream: int) -> Tensor:
    """``[B, 4]`` float32 in (0, 1): four draws an item."""
    return _open_unit(torch.stack(words(seed, item, step, stream), -1) >> 9)


def normal(seed: int, item: Tensor, step: int, width: int, stream: int = STREAM_LATENTS) -> Tensor:
    """``[B, width]`` standard normal float32, by Box and Muller (1958) from two uniform numbers each pair."""
    lanes = torch.arange(-(-width // 4), device=item.device) << 8  # above the stream in its word
    low, high = item[:, None] & MASK32, (item[:, None] >> 32) & MASK32
    counted = torch.full_like(lanes, step & MASK32), lanes + stream
    u = _open_unit(torch.stack(philox(low, high, *counted, seed & MASK32, (seed >> 32) & MASK32), -1) >> 9)
    radius, angle = (-2 * u[..., :2].log()).sqrt(), 2 * math.pi * u[..., 2:]
    return torch.cat((radius * angle.cos(), radius * angle.sin()), -1).flatten(1)[:, :width]


def _open_unit(word: Tensor) -> Tensor:
    """Integers below 2^23 to float32 in (0, 1): one bit more, and the largest rounds up to 1, whose noise is inf."""
    return word.to(torch.float32).add_(0.5).mul_(2.0**-23)


def _scramble_(h: Tensor) -> Tensor:
    """A bijection of int32 with low bias (Wellons' lowbias32), in place and in wrapping arithmetic."""
    h ^= (h >> 16).bitwise_and_(0xFFFF)
    h *= 0x7FEB352D
    h ^= (h >> 15).bitwise_and_(0x1FFFF)
    h *= -0x7B935975  # 0x846CA68B as a signed word
    h ^= (h >> 16).bitwise_and_(0xFFFF)
    return h


def _signed(word: Tensor) -> Tensor:
    return torch.where(word >= 2**31, word - 2**32, word).to(torch.int32)


def token_words(seed: int, item: Tensor, steps: int) -> Tensor:
    """``[B, S, 2]`` int32: the two words of every item ``[B]`` at each of the first ``S`` steps, in one pass."""
    assert item.dtype == torch.int64
    step = torch.arange(steps, device=item.device)
    low, high = item[:, None] & MASK32, (item[:, None] >> 32) & MASK32
    w0, w1, _, _ = philox(low, high, step, torch.full_like(step, STREAM_TOKENS), seed & MASK32, (seed >> 32) & MASK32)
    return torch.stack((_signed(w0), _signed(w1)), -1)


def spread(words: Tensor, vocab: int) -> Tensor:
    """``[B, V]`` float32 Gumbel noise, -log(-log u), finite, from the two words ``[B, 2]`` of each row.

    A 32-bit hash spreads the words over the vocabulary, which is what makes the draw cheap on a CPU (about 2 % of a
    step; Philox for every entry took 10 %).
    """
    lane = torch.arange(vocab, dtype=torch.int32, device=words.device) * -0x61C88647  # 0x9E3779B9 signed
    h = _scramble_(lane + words[:, :1])
    h = _scramble_(h.bitwise_xor_(words[:, 1:]))
    return _open_unit((h >> 9).bitwise_and_(0x7FFFFF)).log_().neg_().log_().neg_()


def gumbel(seed: int, item: Tensor, step: int, vocab: int) -> Tensor:
    """``[B, V]``: the noise of each item ``[B]`` at one step; argmax(logits + noise) is a draw from the softmax."""
    return spread(token_words(seed, item, step + 1)[:, step], vocab)

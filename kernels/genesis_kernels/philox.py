"""Random numbers by counter, as integers that every device computes alike.

The generator is Philox4x32-10 (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3"), the one that
Triton's ``tl.rand`` and CUDA's curand use; a 32-bit hash spreads two of its words over a vocabulary.

    B  batch    V  vocabulary
"""

from __future__ import annotations

import torch
from torch import Tensor

MASK32 = 0xFFFFFFFF
ROUND_A, ROUND_B = 0xD2511F53, 0xCD9E8D57  # multipliers of the two lanes
WEYL_A, WEYL_B = 0x9E3779B9, 0xBB67AE85  # key schedule: golden ratio, sqrt(3) - 1
HASH_A, HASH_B = 0x7FEB352D, -0x7B935975  # Wellons' lowbias32; the second is 0x846CA68B as a signed word
LANE = -0x61C88647  # 0x9E3779B9 signed


def philox(
    c0: Tensor, c1: Tensor, c2: Tensor, c3: Tensor, k0: int | Tensor, k1: int | Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ten rounds of Philox4x32 on int64 tensors that hold 32-bit words; four words out, broadcast shape."""
    for _ in range(10):
        a, b = c0 * ROUND_A, c2 * ROUND_B
        # the products need 64 unsigned bits; int64 wraps, and the mask after the shift drops the sign
        c0, c1, c2, c3 = ((b >> 32) & MASK32) ^ c1 ^ k0, b & MASK32, ((a >> 32) & MASK32) ^ c3 ^ k1, a & MASK32
        k0, k1 = (k0 + WEYL_A) & MASK32, (k1 + WEYL_B) & MASK32
    return c0, c1, c2, c3


def open_unit(word: Tensor) -> Tensor:
    """Integers below 2^23 to float32 in (0, 1): one bit more, and the largest rounds up to 1, whose noise is inf."""
    return word.to(torch.float32).add_(0.5).mul_(2.0**-23)


def scramble_(h: Tensor) -> Tensor:
    """A bijection of int32 with low bias, in place and in wrapping arithmetic."""
    h ^= (h >> 16).bitwise_and_(0xFFFF)
    h *= HASH_A
    h ^= (h >> 15).bitwise_and_(0x1FFFF)
    h *= HASH_B
    h ^= (h >> 16).bitwise_and_(0xFFFF)
    return h


def signed(word: Tensor) -> Tensor:
    """32-bit words held in int64 as int32."""
    return torch.where(word >= 2**31, word - 2**32, word).to(torch.int32)


def spread(words: Tensor, vocab: int) -> Tensor:
    """``[B, V]`` float32 Gumbel noise, -log(-log u), finite, from the two int32 words ``[B, 2]`` of each row.

    The hash is what makes the draw cheap on a CPU (about 2 % of a step; Philox for every entry took 10 %).
    """
    lane = torch.arange(vocab, dtype=torch.int32, device=words.device) * LANE
    h = scramble_(lane + words[:, :1])
    h = scramble_(h.bitwise_xor_(words[:, 1:]))
    return open_unit((h >> 9).bitwise_and_(0x7FFFFF)).log_().neg_().log_().neg_()

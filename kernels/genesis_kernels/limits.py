"""What the kernels take. Beyond, the reference or torch's own operators serve; nothing here needs Triton."""

from __future__ import annotations

WIDEST_HEAD = 128
WIDEST_TRAINED = 64  # of a head: at 128 the backward pass takes 112 KB of shared memory and spills
LONGEST = 128  # tokens of a sequence whose attention is one tile: at 256 the backward pass spilled 241 registers
WIDEST_ROW = 8_192  # of a norm: 16 numbers a thread
WIDEST_VOCAB = 16_384  # 32 logits a thread

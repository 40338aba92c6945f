"""What the kernels take. Beyond, the reference or torch's own operators serve; nothing here needs Triton."""

from __future__ import annotations

WIDEST_HEAD = 128
WIDEST_ROW = 8_192  # of a norm: 16 numbers a thread
WIDEST_VOCAB = 16_384  # 32 logits a thread


def longest_tile(head_dim: int) -> int:
    """Tokens of a sequence whose attention fits one tile without spilling registers."""
    return 256 if head_dim <= 64 else 128

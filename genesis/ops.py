"""The one door to ``genesis_kernels``: each op under its name, the fastest correct path behind it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from genesis_kernels import reference
from genesis_kernels.reference import decode_attention, modulated_norm, rotate, unit_rms

__all__ = ["decode_attention", "modulated_norm", "rotate", "short_attention", "unit_rms"]

FUSED_FROM = 128  # tokens from which torch's fused attention is the faster one: 4 times at 512, in float32 on a CPU


def short_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = True) -> Tensor:
    """``reference.short_attention``, by torch's fused kernel where sequences are long and in float32."""
    if q.dtype == torch.float32 and q.device.type == "cpu" and q.shape[2] >= FUSED_FROM:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
    return reference.short_attention(q, k, v, causal)

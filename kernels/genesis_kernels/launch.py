"""What every launch needs: where kernels run, and the sizes of their tiles."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton decides the same way, when a kernel is defined


def device_of(x: Tensor) -> AbstractContextManager[object]:
    """Launches go to the current device, which need not be the one that holds ``x``."""
    return torch.cuda.device(x.device) if x.device.type == "cuda" else nullcontext()


def power_of_two(n: int, least: int = 16) -> int:
    """The smallest power of two that holds ``n``; tensor cores multiply tiles of sixteen."""
    return max(least, 1 << (n - 1).bit_length())

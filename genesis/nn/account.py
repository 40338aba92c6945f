"""What remains of each numeric target, position by position.

B  batch    T  tokens    D  width    N  numeric properties    F  features of a number
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genesis.ops import unit_rms

EPS = 1e-6
OCTAVES = 7  # waves of 32, 16, ..., 1/2 standard deviations
LONGEST = 32.0  # an empty molecule lies 11 standard deviations below the mean weight of the corpus
FAR = 16.0


class Account(nn.Module):
    """A running account of every numeric property, and its balance against the target.

    A token with what was read before it contributes ``a_t = A unit_rms(x_t) + b``; after ``t`` tokens the account holds
    ``v_t = a_1 + ... + a_t`` and ``z - v_t`` is left of the standardised target ``z``. What is left enters the stream
    as Fourier features, so that the blocks above steer by a difference instead of having to count and subtract. At the
    last token ``v_T`` is trained towards ``z``: the contributions are the group contributions of chemistry
    (Crippen 1999 for logp, Ertl 2000 for tpsa), learned.

    The stream must not have seen the target: the account would otherwise copy it.
    """

    def __init__(self, numbers: int, dim: int) -> None:
        super().__init__()
        self.features = 1 + 2 * OCTAVES
        self.contribution = nn.Linear(dim, numbers)
        self.left = nn.Linear(numbers * self.features, dim, bias=False)

    def initialise(self) -> None:
        """The first contributions are small, and nothing enters yet."""
        nn.init.normal_(self.contribution.weight, std=0.1 * self.contribution.in_features**-0.5)
        nn.init.zeros_(self.contribution.bias)
        nn.init.zeros_(self.left.weight)

    def contributions(self, x: Tensor) -> Tensor:
        """``[..., N]`` float32 in standard deviations, from the stream ``x [..., D]``."""
        with torch.autocast(x.device.type, enabled=False):  # a sum of bf16 numbers would drift
            out: Tensor = self.contribution(unit_rms(x, EPS)).float()
            return out

    def enter(self, z: Tensor, v: Tensor) -> Tensor:
        """``[..., D]``: what is left, ``z - v [..., N]``, as the stream reads it; nothing where z is NaN."""
        missing = z.isnan()
        left = (z.nan_to_num() - v).clamp(-FAR, FAR)[..., None]
        waves = left * (2.0 ** torch.arange(OCTAVES, device=v.device) * (2 * math.pi / LONGEST))
        features = torch.cat((left / 8, waves.sin(), waves.cos()), -1) * ~missing[..., None]
        out: Tensor = self.left(features.flatten(-2))
        return out

    def error(self, z: Tensor, v: Tensor) -> Tensor:
        """Huber distance of the closed accounts ``v [B, N]`` from ``z [B, N]``, summed over what was asked."""
        asked = ~z.isnan()
        return F.smooth_l1_loss(v * asked, z.nan_to_num(), reduction="sum")

"""Which tokens may be drawn, and the draw.

B  batch    V  vocabulary
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from genesis import ops

NEVER = float("-inf")


class Rules(BaseModel):
    """How a token is chosen from its logits, and how a diffusion model walks; the defaults are the model's own."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)
    temperature: float = Field(default=1.0, ge=0, le=100)  # 0: the most probable token
    top_k: int = Field(default=0, ge=0)  # 0: no limit
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    steps: int = Field(default=0, ge=0, le=10_000)  # of a diffusion; 0: as many as its family takes
    sampler: str = ""  # its name; empty: the family's own
    blur: float | None = Field(default=None, ge=0, le=1_000)  # of the latents a decoder reads; None: the model's own


def keep(logits: Tensor, rules: Rules) -> Tensor:
    """``[B, V]`` logits with every token outside the kept set at minus infinity; see ``genesis_kernels.reference``."""
    return ops.keep(logits, rules.top_k, rules.top_p, rules.min_p)


def draw(logits: Tensor, noise: Tensor | None, rules: Rules) -> Tensor:
    """``[B]`` tokens: argmax of ``logits / temperature + Gumbel noise``, which is a draw from the softmax."""
    if rules.temperature == 0 or noise is None:
        return logits.argmax(-1)
    if rules.temperature != 1:
        logits = logits / rules.temperature
    return (keep(logits, rules) + noise).argmax(-1)

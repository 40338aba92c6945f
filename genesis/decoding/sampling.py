"""Which tokens may be drawn, and the draw.

B  batch    V  vocabulary
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

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


def keep(logits: Tensor, rules: Rules) -> Tensor:
    """``[B, V]`` logits with every token outside the kept set at minus infinity.

    In this order, each on what the one before left: the ``top_k`` largest; the smallest set whose probability reaches
    ``top_p`` (Holtzman et al. 2020); tokens of at least ``min_p`` times the largest probability (Nguyen et al. 2024).
    Ties go to the lower token, so the set is exact and has at least one member.
    """
    if rules.top_k or rules.top_p < 1:
        ordered, order = torch.sort(logits, dim=-1, descending=True, stable=True)
        if rules.top_k:
            ordered[:, rules.top_k :] = NEVER
        if rules.top_p < 1:
            p = ordered.softmax(-1)
            before = p.cumsum(-1) - p  # probability of everything ranked above
            ordered = ordered.masked_fill(before >= rules.top_p, NEVER)
        logits = torch.empty_like(logits).scatter_(-1, order, ordered)
    if rules.min_p > 0:
        p = logits.softmax(-1)
        logits = logits.masked_fill(p < rules.min_p * p.amax(-1, keepdim=True), NEVER)
    return logits


def draw(logits: Tensor, noise: Tensor | None, rules: Rules) -> Tensor:
    """``[B]`` tokens: argmax of ``logits / temperature + Gumbel noise``, which is a draw from the softmax."""
    if rules.temperature == 0 or noise is None:
        return logits.argmax(-1)
    if rules.temperature != 1:
        logits = logits / rules.temperature
    return (keep(logits, rules) + noise).argmax(-1)

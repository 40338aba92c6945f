"""The settings of a training run, and the learning rate that follows from them."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainConfig(BaseModel):
    """Everything a run depends on, recorded in its folder."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)
    items: int = Field(default=0, ge=0)  # items to show, counted with repetition; 0: ten passes over the corpus
    minutes: float = Field(default=0.0, ge=0)  # after which the run ends, annealed; 0: no limit
    batch_tokens: int = Field(default=8_192, ge=64)
    learning_rate: float = Field(default=2e-3, gt=0, le=1)
    warmup: float = Field(default=0.02, ge=0, le=1)  # share of the run
    final: float = Field(default=0.01, ge=0, le=1)  # learning rate at the end, as a share of the highest
    weight_decay: float = Field(default=0.05, ge=0, le=10)
    clip: float = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)  # share of a branch's numbers that a step leaves out
    ema: float = Field(default=0.998, ge=0, lt=1)
    unconditional: float = Field(default=0.2, ge=0, le=1)  # share of items that lose every condition
    complete: float = Field(default=0.4, ge=0, le=1)  # share that keeps all: what a target filled from a profile asks
    seed: int = Field(default=0, ge=0, lt=2**63)
    precision: Literal["auto", "bf16", "fp32"] = "auto"  # auto: bf16 where the device multiplies it natively
    compile: bool = False
    every: int = Field(default=500, ge=1)  # steps between checkpoints


def learning_rate(done: float, config: TrainConfig) -> float:
    """Linear warm-up, then cosine to ``final``: a function of the share of the run that is done."""
    if done < config.warmup:
        return config.learning_rate * done / config.warmup
    phase = min(1.0, (done - config.warmup) / max(1e-9, 1 - config.warmup))
    return config.learning_rate * (config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * phase)))


def averaging(step: int, config: TrainConfig) -> float:
    """Decay of the moving average at a step: it follows closely at first, when the weights change most."""
    return min(config.ema, (1 + step) / (10 + step))

"""Our decoder in nanoGPT's two settings: tinyshakespeare, characters, the steps and the batches of its recipes.

    python benchmarks/tinyshakespeare.py tinyshakespeare.txt [--budget gpu] [--rate 2e-3] [--seed 0] [--out FILE.json]

cpu  2,000 steps of 12 blocks of 64; 4 layers of 4 heads, 128 wide (its README, "I only have a macbook": 1.88)
gpu  5,000 steps of 64 blocks of 256; 6 layers of 6 heads, 384 wide, on a CUDA device in bf16 (its README: 1.4697)

The text is ASCII, so that a byte is a character. As in nanoGPT, the first 90 % are for training and blocks begin
anywhere. Its figures, nats a character, are of random blocks; here the whole held-out part is read in whole blocks,
each without what came before, by the moving average of the weights.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from genesis.models.transformer import Transformer, TransformerConfig
from genesis.nn.block import leave_out

VOCAB, WARMUP, FINAL, AVERAGE = 272, 100, 0.05, 0.995


@dataclass(frozen=True, slots=True)
class Budget:
    """A recipe's network, and how much it may see."""

    device: str
    steps: int
    batch: int
    block: int
    dropout: float
    shape: dict[str, int]


BUDGETS = {
    "cpu": Budget("cpu", 2_000, 12, 64, 0.0, {"dim": 128, "depth": 4, "heads": 4, "kv_heads": 4, "ff_dim": 336}),
    "gpu": Budget("cuda", 5_000, 64, 256, 0.3, {"dim": 384, "depth": 6, "heads": 6, "kv_heads": 6, "ff_dim": 1_024}),
}


@torch.inference_mode()
def held_out(model: nn.Module, text: torch.Tensor, block: int) -> float:
    """Nats a character over all whole blocks."""
    model.eval()
    blocks = text[: (len(text) - 1) // block * block + 1].unfold(0, block + 1, block)
    total = 0.0
    for part in blocks.split(256):
        logits = model(part[:, :-1], text.new_empty(len(part), 0, dtype=torch.float32))
        total += float(F.cross_entropy(logits.flatten(0, 1).float(), part[:, 1:].flatten(), reduction="sum"))
    model.train()
    return total / (len(blocks) * block)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--budget", choices=BUDGETS, default="cpu")
    parser.add_argument("--dropout", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    budget = BUDGETS[asked.budget]
    dropout = budget.dropout if asked.dropout is None else asked.dropout
    text = (torch.tensor(list(asked.file.read_bytes())) + 3).to(budget.device)
    train, valid = text[: int(0.9 * len(text))], text[int(0.9 * len(text)) :]
    torch.manual_seed(asked.seed)
    config = TransformerConfig(vocab=VOCAB, max_length=budget.block, fields=(), cond_dim=16, **budget.shape)
    model = Transformer(config).to(budget.device)
    leave_out(model, dropout)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE))
    wide = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": wide, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=asked.rate, betas=(0.9, 0.99), fused=True)
    within = torch.arange(budget.block + 1, device=budget.device)
    nothing = torch.empty(budget.batch, 0, device=budget.device)
    began = time.perf_counter()
    for step in range(budget.steps):
        phase = max(0.0, (step - WARMUP) / (budget.steps - WARMUP))
        pace = min(1.0, (step + 1) / WARMUP) * (FINAL + (1 - FINAL) * 0.5 * (1 + math.cos(math.pi * phase)))
        for group in adam.param_groups:
            group["lr"] = asked.rate * pace
        first = torch.randint(len(train) - budget.block, (budget.batch, 1), device=budget.device)
        rows = train[first + within]
        with torch.autocast(budget.device, torch.bfloat16, enabled=budget.device == "cuda"):
            logits = model(rows[:, :-1], nothing)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        average.update_parameters(model)
        if step % 250 == 0:
            print(step, float(loss.detach()), file=sys.stderr, flush=True)
    nats = held_out(average, valid, budget.block)
    cores = f"{os.cpu_count()} cores, {platform.machine()}"
    machine = torch.cuda.get_device_name() if budget.device == "cuda" else cores
    result = {
        "nats a character, held out": round(nats, 4),
        "of the last weights": round(held_out(model, valid, budget.block), 4),
        "bits a byte": round(nats / math.log(2), 4),
        "parameters": sum(p.numel() for p in model.parameters()),
        "characters seen": budget.steps * budget.batch * budget.block,
        "budget": asked.budget,
        "dropout": dropout,
        "rate": asked.rate,
        "seed": asked.seed,
        "seconds": round(time.perf_counter() - began, 1),
        "machine": f"{machine}, torch {torch.__version__}",
        "date": time.strftime("%Y-%m-%d"),
    }
    print(json.dumps(result, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Our decoder in nanoGPT's setting for a CPU: tinyshakespeare, characters, 2,000 steps of 12 blocks of 64.

    python benchmarks/tinyshakespeare.py tinyshakespeare.txt [--rate 2e-3] [--seed 0] [--out FILE.json]

The text is ASCII, so that a byte is a character. As in nanoGPT, the first 90 % are for training, blocks begin anywhere,
and there are 4 layers of 4 heads, 128 wide. Its recipe (README, "I only have a macbook") reports 1.88 nats a character
on random blocks; here the whole held-out part is read in blocks of 64, each without what came before.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from genesis.models.transformer import Transformer, TransformerConfig

STEPS, BATCH, BLOCK, VOCAB = 2_000, 12, 64, 272
SHAPE = {"dim": 128, "depth": 4, "heads": 4, "kv_heads": 4, "ff_dim": 336, "cond_dim": 16, "reading": 0}
WARMUP, FINAL = 100, 0.05


@torch.inference_mode()
def held_out(model: Transformer, text: torch.Tensor) -> float:
    """Nats a character over all whole blocks."""
    model.eval()
    blocks = text[: (len(text) - 1) // BLOCK * BLOCK + 1].unfold(0, BLOCK + 1, BLOCK)
    total = 0.0
    for part in blocks.split(256):
        logits = model(part[:, :-1], torch.empty(len(part), 0))
        total += float(F.cross_entropy(logits.flatten(0, 1).float(), part[:, 1:].flatten(), reduction="sum"))
    model.train()
    return total / (len(blocks) * BLOCK)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    text = torch.tensor(list(asked.file.read_bytes())) + 3
    train, valid = text[: int(0.9 * len(text))], text[int(0.9 * len(text)) :]
    torch.manual_seed(asked.seed)
    model = Transformer(TransformerConfig(vocab=VOCAB, max_length=BLOCK, fields=(), **SHAPE))
    wide = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": wide, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=asked.rate, betas=(0.9, 0.99))
    began = time.perf_counter()
    for step in range(STEPS):
        phase = max(0.0, (step - WARMUP) / (STEPS - WARMUP))
        pace = min(1.0, (step + 1) / WARMUP) * (FINAL + (1 - FINAL) * 0.5 * (1 + math.cos(math.pi * phase)))
        for group in adam.param_groups:
            group["lr"] = asked.rate * pace
        rows = torch.stack([train[i : i + BLOCK + 1] for i in torch.randint(len(train) - BLOCK, (BATCH,))])
        logits = model(rows[:, :-1], torch.empty(BATCH, 0))
        loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        if step % 250 == 0:
            print(step, float(loss.detach()), file=sys.stderr, flush=True)
    result = {
        "nats a character, held out": round(held_out(model, valid), 4),
        "bits a byte": round(held_out(model, valid) / math.log(2), 4),
        "parameters": sum(p.numel() for p in model.parameters()),
        "characters seen": STEPS * BATCH * BLOCK,
        "rate": asked.rate,
        "seed": asked.seed,
        "seconds": round(time.perf_counter() - began, 1),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}",
        "date": time.strftime("%Y-%m-%d"),
    }
    print(json.dumps(result, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

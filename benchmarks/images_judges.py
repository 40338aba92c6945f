"""Train the two classifiers by which images are judged.

    python benchmarks/images_judges.py TRAIN.jsonl TEST.jsonl [NAME]

About four minutes for each on one core. Prints accuracy on the test set and the SHA-256 that ``judge.py`` lists.
"""

from __future__ import annotations

import hashlib
import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from genesis_domains.images import files
from genesis_domains.images.corpora import FASHION
from genesis_domains.images.judge import FOLDER, Name, network_input, untrained

EPOCHS, BATCH, RATE, SEEDS = {"features": 5, "labels": 8}, 128, 2e-3, {"features": 1, "labels": 2}


def load(path: str) -> tuple[Tensor, Tensor]:
    """``[N, 1, 28, 28]`` and classes ``[N]``."""
    items = files.read(Path(path)).items
    return network_input(np.stack([i.pixels for i in items])), torch.tensor([FASHION.index(i.label) for i in items])


def train(name: Name, x: Tensor, y: Tensor, test: Tensor, truth: Tensor) -> None:
    torch.manual_seed(SEEDS[name])
    network, steps = untrained(name), EPOCHS[name] * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.02)
    for step in range(steps):
        if step % (len(x) // BATCH) == 0:
            order = torch.randperm(len(x))
        rows = order[step % (len(x) // BATCH) * BATCH :][:BATCH]
        images = torch.where(torch.rand(BATCH, 1, 1, 1) < 0.5, x[rows], x[rows].flip(3))
        for group in optimizer.param_groups:
            group["lr"] = RATE * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(network(images).float(), y[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 200 == 0:
            print(name, step, steps, float(loss), flush=True)
    network.eval()
    with torch.inference_mode():
        said = torch.cat([network(part).argmax(1) for part in test.split(500)])
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{name}.safetensors"
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, file)
    print(name, "accuracy", float((said == truth).float().mean()), hashlib.sha256(file.read_bytes()).hexdigest())


if __name__ == "__main__":
    data = (*load(sys.argv[1]), *load(sys.argv[2]))
    for chosen in sys.argv[3:] or ("features", "labels"):
        train(chosen, *data)  # type: ignore[arg-type]

"""Do the items of ``genesis augment`` help? A model trained on a data set with and without them, on a held-out one.

    python benchmarks/augmentation.py images REAL SYNTHETIC TEST --label label
    python benchmarks/augmentation.py molecules REAL SYNTHETIC TEST --label logS

Images: the convolutional classifier of ``judge.py``, accuracy. Molecules: a regression by a network of two layers over
Morgan counts and measured properties, root mean squared error. The same number of steps with and without; with, each
batch is half real. Five seeds; the intervals are 95 % of Student's t over the seeds, and of the paired differences.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genesis import registry
from genesis.augmenting import Labelled

SEEDS, T = 5, 2.776  # of four degrees of freedom
BATCH = 64
Numbers = tuple[Tensor, Tensor]


def images(data: Labelled, label: str, known: dict[str, int]) -> Numbers:
    from genesis_domains.images.judge import network_input

    y = [known.setdefault(str(cell), len(known)) for cell in data.labels[label]]
    return network_input(np.stack([item.pixels for item in data.items])), torch.tensor(y)


def molecules(data: Labelled, label: str, known: dict[str, int]) -> Numbers:
    from rdkit.Chem import rdFingerprintGenerator

    count = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1_024)
    names = tuple(data.domain.properties)
    bits = np.stack([count.GetCountFingerprintAsNumPy(item.mol) for item in data.items]).astype(np.float32)
    more = np.array([[float(v) for v in data.domain.describe(item, names).values()] for item in data.items], np.float32)
    return torch.from_numpy(np.hstack((np.log1p(bits), more))), torch.tensor(data.labels[label], dtype=torch.float32)


def classifier(real: Numbers, made: Numbers | None, test: Numbers, steps: int, rate: float) -> float:
    from genesis_domains.images.judge import untrained

    network = untrained("labels")
    _fit(network, real, made, steps, rate, F.cross_entropy)
    with torch.inference_mode():
        said = torch.cat([network(x).argmax(1) for x in test[0].split(500)])
    return float((said == test[1]).float().mean())


def regression(real: Numbers, made: Numbers | None, test: Numbers, steps: int, rate: float) -> float:
    mean, std = real[0].mean(0), real[0].std(0).clamp(min=1e-2)
    centre, spread = real[1].mean(), real[1].std()

    def scaled(data: Numbers) -> Numbers:
        return ((data[0] - mean) / std).clamp(-5, 5), (data[1] - centre) / spread

    network = nn.Sequential(
        nn.Linear(real[0].shape[1], 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 1),
        nn.Flatten(0),
    )  # fmt: skip
    _fit(network, scaled(real), scaled(made) if made else None, steps, rate, F.mse_loss)
    x, y = scaled(test)
    with torch.inference_mode():
        return float(((network(x) - y) * spread).square().mean().sqrt())


def _fit(
    network: nn.Module, real: Numbers, made: Numbers | None, steps: int, rate: float, loss: Callable[..., Tensor]
) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    network.train()
    for _ in range(steps):
        parts = [(real, BATCH)] if made is None else [(real, BATCH // 2), (made, BATCH // 2)]
        rows = [(data, torch.randint(len(data[0]), (n,))) for data, n in parts]
        x, y = (torch.cat([data[i][at] for data, at in rows]) for i in (0, 1))
        optimizer.zero_grad()
        torch.autograd.backward(loss(network(x), y))
        optimizer.step()
        schedule.step()
    network.eval()


def interval(values: list[float]) -> tuple[float, float]:
    """Mean, and half of its 95 % interval."""
    return float(np.mean(values)), float(T * np.std(values, ddof=1) / SEEDS**0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("domain", choices=("images", "molecules"))
    parser.add_argument("files", type=Path, nargs=3, metavar="REAL SYNTHETIC TEST")
    parser.add_argument("--label", required=True)
    parser.add_argument("--steps", type=int, default=1_500)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    began, known = time.monotonic(), dict[str, int]()
    adapter = registry.domain(options.domain)
    numbers, fit = {"images": (images, classifier), "molecules": (molecules, regression)}[options.domain]
    real, made, test = (
        numbers(Labelled.read(adapter, file, [options.label]), options.label, known) for file in options.files
    )
    without, with_ = [], []
    for seed in range(SEEDS):
        for into, more in ((without, None), (with_, made)):
            torch.manual_seed(seed)
            into.append(fit(real, more, test, options.steps, options.rate))
        print(f"seed {seed}: without {without[-1]:.4f}, with {with_[-1]:.4f}", flush=True)
    report: dict[str, Any] = {
        "domain": options.domain, "label": options.label, "real": len(real[0]), "synthetic": len(made[0]),
        "test": len(test[0]), "steps": options.steps, "seeds": SEEDS, "torch": torch.__version__,
        "without": interval(without), "with": interval(with_),
        "difference": interval([b - a for a, b in zip(without, with_, strict=True)]),
        "seconds": time.monotonic() - began,
    }  # fmt: skip
    print(json.dumps(report, indent=1))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

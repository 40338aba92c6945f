"""Does a model of emoji draw what its prompt names? Retrieval of the right name among twenty, by a scorer of its own.

The scorer never sees the generator, nor the names it is asked about: a small network learns, on four fifths of the
names, that pictures of one name in different styles belong together (InfoNCE, van den Oord et al. 2018). A picture that
was made for `STYLE emoji of NAME` is compared with the real pictures of NAME and of nineteen other names, all new to
the scorer, in the *other* styles. Beside it stand the real pictures in the asked style, under the same scorer.

    python benchmarks/emoji.py ARCHIVE.zip --model runs/emoji [--guidance 3] [--json results/emoji.json]

ARCHIVE.zip holds pictures and captions.jsonl with prompts `STYLE emoji of NAME`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import genesis

NAMES = 20  # to choose from
NEW = 0.2  # share of the names that the scorer does not see
STEPS, BATCH, RATE, HEAT = 600, 64, 2e-3, 0.1
DRAWS = 5  # choices of the nineteen others for each picture


class Scorer(nn.Module):
    """``[N, 3, S, S]`` to unit vectors ``[N, 64]``."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in ((3, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        self.look = nn.Sequential(*layers, nn.Conv2d(128, 128, 3, padding=1), nn.ReLU())
        self.out = nn.Linear(128 + 128 * 4, 64)

    def forward(self, x: Tensor) -> Tensor:
        y = self.look(x)
        places = torch.cat(
            (y.mean((2, 3)), F.adaptive_avg_pool2d(y, 2).flatten(1)), 1
        )  # what is there, and about where
        return F.normalize(self.out(places), dim=-1)


def varied(x: Tensor) -> Tensor:
    """Shifted by up to a sixteenth, a little brighter or darker, grey now and then."""
    reach = x.shape[-1] // 16
    dx, dy = torch.randint(-reach, reach + 1, (2,)).tolist()
    x = torch.roll(x, (dx, dy), (2, 3)) * (1 + 0.2 * torch.randn(len(x), 3, 1, 1))
    grey = torch.rand(len(x), 1, 1, 1) < 0.2
    return torch.where(grey, x.mean(1, keepdim=True), x)


def trained(pictures: Tensor, of: dict[str, dict[str, int]], names: list[str]) -> Scorer:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    scorer = Scorer()
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        chosen = [list(of[names[i]].values()) for i in rng.choice(len(names), BATCH, replace=False)]
        pairs = np.array([rng.choice(rows, 2, replace=False) for rows in chosen])
        a, b = (scorer(varied(pictures[pairs[:, side]])) for side in (0, 1))
        logits = a @ b.T / HEAT
        right = torch.arange(BATCH)
        loss = F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return scorer.eval()


def network_input(images: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images).astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1


@torch.inference_mode()
def retrieved(
    vectors: Tensor, asked: list[tuple[str, str]], real: Tensor, of: dict[str, dict[str, int]], names: list[str]
) -> np.ndarray:
    """``[N]`` how often each picture is nearest to its own name among twenty."""
    rng = np.random.default_rng(1)

    def score(vector: Tensor, name: str, style: str) -> float:
        rows = [row for other, row in of[name].items() if other != style]
        return float((real[rows] @ vector).mean())

    out = []
    for vector, (style, name) in zip(vectors, asked, strict=True):
        own, hits = score(vector, name, style), 0
        for _ in range(DRAWS):
            others = rng.choice([n for n in names if n != name], NAMES - 1, replace=False)
            hits += all(own > score(vector, other, style) for other in others)
        out.append(hits / DRAWS)
    return np.array(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0, 3.0])
    parser.add_argument("--count", type=int, default=300, help="prompts asked")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    began = time.monotonic()
    engine = genesis.load(options.model)
    items = engine.domain.read(options.archive).items
    pictures = network_input([item.pixels for item in items])
    of: dict[str, dict[str, int]] = defaultdict(dict)
    for row, item in enumerate(items):
        style, _, name = item.prompt.partition(" emoji of ")
        of[name][style] = row
    whole = sorted(name for name, styles in of.items() if len(styles) > 2)
    new = [name for name in whole if hashlib.blake2b(name.encode(), digest_size=1).digest()[0] < 256 * NEW]
    scorer = trained(pictures, of, sorted(set(whole) - set(new)))
    with torch.inference_mode():
        real = torch.cat([scorer(x) for x in pictures.split(512)])
    flags = Path(options.model) / "encoded" / "held_out.u8"  # beside a run; a preset has none
    held = np.fromfile(flags, np.uint8) if flags.exists() else np.zeros(0, np.uint8)
    asked = [(style, name) for name in new for style in sorted(of[name])]
    asked = [asked[i] for i in np.random.default_rng(options.seed).permutation(len(asked))[: options.count]]
    rows = [of[name][style] for style, name in asked]
    unseen = held[rows].astype(bool) if len(held) == len(items) else np.zeros(len(rows), bool)
    truth = retrieved(real[rows], asked, real, of, new)
    report = {
        "machine": platform.processor() or platform.machine(), "torch": torch.__version__, "seed": options.seed,
        "prompts": len(asked), "names": NAMES, "chance": 1 / NAMES, "real": float(truth.mean()),
        "unseen prompts": int(unseen.sum()), "model": str(options.model), "rows": [],
    }  # fmt: skip
    print(f"real pictures: {truth.mean():.3f} of {len(asked)} (chance {1 / NAMES:.3f})", flush=True)
    for guidance in options.guidance:
        hits = engine.generate(
            len(asked), {"prompt": [f"{style} emoji of {name}" for style, name in asked]}, guidance=guidance,
            seed=options.seed, workers=1,
        )  # fmt: skip
        with torch.inference_mode():
            made = scorer(network_input([item.pixels for item in hits.items]))
        right = [asked[index % len(asked)] for index in hits.index]
        found = retrieved(made, right, real, of, new)
        new_ones = np.array([unseen[index % len(asked)] for index in hits.index])
        row = {"guidance": guidance, "right": float(found.mean()), "error": float(found.std() / len(found) ** 0.5)}
        row |= {"right, image never seen": float(found[new_ones].mean()) if new_ones.any() else None}
        report["rows"].append(row)
        print(row, flush=True)
        if options.picture:
            hits.picture(options.picture.with_stem(f"{options.picture.stem}-{guidance:g}"), 64)
    report["seconds"] = time.monotonic() - began
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

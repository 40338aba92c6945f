"""The figures of the Fashion-MNIST preset, on raw draws: nothing is filtered, selected or drawn again.

    python benchmarks/images_preset.py [--model images] [--count 10000] [--guidance 1 2] [--out FILE.json]

Every class is asked for equally often. Needs ``genesis data fetch fashion-mnist``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import genesis
from genesis.data import fetch
from genesis.drawing import Request
from genesis.engine import Engine
from genesis_domains.images.corpora import FASHION
from genesis_domains.images.evaluation import evaluate
from genesis_domains.images.image import Image


def draw(engine: Engine, count: int, guidance: float, steps: int, seed: int) -> list[Image | None]:
    """``count`` images, class after class, each with the label it was asked for."""
    asked = [FASHION[i % len(FASHION)] for i in range(count)]
    request = Request(seed=seed, guidance=guidance, rules={"steps": steps})
    drawn = engine.draw(count, request, engine.targets({"label": asked}), workers=1)
    return [None if one.item is None else replace(one.item, label=asked[one.index]) for one in drawn]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="images")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    engine = genesis.load(asked.model, "cpu")
    began = time.perf_counter()
    engine.generate(64, {"label": "Bag"}, workers=1)
    result: dict[str, Any] = {
        "model": engine.name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}",
        "versions": {"torch": torch.__version__, "genesis": genesis.__version__},
        "images": asked.count,
        "seed": asked.seed,
        "seconds for 64": round(time.perf_counter() - began, 2),
    }
    for w in asked.guidance:
        began = time.perf_counter()
        images = draw(engine, asked.count, w, asked.steps, asked.seed)
        took = time.perf_counter() - began
        found = evaluate(images, "fashion-mnist", fetch.cached) | {"images a second": asked.count / took}
        found["Frechet over real"] = found["Frechet"] / found["Frechet, real"]
        result[f"guidance {w:g}"] = {name: round(value, 4) for name, value in found.items()}
        print(w, result[f"guidance {w:g}"], file=sys.stderr, flush=True)
    text = json.dumps(result, indent=1)
    if asked.out:
        asked.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()

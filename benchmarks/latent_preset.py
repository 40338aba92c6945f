"""The figures of models with latents: reconstruction of a VAE, raw draws of a prior, errors under guidance, ways.

    python benchmarks/latent_preset.py VAE PRIOR [PRIOR ...] [--count 30000] [--blur X] [--parts ...] [--out FILE.json]

Needs ``genesis data fetch moses`` and ``genesis data fetch chemnet``.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import platform
import random
import time
from pathlib import Path
from typing import Any

import torch
from molecules_preset import ASKED, SHARP, calibration, draw, quality, rates, say, test_molecules

import genesis
from genesis import families
from genesis.data import fetch
from genesis.decoding.sampling import Rules
from genesis.engine import Engine


def test_smiles(count: int) -> list[str]:
    """Random molecules of the MOSES test set."""
    with gzip.open(fetch.cached("moses") / "test.csv.gz", "rt") as file:
        return random.Random(0).sample([row["SMILES"] for row in csv.DictReader(file)], count)


def reconstruction(engine: Engine, smiles: list[str]) -> dict[str, float]:
    """How many test molecules the likeliest sequence of their mean latent gives back exactly."""
    items = [engine.domain.parse(text) for text in smiles]  # type: ignore[attr-defined]
    items = [item for item in items if len(engine.domain.encode(item)) < engine.model.config.max_length]
    exact, alike = 0, []
    for first in range(0, len(items), 250):
        part = items[first : first + 250]
        for item, found in zip(part, engine.decode(engine.encode(part)), strict=True):
            exact += found is not None and engine.domain.key(found) == engine.domain.key(item)
            alike.append(float(engine.domain.similarity([item], [found])[0, 0]) if found is not None else 0.0)  # type: ignore[attr-defined]
    return {"molecules": len(items), "exact": exact / len(items), "similarity": sum(alike) / len(alike)}


def ways(engine: Engine, smiles: list[str], steps: int = 8) -> dict[str, float]:
    """Ways between pairs of test molecules: how many steps are there, and how alike neighbours are."""
    there, step, line = [], [], []
    for a, b in zip(smiles[::2], smiles[1::2], strict=True):
        hits = engine.interpolate(a, b, steps)
        there.append(len(hits) / steps)
        step += hits.measured["similarity_to_step_before"][1:]
        ends = float(engine.domain.similarity(hits.items[:1], hits.items[-1:])[0, 0])  # type: ignore[attr-defined]
        line.append(ends)
    return {
        "ways": len(there), "steps": steps, "valid and distinct": sum(there) / len(there),
        "similarity to the step before": sum(step) / len(step), "similarity of the ends": sum(line) / len(line),
    }  # fmt: skip


def errors(engine: Engine, wanted: list[dict[str, float]], blur: float | None) -> dict[str, dict[str, float]]:
    """Four targets of each test molecule asked for together, as a model is asked by default and as it obeys best."""
    guided = engine.config.family in families.GUIDED
    found = {}
    for temperature, guidance in ((1.0, 1.0), (1.0, 2.0), SHARP, (0.0, 1.5)) if guided else ((1.0, 1.0), (0.0, 1.0)):
        name = f"temperature {temperature:g}, guidance {guidance:g}"
        found[name] = calibration(engine, wanted, ASKED, temperature, guidance, blur)
        say(f"{engine.config.family}, {name}: {found[name]}")
    return found


PARTS = ("reconstruction", "ways", "draws", "errors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vae")
    parser.add_argument("priors", nargs="*")
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--targets", type=int, default=1_000)
    parser.add_argument("--blur", type=float, help="at which draws are read, instead of the model's own")
    parser.add_argument("--beside", default="molecules-moses", help="the transformer whose errors stand beside")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    parts, blur = arguments.parts, arguments.blur
    began = time.monotonic()
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"), "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "torch": torch.__version__, "seed": 0, "samples": arguments.count, "targets": arguments.targets, "blur": blur,
    }  # fmt: skip
    smiles = test_smiles(1_000)
    if "reconstruction" in parts:
        result["reconstruction"] = reconstruction(genesis.load(arguments.vae, "cpu"), smiles)
        say(f"reconstruction: {result['reconstruction']}")
    if "ways" in parts:
        result["ways"] = ways(genesis.load(arguments.vae, "cpu"), smiles[:100])
        say(f"ways: {result['ways']}")
    asked = (*arguments.priors, *([arguments.beside] if "errors" in parts else ()))
    for name in asked:
        engine = genesis.load(name, "cpu")
        found: dict[str, Any] = {}
        own = blur if engine.config.family in families.OVER_LATENTS else None
        if "draws" in parts and name in arguments.priors:
            found["quality"] = quality(engine, rules=Rules(blur=own))
            drawn = draw(engine, arguments.count, rules=Rules(blur=own))
            found |= rates(engine, drawn)
            found["moses"] = dict(engine.domain.evaluate([d.item for d in drawn], "moses", fetch.cached))  # type: ignore[attr-defined]
            say(f"{name}: {found}")
        if "errors" in parts:
            found["errors"] = errors(engine, test_molecules(engine, arguments.targets), own)
        result[name] = found
    result["seconds"] = time.monotonic() - began
    text = json.dumps(result, indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()

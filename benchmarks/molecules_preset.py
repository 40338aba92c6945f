"""The figures of a molecule preset, on raw draws: nothing is filtered, selected or drawn again.

    python benchmarks/molecules_preset.py [--model molecules] [--out FILE.json]

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
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rdkit
import torch

import genesis
from genesis.data import fetch
from genesis.decoding.sampling import Rules
from genesis.domain import Evaluated
from genesis.drawing import Drawn, Request
from genesis.engine import Engine

ASKED = ("logp", "qed", "tpsa", "mol_weight")
SHARP = 0.3, 1.5  # temperature and guidance at which the targets are hit best: see docs/log.md


def draw(engine: Engine, count: int, target: dict[str, Any] | None = None, **request: Any) -> list[Drawn]:
    targets = engine.targets(target)
    return list(engine.draw(count, Request(**request), targets))


def rates(engine: Engine, drawn: Sequence[Drawn]) -> dict[str, float]:
    """Shares of what was drawn; novelty of what is valid and distinct."""
    keys = [d.key for d in drawn if d.key is not None]
    distinct = sorted(set(keys))
    known = engine.known
    return {
        "valid": len(keys) / len(drawn),
        "unique@10k": len(set(keys[:10_000])) / len(keys[:10_000]),
        "novel": float(1 - known.contains(distinct).mean()) if known else float("nan"),
    }


def quality(engine: Engine, count: int = 1_000, **request: Any) -> float:
    """Share of the draws that are distinct and have QED >= 0.6 and SA <= 4 (Lee et al. 2025, GenMol)."""
    drawn = draw(engine, count, measure=("qed", "sa_score"), **request)
    good = {d.key for d in drawn if d.key and float(d.measured["qed"]) >= 0.6 and float(d.measured["sa_score"]) <= 4}
    return len(good) / count


def calibration(
    engine: Engine,
    wanted: list[dict[str, float]],
    names: Sequence[str],
    temperature: float,
    guidance: float,
    blur: float | None = None,
) -> dict[str, float]:
    """Mean absolute error when item ``i`` is asked for the values of test molecule ``i``."""
    target = {name: [row[name] for row in wanted] for name in names}
    rules = Rules(temperature=temperature, blur=blur)
    drawn = draw(engine, len(wanted), target, measure=tuple(names), rules=rules, guidance=guidance, seed=1)
    valid = [d for d in drawn if d.item is not None]
    out = {"valid": len(valid) / len(drawn), "unique": len({d.key for d in valid}) / len(drawn)}
    for name in names:
        out[name] = sum(abs(float(d.measured[name]) - wanted[d.index][name]) for d in valid) / len(valid)
    return out


def test_molecules(engine: Engine, count: int) -> list[dict[str, float]]:
    """Properties of random molecules of the MOSES test set."""
    with gzip.open(fetch.cached("moses") / "test.csv.gz", "rt") as file:
        smiles = [row["SMILES"] for row in csv.DictReader(file)]
    chosen = random.Random(0).sample(smiles, count)
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"genesis-{os.getpid()}.smi"
    path.write_text("\n".join(chosen))
    try:
        items = engine.domain.read(path).items
    finally:
        path.unlink()
    return [{k: float(v) for k, v in engine.domain.describe(item, ASKED).items()} for item in items]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="molecules")
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--targets", type=int, default=2_000)
    parser.add_argument("--alone", type=int, default=500)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    engine = genesis.load(arguments.model, "cpu")
    assert isinstance(engine.domain, Evaluated)
    result: dict[str, Any] = {
        "model": engine.name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {"torch": torch.__version__, "rdkit": rdkit.__version__, "genesis": genesis.__version__},
        "temperature": 1.0,
        "seed": 0,
        "samples": arguments.count,
    }
    for name, constrained in (("raw", False), ("constrained", True)):
        began = time.monotonic()
        drawn = draw(engine, arguments.count, constrained=constrained)
        result[name] = rates(engine, drawn) | {"seconds": time.monotonic() - began}
        say(f"{name}: {result[name]}")
        if not constrained:
            result["quality"] = quality(engine)
            result["moses"] = dict(engine.domain.evaluate([d.item for d in drawn], "moses", fetch.cached))
            say(f"moses: {result['moses']}")
    wanted = test_molecules(engine, arguments.targets)
    result["targets"] = {"asked": arguments.targets, "together": {}, "alone": {}}
    for temperature, guidance in ((1.0, 1.0), SHARP):
        figures = calibration(engine, wanted, ASKED, temperature, guidance)
        result["targets"]["together"][f"temperature {temperature:g}, guidance {guidance:g}"] = figures
        say(f"four targets together, temperature {temperature:g}, guidance {guidance:g}: {figures}")
    for name in ASKED:
        result["targets"]["alone"][name] = calibration(engine, wanted[: arguments.alone], (name,), *SHARP)
        say(f"{name} alone, {arguments.alone} molecules, {SHARP}: {result['targets']['alone'][name]}")
    text = json.dumps(result, indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()

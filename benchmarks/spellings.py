"""What models of molecules make of other orders of atoms, of stereo and of charges, and what they draw of them.

    python benchmarks/spellings.py MODEL [MODEL ...] [--count 1000] [--seed 0] [--out FILE.json]

``nats``: a token, nothing asked, over molecules of ZINC250k that training holds out, written as usual (``canonical``)
and in one other order (``random``); ``plain`` ones have neither stereo nor a charge. Needs
``genesis data fetch zinc250k``.

``drawn``: of ``count`` draws at temperature 1, nothing asked, with the mask and without it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import time
from pathlib import Path
from typing import Any

import torch
from molecules_preset import say

import genesis
from genesis.drawing import Request
from genesis.engine import Engine
from genesis.metrics.sets import held_out
from genesis.prepare import built
from genesis_domains.molecules import DOMAIN

MOLECULES = 1_000


def sequences(longest: int) -> dict[str, list[torch.Tensor]]:
    """Kind -> sequences of held-out molecules that have room in the smallest of the models."""
    found: dict[str, list[torch.Tensor]] = {f"{a}, {b}": [] for a in ("plain", "rich") for b in ("canonical", "random")}
    items = [item for part in DOMAIN.read_parts(built("zinc250k") / "zinc250k.smiles") for item in part.items]
    random.Random(0).shuffle(items)
    for item in items:
        if not held_out(DOMAIN.key(item)) or len(found["plain, random"]) + len(found["rich, random"]) == MOLECULES:
            continue
        usual, others = DOMAIN.encode(item), DOMAIN.spellings(item, 1)
        if not others or max(len(usual), len(others[0])) > longest:
            continue
        kind = "rich" if any(sign in item.smiles for sign in ("@", "/", "+", "-]")) else "plain"
        found[f"{kind}, canonical"].append(usual)
        found[f"{kind}, random"].append(others[0])
    return found


def nats(engine: Engine, rows: list[torch.Tensor]) -> float:
    """A token, ``<eos>`` among them."""
    return sum(engine._nats(rows)) / sum(len(row) + 1 for row in rows)


def drawn(engine: Engine, count: int, seed: int, constrained: bool) -> dict[str, float]:
    request = Request(seed=seed, constrained=constrained, measure=("qed", "sa_score"))
    valid = [one for one in engine.draw(count, request, engine.targets({}), workers=1) if one.key is not None]
    distinct = {one.key: one for one in valid}
    good = [one for one in distinct.values() if one.measured["qed"] >= 0.6 and one.measured["sa_score"] <= 4]
    return {
        "valid": len(valid) / count,
        "distinct": len(distinct) / count,
        "quality": len(good) / count,
        "with stereo": sum("@" in key or "/" in key for key in distinct) / count,
        "with a charge": sum("+" in key or "-]" in key for key in distinct) / count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="+")
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    engines = [genesis.load(name, "cpu") for name in asked.model]
    rows = sequences(min(engine.model.config.max_length for engine in engines) - 2)
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {"torch": torch.__version__, "genesis": genesis.__version__},
        "seed": asked.seed,
        "sequences": {kind: len(found) for kind, found in rows.items()},
        "draws": asked.count,
    }
    for engine in engines:
        say(engine.name)
        result[engine.name] = {
            "nats": {kind: round(nats(engine, found), 3) for kind, found in rows.items()},
            "drawn with the mask": drawn(engine, asked.count, asked.seed, True),
            "drawn without it": drawn(engine, asked.count, asked.seed, False),
        }
    text = json.dumps(result, indent=1)
    if asked.out:
        asked.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()

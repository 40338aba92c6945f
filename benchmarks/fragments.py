"""The fragment tasks of the SAFE paper (Noutahi et al. 2024): ten drugs, five ways of growing what is left of them.

    python benchmarks/fragments.py fragments.csv --count 100 --target "qed=0.6:1" --target "sa_score=1:4"

``fragments.csv`` has the columns name, linker_design, motif_extension, scaffold_decoration, superstructure_generation
(github.com/NVIDIA-Digital-Bio/genmol, data/fragments.csv). Of ``count`` draws for each drug and task, in percent:

valid     a molecule that holds the fragment, unchanged but at its points
unique    distinct among the valid
quality   distinct, QED >= 0.6 and SA <= 4, of all draws
diversity one less the mean Tanimoto similarity of two valid ones
distance  one less the mean similarity to the drug
(Morgan fingerprints of radius 2, 1,024 bits). Scaffold morphing is asked as linker design is, as in GenMol's table.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import time

from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

import genesis
from genesis.asked import value
from genesis.drawing import Request
from genesis.engine import Engine
from genesis.errors import GenesisError

TASKS = {
    "motif": "motif_extension",
    "linker": "linker_design",
    "decoration": "scaffold_decoration",
    "superstructure": "superstructure_generation",
}
morgan = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)


def score(engine: Engine, given: dict, drug: str, target: dict, asked: argparse.Namespace) -> dict:
    """One drug and task."""
    count = asked.count
    task, targets = engine.task(given, target), engine.targets(target)
    request = Request(
        seed=asked.seed, rules={"temperature": asked.temperature}, guidance=asked.guidance,
        measure=("qed", "sa_score"), candidates=asked.candidates,
    )  # fmt: skip
    drawn = list(engine.draw(count, request, targets, workers=1, task=task))
    valid = [d for d in drawn if d.key is not None]
    distinct = {d.key: d for d in valid}
    good = [d for d in distinct.values() if d.measured["qed"] >= 0.6 and d.measured["sa_score"] <= 4]
    prints = [morgan.GetFingerprint(Chem.MolFromSmiles(d.key)) for d in valid]
    of_drug = morgan.GetFingerprint(Chem.MolFromSmiles(drug))
    pairs = [s for i, p in enumerate(prints) for s in DataStructs.BulkTanimotoSimilarity(p, prints[:i])]
    return {
        "valid": 100 * len(valid) / count,
        "unique": 100 * len(distinct) / max(1, len(valid)),
        "quality": 100 * len(good) / count,
        "diversity": 1 - statistics.fmean(pairs) if pairs else 0.0,
        "distance": 1 - statistics.fmean(DataStructs.BulkTanimotoSimilarity(of_drug, prints)) if prints else 0.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--model", default="molecules")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--candidates", type=int, default=0)
    parser.add_argument("--target", action="append", default=[])
    parser.add_argument("--task", choices=TASKS, action="append")
    asked = parser.parse_args()
    engine = genesis.load(asked.model)
    target = {name: value(name, text, False) for name, text in (pair.split("=") for pair in asked.target)}
    with open(asked.file, encoding="utf-8") as file:
        drugs = list(csv.DictReader(file))
    for task in asked.task or TASKS:
        found = []
        began = time.process_time()
        for drug in drugs:
            given = {"superstructure" if task == "superstructure" else "complete": drug[TASKS[task]]}
            try:
                scores = score(engine, given, drug["smiles"], target, asked)
            except GenesisError as error:
                scores = dict.fromkeys(("valid", "unique", "quality", "diversity", "distance"), 0.0)
                print(f"{task} {drug['name']}: {error}", file=sys.stderr, flush=True)
            found.append(scores)
            print(json.dumps({"task": task, "drug": drug["name"], **scores}), file=sys.stderr, flush=True)
        mean = {name: round(statistics.fmean(row[name] for row in found), 3) for name in found[0]}
        seconds = round(time.process_time() - began, 1)
        print(json.dumps({"task": task, "count": asked.count, **mean, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()

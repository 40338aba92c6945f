"""The MOSES suite (Polykovskiy et al., 2020): how a set of generated molecules compares with held-out ones.

Figures agree with ``molsets`` 0.3.1 under the same names, except that training molecules are written by today's RDKit
before Novelty looks them up. Beside each likeness stands its floor: what a random sample of training molecules of the
same size scores. FCD depends on the size of the set, so only the distance above the floor compares two models.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rdkit import rdBase

from genesis.errors import ResourceError, UsageError, suggest
from genesis.metrics.frechet import frechet_distance
from genesis.metrics.histograms import cosine, wasserstein
from genesis.metrics.neighbours import mean_similarity, nearest, slabs
from genesis.metrics.sets import novelty, uniqueness
from genesis_domains.molecules.chemnet import ChemNet, find_weights
from genesis_domains.molecules.moses import MosesReference
from genesis_domains.molecules.profile import MEASURES, Profile, profile
from genesis_domains.molecules.training import sample_smiles
from genesis_domains.molecules.workers import Progress

UNIQUE_AT = (1_000, 10_000)
BENCHMARKS = ("moses",)


def benchmark(
    smiles: Sequence[str | None], name: str, cached: Callable[[str], Path], progress: Progress | None = None
) -> dict[str, float]:
    """``evaluate`` against a corpus by name; ``cached`` gives the folder of a fetched corpus or raises."""
    if name not in BENCHMARKS:
        raise UsageError(f"no benchmark is named {name!r}; {suggest(name, BENCHMARKS)}")
    try:
        weights = find_weights()
    except ResourceError:
        weights = find_weights(cached("chemnet"))
    chemnet = ChemNet(weights)
    return evaluate(smiles, MosesReference.open(cached(name), progress=progress), chemnet, progress=progress)


def evaluate(
    smiles: Sequence[str | None],
    reference: MosesReference,
    chemnet: ChemNet,
    *,
    floor: bool = True,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> dict[str, float]:
    """The suite over molecules in the order they were made; None, or text that is not SMILES, counts as not valid.

    valid               share of the molecules asked for
    unique@k            distinct among the first k valid ones; left out when fewer than k were asked for
    FCD/                Frechet ChemNet distance, over 512 activations; lower is nearer
    SNN/                mean similarity to the nearest molecule of the test set
    Frag/  Scaf/        cosine of the counts of BRICS fragments and of Murcko scaffolds
    IntDiv  IntDiv2     1 - mean pairwise similarity, and with the root of the mean square for the mean
    Filters             share that passes MOSES's filters
    logP SA QED weight  Wasserstein-1 distance to the test set, in the property's unit
    Novelty             share of distinct molecules that are not in the training set
    FCD floor/ ...      the likenesses of a random sample of training molecules, drawn with ``seed``

    ``/Test`` is the random split and ``/TestSF`` the one whose scaffolds are held out. With fewer than two valid
    molecules only the shares are given.
    """
    if not smiles:
        raise UsageError("no molecules to evaluate; give at least two")
    found = profile(smiles, reference.smarts, workers=workers, progress=progress)
    count = len(found.smiles)
    scores = {"valid": count / len(smiles)}
    scores |= {f"unique@{k}": uniqueness(found.smiles, k) for k in UNIQUE_AT if k <= len(smiles)}
    if count < 2:
        return scores
    scores |= _likeness(found, reference, chemnet, progress)
    similarity = mean_similarity(found.fingerprints, _stage(progress, count, "diversity"))
    scores["IntDiv"] = float(1 - similarity[0].mean())
    scores["IntDiv2"] = float(1 - np.sqrt(similarity[1]).mean())
    scores["Filters"] = found.passing / count
    scores |= {name: wasserstein(found.values[name], reference.test.values[name]) for name in MEASURES}
    scores["Novelty"] = novelty(found.smiles, reference.known)
    if floor:
        likeness = likeness_floor(count, reference, chemnet, seed=seed, workers=workers, progress=progress)
        scores |= {name.replace("/", " floor/"): value for name, value in likeness.items()}
    return scores


def likeness_floor(
    count: int,
    reference: MosesReference,
    chemnet: ChemNet,
    *,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> dict[str, float]:
    """FCD, SNN, Frag and Scaf of ``count`` random training molecules; remembered in the reference's prepared folder."""
    path = reference.prepared / "floors.json"
    key = f"count={count} seed={seed} rdkit={rdBase.rdkitVersion}"
    floors: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.is_file() else {}
    if key not in floors:
        sample = sample_smiles(reference.train, count, seed)
        found = profile(sample, properties=False, workers=workers, progress=progress, stage="floor: molecules")
        floors[key] = _likeness(found, reference, chemnet, progress, "floor: ")
        with contextlib.suppress(OSError):  # a prepared folder may be read-only; then the floor is measured each time
            partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            partial.write_text(json.dumps(floors, indent=1))
            partial.replace(path)
    return floors[key]


def _likeness(
    found: Profile, reference: MosesReference, chemnet: ChemNet, progress: Progress | None, prefix: str = ""
) -> dict[str, float]:
    """FCD, SNN, Frag and Scaf of a profiled set against both test sets."""
    activations = chemnet.gaussian(found.smiles, _stage(progress, len(found.smiles), prefix + "ChemNet"))
    scores = {}
    for name, split in (("Test", reference.test), ("TestSF", reference.test_scaffolds)):
        scores[f"FCD/{name}"] = frechet_distance(activations, split.activations)
        step = _stage(progress, len(split.fingerprints), f"{prefix}nearest in {name}")
        neighbours = nearest(found.fingerprints, slabs(split.fingerprints), step)
        scores[f"SNN/{name}"] = float(neighbours.similarity.mean(dtype=np.float64))
        scores[f"Frag/{name}"] = cosine(found.fragments, split.fragments)
        scores[f"Scaf/{name}"] = cosine(found.scaffolds, split.scaffolds)
    return scores


def _stage(progress: Progress | None, total: int, name: str) -> Callable[[int], None]:
    """Progress within one stage: a callback of one number made of a callback of three."""

    def report(done: int) -> None:
        if progress is not None:
            progress(done, total, name)

    return report

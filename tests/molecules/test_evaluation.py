"""The MOSES suite against MOSES's own code: molsets 0.3.1 made the figures in ``shared/reference/moses``."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from genesis.errors import ResourceError, UsageError
from genesis.metrics.frechet import Gaussian
from genesis.metrics.neighbours import mean_similarity
from genesis.metrics.sets import KeySet, uniqueness
from genesis_domains.molecules import evaluation as module
from genesis_domains.molecules.chemnet import WEIGHTS, ChemNet
from genesis_domains.molecules.evaluation import benchmark, evaluate, likeness_floor
from genesis_domains.molecules.filters import read_smarts
from genesis_domains.molecules.moses import MosesReference, Split, _split
from genesis_domains.molecules.profile import profile
from genesis_domains.molecules.training import read_smiles

LIKENESSES = [f"{metric}/{split}" for split in ("Test", "TestSF") for metric in ("FCD", "SNN", "Frag", "Scaf")]


class Counted:
    """In place of ChemNet: four numbers of each text, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def gaussian(self, smiles: list[str], progress: Callable[[int], None]) -> Gaussian:
        self.asked.append(smiles)
        x = torch.tensor([[s.count("C"), s.count("c"), s.count("O"), len(s)] for s in smiles], dtype=torch.float64)
        return Gaussian(x.mean(0), x.T.cov(), len(x))


def split_of(smiles: list[str]) -> Split:
    """The statistics of a reference set, by our own profile."""
    found = profile(smiles)
    activations = Counted().gaussian(found.smiles, lambda done: None)
    return Split(activations, found.fingerprints, found.fragments, found.scaffolds, found.values)


@pytest.fixture(scope="module")
def small(training_smiles: list[str], tmp_path_factory: pytest.TempPathFactory) -> MosesReference:
    """A benchmark of 100 + 100 reference and 150 training molecules, without anything fetched."""
    folder = tmp_path_factory.mktemp("small")
    train = folder / "train.csv.gz"
    train.write_bytes(gzip.compress("\n".join(["SMILES", *training_smiles[200:350], ""]).encode()))
    known = KeySet.build(profile(training_smiles[200:350], properties=False).smiles, folder / "keys.npy")
    splits = split_of(training_smiles[:100]), split_of(training_smiles[100:200])
    return MosesReference(*splits, known, ("[#7+]", "[#35]"), train, folder)


def test_a_reference_compared_with_itself(small: MosesReference, training_smiles: list[str]) -> None:
    found = evaluate(training_smiles[:100], small, Counted(), floor=False)  # type: ignore[arg-type]
    names = [*LIKENESSES, "IntDiv", "IntDiv2", "Filters", "logP", "SA", "QED", "weight", "Novelty"]
    assert list(found) == ["valid", *names]
    assert found["FCD/Test"] == pytest.approx(0, abs=1e-9)
    assert found["SNN/Test"] == found["Novelty"] == found["valid"] == 1
    assert found["Frag/Test"] == pytest.approx(1)
    assert found["Scaf/Test"] == pytest.approx(1)
    assert found["logP"] == found["SA"] == found["QED"] == found["weight"] == 0
    assert found["FCD/TestSF"] > 0
    assert 0.2 < found["SNN/TestSF"] < 0.6


def test_identical_molecules_have_no_diversity(small: MosesReference) -> None:
    found = evaluate(["CCO"] * 30 + [None] * 10, small, Counted(), floor=False)  # type: ignore[arg-type]
    assert found["valid"] == 0.75
    assert found["IntDiv"] == found["IntDiv2"] == 0
    assert found["Scaf/Test"] == 0
    assert found["Novelty"] == 1


def test_uniqueness_is_of_as_many_as_were_asked_for(small: MosesReference) -> None:
    asked = [*["CCO"] * 600, *["CC"] * 600]
    found = evaluate(asked, small, Counted(), floor=False)  # type: ignore[arg-type]
    assert found["unique@1000"] == 2 / 1000
    assert "unique@10000" not in found
    found = evaluate([*asked[:600], *[None] * 400], small, Counted(), floor=False)  # type: ignore[arg-type]
    assert found["unique@1000"] == 1 / 600


def test_floors_are_of_training_molecules_and_remembered(small: MosesReference, training_smiles: list[str]) -> None:
    chemnet, asked = Counted(), [*training_smiles[:50], None]
    heard: list[str] = []
    found = evaluate(asked, small, chemnet, seed=3, progress=lambda *at: heard.append(at[2]))  # type: ignore[arg-type]
    floors = {name: found[name.replace("/", " floor/")] for name in LIKENESSES}
    assert list(dict.fromkeys(heard)) == [
        *["molecules", "nearest in Test", "nearest in TestSF", "diversity"],
        *["floor: molecules", "floor: nearest in Test", "floor: nearest in TestSF"],
    ]
    assert set(chemnet.asked[1]) <= set(profile(training_smiles[200:350]).smiles)
    assert len(chemnet.asked[1]) == 50
    direct = evaluate(chemnet.asked[1], small, Counted(), floor=False)  # type: ignore[arg-type]
    assert {name: direct[name] for name in LIKENESSES} == pytest.approx(floors, rel=1e-12)
    assert direct["Novelty"] == 0
    assert likeness_floor(50, small, chemnet, seed=3) == floors  # type: ignore[arg-type]
    assert len(chemnet.asked) == 2
    assert likeness_floor(50, small, chemnet, seed=4) != floors  # type: ignore[arg-type]
    assert len(chemnet.asked) == 3
    assert {file.name for file in small.prepared.iterdir()} == {"train.csv.gz", "keys.npy", "floors.json"}


def test_too_few_molecules_give_shares_only(small: MosesReference) -> None:
    assert evaluate([None, "C", "x"], small, Counted()) == {"valid": 1 / 3}  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no molecules to evaluate"):
        evaluate([], small, Counted())  # type: ignore[arg-type]


def test_a_benchmark_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Path:
        raise ResourceError(f"{name} is not here")

    monkeypatch.setattr(module, "find_weights", lambda folder=None: absent("an installed fcd_torch"))
    with pytest.raises(UsageError, match="no benchmark is named 'mose'; did you mean 'moses'"):
        benchmark(["C"], "mose", absent)
    with pytest.raises(ResourceError, match="chemnet is not here"):
        benchmark(["C"], "moses", absent)


@pytest.fixture(scope="module")
def reference(moses: Path, tmp_path_factory: pytest.TempPathFactory) -> MosesReference:
    """The real one, except that Novelty looks training molecules up as written in 2019, as MOSES's code does."""
    folder = tmp_path_factory.mktemp("prepared")
    train = moses / "train.csv.gz"
    known = KeySet.build(read_smiles(train), folder / "keys_2019.npy")
    splits = _split(moses, folder, "test"), _split(moses, folder, "test_scaffolds")
    return MosesReference(*splits, known, read_smarts(moses), train, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dirty_5000", "test_scaffolds_5000", "train_10000"])
def test_every_figure_is_that_of_moses(reference: MosesReference, chemnet: Path, shared: Path, name: str) -> None:
    folder = shared / "reference" / "moses"
    expected = json.loads((folder / f"{name}.expected.json").read_text())
    asked = (folder / f"{name}.smi").read_text().splitlines()
    found = evaluate(asked, reference, ChemNet(chemnet / WEIGHTS), floor=False)
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.slow
def test_the_floor_of_moses(reference: MosesReference, chemnet: Path) -> None:
    """Known from another sample and another code: FCD of 1,000 random training molecules is about 1.33 and 1.86."""
    found = likeness_floor(1_000, reference, ChemNet(chemnet / WEIGHTS))
    assert found["FCD/Test"] == pytest.approx(1.33, abs=0.1)
    assert found["FCD/TestSF"] == pytest.approx(1.86, abs=0.2)
    assert found["SNN/Test"] == pytest.approx(0.642, abs=0.01)
    assert found["Scaf/TestSF"] < 0.01


def test_what_needs_no_reference_is_that_of_moses(shared: Path) -> None:
    folder = shared / "reference" / "moses"
    expected = json.loads((folder / "dirty_5000.expected.json").read_text())
    found = profile((folder / "dirty_5000.smi").read_text().splitlines(), properties=False, workers=1)
    similarity = mean_similarity(found.fingerprints)
    assert len(found.smiles) / found.asked == expected["valid"]
    assert uniqueness(found.smiles, 1_000) == expected["unique@1000"]
    assert 1 - similarity[0].mean() == pytest.approx(expected["IntDiv"], abs=1e-6)
    assert 1 - np.sqrt(similarity[1]).mean() == pytest.approx(expected["IntDiv2"], abs=1e-6)

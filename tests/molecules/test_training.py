"""Questions about the training molecules: samples, keys and nearest neighbours."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from genesis.errors import EncodeError, InputError, ResourceError, UsageError
from genesis_domains.molecules.training import (
    Neighbour,
    build_training_index,
    build_training_keys,
    nearest_training,
    read_smiles,
    sample_smiles,
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "train.csv.gz"
    path.write_bytes(gzip.compress(b"SMILES\n" + b"".join(b"C" * n + b"\n" for n in range(1, 201))))
    return path


def test_reading_wants_the_header(tmp_path: Path, corpus: Path) -> None:
    assert [len(smiles) for smiles in read_smiles(corpus)] == list(range(1, 201))
    (tmp_path / "other.csv.gz").write_bytes(gzip.compress(b"smiles,split\nC,train\n"))
    with pytest.raises(InputError, match="begins with 'smiles,split'; the first row should say SMILES"):
        next(read_smiles(tmp_path / "other.csv.gz"))


def test_a_sample_is_random_repeatable_and_without_repetition(corpus: Path) -> None:
    found = sample_smiles(corpus, 50, seed=1)
    assert found == sample_smiles(corpus, 50, seed=1)
    assert found != sample_smiles(corpus, 50, seed=2)
    assert len(set(found)) == 50
    assert found != sorted(found, key=len)
    assert abs(sum(map(len, found)) / 50 - 100.5) < 30
    assert sorted(sample_smiles(corpus, 10**6, seed=0), key=len) == list(read_smiles(corpus))


def test_training_keys_are_canonical(tmp_path: Path) -> None:
    heard: list[tuple[int, int, str]] = []
    rows = ["OCC", "not SMILES", "C1=CC=CC=C1", "OCC"]
    keys = build_training_keys(
        iter(rows), tmp_path / "keys.npy", workers=1, progress=lambda *at: heard.append(at), total=4
    )
    assert len(keys) == 2
    assert keys.contains(["CCO", "c1ccccc1", "OCC", "CCC"]).tolist() == [True, True, False, False]
    assert heard == [(4, 4, "training keys")]


def test_nearest_training_is_what_rdkit_finds(tmp_path: Path, training_smiles: list[str]) -> None:
    known, asked = training_smiles[:400], training_smiles[400:420]
    heard: list[tuple[int, int, str]] = []
    build_training_index(known, tmp_path / "index", workers=1, progress=lambda *at: heard.append(at), total=400)
    found = nearest_training([*asked, known[7]], tmp_path / "index", progress=lambda *at: heard.append(at))
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    bits = {smiles: generator.GetFingerprint(Chem.MolFromSmiles(smiles)) for smiles in training_smiles}
    for smiles, neighbour in zip(asked, found, strict=False):
        similarities = DataStructs.BulkTanimotoSimilarity(bits[smiles], [bits[k] for k in known])
        assert neighbour.similarity == pytest.approx(max(similarities), rel=1e-6)
        mine = generator.GetFingerprint(Chem.MolFromSmiles(neighbour.smiles))
        assert DataStructs.TanimotoSimilarity(bits[smiles], mine) == pytest.approx(max(similarities), rel=1e-6)
    assert found[-1] == Neighbour(Chem.CanonSmiles(known[7]), 1.0)
    assert heard == [(400, 400, "training fingerprints"), (400, 400, "nearest training molecule")]
    assert nearest_training([], tmp_path / "index") == []


def test_an_index_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken() -> Iterator[str]:
        yield "CC"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_training_index(broken(), tmp_path / "index", workers=1)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ResourceError, match="is not an index of training molecules; write it with build"):
        nearest_training(["C"], tmp_path / "index")
    build_training_index(["CC"], tmp_path / "index", workers=1)
    with pytest.raises(UsageError, match="is already there; remove it"):
        build_training_index(["CC"], tmp_path / "index", workers=1)
    with pytest.raises(EncodeError):
        nearest_training(["not SMILES"], tmp_path / "index")

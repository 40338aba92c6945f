"""The training molecules, asked from outside: a sample of them, whether a molecule is one, which one is nearest.

Each answer needs memory for the question only: rows are streamed, keys and fingerprints lie in files.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genesis.errors import EncodeError, InputError, ResourceError, UsageError
from genesis.metrics.sets import KeySet
from genesis_domains.molecules.molecule import Molecule
from genesis_domains.molecules.profile import FINGERPRINT_BITS, fingerprint
from genesis_domains.molecules.workers import Progress, chunks, in_order

CHUNK = 5_000
BYTES = FINGERPRINT_BITS // 8
FINGERPRINTS, SMILES = "fingerprints.bin", "smiles.txt"  # of an index: 128 bytes a molecule, and a line


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training molecule and its Tanimoto similarity (Morgan, radius 2, 1,024 bits) to the molecule asked about."""

    smiles: str
    similarity: float


def read_smiles(path: Path) -> Iterator[str]:
    """The rows of a ``.csv.gz`` with the single column SMILES."""
    with gzip.open(path, "rt", encoding="ascii") as file:
        header = file.readline().strip()
        if header != "SMILES":
            raise InputError(f"{path} begins with {header!r}; the first row should say SMILES")
        for line in file:
            yield line.rstrip("\r\n")


def sample_smiles(path: Path, count: int, seed: int) -> list[str]:
    """``count`` random rows without repetition, in random order; all of them when there are no more."""
    total = sum(1 for _ in read_smiles(path))
    chosen = np.random.default_rng(seed).permutation(total)[:count]
    place = dict(zip(chosen.tolist(), range(len(chosen)), strict=True))
    found = [""] * len(chosen)
    for row, smiles in enumerate(read_smiles(path)):
        if row in place:
            found[place[row]] = smiles
    return found


def build_training_keys(
    smiles: Iterable[str], target: Path, *, workers: int = 2, progress: Progress | None = None, total: int = 0
) -> KeySet:
    """The set of canonical SMILES of training molecules, written by today's RDKit, as 64-bit hashes in ``target``.

    Rows that do not parse are left out: no generated molecule can equal them.
    """

    def keys() -> Iterator[str]:
        done = 0
        for part in in_order(_canonical, chunks(smiles, CHUNK), workers):
            yield from part
            done += CHUNK
            if progress is not None:
                progress(min(done, total or done), total or done, "training keys")

    return KeySet.build(keys(), target)


def _canonical(smiles: Sequence[str]) -> list[str]:
    return [molecule.smiles for text in smiles if (molecule := _parse(text)) is not None]


def _parse(text: str) -> Molecule | None:
    try:
        return Molecule.from_smiles(text)
    except EncodeError:
        return None


def build_training_index(
    smiles: Iterable[str], target: Path, *, workers: int = 2, progress: Progress | None = None, total: int = 0
) -> None:
    """Write canonical SMILES and packed fingerprints of training molecules to a new folder, whole or not at all."""
    if target.exists():
        raise UsageError(f"{target} is already there; remove it to build the index again")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    done = 0
    try:
        with (part / FINGERPRINTS).open("wb") as packed, (part / SMILES).open("w", encoding="ascii") as lines:
            for texts, bits in in_order(_fingerprinted, chunks(smiles, CHUNK), workers):
                lines.writelines(f"{text}\n" for text in texts)
                packed.write(bits)
                done += len(texts)
                if progress is not None:
                    progress(done, total or done, "training fingerprints")
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fingerprinted(smiles: Sequence[str]) -> tuple[list[str], bytes]:
    molecules = [molecule for text in smiles if (molecule := _parse(text)) is not None]
    bits = b"".join(fingerprint(molecule.mol).tobytes() for molecule in molecules)
    return [molecule.smiles for molecule in molecules], bits


def nearest_training(smiles: Sequence[str], index: Path, *, progress: Progress | None = None) -> list[Neighbour]:
    """The most similar training molecule of each of the given ones, from a folder of ``build_training_index``."""
    from genesis.metrics.neighbours import nearest, slabs

    if not smiles:
        return []
    if not (index / FINGERPRINTS).is_file():
        raise ResourceError(f"{index} is not an index of training molecules; write it with build_training_index")
    queries = np.stack([fingerprint(Molecule.from_smiles(text).mol) for text in smiles])
    packed = np.memmap(index / FINGERPRINTS, np.uint8, "r").reshape(-1, BYTES)

    def report(done: int) -> None:
        if progress is not None:
            progress(done, len(packed), "nearest training molecule")

    found = nearest(queries, slabs(packed), report)
    wanted = set(found.index.tolist())
    with (index / SMILES).open(encoding="ascii") as lines:
        texts = {row: line.rstrip("\n") for row, line in enumerate(lines) if row in wanted}
    pairs = zip(found.index.tolist(), found.similarity.tolist(), strict=True)
    return [Neighbour(texts[row], similarity) for row, similarity in pairs]

"""The profile of a set of molecules: what the MOSES suite counts and measures on each, gathered over the set.

N  valid molecules    W  bytes a fingerprint, 128
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.Scaffolds import MurckoScaffold

from genesis.errors import EncodeError
from genesis_domains.molecules.filters import MosesFilters
from genesis_domains.molecules.molecule import Molecule
from genesis_domains.molecules.properties import measure
from genesis_domains.molecules.workers import WORTH_A_PROCESS, Progress, chunks, in_order

FINGERPRINT_BITS = 1024
RADIUS = 2
RINGS_OF_A_SCAFFOLD = 2  # smaller frameworks are not counted
MEASURES = {"logP": "logp", "SA": "sa_score", "QED": "qed", "weight": "mol_weight"}  # MOSES's names and ours


@dataclass(slots=True)
class Profile:
    """``asked`` molecules, and of the valid ones among them, in order: canonical SMILES and all that follows."""

    asked: int = 0
    smiles: list[str] = field(default_factory=list)
    fingerprints: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, FINGERPRINT_BITS // 8), np.uint8))
    fragments: Counter[str] = field(default_factory=Counter)
    scaffolds: Counter[str] = field(default_factory=Counter)
    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # [N] of each of MEASURES
    passing: int = 0  # the filters


def profile(
    smiles: Sequence[str | None],
    smarts: tuple[str, ...] = (),
    *,
    properties: bool = True,
    workers: int = 2,
    progress: Progress | None = None,
    stage: str = "molecules",
) -> Profile:
    """Profile a set; None is a molecule asked for and not made. ``properties`` off leaves out values and filters."""
    work = partial(_profile_chunk, smarts=smarts, properties=properties)
    parts = []
    done = 0
    for part in in_order(work, chunks(smiles), workers if len(smiles) >= WORTH_A_PROCESS else 1):
        parts.append(part)
        done += part.asked
        if progress is not None:
            progress(done, len(smiles), stage)
    whole = Profile()
    for part in parts:
        whole.asked += part.asked
        whole.smiles += part.smiles
        whole.fragments.update(part.fragments)
        whole.scaffolds.update(part.scaffolds)
        whole.passing += part.passing
    if parts:
        whole.fingerprints = np.concatenate([part.fingerprints for part in parts])
        whole.values = {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values}
    return whole


def _profile_chunk(smiles: Sequence[str | None], smarts: tuple[str, ...], properties: bool) -> Profile:
    molecules = [molecule for text in smiles if (molecule := _canonical(text)) is not None]
    mols = [molecule.mol for molecule in molecules]
    part = Profile(len(smiles), [molecule.smiles for molecule in molecules])
    if mols:
        part.fingerprints = np.stack([fingerprint(mol) for mol in mols])
    for mol in mols:
        part.fragments.update(fragments(mol))
    part.scaffolds.update(found for mol in mols if (found := scaffold(mol)) is not None)
    if properties:
        measured = [measure(mol, tuple(MEASURES.values())) for mol in mols]
        part.values = {name: np.array([m[ours] for m in measured], np.float64) for name, ours in MEASURES.items()}
        part.passing = sum(map(_filters(smarts).passes, mols))
    return part


def _canonical(text: str | None) -> Molecule | None:
    """The molecule of its own canonical SMILES, written once more, as MOSES does: atom order decides a few ties."""
    try:
        return None if text is None else Molecule.from_smiles(Molecule.from_smiles(text).smiles)
    except EncodeError:
        return None


@cache
def _filters(smarts: tuple[str, ...]) -> MosesFilters:
    return MosesFilters(smarts)


@cache
def _morgan() -> rdFingerprintGenerator.FingerprintGenerator64:
    return rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=FINGERPRINT_BITS)


def fingerprint(mol: Chem.Mol) -> NDArray[np.uint8]:
    """``[W]``: the Morgan fingerprint of radius 2 (Rogers and Hahn, 2010), packed as ``numpy.packbits`` does."""
    return np.packbits(_morgan().GetFingerprintAsNumPy(mol))


def tanimoto(mols: Iterable[Chem.Mol], others: Iterable[Chem.Mol]) -> NDArray[np.float32]:
    """``[N, M]``: the Tanimoto similarity of the fingerprints of each molecule and each of the others."""
    one, two = ([_morgan().GetFingerprint(mol) for mol in group] for group in (mols, others))
    rows = [DataStructs.BulkTanimotoSimilarity(bits, two) for bits in one]
    return np.array(rows, np.float32).reshape(len(one), len(two))


def fragments(mol: Chem.Mol) -> list[str]:
    """SMILES of the pieces left when the BRICS bonds are cut (Degen et al., 2008)."""
    return str(Chem.MolToSmiles(Chem.FragmentOnBRICSBonds(mol))).split(".")


def scaffold(mol: Chem.Mol) -> str | None:
    """SMILES of the rings and what links them (Bemis and Murcko, 1996), or None with fewer than two rings."""
    framework = MurckoScaffold.GetScaffoldForMol(mol)
    if framework.GetRingInfo().NumRings() < RINGS_OF_A_SCAFFOLD:
        return None
    return str(Chem.MolToSmiles(framework)) or None

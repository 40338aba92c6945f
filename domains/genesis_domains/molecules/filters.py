"""Structural alerts: the filters of the MOSES benchmark, and RDKit's catalogues by name.

These are filters of medicinal chemistry: they say that a molecule is a poor starting point for a drug. They are not a
safety screen: aspirin meets four of RDKit's alerts and hydrogen cyanide none.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, DataStructs
from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

from genesis.errors import InputError, UsageError, suggest

CATALOGUES = ("BRENK", "CHEMBL", "NIH", "PAINS", "ZINC")
ELEMENTS = frozenset({"C", "N", "S", "O", "F", "Cl", "Br", "H"})
LARGEST_RING = 7
SCREEN_BITS = 2048


def alerts(mol: Chem.Mol, catalogue: str) -> tuple[str, ...]:
    """The names of the alerts of one of RDKit's ``CATALOGUES`` that the molecule meets, each once."""
    matches = _catalogue(catalogue).GetMatches(mol)
    return tuple(dict.fromkeys(str(match.GetDescription()) for match in matches))


@cache
def _catalogue(name: str) -> FilterCatalog:
    if name not in CATALOGUES:
        raise UsageError(f"unknown catalogue of alerts {name!r}; {suggest(name, CATALOGUES)}")
    return FilterCatalog(getattr(FilterCatalogParams.FilterCatalogs, name))


def read_smarts(folder: Path) -> tuple[str, ...]:
    """The SMARTS of MOSES's two lists, ``mcf.csv`` (22) and ``wehi_pains.csv`` (480)."""
    with (folder / "mcf.csv").open(newline="") as file:
        mcf = [row["smarts"] for row in csv.DictReader(file)]
    with (folder / "wehi_pains.csv").open(newline="") as file:
        pains = [row[0].strip() for row in csv.reader(file)]
    return (*mcf, *pains)


class MosesFilters:
    """Which molecules pass MOSES's filters (Polykovskiy et al., 2020, section 2.2).

    A molecule passes without charges, elements outside ``ELEMENTS``, rings of eight or more atoms, and matches of the
    given SMARTS, which are written for explicit hydrogens. A pattern whose RDKit fingerprint has a bit that the
    molecule's lacks cannot match, and is not tried: 26 of 502 patterns remain, and the check is six times as fast.
    """

    def __init__(self, smarts: tuple[str, ...]) -> None:
        self._patterns = [Chem.MolFromSmarts(text) for text in smarts]
        for text, pattern in zip(smarts, self._patterns, strict=True):
            if pattern is None:
                raise InputError(f"{text!r} is not SMARTS; fetch the list again")
        bits = [_pattern_bits(pattern) for pattern in self._patterns]
        self._bits = np.array(bits, np.uint64).reshape(-1, SCREEN_BITS // 64)

    def passes(self, mol: Chem.Mol) -> bool:
        """Whether a sanitised molecule with implicit hydrogens passes."""
        if any(atom.GetFormalCharge() != 0 or atom.GetSymbol() not in ELEMENTS for atom in mol.GetAtoms()):
            return False
        if any(len(ring) > LARGEST_RING for ring in mol.GetRingInfo().AtomRings()):
            return False
        full = Chem.AddHs(mol)
        possible = ~(self._bits & ~_pattern_bits(full)).any(1)
        return not any(full.HasSubstructMatch(self._patterns[i]) for i in np.flatnonzero(possible))


def _pattern_bits(mol: Chem.Mol) -> NDArray[np.uint64]:
    """``[32]``: RDKit's substructure-screening fingerprint."""
    bits = DataStructs.BitVectToBinaryText(Chem.PatternFingerprint(mol, fpSize=SCREEN_BITS))
    return np.frombuffer(bits, np.uint64)

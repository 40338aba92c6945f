"""A molecule: RDKit's object and its canonical SMILES, side by side.

N  atoms    E  directed edges, both directions of each bond
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from genesis.errors import EncodeError

MAX_CHARACTERS = 2_000  # RDKit needs over a minute for 100,000 carbon atoms in a row
MAX_HEAVY_ATOMS = 500

# RDKit explains a refusal only in its log, and prints 63 KB for a thousand bad lines: the log is read, not shown
_ATOMS = re.compile(r"Cl|Br|\[[^\]]*\]|[BCNOPSFIbcnops*]")


@dataclass(frozen=True, slots=True)
class Graph:
    """Atoms and bonds as arrays, in the layout graph libraries expect."""

    atomic_numbers: NDArray[np.int64]  # [N]
    charges: NDArray[np.int64]  # [N]
    edges: NDArray[np.int64]  # [2, E] source and target
    orders: NDArray[np.float32]  # [E] 1, 1.5 (aromatic), 2, 3


@dataclass(frozen=True, slots=True)
class Molecule:
    """``smiles`` is RDKit's canonical isomeric form and the identity of the item.

    RDKit's object is made when it is asked for: it takes about 30 KB, which a million molecules cannot afford.
    """

    smiles: str

    @property
    def mol(self) -> Chem.Mol:
        """The sanitised RDKit molecule; shared for a while, so copy it before changing it."""
        mol = _parsed(self.smiles)
        if mol is None:
            raise EncodeError(f"RDKit cannot read back the SMILES that it wrote: {self.smiles}")
        return mol

    @classmethod
    def from_smiles(cls, text: str) -> Molecule:
        """Parse and sanitise one SMILES; EncodeError says why it was refused."""
        text = text.strip()
        if not text:
            raise EncodeError("an empty SMILES")
        if len(text) > MAX_CHARACTERS:
            raise EncodeError(f"a SMILES of {len(text)} characters; at most {MAX_CHARACTERS} are read")
        if len(_ATOMS.findall(text)) > MAX_HEAVY_ATOMS:
            raise EncodeError(f"more than {MAX_HEAVY_ATOMS} atoms")
        _quiet()
        try:
            mol = Chem.MolFromSmiles(text)
        except UnicodeError as error:
            raise EncodeError("text that is not Unicode") from error
        if mol is None:
            raise EncodeError(_reason(text))
        return cls.from_mol(mol)

    @classmethod
    def from_mol(cls, mol: Chem.Mol) -> Molecule:
        """Take a sanitised RDKit molecule; EncodeError when it is empty, too large, or no SMILES says what it is."""
        _quiet()
        if mol.GetNumAtoms() == 0:
            raise EncodeError("a molecule without atoms")
        if mol.GetNumHeavyAtoms() > MAX_HEAVY_ATOMS:
            raise EncodeError(f"{mol.GetNumHeavyAtoms()} heavy atoms; at most {MAX_HEAVY_ATOMS} are read")
        smiles = str(Chem.MolToSmiles(mol))
        if "~" in smiles and any(b.IsInRing() and b.GetBondType() == Chem.BondType.UNSPECIFIED for b in mol.GetBonds()):
            raise EncodeError(f"{smiles}: an any-bond in a ring, which RDKit would read back as a single bond")
        return cls(smiles)

    def kekule(self) -> str:
        """The canonical SMILES with alternating bonds written out: ``C1=CC=CC=C1`` for benzene.

        Validity of this form is local (valences, rings, branches), which an automaton can guarantee; whether aromatic
        SMILES has a Kekulé structure is a matching problem over the whole ring system. EncodeError where RDKit cannot
        read the SMILES that it wrote, which happens to rings of odd atoms that it calls aromatic.
        """
        return str(Chem.MolToSmiles(self._kekulized(), kekuleSmiles=True))

    def random_kekule(self, count: int) -> list[str]:
        """At most ``count`` SMILES of the same form in other orders of the atoms; always the same ones."""
        mol = self._kekulized()
        seed = 1 + crc32(self.smiles.encode()) % 2**30
        found = dict.fromkeys(Chem.MolToRandomSmilesVect(mol, count, randomSeed=seed, kekuleSmiles=True))
        found.pop(str(Chem.MolToSmiles(mol, kekuleSmiles=True)), None)
        return list(found)

    def _kekulized(self) -> Chem.Mol:
        parsed = _parsed(self.smiles)  # the canonical atom order makes the choice of structure repeatable
        if parsed is None:
            raise EncodeError(f"{self.smiles}: RDKit writes this SMILES but cannot read it")
        try:
            return kekulized(parsed)
        except Chem.KekulizeException as error:
            raise EncodeError(f"{self.smiles}: RDKit finds no Kekulé structure of what it has read") from error

    def graph(self) -> Graph:
        """Atoms and bonds as arrays (``torch_geometric``'s ``edge_index`` layout)."""
        bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx(), b.GetBondTypeAsDouble()) for b in self.mol.GetBonds()]
        both = [(i, j, order) for i, j, order in bonds] + [(j, i, order) for i, j, order in bonds]
        atoms = list(self.mol.GetAtoms())
        return Graph(
            np.array([a.GetAtomicNum() for a in atoms], np.int64),
            np.array([a.GetFormalCharge() for a in atoms], np.int64),
            np.array([(i, j) for i, j, _ in both], np.int64).reshape(-1, 2).T,
            np.array([order for _, _, order in both], np.float32),
        )


def kekulized(mol: Chem.Mol) -> Chem.Mol:
    """A copy with alternating bonds and no aromatic ones."""
    copy = Chem.Mol(mol)
    Chem.Kekulize(copy, clearAromaticFlags=True)
    return copy


@lru_cache(maxsize=1024)  # 30 MB: a batch is looked at again after it was measured
def _parsed(smiles: str) -> Chem.Mol | None:
    _quiet()
    return Chem.MolFromSmiles(smiles)


@cache
def _quiet() -> None:
    """Stop RDKit's log once a process, at first use rather than at import."""
    rdBase.DisableLog("rdApp.*")


def _reason(text: str) -> str:
    """Why RDKit refuses a SMILES, in its own words and one line."""
    mol = Chem.MolFromSmiles(text, sanitize=False)
    if mol is None:
        return "not SMILES: the brackets, branches or ring bonds do not match"
    try:
        problems = [p.Message() for p in Chem.DetectChemistryProblems(mol)]
    except RuntimeError:  # RDKit counts valences in a signed byte
        return "an atom with more than 127 bonds"
    return problems[0].splitlines()[0] if problems else "RDKit cannot sanitise it"

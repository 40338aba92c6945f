"""What is given of a molecule, and the ways of writing it: fragments with attachment points, read from SMILES.

An attachment point is a dummy atom (``*``, ``[*:1]``, ``[1*]``) on a single bond. One fragment with points is grown at
each of them, two with a point each are linked, one without points is grown at atoms that have a hydrogen.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from rdkit import Chem

from genesis.errors import EncodeError, UsageError
from genesis_domains.molecules.molecule import Molecule, _quiet, kekulized

POINT = "*"
MOST_POINTS = 12
SPELLINGS = 48  # random SMILES that are tried
FEW = 8  # of them, for each of the many places of growth
PLACES = 24  # sets of atoms at which a fragment without points is grown
GROWN = 3  # points of such a set, at most
HOW = "write an attachment point as [*:1]"


@dataclass(frozen=True, slots=True)
class Given:
    """Fragments without the numbers of their attachment points; ``grown`` where no point was named."""

    text: str
    parts: tuple[Chem.Mol, ...]
    grown: bool

    @classmethod
    def read(cls, text: str, anywhere: bool = False) -> Given:
        """Parse and check; UsageError says why fragments cannot be used."""
        _quiet()
        mol = Chem.MolFromSmiles(text.strip()) if text.strip() else None
        if mol is None or mol.GetNumAtoms() == 0:
            raise UsageError(f"{text!r}: {_reason(text)}")
        for atom in mol.GetAtoms():
            if atom.GetAtomicNum() == 0:
                _check_point(atom, text)
        for atom in mol.GetAtoms():
            atom.SetAtomMapNum(0)
            if atom.GetAtomicNum() == 0:
                atom.SetIsotope(0)
        parts = Chem.GetMolFrags(mol, asMols=True)
        points = [len(_points(part)) for part in parts]
        _check_parts(text, points, anywhere)
        if anywhere and not _sites(parts[0]):
            raise UsageError(f"{text!r}: no atom has a hydrogen that could be replaced; nothing can be grown")
        return cls(text, tuple(parts), anywhere)

    @property
    def heavy_atoms(self) -> int:
        """Atoms that every completion has: those given, and one at each point (two points may share it)."""
        given = sum(atom.GetAtomicNum() > 1 for part in self.parts for atom in part.GetAtoms())
        return given + (len(_points(self.parts[0])) if len(self.parts) == 1 else 1)

    @property
    def weight(self) -> float:
        """g/mol that every completion has at least: the given atoms without hydrogens."""
        atoms = [atom for part in self.parts for atom in part.GetAtoms() if atom.GetAtomicNum() > 1]
        return sum(atom.GetMass() for atom in atoms)

    @property
    def rings(self) -> int:
        return sum(part.GetRingInfo().NumRings() for part in self.parts)

    def spellings(self) -> list[list[str]]:
        """SMILES in Kekulé form, ``*`` where something is to be written, in groups that say the same.

        Of two fragments the first ends in ``*`` and the second goes on from there.
        """
        if self.grown:
            groups = [_written(part, FEW) for part in _opened(self.parts[0])]
        elif len(self.parts) == 1:
            groups = [_written(self.parts[0])]
        else:
            a, b = self.parts
            groups = [_linked(a, b) + _linked(b, a)]
        return [group for group in groups if group]

    def holds(self, mol: Chem.Mol) -> bool:
        """Whether a molecule has the atoms, bonds and stereo of what is given, and other bonds at the points only."""
        if not all(mol.HasSubstructMatch(query, useChirality=True) for query in self._queries()):
            return False
        if len(self.parts) == 1:
            return True
        cores = [Chem.DeleteSubstructs(part, Chem.MolFromSmarts("[#0]")) for part in self.parts]
        return bool(mol.HasSubstructMatch(Chem.CombineMols(*cores)))

    def _queries(self) -> Iterator[Chem.Mol]:
        settings = Chem.AdjustQueryParameters.NoAdjustments()
        settings.makeDummiesQueries = True  # type: ignore[assignment]
        settings.adjustDegree = not self.grown  # type: ignore[assignment]
        settings.adjustDegreeFlags = Chem.ADJUST_IGNOREDUMMIES
        for part in self.parts:
            yield Chem.AdjustQueryProperties(part, settings)


def _check_point(atom: Chem.Atom, text: str) -> None:
    if atom.GetDegree() != 1:
        raise UsageError(f"{text!r}: an attachment point with {atom.GetDegree()} bonds; it has one")
    bond, (neighbour,) = atom.GetBonds()[0], atom.GetNeighbors()
    if neighbour.GetAtomicNum() == 0:
        raise UsageError(f"{text!r}: two attachment points bonded to one another; each belongs to an atom")
    if bond.GetBondType() != Chem.BondType.SINGLE:
        raise UsageError(
            f"{text!r}: an attachment point on a {str(bond.GetBondType()).lower()} bond; a single one is read"
        )


def _check_parts(text: str, points: list[int], anywhere: bool) -> None:
    if len(points) > 2:
        raise UsageError(f"{text!r}: {len(points)} fragments; one is grown, two are linked")
    if max(points) > MOST_POINTS:
        raise UsageError(f"{text!r}: {max(points)} attachment points on a fragment; at most {MOST_POINTS}")
    if anywhere and (len(points) > 1 or points[0]):
        raise UsageError(f"{text!r}: attachment points and anywhere contradict one another; leave one out")
    if anywhere:
        return
    if 0 in points:
        which = "a fragment without attachment points" if len(points) > 1 else "no attachment point"
        hint = "" if len(points) > 1 else ", or ask for growth anywhere"
        raise UsageError(f"{text!r}: {which}, so nothing may be added; {HOW}{hint}")
    if len(points) == 2 and points != [1, 1]:
        raise UsageError(f"{text!r}: fragments with {points[0]} and {points[1]} points; linked are two with one each")


def _points(mol: Chem.Mol) -> list[int]:
    return [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0]


def _sites(mol: Chem.Mol) -> list[int]:
    """Atoms with a hydrogen to give, other than stereo centres (whose order of neighbours would have to be kept)."""
    return [
        atom.GetIdx()
        for atom in mol.GetAtoms()
        if atom.GetTotalNumHs() and atom.GetChiralTag() == Chem.ChiralType.CHI_UNSPECIFIED
    ]


def _opened(mol: Chem.Mol) -> Iterator[Chem.Mol]:
    """The fragment with one to three points at atoms that have a hydrogen; each set once."""
    chance, sites, seen = random.Random(0), _sites(mol), set[tuple[int, ...]]()
    for number in range(4 * PLACES):
        chosen = tuple(sorted(chance.sample(sites, min(1 + number % GROWN, len(sites)))))
        if chosen in seen or len(seen) == PLACES:
            continue
        seen.add(chosen)
        grown = Chem.RWMol(mol)
        for site in chosen:
            atom = grown.GetAtomWithIdx(site)
            if atom.GetNumExplicitHs():
                atom.SetNumExplicitHs(atom.GetNumExplicitHs() - 1)
            grown.AddBond(site, grown.AddAtom(Chem.Atom(0)), Chem.BondType.SINGLE)
        if Chem.SanitizeMol(grown, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE:
            yield grown.GetMol()


def _written(mol: Chem.Mol, tried: int = SPELLINGS) -> list[str]:
    """Different random SMILES that do not begin with a point and are read back as the same."""
    found = Chem.MolToRandomSmilesVect(kekulized(mol), tried, randomSeed=1, kekuleSmiles=True)
    same = Chem.MolToSmiles(mol)
    return [text for text in dict.fromkeys(found) if not text.startswith(POINT) and _canonical(text) == same]


def _linked(a: Chem.Mol, b: Chem.Mol) -> list[str]:
    """``A`` written so that it ends at its point, then ``B`` from its point on; the single ``*`` is the linker."""
    heads = [text for text in _written(a) if text.endswith(POINT)]
    kekule, point = kekulized(b), _points(b)[0]
    tails = dict.fromkeys(
        Chem.MolToSmiles(kekule, rootedAtAtom=point, doRandom=number > 0, kekuleSmiles=True) for number in range(4)
    )
    return [head + tail.removeprefix(POINT) for head in heads[:8] for tail in tails]


def _canonical(text: str) -> str:
    mol = Chem.MolFromSmiles(text)
    return "" if mol is None else str(Chem.MolToSmiles(mol))


def _reason(text: str) -> str:
    try:
        Molecule.from_smiles(text)
    except EncodeError as error:
        return str(error)
    return "no molecule"

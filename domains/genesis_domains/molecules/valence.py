"""How many bonds an atom may carry, by element and charge: RDKit's rule as a table of integers.

An atom of charge q has the valences of the neutral atom with as many electrons (element number Z - q), except where
RDKit says otherwise: hydride may bridge two atoms, and hypervalent P, As, S and Se lose one bond per negative charge.
The largest of the valences is the capacity; a bracket atom below it is a radical or an ion, which RDKit accepts.
"""

from __future__ import annotations

from functools import cache

from rdkit import Chem

from genesis_domains.molecules.smiles import ELEMENTS

UNLIMITED = 127  # metals and the dummy atom: RDKit keeps a valence in a signed byte
NEVER = -1  # RDKit refuses the atom even alone
MAX_CHARGE = 15
ATOMS = (*ELEMENTS, "*")  # rows of the table
HYPERVALENT = {"P": (5, -2), "As": (5, -2), "S": (6, -1), "Se": (6, -1)}  # valence, and the first charge it holds from


def capacity(element: str, charge: int) -> int:
    """The largest sum of bond orders and hydrogens that RDKit accepts on one atom."""
    if element == "*":
        return UNLIMITED
    if element == "H" and charge == -1:
        return 2
    valence, first = HYPERVALENT.get(element, (0, -MAX_CHARGE - 1))
    if valence and charge <= first:
        return max(valence + charge, NEVER)
    periodic = Chem.GetPeriodicTable()
    number = periodic.GetAtomicNumber(element)
    if -1 in periodic.GetValenceList(number) or number - charge <= 0:
        return UNLIMITED
    valences = periodic.GetValenceList(number - charge)
    return UNLIMITED if -1 in valences else max(valences)


@cache
def capacities() -> tuple[tuple[int, ...], ...]:
    """``capacity`` of every atom of ``ATOMS`` (rows) at the charges -15 ... +15 (columns)."""
    charges = range(-MAX_CHARGE, MAX_CHARGE + 1)
    return tuple(tuple(capacity(atom, charge) for charge in charges) for atom in ATOMS)

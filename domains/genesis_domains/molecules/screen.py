"""The hazard screen: is a molecule one of the listed chemicals of ``schedules.py``, or of a listed family?

It knows two public lists and nothing else: a molecule that passes is not thereby safe. RDKit's alert catalogues are no
substitute; most listed chemicals meet none of them.
"""

from __future__ import annotations

import re
from functools import cache

from rdkit import Chem
from rdkit.Chem.inchi import MolToInchiKey
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from genesis_domains.molecules.schedules import FAMILIES, LISTED, Family

_LISTED = {listed.block: listed for listed in LISTED}
_ELEMENT = re.compile(r"([A-Z][a-z]?)(\d*)")
_ATOMS = {listed.atoms for listed in LISTED}


def screen(mol: Chem.Mol) -> str | None:
    """``CWC 1.A.4 sulfur mustards``: the first entry that the molecule, or a part of a mixture, belongs to; or None."""
    several = len(Chem.GetMolFrags(mol)) > 1
    for part in Chem.GetMolFrags(mol, asMols=True) if several else (mol,):
        count = {symbol: n or "1" for symbol, n in _ELEMENT.findall(CalcMolFormula(part)) if symbol != "H"}
        atoms = "".join(f"{symbol}{n}" for symbol, n in sorted(count.items()))
        if atoms in _ATOMS:  # an InChIKey costs more than all patterns
            listed = _LISTED.get(str(MolToInchiKey(part))[:14])
            if listed is not None:
                return f"{listed.entry} {listed.name}"
        for family, pattern in _patterns():
            if family.elements <= count.keys() and part.HasSubstructMatch(pattern):
                return f"{family.entry} {family.name}"
    return None


@cache
def _patterns() -> tuple[tuple[Family, Chem.Mol], ...]:
    return tuple((family, Chem.MolFromSmarts(family.smarts)) for family in FAMILIES)

"""Properties are RDKit's own, however they are put together."""

from __future__ import annotations

import csv
import lzma
from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem import QED, Crippen, Descriptors

from genesis_domains.molecules.properties import PROPERTIES, measure

DIVERSE = (
    "CC(=O)Oc1ccccc1C(=O)O",
    "N=C(CCSCc1csc(N=C(N)N)n1)NS(N)(=O)=O",
    "C[N+](C)(C)CC([O-])=O.[Na+].[Cl-]",
    "[2H]C([2H])([2H])O",  # hydrogens that RDKit keeps
    "[H][H]",
    "O=[N+]([O-])c1ccc(C=CC#CI)cc1",
    "C1=CC=C[CH]1[Fe][CH]1C=CC=C1",
    "OC1=C(O)C=C2C(=C1)OC3=CC(=O)C(=CC3=C2C4=CC=CC=C4)O",
)


def check(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    found = measure(mol, tuple(PROPERTIES))
    assert tuple(found) == tuple(PROPERTIES)
    assert found["qed"] == QED.qed(mol)
    assert found["logp"] == Crippen.MolLogP(mol)
    assert found["mol_weight"] == Descriptors.MolWt(mol)
    assert measure(mol, ("qed",)) == {"qed": found["qed"]}


@pytest.mark.parametrize("smiles", DIVERSE)
def test_qed_is_rdkits_to_the_last_bit(smiles):
    check(smiles)


def test_qed_is_rdkits_on_real_molecules(shared: Path):
    source = shared / "data" / "zinc250k" / "zinc250k_props.csv.xz"
    if not source.exists():
        pytest.skip("no zinc250k in the shared folder")
    with lzma.open(source, "rt") as file:
        rows = list(csv.DictReader(file))
    for row in rows[:: len(rows) // 200]:
        check(row["smiles"].strip())

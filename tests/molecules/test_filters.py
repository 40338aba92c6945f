"""Structural alerts: known molecules, and the fast check against the plain one."""

from __future__ import annotations

from pathlib import Path

import pytest
from rdkit import Chem, rdBase

from genesis.errors import InputError, UsageError
from genesis_domains.molecules.filters import CATALOGUES, ELEMENTS, MosesFilters, alerts, read_smarts

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def mol(smiles: str) -> Chem.Mol:
    found = Chem.MolFromSmiles(smiles)
    assert found is not None
    return found


def test_alerts_by_catalogue() -> None:
    met = {name: alerts(mol(ASPIRIN), name) for name in CATALOGUES}
    assert met["BRENK"] == ("phenol_ester",)
    assert set(met["CHEMBL"]) == {"phenol ester", "Phenylester", "Ester"}
    assert met["NIH"] == met["PAINS"] == met["ZINC"] == ()
    assert "azo_A(324)" in alerts(mol("c1ccccc1N=Nc1ccccc1"), "PAINS")


def test_alerts_are_no_safety_screen() -> None:
    assert not any(alerts(mol("C#N"), name) for name in CATALOGUES)


def test_an_unknown_catalogue_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown catalogue of alerts 'pain'; known: BRENK, CHEMBL, NIH, PAINS, ZINC"):
        alerts(mol("C"), "pain")


@pytest.mark.parametrize(
    ("smiles", "passes"),
    [
        ("CCO", True),
        ("C[N+](C)(C)C", False),  # a charge
        ("C[O-]", False),
        ("CC[Si](C)(C)C", False),  # an element
        ("CI", False),
        ("C1CCCCCC1", True),
        ("C1CCCCCCC1", False),  # a ring of eight
        ("CCC(=O)CBr", False),  # the pattern below, whose hydrogens are atoms of the molecule
        ("CCC(=O)C(Br)Br", True),
        ("CNNC", False),
    ],
)
def test_rules_one_by_one(smiles: str, passes: bool) -> None:
    filters = MosesFilters(("[#6](=O)C([H])([H])Br", "[CX4][NX3][NX3]"))
    assert filters.passes(mol(smiles)) is passes


def test_bad_smarts_is_refused() -> None:
    with rdBase.BlockLogs(), pytest.raises(InputError, match=r"'\(\(' is not SMARTS"):
        MosesFilters(("C", "(("))


def test_the_lists_have_their_published_lengths(moses: Path) -> None:
    smarts = read_smarts(moses)
    assert len(smarts) == 22 + 480
    assert all(text == text.strip() for text in smarts)


def test_the_screen_never_changes_the_answer(moses: Path, shared: Path, training_smiles: list[str]) -> None:
    """Skipping patterns by fingerprint against matching all 502, on training molecules and on damaged ones."""
    smarts = read_smarts(moses)
    filters, patterns = MosesFilters(smarts), [Chem.MolFromSmarts(text) for text in smarts]
    dirty = (shared / "reference" / "moses" / "dirty_5000.smi").read_text().splitlines()[-1_500:]
    with rdBase.BlockLogs():
        mols = [found for text in [*training_smiles[:50], *dirty] if (found := Chem.MolFromSmiles(text)) is not None]

    def plain(found: Chem.Mol) -> bool:
        full = Chem.AddHs(found)
        return (
            all(atom.GetFormalCharge() == 0 and atom.GetSymbol() in ELEMENTS for atom in found.GetAtoms())
            and all(len(ring) < 8 for ring in found.GetRingInfo().AtomRings())
            and not any(full.HasSubstructMatch(pattern) for pattern in patterns)
        )

    answers = [(filters.passes(found), plain(found)) for found in mols[::6]]
    assert all(fast == slow for fast, slow in answers)
    assert {slow for _, slow in answers} == {True, False}

"""The valence table against RDKit itself."""

from __future__ import annotations

from rdkit import Chem

from genesis_domains.molecules.valence import ATOMS, MAX_CHARGE, NEVER, UNLIMITED, capacities, capacity


def test_the_table_is_rdkits_rule() -> None:
    """Every element at every charge with 0 to 8 bonds, as RDKit reads it."""
    wrong = []
    for atom, row in zip(ATOMS, capacities(), strict=True):
        for charge, most in zip(range(-MAX_CHARGE, MAX_CHARGE + 1), row, strict=True):
            sign = f"{charge:+d}" if charge else ""
            for bonds in range(9):
                reads = Chem.MolFromSmiles(f"[{atom}{sign}]" + "(*)" * bonds) is not None
                if reads != (bonds <= most):
                    wrong.append((atom, charge, bonds, most))
    assert wrong == []


def test_bond_orders_and_hydrogens_count_alike() -> None:
    for atom in ("C", "N", "S", "P", "Cl", "B", "Si", "I"):
        for charge in (-1, 0, 1):
            most, sign = capacity(atom, charge), {-1: "-", 0: "", 1: "+"}[charge]
            for text, sum_ in ((f"[{atom}{sign}](=*)(*)", 3), (f"[{atom}H2{sign}]#*", 5), (f"[{atom}H4{sign}]", 4)):
                assert (Chem.MolFromSmiles(text) is not None) == (sum_ <= most), text


def test_the_unlimited_end_where_rdkit_does() -> None:
    for atom in ("*", "[Fe]", "[UH99]"):
        bonds = UNLIMITED - (99 if "H" in atom else 0)
        assert Chem.MolFromSmiles(atom + "(*)" * bonds) is not None
        assert Chem.MolFromSmiles(atom + "(*)" * (bonds + 1)) is None


def test_some_by_hand() -> None:
    assert [capacity("C", q) for q in (-1, 0, 1)] == [3, 4, 3]
    assert [capacity("N", q) for q in (-1, 0, 1)] == [2, 3, 4]
    assert [capacity("O", q) for q in (-1, 0, 1)] == [1, 2, 3]
    assert [capacity("S", q) for q in (-1, 0, 1)] == [5, 6, 5]
    assert [capacity("H", q) for q in (-1, 0, 1)] == [2, 1, UNLIMITED]
    assert capacity("P", -6) == NEVER
    assert capacity("Fe", 2) == UNLIMITED

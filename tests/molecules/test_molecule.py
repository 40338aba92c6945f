"""Molecules: what is read, what is refused and why, and the Kekulé form from which the same molecule is read again."""

from __future__ import annotations

import csv
import lzma
import random
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from genesis.errors import EncodeError
from genesis_domains.molecules.molecule import MAX_CHARACTERS, MAX_HEAVY_ATOMS, Molecule
from genesis_domains.molecules.smiles import AROMATIC, AROMATIC_BRACKET, tokenize

HARD = [
    r"[13CH3][C@@H](F)/C=C/[N+](C)(C)C",
    r"C/C=C/1CCCCCCC/C1=C\C",
    "[Na+].[Cl-].OC(=O)c1ccccc1",
    "O=C([O-])CN.[Ca+2].[Ca+2]",
    "[2H]C([2H])([2H])[2H]",
    "[2H]",
    "[H][H]",
    "[H+]",
    "[Fe]",
    "C1CC%11CCC%11CC1",
    "c1cc[nH]c1",
    "c1ccc2c(c1)[nH]c1ccccc12",
    "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "O=c1[nH]cnc2nc[nH]c12",
    "c1ccc2cc3ccccc3cc2c1",
    "c1cc2ccc3cccc4ccc(c1)c2c34",
    "C1=CC2=CC=CC=CC2=C1",
    "[CH3:1][OH:2]",
    "[nH:3]1cccc1",
    "C[S@](=O)c1ccccc1",
    "C[P@@](=O)(O)c1ccccc1",
    "N[Pt@SP1](N)(Cl)Cl",
    "[NH3]->[Pt](<-[NH3])(Cl)Cl",
    "C1C[NH2]->[Pt](<-[NH2]1)(Cl)Cl",
    "c1ccn(->[Fe])cc1",
    "O=[N+]([O-])c1ccccc1",
    "CN=[N+]=[N-]",
    "[C-]#[O+]",
    "OCl(=O)(=O)=O",
    "C[Si](C)(C)c1ccccc1",
    "[se]1cccc1",
    "b1ccccc1",
    "p1ccccc1",
    "c1ccsc1",
    "c1ccoc1",
    "[o+]1ccccc1",
    "c1ccc[cH-]1",
    "c1ccc[cH+]cc1",
    "FS(F)(F)(F)(F)F",
    "O=P(O)(O)OP(=O)(O)O",
    "C12C3C4C1C5C2C3C45",
    "[U]$[U]",
    "*c1ccccc1",
    "[CH2]C",
    "[B-](F)(F)(F)F.[K+]",
    r"C\C=C/C=C\C",
    "C[C@H]1CC[C@@H](C)CC1",
    "OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O",
]


def corpus(shared: Path, name: str, first: int | None = None) -> list[str]:
    if name == "chembl_like":
        with lzma.open(shared / "data/chembl_like/molscore_sample.smi.xz", "rt") as lines:
            return [line.strip() for line in islice(lines, first)]
    with lzma.open(shared / "data/zinc250k/zinc250k_props.csv.xz", "rt") as rows:
        return [row["smiles"].strip() for row in islice(csv.DictReader(rows), first)]


def changed(texts: list[str]) -> list[str]:
    """Those whose Kekulé form is read as another molecule."""
    molecules = [Molecule.from_smiles(text) for text in texts]
    return [m.smiles for m in molecules if Molecule.from_smiles(m.kekule()).smiles != m.smiles]


@pytest.mark.parametrize("smiles", HARD)
def test_the_kekule_form_is_the_same_molecule(smiles: str) -> None:
    molecule = Molecule.from_smiles(smiles)
    kekule = molecule.kekule()
    tokens = tokenize(kekule)
    assert "".join(tokens) == kekule
    assert not set(tokens) & {*AROMATIC, *AROMATIC_BRACKET}
    assert Molecule.from_smiles(kekule).smiles == molecule.smiles
    assert Molecule.from_smiles(molecule.smiles) == molecule


def test_the_kekule_form_does_not_depend_on_how_a_molecule_was_written() -> None:
    for smiles in HARD:
        molecule = Molecule.from_smiles(smiles)
        for seed in range(5):
            (written,) = Chem.MolToRandomSmilesVect(molecule.mol, 1, randomSeed=seed + 1)
            again = Molecule.from_smiles(written)
            if again.smiles == molecule.smiles:  # not where RDKit's own canonical form depends on it
                assert again.kekule() == molecule.kekule()


@pytest.mark.parametrize("name", ["chembl_like", "zinc250k"])
def test_the_kekule_form_is_the_same_molecule_in_the_corpora(shared: Path, name: str) -> None:
    assert changed(corpus(shared, name, 1_000)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chembl_like", "zinc250k"])
def test_the_kekule_form_is_the_same_molecule_in_all_of_the_corpora(shared: Path, name: str) -> None:
    assert changed(corpus(shared, name)) == []


def test_the_kekule_form_of_what_rdkit_cannot_read_back_is_refused() -> None:
    molecule = Molecule.from_smiles("*1=C2ON12")
    assert molecule.smiles == "*1c2on1-2"  # which has no Kekulé structure
    with pytest.raises(EncodeError, match="cannot read"):
        molecule.kekule()


def test_an_any_bond_is_read_where_it_is_not_lost() -> None:
    assert Molecule.from_smiles("C~C1CC1").smiles == "C~C1CC1"
    with pytest.raises(EncodeError, match="any-bond in a ring"):
        Molecule.from_smiles("PP1~ClB=S=1")


def test_two_ways_to_write_a_molecule_are_one_item() -> None:
    assert Molecule.from_smiles(" OCC\n") == Molecule.from_smiles("C(O)C")
    assert Molecule.from_smiles("C1=CC=CC=C1").smiles == "c1ccccc1"


def test_a_graph_is_its_atoms_and_both_directions_of_its_bonds() -> None:
    graph = Molecule.from_smiles("C[N+](C)(C)CC#N").graph()
    assert graph.atomic_numbers.tolist() == [6, 7, 6, 6, 6, 6, 7]
    assert graph.charges.tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert graph.edges.shape == (2, 12)
    assert np.array_equal(graph.edges[:, :6], graph.edges[::-1, 6:])
    assert graph.orders.tolist() == [1, 1, 1, 1, 1, 3] * 2
    assert set(Molecule.from_smiles("c1ccccc1").graph().orders.tolist()) == {1.5}
    assert Molecule.from_smiles("[Na+]").graph().edges.shape == (2, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "an empty SMILES"),
        ("   ", "an empty SMILES"),
        ("C" * 100_000, f"a SMILES of 100000 characters; at most {MAX_CHARACTERS} are read"),
        ("C" * (MAX_HEAVY_ATOMS + 1), f"more than {MAX_HEAVY_ATOMS} atoms"),
        ("[Fe]" * 500, None),
        ("(" * 2_000, "not SMILES: the brackets, branches or ring bonds do not match"),
        ("C1CC", "not SMILES"),
        ("C(C)(C)(C)(C)C", "Explicit valence for atom # 0 C, 5, is greater than permitted"),
        ("c1cccc1", "Can't kekulize mol"),
        ("C" + "(C)" * 400, "an atom with more than 127 bonds"),
        ("*" + "(*)" * 400, "an atom with more than 127 bonds"),
        ("\ud800", "text that is not Unicode"),
        ("InChI=1S/CH4/h1H4", "not SMILES"),
        ("[C:99999999999999]", "not SMILES"),
        ("[CH99999999999]", "not SMILES"),
        ("[Xx]", "not SMILES"),
        ("%%%", "not SMILES"),
    ],
)
def test_a_refusal_says_why(text: str, said: str | None) -> None:
    began = time.perf_counter()
    if said is None:
        assert Molecule.from_smiles(text).mol.GetNumHeavyAtoms() == MAX_HEAVY_ATOMS
    else:
        with pytest.raises(EncodeError) as caught:
            Molecule.from_smiles(text)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    assert time.perf_counter() - began < 10


def test_a_molecule_that_is_empty_or_too_large_is_refused() -> None:
    with pytest.raises(EncodeError, match="without atoms"):
        Molecule.from_mol(Chem.Mol())
    with pytest.raises(EncodeError, match="501 heavy atoms; at most 500"):
        Molecule.from_mol(Chem.MolFromSmiles("C" * 501))


def test_a_mutated_smiles_is_read_or_refused(shared: Path) -> None:
    draw = random.Random(0)
    texts = corpus(shared, "zinc250k", 500) + HARD
    alphabet = "CNOPSFIBrcnops=#$()[]123456789%+-@/\\.:*~><H0 |\t\n\x00é"
    read = refused = unsteady = 0
    for _ in range(2_000):
        text = list(draw.choice(texts))
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(text) + 1)
            match draw.choice(["drop", "add", "change", "repeat"]):
                case "drop":
                    del text[at : at + 1]
                case "add":
                    text.insert(at, draw.choice(alphabet))
                case "change":
                    text[at : at + 1] = draw.choice(alphabet)
                case "repeat":
                    text[at:at] = text[at : at + draw.randrange(20)]
        try:
            molecule = Molecule.from_smiles("".join(text))
            read += 1
            if Molecule.from_smiles(molecule.smiles) == molecule:
                assert Molecule.from_smiles(molecule.kekule()) == molecule
            else:
                unsteady += 1  # RDKit rewrites some oxides of phosphorus each time it reads them
        except EncodeError as error:
            refused += bool(str(error))
    assert read > 100
    assert refused > 1_000
    assert unsteady < 3

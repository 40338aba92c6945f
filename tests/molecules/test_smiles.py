"""The tokens of SMILES: a frozen vocabulary whose tokens, joined, are the text they were cut from."""

from __future__ import annotations

import csv
import hashlib
import lzma
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem

from genesis.domain import SPECIALS
from genesis.errors import EncodeError
from genesis_domains.molecules.smiles import IDS, VOCAB, tokenize

# networks have been trained on this order: a new token may only be appended, with a new digest
VOCABULARY = "fc6100df3b5e89bebca9d035d302c6c7e76d6762a57a04b5ca225095c4271528"


def corpora(shared: Path, first: int | None = None) -> tuple[list[str], list[str]]:
    """The first lines of the ChEMBL-like corpus and of ZINC."""
    with lzma.open(shared / "data/chembl_like/molscore_sample.smi.xz", "rt") as lines:
        chembl_like = [line.strip() for line in islice(lines, first)]
    with lzma.open(shared / "data/zinc250k/zinc250k_props.csv.xz", "rt") as rows:
        return chembl_like, [row["smiles"].strip() for row in islice(csv.DictReader(rows), first)]


def wrong(texts: list[str]) -> list[str]:
    return [text for text in texts if "".join(tokenize(text)) != text or any(t not in IDS for t in tokenize(text))]


def test_the_vocabulary_keeps_its_order() -> None:
    assert VOCAB[:3] == SPECIALS
    assert len(set(VOCAB)) == len(VOCAB) == len(IDS) == 261
    assert hashlib.sha256("\n".join(VOCAB).encode()).hexdigest() == VOCABULARY


@pytest.mark.parametrize(
    ("smiles", "tokens"),
    [
        ("CC(=O)Nc1ccccc1", "C C ( =O ) N c 1 c c c c c 1"),
        ("CC(=O)Cl", "C C ( =O ) Cl"),
        ("C=Cl", "C = Cl"),  # not a carbon and an l
        ("C#Cl", "C # Cl"),
        ("CBr", "C Br"),
        ("[13CH3][C@@H](F)[O-]", "[ 1 3 C H 3 ] [ C @@ H ] ( F ) [ O - ]"),
        ("[Fe+2].[Cl-]", "[ Fe + 2 ] . [ Cl - ]"),
        ("[Cu++]", "[ Cu + + ]"),
        ("C%11CC%11", "C %11 C C %11"),
        ("[nH]1cccc1", "[ n H ] 1 c c c c 1"),
        ("[Sc][Cn][Co][se]", "[ Sc ] [ Cn ] [ Co ] [ se ]"),
        ("[CH4:12]", "[ C H 4 : 1 2 ]"),
        ("[H][H]", "[ H ] [ H ]"),
        ("[2H]C", "[ 2 H ] C"),
        ("F[Pt@SP1](Cl)<-N", "F [ Pt @SP 1 ] ( Cl ) <- N"),
        ("[Co@OH25]~[As@TB20]", "[ Co @OH 2 5 ] ~ [ As @TB 2 0 ]"),
        (r"F/C=C\F", "F / C =C \\ F"),
        ("[U]$[U]", "[ U ] $ [ U ]"),
    ],
)
def test_tokens_are_the_parts_a_chemist_reads(smiles: str, tokens: str) -> None:
    assert tokenize(smiles) == tokens.split()


@pytest.mark.parametrize(
    ("smiles", "said"),
    [
        ("C{C", "nothing in the grammar starts with '{C' at 1"),
        ("C[Xx]", "'[Xx]' is not a bracket atom"),
        ("C[C", "nothing in the grammar starts with '[C' at 1"),
        ("C%1", "nothing in the grammar starts with '%1' at 1"),
        ("C%(100)", "nothing in the grammar starts with '%(1' at 1"),
        ("CC C", "nothing in the grammar starts with ' C' at 2"),
        ("[C+-]", "'[C+-]' is not a bracket atom"),
    ],
)
def test_what_cannot_be_written_is_named(smiles: str, said: str) -> None:
    with pytest.raises(EncodeError) as caught:
        tokenize(smiles)
    assert said in str(caught.value)
    assert repr(smiles) in str(caught.value)


@given(st.text(alphabet="CNOPSFIBrclnos=#$()[]123%+-@/\\.:*~><H0 ") | st.text())
def test_any_text_is_cut_without_loss_or_refused(text: str) -> None:
    try:
        tokens = tokenize(text)
    except EncodeError:
        return
    assert "".join(tokens) == text
    assert set(tokens) <= set(VOCAB)


def test_tokens_join_into_the_corpora(shared: Path) -> None:
    chembl_like, zinc = corpora(shared, 10_000)
    assert wrong(chembl_like + zinc) == []


@pytest.mark.slow
def test_tokens_join_into_all_of_the_corpora(shared: Path) -> None:
    chembl_like, zinc = corpora(shared)
    assert len(chembl_like) + len(zinc) == 300_819 + 249_455
    assert wrong(chembl_like + zinc) == []


@pytest.mark.parametrize("kekule", [False, True])
def test_tokens_join_into_randomised_stereo_smiles(shared: Path, kekule: bool) -> None:
    written = []
    for text in [s for s in corpora(shared, 10_000)[1] if "@" in s][:1_250]:
        mol = Chem.MolFromSmiles(text)
        if kekule:
            Chem.Kekulize(mol, clearAromaticFlags=True)
        written += [Chem.MolToSmiles(mol, doRandom=True, canonical=False, kekuleSmiles=kekule) for _ in range(4)]
    assert len(written) == 5_000
    assert sum("@" in s for s in written) > 4_900
    assert wrong(written) == []

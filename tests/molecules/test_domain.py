"""The adapter: what decodes, and what must not."""

import pytest
import torch

from genesis_domains.molecules import DOMAIN
from genesis_domains.molecules.molecule import Molecule
from genesis_domains.molecules.smiles import IDS, VOCAB, tokenize


def tokens(smiles: str) -> torch.Tensor:
    return torch.tensor([IDS[t] for t in tokenize(smiles)])


@pytest.mark.parametrize("where", [0, 1, 2])
@pytest.mark.parametrize("wrong", [0, 1, 2, -1, len(VOCAB)])
def test_a_special_or_foreign_token_is_no_part_of_a_molecule(where, wrong):
    ids = [IDS["C"], IDS["O"]]
    ids.insert(where, wrong)
    assert DOMAIN.decode(torch.tensor(ids)) is None


def test_what_rdkit_cannot_read_back_is_no_molecule():
    """RDKit 2026.9 takes this text and then writes a SMILES that it refuses."""
    item = DOMAIN.decode(tokens("C1=CC=C2NC=C:2=C1"))
    assert item is None or Molecule.from_smiles(item.smiles) == item


def test_an_empty_sequence_is_no_molecule():
    assert DOMAIN.decode(torch.tensor([], dtype=torch.int64)) is None


def test_decoding_gives_the_canonical_form():
    assert DOMAIN.decode(tokens("OC(=O)C1=CC=CC=C1")) == Molecule("O=C(O)c1ccccc1")

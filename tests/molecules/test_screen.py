"""The hazard screen on the examples that the public lists name, on everyday medicines, and on drug-like molecules."""

from __future__ import annotations

import time

import pytest
from rdkit import Chem, rdBase

from genesis.domain import Screened
from genesis_domains.molecules import DOMAIN
from genesis_domains.molecules.molecule import Molecule
from genesis_domains.molecules.schedules import FAMILIES, LISTED
from genesis_domains.molecules.screen import screen

# one example for each family: those that the annexes name, or the smallest member of the class
EXAMPLES = {
    "CWC 1.A.1, 1.B.11-12": "CC(C)OP(C)(=O)F",
    "CWC 1.A.2": "CCOP(=O)(C#N)N(C)C",
    "CWC 1.A.3": "CCOP(C)(=O)SCCN(C(C)C)C(C)C",
    "CWC 1.A.4": "ClCCSCCCl",
    "CWC 1.A.5": "ClC=C[As](Cl)Cl",
    "CWC 1.A.6": "CN(CCCl)CCCl",
    "CWC 1.A.13-15": "CP(=O)(F)N=C(C)N(C)C",
    "CWC 1.A.16-17": "CN(C)C(=O)Oc1cccnc1C[N+](C)(C)C",
    "CWC 1.B.9": "CP(=O)(F)F",
    "CWC 1.B.10": "CCOP(C)OCCN(C(C)C)C(C)C",
    "CWC 2.A.1": "CCOP(=O)(OCC)SCCN(CC)CC",
    "CWC 2.B.4": "COP(C)(=O)OC",
    "CWC 2.B.5": "CN(C)P(=O)(Cl)Cl",
    "CWC 2.B.6": "COP(=O)(OC)N(C)C",
    "CWC 2.B.10, 2.B.12": "CC(C)N(CCCl)C(C)C",
    "CWC 2.B.11": "CC(C)N(CCO)C(C)C",
    "21 CFR 1308.11(h)(30)": "O=C(C)N(c1ccccc1)C1CCN(C)CC1",
}
SINGLE = {
    "FC(F)=C(C(F)(F)F)C(F)(F)F": "CWC 2.A.2 PFIB",
    "Cl[As](Cl)Cl": "CWC 2.B.7 arsenic trichloride",
    "OC1CN2CCC1CC2": "CWC 2.B.9 quinuclidin-3-ol",
    "OCCSCCO": "CWC 2.B.13 thiodiglycol",
    "O=C(Cl)Cl": "CWC 3.A.1 phosgene",
    "C#N": "CWC 3.A.3 hydrogen cyanide",
    "ClS(Cl)=O": "CWC 3.B.14 thionyl chloride",
    "OCCN(CCO)CCO": "CWC 3.B.17 triethanolamine",
}
EVERYDAY = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "chlorambucil": "O=C(O)CCCc1ccc(N(CCCl)CCCl)cc1",
    "cyclophosphamide": "O=P1(N(CCCl)CCCl)NCCCO1",
    "fosfomycin": "CC1OC1P(=O)(O)O",
    "alendronic acid": "NCCCC(O)(P(=O)(O)O)P(=O)(O)O",
    "dimethylaminoethanol": "CN(C)CCO",  # exempt
    "diethylaminoethanol": "CCN(CC)CCO",  # exempt
    "ranitidine": "CNC(=C[N+](=O)[O-])NCCSCc1ccc(CN(C)C)o1",
    "dichloroethyl ether": "ClCCOCCCl",
    "pethidine": "CCOC(=O)C1(c2ccccc2)CCN(C)CC1",
}


def mol(smiles: str) -> Chem.Mol:
    found = Chem.MolFromSmiles(smiles)
    assert found is not None
    return found


def test_every_family_finds_its_example() -> None:
    assert EXAMPLES.keys() == {family.entry for family in FAMILIES}
    for family in FAMILIES:
        pattern = Chem.MolFromSmarts(family.smarts)
        assert pattern is not None, family.name
        assert mol(EXAMPLES[family.entry]).HasSubstructMatch(pattern), family.name
        assert screen(mol(EXAMPLES[family.entry])) is not None, family.name


@pytest.mark.parametrize("smiles", SINGLE)
def test_single_chemicals_are_known_by_their_key(smiles: str) -> None:
    assert screen(mol(smiles)) == SINGLE[smiles]


def test_the_table_is_well_formed() -> None:
    assert len({listed.block for listed in LISTED}) == len(LISTED)
    assert all(len(listed.block) == 14 and listed.block.isupper() for listed in LISTED)


def test_salts_mixtures_isotopes_and_stereo_do_not_hide() -> None:
    assert screen(mol("Cl.CC(C)N(CCCl)C(C)C")) == screen(mol("CC(C)[NH+](CCCl)C(C)C")) is not None
    assert screen(mol("CCO.OCCSCCO")) == "CWC 2.B.13 thiodiglycol"
    assert screen(mol("[13CH2](O)CSCCO")) == "CWC 2.B.13 thiodiglycol"
    assert screen(mol("Cl/C=C/[As](Cl)Cl")) == screen(mol("ClC=C[As](Cl)Cl"))


@pytest.mark.parametrize("name", EVERYDAY)
def test_medicines_and_what_the_annex_exempts_pass(name: str) -> None:
    assert screen(mol(EVERYDAY[name])) is None


def test_the_domain_screens_items() -> None:
    assert isinstance(DOMAIN, Screened)
    assert DOMAIN.screen(Molecule.from_smiles("OCCSCCO")) == "CWC 2.B.13 thiodiglycol"
    assert DOMAIN.screen(Molecule.from_smiles("CCO")) is None


def test_drug_like_molecules_pass_quickly(training_smiles: list[str]) -> None:
    with rdBase.BlockLogs():
        mols = [mol(text) for text in training_smiles]
    screen(mols[0])
    began = time.process_time()
    flagged = [screen(each) for each in mols]
    seconds = time.process_time() - began
    assert sum(family is not None for family in flagged) <= len(mols) // 1_000
    assert len(mols) / seconds > 1_500

"""What the suite counts on a molecule, against known molecules and RDKit's plain functions."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import QED, Crippen, Descriptors, rdFingerprintGenerator

from genesis_domains.molecules import profile as module
from genesis_domains.molecules.profile import MEASURES, fingerprint, fragments, profile, scaffold

IMATINIB = "Cc1ccc(NC(=O)c2ccc(CN3CCN(C)CC3)cc2)cc1Nc1nccc(-c2cccnc2)n1"


def mol(smiles: str) -> Chem.Mol:
    return Chem.MolFromSmiles(smiles)


def test_scaffold_of_known_molecules() -> None:
    assert scaffold(mol("Cc1ccc(-c2ccccc2)cc1")) == "c1ccc(-c2ccccc2)cc1"
    assert scaffold(mol("CCc1ccccc1")) is None  # one ring is no scaffold
    assert scaffold(mol("CCO")) is None


def test_fragments_of_a_known_molecule() -> None:
    """An amide is cut between carbonyl and nitrogen; the numbers name the BRICS bond types."""
    pieces = ["[1*]C(=O)CC", "[15*]C1CCCCC1", "[4*]C[8*]", "[5*]N[5*]"]
    assert sorted(fragments(mol("CCC(=O)NCC1CCCCC1"))) == sorted(pieces)
    assert fragments(mol("CCCC")) == ["CCCC"]


def test_fingerprint_is_rdkits_packed() -> None:
    ours, theirs = (mol(IMATINIB), mol("CCOc1ccccc1"))
    packed = np.stack([fingerprint(ours), fingerprint(theirs)])
    x, y = np.unpackbits(packed, axis=1).astype(bool)
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    expected = DataStructs.TanimotoSimilarity(generator.GetFingerprint(ours), generator.GetFingerprint(theirs))
    assert packed.shape == (2, 128)
    assert (x & y).sum() / (x | y).sum() == pytest.approx(expected)


def test_profile_keeps_order_and_counts_what_was_asked() -> None:
    found = profile(["OCC", None, "C1CC", "c1ccccc1-c1ccccc1", "OCC", ""], ("[#7]",))
    assert found.asked == 6
    assert found.smiles == ["CCO", "c1ccc(-c2ccccc2)cc1", "CCO"]
    assert found.scaffolds == {"c1ccc(-c2ccccc2)cc1": 1}
    assert sum(found.fragments.values()) == 4  # biphenyl is cut in two
    assert found.passing == 3
    assert found.fingerprints.shape == (3, 128)
    assert set(found.values) == set(MEASURES) == {"logP", "SA", "QED", "weight"}
    ethanol = mol("CCO")
    assert found.values["logP"][0] == Crippen.MolLogP(ethanol)
    assert found.values["QED"][0] == QED.qed(ethanol)
    assert found.values["weight"][0] == Descriptors.MolWt(ethanol)


def test_without_properties_nothing_is_measured() -> None:
    found = profile(["CCO"], properties=False)
    assert found.values == {}
    assert found.passing == 0
    assert found.smiles == ["CCO"]


def test_a_profile_of_nothing_is_empty() -> None:
    for asked in ([], [None, "x"]):
        found = profile(asked, ())
        assert found.asked == len(asked)
        assert found.smiles == []
        assert found.fingerprints.shape == (0, 128)


@pytest.mark.parametrize(
    "odd", ["[H][H]", "[Na+].[Cl-]", "*", "[He]", "[2H]O", "C" * 300, "[Fe+2]", "F[P-](F)(F)(F)(F)F"]
)
def test_odd_molecules_are_measured_too(odd: str) -> None:
    assert np.isfinite(list(profile([odd], ("[#6]",)).values.values())).all()


def test_two_processes_find_what_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH_A_PROCESS", 100)
    asked = [*["CCO", "OCC", None, "not SMILES", "c1ccccc1C(=O)Nc1ccccc1"] * 102, "CCN", "CBr"]
    heard: list[tuple[int, int, str]] = []
    alone = profile(asked, ("[#7]", "CBr"), workers=1)
    together = profile(asked, ("[#7]", "CBr"), workers=2, progress=lambda *at: heard.append(at), stage="here")
    assert heard == [(500, 512, "here"), (512, 512, "here")]
    assert together.smiles == alone.smiles
    assert together.fragments == alone.fragments
    assert together.scaffolds == alone.scaffolds
    assert together.passing == alone.passing == 204
    assert (together.fingerprints == alone.fingerprints).all()
    assert all((together.values[name] == alone.values[name]).all() for name in MEASURES)

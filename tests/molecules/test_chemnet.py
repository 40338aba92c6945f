"""ChemNet against figures of fcd_torch 1.0.7 (torch 2.13, scipy 1.16), which were made once in another environment."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from genesis.errors import InputError, ResourceError
from genesis.metrics.frechet import frechet_distance
from genesis.metrics.threads import one_core
from genesis_domains.molecules.chemnet import END, SYMBOLS, UNKNOWN, WEIGHTS, ChemNet, find_weights, symbols

ALKANES = ["C" * n for n in range(1, 101)]
AMIDES = [f"{'C' * (1 + n % 9)}C(=O)N{'C' * (n // 9)}c1ccc(Br)cc1" for n in range(100)]
ALKANES_TO_AMIDES = 38.7590616391981
TRAIN_TO_SCAFFOLDS = 4.577562341852598  # the first 600 molecules of each file
TRAIN_TO_ALKANES = 71.43378130418067
ACTIVATIONS = {  # features 0, 100 and 511, and the norm of all
    "C": (-0.05680949613451958, -0.09743078798055649, -0.16618917882442474, 3.2212328910827637),
    "[Na+].[Cl-]": (-0.0007695421809330583, -0.04911225289106369, -0.1573602706193924, 3.372775077819824),
    "CC[Si](C)(C)C": (-0.016530150547623634, -0.07567224651575089, -0.35058608651161194, 4.949509620666504),
    "C[Al](C)C": (0.02772149257361889, -0.08628692477941513, -0.27545905113220215, 4.301767349243164),
    "ClC(Cl)Br": (0.2562130093574524, 0.02219378761947155, -0.2485542595386505, 5.114519119262695),
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C": (
        -0.6388463377952576,
        0.04700811952352524,
        0.14710061252117157,
        6.033038139343262,
    ),
    "C" * 349: (-0.017975380644202232, -0.011677591130137444, -0.022947968915104866, 2.1074302196502686),
    "C" * 350: (-0.017975380644202232, -0.011677591130137444, -0.022947968915104866, 2.1074302196502686),
    "C" * 400: (-0.017975380644202232, -0.011677591130137444, -0.022947968915104866, 2.1074302196502686),
}


@pytest.fixture(scope="module")
def net(chemnet: Path) -> ChemNet:
    return ChemNet(chemnet / WEIGHTS)


def test_symbols_follow_chemnets_own_rule() -> None:
    def read(smiles: str) -> list[str]:
        return [SYMBOLS[i] for i in symbols(smiles)]

    assert read("ClC=1") == ["Cl", "C", "=", "1", "."]
    assert read("[Na+].[Cl-]") == ["[", "N", "X", "+", "]", "."]  # of a mixture, the first component
    assert read("C[Al](Br)[Zr]") == ["C", "[", "X", "]", "(", "Br", ")", "[", "X", "]", "."]
    assert symbols("C" * 400) == [0] * 349 + [END]
    assert SYMBOLS[UNKNOWN] == "X"
    assert len(SYMBOLS) == len(set(SYMBOLS)) == 35


@pytest.mark.parametrize("together", [True, False])
def test_activations_are_those_of_fcd_torch(net: ChemNet, together: bool) -> None:
    """Together, the short ones wait for the longest; alone, each is cut to its own length."""
    texts = list(ACTIVATIONS)
    with one_core():
        found = net.activations(texts) if together else torch.cat([net.activations([text]) for text in texts])
    for row, (*few, norm) in zip(found, ACTIVATIONS.values(), strict=True):
        np.testing.assert_allclose(row[[0, 100, 511]], few, atol=3e-6)
        assert float(row.norm()) == pytest.approx(norm, rel=1e-6)


def test_distances_are_those_of_fcd_torch(net: ChemNet) -> None:
    heard: list[int] = []
    alkanes, amides = net.gaussian(ALKANES, heard.append), net.gaussian(AMIDES)
    assert frechet_distance(alkanes, amides) == pytest.approx(ALKANES_TO_AMIDES, rel=1e-6)
    assert alkanes.count == heard[-1] == 100


def test_distances_of_drug_like_molecules_are_those_of_fcd_torch(
    net: ChemNet, shared: Path, training_smiles: list[str]
) -> None:
    scaffolds = (shared / "reference" / "moses" / "test_scaffolds_5000.smi").read_text().split()[:600]
    train = net.gaussian(training_smiles[:600])
    assert frechet_distance(train, net.gaussian(scaffolds)) == pytest.approx(TRAIN_TO_SCAFFOLDS, rel=1e-6)
    assert frechet_distance(train, net.gaussian(ALKANES)) == pytest.approx(TRAIN_TO_ALKANES, rel=1e-6)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"anything")
    with pytest.raises(InputError, match=r"has SHA-256 ee0874170b7f.*, not a36658cc.*genesis data fetch chemnet"):
        ChemNet(tmp_path / WEIGHTS)


def test_weights_come_from_a_folder_or_from_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ResourceError, match="not in an installed fcd_torch; run `genesis data fetch chemnet`"):
        find_weights()
    installed = tmp_path / "fcd_torch"
    installed.mkdir()
    (installed / WEIGHTS).touch()
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: SimpleNamespace(submodule_search_locations=[str(installed)]) if name == "fcd_torch" else None,
    )
    assert find_weights() == find_weights(tmp_path) == installed / WEIGHTS
    (tmp_path / WEIGHTS).touch()
    assert find_weights(tmp_path) == tmp_path / WEIGHTS

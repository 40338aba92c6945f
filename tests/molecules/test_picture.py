"""The grid of structures: its size, its text, and that a failure leaves no half of a file."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from genesis.errors import GenesisError
from genesis_domains.molecules import picture
from genesis_domains.molecules.molecule import Molecule

SMILES = ["CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O", "C", "[Na+].[Cl-]", "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "OC(=O)c1ccccc1OC(C)=O"]
ITEMS = [Molecule.from_smiles(text) for text in SMILES]
CAPTIONS = [f"qed 0.{i} (asked 0.9)\nlogp 2.{i} (asked 2:3)" for i in range(5)]


def ink(image: Image.Image) -> int:
    """Pixels that are not white."""
    return int((np.asarray(image.convert("RGB")) != 255).any(-1).sum())


def test_a_png_has_a_cell_for_each_molecule(tmp_path: Path) -> None:
    picture.draw(ITEMS, CAPTIONS, tmp_path / "hits.png")
    with Image.open(tmp_path / "hits.png") as image:
        assert image.format == "PNG"
        height = picture.DRAWN + 2 * picture.LINE + picture.GAP
        assert image.size == (4 * picture.WIDTH, 2 * height)
        for i in range(8):
            left, top = i % 4 * picture.WIDTH, i // 4 * height
            drawn = image.crop((left, top, left + picture.WIDTH, top + picture.DRAWN))
            text = image.crop((left, top + picture.DRAWN, left + picture.WIDTH, top + height))
            assert (ink(drawn) > 20) == (i < 5)
            assert (ink(text) > 200) == (i < 5)


def test_captions_are_grey_and_may_be_absent(tmp_path: Path) -> None:
    picture.draw(ITEMS[1:2], ["methane"], tmp_path / "one.png")
    picture.draw(ITEMS[1:2], [""], tmp_path / "bare.png")
    with Image.open(tmp_path / "one.png") as image, Image.open(tmp_path / "bare.png") as bare:
        assert bare.size == (picture.WIDTH, picture.DRAWN)
        assert image.size == (picture.WIDTH, picture.DRAWN + picture.LINE + picture.GAP)
        text = np.asarray(image.convert("RGB").crop((0, picture.DRAWN, *image.size)))
        darkest = tuple(text.min((0, 1)).tolist())
        assert darkest == (89, 89, 89), "0.35 of 255"


def test_an_svg_when_the_target_says_so(tmp_path: Path) -> None:
    picture.draw(ITEMS, CAPTIONS, tmp_path / "hits.SVG")
    root = ElementTree.parse(tmp_path / "hits.SVG").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.attrib["width"] == f"{4 * picture.WIDTH}px"


def test_a_long_chain_does_not_shrink_the_others(tmp_path: Path) -> None:
    chain = Molecule.from_smiles("C" * 60)
    picture.draw([ITEMS[3]], [""], tmp_path / "alone.png")
    picture.draw([ITEMS[3], chain], ["", ""], tmp_path / "beside.png")
    with Image.open(tmp_path / "alone.png") as alone, Image.open(tmp_path / "beside.png") as beside:
        assert ink(beside.crop((0, 0, picture.WIDTH, picture.DRAWN))) == ink(alone)


def test_a_long_line_is_clipped() -> None:
    clipped = picture._clipped("a" * 60 + "\nshort").split("\n")
    assert clipped == ["a" * 37 + "...", "short"]
    assert len(clipped[0]) == picture.CHARACTERS


def test_a_molecule_is_not_changed_by_drawing_it(tmp_path: Path) -> None:
    before = ITEMS[0].mol.ToBinary()
    picture.draw(ITEMS[:1], ["x"], tmp_path / "one.png")
    assert ITEMS[0].mol.ToBinary() == before


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "hits.png").mkdir()
    with pytest.raises(GenesisError, match=r"could not write .*hits.png: .*; the file was not changed"):
        picture.draw(ITEMS[:1], ["x"], tmp_path / "hits.png")
    assert [p.name for p in tmp_path.iterdir()] == ["hits.png"]

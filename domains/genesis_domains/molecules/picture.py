"""A grid of structures, each with its lines of text below: PNG, or SVG when the target says so."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

from genesis.errors import GenesisError
from genesis_domains.molecules.molecule import Molecule

COLUMNS = 4
WIDTH, DRAWN = 280, 190  # pixels of a cell, and of the height that the structure has
LINE, GAP = 18, 14  # pixels of a line of text, and of the space around the text
BOND = 30  # pixels of the longest bond: a small molecule is not blown up to the size of its cell
TEXT = 14  # font size of the captions
GREY = (0.35, 0.35, 0.35)
CHARACTERS = 40  # of a caption's line: more does not fit a cell


def draw(items: Sequence[Molecule], captions: Sequence[str], target: Path) -> None:
    """Draw molecules in rows of four, in the order given; the file is written whole or not at all."""
    lines = max((caption.count("\n") + 1 for caption in captions if caption), default=0)
    text = lines * LINE + GAP if lines else 0
    columns = min(COLUMNS, len(items))
    size = (columns * WIDTH, -(-len(items) // columns) * (DRAWN + text), WIDTH, DRAWN + text)
    canvas = rdMolDraw2D.MolDraw2DSVG(*size) if target.suffix.lower() == ".svg" else rdMolDraw2D.MolDraw2DCairo(*size)
    options: Any = canvas.drawOptions()  # RDKit's stubs give every field the type of the whole
    options.legendFontSize = TEXT
    options.legendFraction = text / size[3]
    options.setLegendColour(GREY)
    options.padding = 0.08
    options.drawMolsSameScale = False  # one long chain would shrink all the others
    options.fixedBondLength = BOND
    canvas.DrawMolecules([_flat(item) for item in items], legends=[_clipped(caption) for caption in captions])
    canvas.FinishDrawing()
    drawing = canvas.GetDrawingText()
    _replace(target, drawing.encode() if isinstance(drawing, str) else drawing)


def _flat(item: Molecule) -> object:
    """The molecule with fresh coordinates in the plane, kekulised as chemists draw it."""
    mol = rdMolDraw2D.PrepareMolForDrawing(item.mol, kekulize=True)
    rdDepictor.StraightenDepiction(mol)
    return mol


def _clipped(caption: str) -> str:
    lines = caption.split("\n")
    return "\n".join(line if len(line) <= CHARACTERS else f"{line[: CHARACTERS - 3]}..." for line in lines)


def _replace(target: Path, content: bytes) -> None:
    part = target.with_name(f".{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        part.write_bytes(content)
        os.replace(part, target)
    except OSError as error:
        raise GenesisError(f"could not write {target}: {error.strerror or error}; the file was not changed") from None
    finally:
        part.unlink(missing_ok=True)

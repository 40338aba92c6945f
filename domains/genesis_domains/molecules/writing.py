"""Molecules into a file, whole or not at all: a temporary file beside the target, synced, then renamed.

``check_target`` finds out before the work what would stop the writing after it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor

from genesis.domain import Reading
from genesis.errors import GenesisError, UsageError
from genesis_domains.molecules.molecule import Molecule
from genesis_domains.molecules.records import Cell, free_name, pyarrow

STDOUT = "-"
SMILES = "smiles"  # the column of the molecules themselves


@dataclass(frozen=True, slots=True)
class Table:
    """Molecules and their columns, as long as one another."""

    items: Sequence[Molecule]
    columns: Mapping[str, Sequence[Cell]]

    def rows(self) -> Iterator[tuple[Cell, ...]]:
        """SMILES and cells of each molecule."""
        return zip((item.smiles for item in self.items), *self.columns.values(), strict=True)

    def titles(self) -> Sequence[Cell]:
        """The name of each molecule, where a column gives one."""
        return self.columns.get("name", [None] * len(self.items))


def write(
    items: Sequence[Molecule],
    target: Path | str,
    columns: Mapping[str, Sequence[Any]],
    *,
    suffix: str | None = None,
) -> None:
    """Molecules and their columns, in the format of the target's suffix, or of ``suffix`` (``-``: CSV by default).

    ``.smi`` has room for the column ``name`` only. A column called ``smiles`` is written as ``smiles.2``.
    """
    suffix = check_target(target, suffix)
    taken: dict[str, list[Cell]] = {SMILES: []}
    for name, values in columns.items():
        if len(values) != len(items):
            raise UsageError(f"column {name!r} has {len(values)} values for {len(items)} molecules")
        taken[free_name(name, list(taken))] = [_plain(value) for value in values]
    del taken[SMILES]
    table = Table(items, taken)
    if str(target) == STDOUT:
        _WRITERS[suffix](table, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    with _replacing(Path(target)) as out:
        _WRITERS[suffix](table, out)


def write_rejected(reading: Reading, target: Path | str) -> Path | None:
    """Write the refused rows to ``NAME.rejected.csv`` beside ``NAME.suffix``; None when there are none."""
    path = Path(target).with_name(Path(target).stem + ".rejected.csv")
    if not reading.rejected:
        return None
    check_target(path)
    with _replacing(path) as out, _text(out) as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("row", "text", "reason"))
        rows.writerows((r.row, _flat(r.text), _flat(r.reason)) for r in reading.rejected)
    return path


def check_target(target: Path | str, suffix: str | None = None) -> str:
    """The suffix whose format will be written; UsageError (ResourceError without pyarrow) when it could not be."""
    path = Path(target)
    stdout = str(target) == STDOUT
    suffix = (suffix or (".csv" if stdout else path.suffix)).lower()
    if not stdout and path.is_dir():
        raise UsageError(f"{path} is a folder; give a file, such as {path / 'molecules.csv'}")
    allowed = [s for s in _WRITERS if not (stdout and s == ".parquet")]
    if suffix not in allowed:
        where = "standard output" if stdout else path.name
        raise UsageError(
            f"cannot write {suffix or 'a name without a suffix'} to {where}; allowed: {', '.join(allowed)}"
        )
    if suffix == ".parquet":
        pyarrow()
    if stdout:
        return suffix
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no ordinary file; give another name, or - for standard output")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise UsageError(f"folder {folder} is not there; make it, or give another file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"folder {folder} may not be written by this user; give another file")
    return suffix


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when it is whole and on the disk; any error leaves what was there before."""
    path = path.resolve()  # a link keeps pointing, and the file it points at is replaced
    part = path.with_name(f".{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with part.open("xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise GenesisError(f"could not write {path}: {error.strerror or error}; the file was not changed") from None
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def _text(out: BinaryIO) -> Iterator[io.TextIOWrapper]:
    """``out`` as UTF-8 text; it stays open, and half an output is never flushed by a destructor."""
    text = io.TextIOWrapper(out, "utf-8", errors="replace", newline="", write_through=True)
    try:
        yield text
    finally:
        text.detach()


def _smi(table: Table, out: BinaryIO) -> None:
    with _text(out) as text:
        for item, title in zip(table.items, table.titles(), strict=True):
            name = _flat(title)
            text.write(f"{item.smiles}\t{name}\n" if name else f"{item.smiles}\n")


def _csv(table: Table, out: BinaryIO, delimiter: str = ",") -> None:
    with _text(out) as text:
        rows = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        rows.writerow((SMILES, *map(_flat, table.columns)))
        rows.writerows(map(_flat, row) for row in table.rows())


def _tsv(table: Table, out: BinaryIO) -> None:
    _csv(table, out, "\t")


def _json_lines(table: Table, out: BinaryIO) -> None:
    with _text(out) as text:
        for row in table.rows():
            text.write(json.dumps(dict(zip((SMILES, *table.columns), row, strict=True)), ensure_ascii=False) + "\n")


def _parquet(table: Table, out: BinaryIO) -> None:
    pa, pq = pyarrow()
    smiles = pa.array([item.smiles for item in table.items], pa.string())
    arrays = {SMILES: smiles, **{name: _array(pa, cells) for name, cells in table.columns.items()}}
    pq.write_table(pa.table(arrays), out, compression="zstd", write_page_checksum=True)


def _array(pa: Any, cells: Sequence[Cell]) -> Any:
    """One type a column: floats, integers, or text for everything else."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds == {int}:
        return pa.array(cells, pa.int64())
    if kinds and kinds <= {int, float}:
        return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
    return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())


def _sdf(table: Table, out: BinaryIO) -> None:
    """Mol blocks with 2-D coordinates; ``name`` is the title, each other column a field."""
    names = {name: re.sub(r"[<>\s]+", " ", name).strip() or "field" for name in table.columns if name != "name"}
    with _text(out) as text, rdBase.BlockLogs():
        for i, (item, title) in enumerate(zip(table.items, table.titles(), strict=True)):
            block, same = _block(item, _line(title))
            text.write(block)
            if not same:
                text.write(f">  <{SMILES}>\n{item.smiles}\n\n")
            for name, written in names.items():
                if value := _line(table.columns[name][i]):
                    text.write(f">  <{written}>\n{value}\n\n")
            text.write("$$$$\n")


def _block(item: Molecule, title: str) -> tuple[str, bool]:
    """A flat drawing as a mol block, and whether it reads back as the same molecule.

    Wedges cannot always say the stereo of a crowded ring system (1 of 6,000 drugs and screening compounds): such a one
    is drawn again by CoordGen, 20 times slower, which mostly can.
    """
    mol = Chem.Mol(item.mol)
    mol.SetProp("_Name", title)
    block, same = "", False
    preferred = rdDepictor.GetPreferCoordGen()
    try:
        for slow in (False, True):
            rdDepictor.SetPreferCoordGen(slow)
            rdDepictor.Compute2DCoords(mol)
            block = Chem.MolToMolBlock(mol)
            read = Chem.MolFromMolBlock(block)
            same = read is not None and Chem.MolToSmiles(read) == item.smiles
            if same:
                break
    finally:
        rdDepictor.SetPreferCoordGen(preferred)
    return block, same


_WRITERS: dict[str, Callable[[Table, BinaryIO], None]] = {
    ".smi": _smi,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
    ".jsonl": _json_lines,
    ".sdf": _sdf,
}


def _plain(value: Any) -> Cell:
    """A cell without numpy's types; a number that is not finite is missing, and text is what UTF-8 can write."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    return str(value).encode("utf-8", "replace").decode()


def _flat(cell: Cell) -> str:
    """A cell as one line; a float in the shortest form that reads back the same."""
    return "" if cell is None else " ".join(str(cell).splitlines())


def _line(cell: Cell) -> str:
    """A cell as a line of an SDF, where four dollars would end the record."""
    text = _flat(cell).strip()
    return f" {text}" if text.startswith(("$$$$", ">")) else text

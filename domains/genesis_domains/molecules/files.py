"""Molecules from files and into files: the suffix says the format, ``-`` is standard input or output.

    .smi .smiles .txt    a SMILES a line, then perhaps a name
    .csv .tsv            a header, one column of SMILES
    .parquet .jsonl      the same, as a table and as one object a line
    .sdf .mol            mol blocks; the fields of an SDF are its columns

Reading takes .gz, .xz and .bz2 as well. It never raises for a bad row and never drops one silently: what could not
become a molecule is in ``Reading.rejected`` with its reason. Writing is whole or not at all.
"""

from __future__ import annotations

import multiprocessing
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rdkit import Chem, rdBase

from genesis.domain import Reading, Rejected
from genesis.errors import EncodeError, GenesisError, InputError
from genesis_domains.molecules.molecule import Molecule
from genesis_domains.molecules.records import MAX_FIELDS, Cell, Record, opened, records
from genesis_domains.molecules.workers import in_order
from genesis_domains.molecules.writing import check_target, write, write_rejected

__all__ = ["batches", "check_target", "read", "typed", "write", "write_rejected"]

BATCH = 2_000  # rows a task: about 0.3 s of parsing
BATCH_CHARACTERS = 1 << 24  # of a task, whichever comes first: rows may be up to a megabyte
ALONE = 10 * BATCH  # rows parsed in this process first: for fewer, starting others costs more than it saves
MAX_WORKERS = 8  # one process hands out rows and collects molecules; it cannot feed more
MAX_BLOCK_ATOMS = 2_000  # with hydrogens; heavy atoms are counted after parsing
SPARE_BONDS = 50  # over 1.5 an atom, which a fullerene has: ring search is steep in a dense graph
TEXT_KEPT = 200  # characters of a rejected row
# a number as data files write it; 007, 1_000 and an identifier of more digits than a float holds are text
_NUMBER = re.compile(
    r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*(?:e[+-]?\d+)?|e[+-]?\d+)|\.\d+(?:e[+-]?\d+)?|0|[1-9]\d{0,14}|inf)|nan",
    re.ASCII | re.IGNORECASE,
)
_COUNTS = re.compile(r"M  V30 COUNTS +(\d+) +(\d+)")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What became of one record: a molecule with the cells of its mol block, or the reason why not."""

    molecule: Molecule | None
    reason: str = ""
    cells: dict[str, Cell] = field(default_factory=dict)


def read(source: Path | str, column: str | None = None, *, workers: int | None = None) -> Reading:
    """All molecules of a file with their other columns; a column of numbers is floats, NaN where it is empty.

    A drug-sized molecule takes about 30 KB of memory: for millions use ``batches``.
    """
    whole = Reading.joined(batches(source, column, workers=workers))
    whole.columns = {name: typed(cells) for name, cells in whole.columns.items()}
    return whole


def batches(source: Path | str, column: str | None = None, *, workers: int | None = None) -> Iterator[Reading]:
    """The file in order, at most ``BATCH`` rows at a time and in bounded memory; cells as they stand in the file.

    ``workers``: processes to parse a long file with, by default one for each processor.
    """
    with opened(source, column) as file:
        parse = _parse_blocks if file.holds_blocks else _parse_smiles
        groups = _grouped(records(file, column))
        handed: deque[list[Record]] = deque()
        fields: set[str] = set()

        def texts(part: Iterable[list[Record]]) -> Iterator[list[str]]:
            for group in part:
                handed.append(group)
                yield [record.text for record in group if not record.refused]

        here = map(parse, texts(islice(groups, ALONE // BATCH)))
        there = in_order(parse, texts(groups), workers or _processors())
        empty = True
        try:
            for outcomes in chain(here, there):
                empty = False
                part = _reading(handed.popleft(), outcomes)
                fields.update(part.columns)
                if file.holds_blocks and len(fields) > MAX_FIELDS:
                    raise InputError(f"{file.name} has more than {MAX_FIELDS:,} different fields; is it damaged?")
                yield part
        except BrokenProcessPool:
            raise GenesisError(
                f"a process that read {file.name} ended at or after row {handed[0][0].row if handed else 1}; a script "
                'needs the usual `if __name__ == "__main__":`; or read with workers=1'
            ) from None
        if empty:
            raise InputError(f"{file.name} holds no molecules")


def _grouped(found: Iterable[Record]) -> Iterator[list[Record]]:
    group: list[Record] = []
    size = 0
    for record in found:
        group.append(record)
        size += len(record.text) + sum(len(cell) for cell in record.cells.values() if isinstance(cell, str))
        if len(group) == BATCH or size > BATCH_CHARACTERS:
            yield group
            group, size = [], 0
    if group:
        yield group


def typed(cells: Sequence[Cell]) -> list[float] | list[str | None]:
    """Floats when every cell that is not empty is a number (NaN for the empty ones), else text (None for them)."""
    if any(cell is not None for cell in cells) and all(cell is None or _is_number(cell) for cell in cells):
        return [float("nan") if cell is None else float(cell) for cell in cells]
    return [None if cell is None else str(cell) for cell in cells]


def _is_number(cell: str | float) -> bool:
    if isinstance(cell, str):
        return _NUMBER.fullmatch(cell.strip()) is not None
    return isinstance(cell, float) or abs(cell) <= 2**53


def _processors() -> int:
    """How many processes are worth having here; a daemon (a data loader's worker) may not start any."""
    if multiprocessing.current_process().daemon:
        return 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MAX_WORKERS)


def _reading(group: Sequence[Record], outcomes: Sequence[Parsed]) -> Reading:
    """Molecules, columns and rejected rows of a batch; ``outcomes`` are those of the records not refused before."""
    reading = Reading()
    rows: list[Mapping[str, Cell]] = []
    rest = iter(outcomes)
    for record in group:
        outcome = Parsed(None, record.refused) if record.refused else next(rest)
        if outcome.molecule is None:
            reading.rejected.append(Rejected(record.row, record.text[:TEXT_KEPT].strip(), outcome.reason))
        else:
            reading.items.append(outcome.molecule)
            rows.append({**record.cells, **outcome.cells})
    for name in dict.fromkeys(name for row in rows for name in row):
        reading.columns[name] = [row.get(name) for row in rows]
    return reading


def _parse_smiles(texts: Sequence[str]) -> list[Parsed]:
    return [_attempt(_from_smiles, text) for text in texts]


def _parse_blocks(texts: Sequence[str]) -> list[Parsed]:
    with rdBase.BlockLogs():
        return [_attempt(_from_block, text) for text in texts]


def _attempt(parse: Any, text: str) -> Parsed:
    try:
        result: Parsed = parse(text)
    except (EncodeError, ValueError, RuntimeError) as error:  # RDKit raises the latter two on what it did not foresee
        return Parsed(None, next(iter(str(error).splitlines()), type(error).__name__))
    return result


def _from_smiles(text: str) -> Parsed:
    text = text.strip()
    if not (text.isascii() and text.isprintable()):
        raise EncodeError("not SMILES: characters that are not printable ASCII")
    rest = text.partition(" ")[2].lstrip()
    if rest and not rest.startswith("|"):  # RDKit would take it for a name
        raise EncodeError("not SMILES: more text after a space")
    return Parsed(Molecule.from_smiles(text))


def _from_block(text: str) -> Parsed:
    _check_size(text)
    supplier = Chem.SDMolSupplier()
    supplier.SetData(text)
    mol = supplier[0] if len(supplier) else None
    if mol is None:
        raise EncodeError(_why(text))
    cells: dict[str, Cell] = {}
    if title := mol.GetProp("_Name").strip() if mol.HasProp("_Name") else "":
        cells["name"] = title
    cells |= {name: value or None for name, value in mol.GetPropsAsDict(False, False, autoConvertStrings=False).items()}
    # some blocks pass that RDKit cannot read back, and coordinates are no part of the item: take the SMILES's molecule
    return Parsed(Molecule.from_smiles(Molecule.from_mol(mol).smiles), cells=cells)


def _check_size(block: str) -> None:
    """Refuse what would take RDKit minutes, by the counts the block itself declares (it reads exactly so many)."""
    lines = block.split("\n", 4)
    line = lines[3] if len(lines) > 3 else ""
    found = _COUNTS.search(block) if "V3000" in line else None
    try:
        atoms, bonds = (int(found[1]), int(found[2])) if found else (int(line[:3]), int(line[3:6]))
    except ValueError:
        raise EncodeError("not a mol block: its fourth line does not count atoms and bonds") from None
    if atoms > MAX_BLOCK_ATOMS:
        raise EncodeError(f"{atoms} atoms; at most {MAX_BLOCK_ATOMS} are read")
    if bonds > 1.5 * atoms + SPARE_BONDS:
        raise EncodeError(f"{bonds} bonds between {atoms} atoms: no molecule")


def _why(block: str) -> str:
    """Why RDKit refuses a mol block, in its own words and one line."""
    mol = Chem.MolFromMolBlock(block, sanitize=False, removeHs=False)
    problems = [p.Message() for p in Chem.DetectChemistryProblems(mol)] if mol is not None else []
    return problems[0].splitlines()[0] if problems else "not a mol block that RDKit can read"

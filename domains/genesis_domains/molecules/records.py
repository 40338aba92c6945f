"""Files as records: the text of one molecule and its extra cells, in bounded memory, before any chemistry.

A row that cannot be taken apart is a record with ``refused`` set; a file that cannot is an InputError. What compression
a file has is read from its first bytes, what format from its suffix.
"""

from __future__ import annotations

import bz2
import contextlib
import csv
import difflib
import gzip
import importlib
import io
import json
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from genesis.errors import InputError, ResourceError, UsageError, suggest

MAX_ROW = 1_000_000  # bytes of one row or SDF record; a row of 10,000 descriptors is about 200 KB
MAX_LINES = 20  # lines of one CSV row; beyond that a quote was not closed, and rows would vanish in a cell
MAX_FIELDS = 1_000  # different fields of a JSON lines or SDF file, where each row may bring its own
SHOWN = 20  # columns named in a message
SHOWN_BYTES = 200  # of a row that cannot be taken apart
SMILES_COLUMNS = ("smiles", "canonical_smiles", "isomeric_smiles")  # looked for in this order, in any case
BATCH = 2_000  # rows of a Parquet batch

Cell = str | float | int | None
_MAGIC: dict[bytes, tuple[str, Callable[[BinaryIO], Any]]] = {
    b"\x1f\x8b": (".gz", gzip.open),
    b"\xfd7zXZ\0": (".xz", lzma.open),
    b"BZh": (".bz2", bz2.open),
}
_SQUEEZED = tuple(suffix for suffix, _ in _MAGIC.values())


@dataclass(frozen=True, slots=True)
class Record:
    """Row ``row`` of a file, from 1: a SMILES or a mol block, and the other cells by column name."""

    row: int
    text: str
    cells: Mapping[str, Cell] = field(default_factory=dict)
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """An opened file: its name for messages, the suffix of its format, its bytes after decompression."""

    name: str
    suffix: str
    stream: BinaryIO

    @property
    def holds_blocks(self) -> bool:
        """Whether the records are mol blocks rather than SMILES."""
        return self.suffix in (".sdf", ".mol")


class TooLong(Exception):
    """A row is over the cap; it has been passed over."""


class Lines:
    """The lines of a byte stream as text. ``begin`` starts a record; one over the caps raises TooLong once.

    Bytes that are not UTF-8 become U+FFFD: a name survives with a mark, and a SMILES with one is refused.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.begin()
        head = self._guarded(lambda: source.stream.peek(4))  # type: ignore[attr-defined]
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise InputError(f"{source.name} is UTF-16 text; save it as UTF-8")
        if head[:3] == b"\xef\xbb\xbf":
            source.stream.read(3)

    def begin(self) -> None:
        """The next line is the first of a record."""
        self.used = self.count = 0
        self.head = ""  # of the record, to show when it is refused

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        line: bytes = self._guarded(lambda: self.source.stream.readline(MAX_ROW + 1 - self.used))
        self.used += len(line)
        self.count += 1
        if self.count == 1:
            self.head = line[:SHOWN_BYTES].decode("utf-8", "replace")
        if self.used > MAX_ROW:
            while line and not line.endswith(b"\n"):
                line = self._guarded(lambda: self.source.stream.readline(MAX_ROW))
            raise TooLong(f"a row of more than {MAX_ROW:,} bytes")
        if not line:
            raise StopIteration
        return line.decode("utf-8", "replace")

    def _guarded(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise InputError(f"{self.source.name} is damaged or cut short: {error}") from None


@contextlib.contextmanager
def opened(source: Path | str, column: str | None = None) -> Iterator[Source]:
    """Open a path, or ``-`` for standard input, whose format is guessed from its first bytes."""
    if str(source) == "-":
        stdin: Any = sys.stdin.buffer
        stream = _decompressed(stdin if hasattr(stdin, "peek") else io.BufferedReader(stdin), "standard input")
        yield Source("standard input", _sniffed(stream, column), stream)
        return
    path = Path(source)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file")
    suffixes = [s.lower() for s in path.suffixes]
    squeezed = suffixes.pop() if suffixes and suffixes[-1] in _SQUEEZED else ""
    suffix = {".smiles": ".smi", ".txt": ".smi"}.get(suffixes[-1], suffixes[-1]) if suffixes else ""
    if suffix not in READERS and not path.is_fifo():
        raise InputError(
            f"{path.name}: no reader for {suffix or 'a name without a suffix'}; "
            f"allowed: {', '.join(SUFFIXES)}, each also with {', '.join(_SQUEEZED)}"
        )
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    with file:
        stream = _decompressed(file, path.name, squeezed)
        with contextlib.closing(stream):
            yield Source(path.name, suffix or _sniffed(stream, column), stream)


def _decompressed(stream: Any, name: str, squeezed: str = "") -> Any:
    try:
        head = stream.peek(6)
        for magic, (_, opener) in _MAGIC.items():
            if head.startswith(magic):
                return opener(stream)
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}") from None
    if squeezed:
        raise InputError(f"{name} is called {squeezed} but does not begin like one; is it damaged, or only misnamed?")
    return stream


def _sniffed(stream: Any, column: str | None) -> str:
    head: bytes = stream.peek(4096)
    if head.startswith(b"PAR1"):
        raise InputError("Parquet cannot be read from standard input; give a file")
    if head.lstrip().startswith(b"{"):
        return ".jsonl"
    if b"V2000" in head or b"V3000" in head:
        return ".sdf"
    first = head.split(b"\n", 1)[0].decode("utf-8", "replace").removeprefix("\ufeff")
    delimiter = "\t" if "\t" in first else ","
    names = [name.strip().strip('"').lower() for name in first.split(delimiter)]
    if column is None and not set(names) & set(SMILES_COLUMNS):
        return ".smi"
    return ".tsv" if delimiter == "\t" else ".csv"


def records(source: Source, column: str | None) -> Iterator[Record]:
    """The records of an opened source, in order."""
    if column is not None and source.suffix in (".smi", ".sdf", ".mol"):
        raise UsageError(f"column {column!r} was asked for, but {source.name} has no columns to choose from")
    return READERS[source.suffix](source, column)


def _smiles(source: Source, column: str | None) -> Iterator[Record]:
    """A SMILES a line, then perhaps a name; ``#`` begins a comment line, and a first line may be a header."""
    lines = Lines(source)
    for row, line in _each_row(lines):
        if isinstance(line, TooLong):
            yield Record(row, lines.head, refused=str(line))
            continue
        text, _, name = line.strip().replace("\t", " ", 1).partition(" ")
        if not text or text.startswith("#") or (row == 1 and text.lower() in SMILES_COLUMNS):
            continue
        if name.startswith("|"):
            yield Record(row, f"{text} {name}")  # ChemAxon's extension belongs to the structure
        else:
            yield Record(row, text, {"name": name.strip()} if name.strip() else {})


def _table(source: Source, column: str | None) -> Iterator[Record]:
    lines = Lines(source)
    first = _header_line(lines)
    delimiter = "\t" if source.suffix == ".tsv" else _delimiter(first)
    header = _unique([name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])])
    key = chosen(header, column, source.name)
    at = header.index(key)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    row = 0
    while True:
        lines.begin()
        try:
            cells = next(rows)
        except StopIteration:
            return
        except (TooLong, csv.Error) as error:
            row += 1
            yield Record(row, lines.head, refused=f"the row cannot be taken apart: {error}")
            continue
        if not any(cells):
            continue
        while len(cells) > len(header) and not cells[-1]:
            cells.pop()
        row += 1
        if lines.count > MAX_LINES:
            yield Record(row, cells[0], refused=f"the row runs over {lines.count} lines: a quote is not closed")
        elif len(cells) > len(header):
            refused = f"{len(cells)} cells in a row, {len(header)} columns in the header"
            yield Record(row, cells[at], refused=refused)
        else:
            cells += [""] * (len(header) - len(cells))
            others = {name: cell or None for name, cell in zip(header, cells, strict=True) if name != key}
            yield Record(row, cells[at], others)


def _header_line(lines: Lines) -> str:
    try:
        return next(line for line in lines if line.strip())
    except StopIteration:
        raise InputError(f"{lines.source.name} is empty") from None
    except TooLong as error:
        raise InputError(f"{lines.source.name} has no header: {error}") from None


def _delimiter(header: str) -> str:
    """A comma, unless only another separator occurs: spreadsheets of half the world write semicolons."""
    return next((d for d in ",;\t|" if d in header), ",")


def _json_lines(source: Source, column: str | None) -> Iterator[Record]:
    key: str | None = None
    fields: set[str] = set()
    lines = Lines(source)
    for row, line in _each_row(lines):
        if isinstance(line, TooLong):
            yield Record(row, lines.head, refused=str(line))
            continue
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Record(row, line, refused=f"not JSON: {error}")
            continue
        if not isinstance(found, dict):
            yield Record(row, line, refused=f"a JSON {type(found).__name__} where an object was expected")
            continue
        key = key or chosen(list(found), column, source.name)
        text = found.pop(key, None)
        _count_fields(fields, found, source.name)
        cells = {name: _cell(value) for name, value in found.items()}
        yield Record(row, text, cells) if isinstance(text, str) else _not_text(row, text, key)


def _parquet(source: Source, column: str | None) -> Iterator[Record]:
    pa, pq = pyarrow()
    row = 0
    try:
        with pq.ParquetFile(source.stream, page_checksum_verification=True) as file:
            names = _unique(file.schema_arrow.names)
            key = chosen(names, column, source.name)
            for batch in file.iter_batches(batch_size=BATCH):
                columns = {n: batch.column(i).to_pylist() for i, n in enumerate(names)}
                texts = columns.pop(key)
                for i, text in enumerate(texts):
                    row += 1
                    cells = {name: _cell(values[i]) for name, values in columns.items()}
                    yield Record(row, text, cells) if isinstance(text, str) else _not_text(row, text, key)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{source.name} is not a readable Parquet file: {_first_line(error)}") from None


def pyarrow() -> tuple[ModuleType, ModuleType]:
    """pyarrow and its Parquet module: 166 MB that only Parquet needs."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ResourceError('Parquet needs pyarrow: `pip install "genesis-engine[parquet]"`; or use .csv') from None


def _blocks(source: Source, column: str | None) -> Iterator[Record]:
    """The text of each record of an SDF, without its ``$$$$``; one that is too long is passed over."""
    row, kept, size, refused = 1, list[str](), 0, ""
    for _, line in _each_row(Lines(source)):
        if isinstance(line, TooLong):
            refused = str(line)
        elif line.rstrip() == "$$$$":
            yield Record(row, "\n".join(kept) + "\n", refused=refused)
            row, kept, size, refused = row + 1, [], 0, ""
        elif not refused:
            size += len(line)
            kept.append(line.rstrip("\r\n"))
            if size > MAX_ROW:
                kept, refused = [], f"a record of more than {MAX_ROW:,} bytes"
    if refused or any(map(str.strip, kept)):
        yield Record(row, "\n".join(kept) + "\n", refused=refused)


READERS: dict[str, Callable[[Source, str | None], Iterator[Record]]] = {
    ".smi": _smiles,
    ".csv": _table,
    ".tsv": _table,
    ".parquet": _parquet,
    ".jsonl": _json_lines,
    ".sdf": _blocks,
    ".mol": _blocks,
}
SUFFIXES = (".smi", ".smiles", ".txt", ".csv", ".tsv", ".parquet", ".jsonl", ".sdf", ".mol")


def chosen(names: Sequence[str], column: str | None, file: str) -> str:
    """The column that holds SMILES: the one asked for, else one that is called so; InputError lists what there is."""
    lowered = {name.lower(): name for name in reversed(names)}
    if column is not None:
        if column in names:
            return column
        if column.lower() in lowered:
            return lowered[column.lower()]
        shown = {*names[:SHOWN], *difflib.get_close_matches(column, names, n=3, cutoff=0.5)}
        raise InputError(f"{file} has no column {_short(column)!r}; {suggest(_short(column), map(_short, shown))}")
    for name in SMILES_COLUMNS:
        if name in lowered:
            return lowered[name]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    listed = ", ".join(_short(name) for name in names[:SHOWN]) or "none"
    raise InputError(f"{file} has no column called smiles; name the one that holds them with --column: {listed}{more}")


def _short(name: str) -> str:
    """A column name fit for a message: a file that is no table has columns of kilobytes."""
    return "".join(c if c.isprintable() else "?" for c in name[:40])


def _unique(names: Sequence[str]) -> list[str]:
    """Names with a repeated one called ``name.2``; an empty one is called by its place."""
    found: list[str] = []
    for place, name in enumerate(names, 1):
        found.append(free_name(name or f"column{place}", found))
    return found


def free_name(name: str, taken: Sequence[str]) -> str:
    """``name``, or ``name.2``, ``name.3`` ... when it is taken."""
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}.{number}"
    return candidate


def _each_row(lines: Lines) -> Iterator[tuple[int, str | TooLong]]:
    """Each line with its number, or the TooLong in its place."""
    row = 0
    while True:
        row += 1
        lines.begin()
        try:
            yield row, next(lines)
        except StopIteration:
            return
        except TooLong as error:
            yield row, error


def _count_fields(fields: set[str], found: dict[str, Any], file: str) -> None:
    fields.update(found)
    if len(fields) > MAX_FIELDS:
        raise InputError(f"{file} has more than {MAX_FIELDS:,} different fields; is the layout the other way round?")


def _cell(value: Any) -> Cell:
    if isinstance(value, bool):
        return str(value).lower()
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _not_text(row: int, value: Any, key: str) -> Record:
    what = "empty" if value is None else "not text"
    return Record(row, "" if value is None else str(value), refused=f"column {key!r} is {what}")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

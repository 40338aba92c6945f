"""Files of texts: what each suffix means, read in parts and written whole or not at all.

``.txt`` is one text, or several with a line ``%`` between two of them; ``--column line`` makes each line a text.
``.csv``, ``.tsv`` and ``.jsonl`` hold a text a row, beside it a ``style`` and other columns. In a folder, the folder of
a file names its style.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genesis.domain import Reading, Rejected
from genesis.errors import EncodeError, GenesisError, InputError, UsageError, suggest
from genesis_domains.text.domain import Text

TABLES = {".csv": ",", ".tsv": "\t"}
LINES = (".jsonl", ".ndjson")
SUFFIXES = (".txt", *TABLES, *LINES)
NAMES = ("text", "sentence", "content", "name")  # of the column of texts, the first that is there
BETWEEN = "%"
BATCH = 2_000  # texts of a part
LARGEST = 1 << 30  # bytes of a file
Row = tuple[str | None, Mapping[str, Any]]


def read(source: Path, column: str | None = None) -> Reading:
    """All texts of a file or a folder."""
    return Reading.joined(batches(source, column))


def batches(source: Path, column: str | None = None) -> Iterator[Reading]:
    """The same in order, at most ``BATCH`` texts at a time."""
    inside = source.is_dir()
    files = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES) if inside else [source]
    part, rows, number = Reading(), list[Mapping[str, Any]](), 0

    def finished() -> Reading:
        for name in dict.fromkeys(name for row in rows for name in row):
            part.columns[name] = [row.get(name) for row in rows]
        return part

    for file in files:
        own = file.parent.name if inside and file.parent != source else ""
        for text, columns in _rows(file, column):
            number += 1
            try:
                if text is None:
                    raise EncodeError("no text in this row")
                part.items.append(Text(text, str(columns.get("style") or columns.get("asked_style") or own)).check())
                rows.append(columns)
            except EncodeError as error:
                said = (text or json.dumps(columns))[:80].encode(errors="replace").decode()
                part.rejected.append(Rejected(number, said or "(empty)", str(error)))
            if len(part.items) >= BATCH:
                yield finished()
                part, rows = Reading(), []
    if part.items or part.rejected:
        yield finished()
    if not number:
        raise InputError(f"{source}: no texts in it; read are {', '.join(SUFFIXES)}")


def _rows(file: Path, column: str | None) -> Iterator[Row]:
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{file.name}: unknown suffix {suffix or 'none'!r}; read are {', '.join(SUFFIXES)}")
    content = _content(file)
    if suffix in LINES:
        yield from _objects(content, column or "text")
    elif suffix in TABLES:
        yield from _table(content, TABLES[suffix], column, file)
    elif column == "line":
        yield from ((line, {}) for line in content.splitlines() if line)
    elif column in (None, "text"):
        yield from ((text.strip("\n"), {}) for text in f"\n{content}\n".split(f"\n{BETWEEN}\n"))
    else:
        raise UsageError(f"--column {column}: a .txt has the columns text (the whole of it) and line (each line)")


def _content(file: Path) -> str:
    try:
        if file.stat().st_size > LARGEST:
            raise InputError(f"{file}: more than {LARGEST >> 20:,} MB; split it into a folder of files")
        return file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{error.object[error.start]:02x} at {error.start:,}"
        raise InputError(f"{file}: not UTF-8 ({byte}); convert it first: iconv -f latin1 -t utf-8") from None
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None


def _objects(content: str, column: str) -> Iterator[Row]:
    for line in filter(str.strip, content.split("\n")):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not isinstance(found.get(column), str):
            yield None, {"line": line[:200]}
        else:
            yield found.pop(column), found


def _table(content: str, between: str, column: str | None, file: Path) -> Iterator[Row]:
    table = csv.DictReader(io.StringIO(content, newline=""), delimiter=between)
    names = table.fieldnames or []
    column = column or next((name for name in NAMES if name in names), names[0] if len(names) == 1 else None)
    if column not in names:
        raise InputError(f"{file.name}: no column {column or 'text'!r}; {suggest(column or 'text', names)}")
    try:
        for row in table:
            row.pop(None, None)
            yield row.pop(column) or "", row
    except csv.Error as error:
        raise InputError(f"{file.name}: line {table.line_num}: {error}") from None


def check_target(target: Path) -> None:
    """UsageError now if ``write`` could not write there later."""
    if target == Path("-"):
        return
    if target.suffix.lower() not in SUFFIXES:
        raise UsageError(f"cannot write {target.name!r}; allowed: {', '.join(SUFFIXES)}, or - for standard output")
    if target.is_dir():
        raise UsageError(f"cannot write {target}: it is a folder")
    if not target.resolve().parent.is_dir():
        raise UsageError(f"cannot write {target}: folder {target.resolve().parent} is not there; make it first")


def write(items: Sequence[Text], target: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Texts with their columns, whole or not at all; ``-`` is standard output."""
    check_target(target)
    suffix = target.suffix.lower()
    cells = [{name: values[i] for name, values in columns.items()} for i in range(len(items))]
    styles = {"style": [item.style for item in items]} if "style" not in columns and any(i.style for i in items) else {}
    rows = [{"text": item.text, **{n: v[i] for n, v in styles.items()}, **cells[i]} for i, item in enumerate(items)]
    if suffix in LINES:
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    elif suffix in TABLES:
        out = io.StringIO(newline="")
        table = csv.DictWriter(out, list(rows[0]) if rows else ["text"], delimiter=TABLES[suffix])
        table.writeheader()
        table.writerows(rows)
        content = out.getvalue()
    else:
        content = _plain(items)
    if target == Path("-"):
        sys.stdout.write(content)
        return
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_text(content, encoding="utf-8", newline="")
        os.replace(part, target)
    except OSError as error:
        raise GenesisError(f"could not write {target}: {error.strerror or error}; nothing was changed") from None
    finally:
        part.unlink(missing_ok=True)


def _plain(items: Iterable[Text]) -> str:
    texts = [item.text for item in items]
    if any(BETWEEN in text.split("\n") for text in texts):
        raise UsageError(f"a text has a line {BETWEEN!r}, which stands between the texts of a .txt; write a .jsonl")
    return f"\n{BETWEEN}\n".join(texts) + "\n"

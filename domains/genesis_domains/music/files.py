"""Files and folders of scores: what each suffix means, read in parts and written whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from genesis.domain import Reading, Rejected
from genesis.errors import EncodeError, GenesisError, InputError, UsageError
from genesis_domains.music import midi, musicxml, notation, records
from genesis_domains.music.score import Origin, Score

MIDI = (".mid", ".midi")
MUSICXML = (".mxl", ".musicxml", ".xml")
WRITTEN = {".abc": "abc", ".krn": "humdrum"}
LINES = (".jsonl", ".ndjson")
READ = (*MIDI, *MUSICXML, *WRITTEN, *LINES)
ONE = (*MIDI, ".musicxml")  # files of one score that can be written
BATCH = 500  # scores of a part
LONGEST_LINE = 8 << 20


def read(source: Path, column: str | None = None) -> Reading:
    """All scores of a file, or of the files under a folder, whose name is then the style."""
    return Reading.joined(batches(source, column))


def batches(source: Path, column: str | None = None) -> Iterator[Reading]:
    """The same in order, at most ``BATCH`` scores at a time."""
    if column is not None:
        raise UsageError(f"--column {column}: files of scores have no columns to choose from; leave it out")
    if source.is_dir():
        files = sorted(p for p in source.rglob("*") if p.suffix.lower() in READ and not p.name.startswith("."))
        if not files:
            raise InputError(f"{source}: no scores in it; read are {', '.join(READ)}")
    else:
        files = [source]
    empty = True
    for part in _parts(_rows(files, source)):
        empty = False
        yield part
    if empty:
        raise InputError(f"{source.name} holds no scores")


def _parts(rows: Iterable[tuple[Score | Rejected, Mapping[str, Any]]]) -> Iterator[Reading]:
    part, cells = Reading(), list[Mapping[str, Any]]()

    def finished() -> Reading:
        for name in dict.fromkeys(name for row in cells for name in row):
            part.columns[name] = [row.get(name) for row in cells]
        return part

    for found, columns in rows:
        if isinstance(found, Rejected):
            part.rejected.append(found)
        else:
            part.items.append(found)
            cells.append(columns)
        if len(part.items) >= BATCH:
            yield finished()
            part, cells = Reading(), []
    if part.items or part.rejected:
        yield finished()


def _rows(files: Sequence[Path], source: Path) -> Iterator[tuple[Score | Rejected, Mapping[str, Any]]]:
    number = 0
    for file in files:
        suffix = file.suffix.lower()
        style = (
            file.parent.name if source.is_dir() and file.parent != source else source.name if source.is_dir() else ""
        )
        if suffix in LINES:
            for text in _lines(file):
                number += 1
                if text.strip():
                    yield _from_line(number, text)
            continue
        if suffix not in READ:
            raise InputError(f"{file.name}: unknown suffix {suffix or 'none'!r}; read are {', '.join(READ)}")
        found = _from_notation(file, WRITTEN[suffix], style) if suffix in WRITTEN else _from_one(file, suffix, style)
        for one in found:
            number += 1
            if isinstance(one, Score):
                yield one, {}
            else:
                yield Rejected(number, file.name, one), {}


def _lines(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            while text := lines.readline(LONGEST_LINE):
                yield text
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None


def _from_line(number: int, text: str) -> tuple[Score | Rejected, Mapping[str, Any]]:
    try:
        found = json.loads(text)
        if not isinstance(found, dict) or not isinstance(found.get("score"), dict):
            raise EncodeError('no object with a "score" in it')
        score = records.from_json(found.pop("score"))
        if not score.origin.style and isinstance(style := found.get("asked_style"), str):
            score = replace(score, origin=replace(score.origin, style=style))
    except (EncodeError, ValueError, RecursionError) as error:
        return Rejected(number, text[:80].strip(), str(error)), {}
    return score, found


def _from_one(file: Path, suffix: str, style: str) -> Iterator[Score | str]:
    """The score of a file that holds one."""
    read, largest = (midi.from_midi, midi.LARGEST) if suffix in MIDI else (musicxml.from_musicxml, musicxml.LARGEST)
    try:
        yield read(_content(file, largest), Origin(style=style, source=file.name))
    except EncodeError as error:
        yield str(error)


def _content(file: Path, largest: int) -> bytes:
    """The bytes of a file, or one more than the largest that is read."""
    try:
        with file.open("rb") as stream:
            return stream.read(largest + 1)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None


def _from_notation(file: Path, kind: str, style: str) -> Iterator[Score | str]:
    content = _content(file, notation.LARGEST)
    try:
        found = notation.parse(content, kind)
    except EncodeError as error:
        yield str(error)
        return
    for number, one in enumerate(found):
        name = file.name if len(found) == 1 else f"{file.name}:{number + 1}"
        try:
            yield notation.score_of(one, Origin(style=style, source=name))
        except EncodeError as error:
            yield str(error)


def check_target(target: Path, count: int = 1) -> None:
    """UsageError now if ``write`` could not write ``count`` scores there later."""
    suffix = target.suffix.lower()
    if not suffix or target.is_dir():
        if target.exists() and not target.is_dir():
            raise UsageError(f"cannot write into {target}: it is a file; give a folder, or a suffix")
        if target.is_dir() and any(target.iterdir()):
            raise UsageError(f"cannot write into {target}: the folder is not empty; choose another one")
    elif suffix not in (*ONE, *LINES):
        raise UsageError(f"cannot write {target.name!r}; allowed: {', '.join((*ONE, *LINES))}, or a folder")
    elif suffix in ONE and count > 1:
        raise UsageError(f"{target.name} holds one score, and {count:,} are to be written; give a folder or a .jsonl")
    if not target.resolve().parent.is_dir():
        raise UsageError(f"cannot write {target}: folder {target.resolve().parent} is not there; make it first")


def write(items: Sequence[Score], target: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Scores into a file, or a file each into a folder with ``report.json`` beside them."""
    check_target(target, len(items))
    suffix = target.suffix.lower()
    rows = [{name: cells[i] for name, cells in columns.items()} for i in range(len(items))]
    part = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        if not suffix:
            _write_folder(items, part, rows)
            if target.exists():
                target.rmdir()
        elif suffix in LINES:
            lines = (records.line(item, row) for item, row in zip(items, rows, strict=True))
            part.write_text("".join(f"{text}\n" for text in lines), encoding="utf-8")
        else:
            part.write_bytes(_one(items[0], suffix))
        os.replace(part, target)
    except OSError as error:
        raise GenesisError(f"could not write {target}: {error.strerror or error}; nothing was changed") from None
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _one(item: Score, suffix: str) -> bytes:
    return midi.to_midi(item) if suffix in MIDI else notation.to_musicxml(item)


def _write_folder(items: Sequence[Score], part: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    part.mkdir()
    report = []
    for number, (item, row) in enumerate(zip(items, rows, strict=True)):
        name = f"{number:04d}.mid"
        (part / name).write_bytes(midi.to_midi(item))
        report.append({"file": name, **row})
    (part / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

"""Files of images: JSON lines, archives, folders, single pictures.

A folder gives its images the names of its sub-folders as labels, or what ``captions.jsonl`` says: lines with ``file``
(or ``file_name``) and ``prompt`` (or ``text``, ``caption``) and ``label``. All images of a folder or an archive are
brought to one shape: that of the first when all have it, else 64 x 64 in colour.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from genesis.domain import Reading, Rejected
from genesis.errors import EncodeError, InputError, UsageError
from genesis_domains.images.image import MAX_BYTES, SIDE, Image, channels_of, opened, unpacked

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
CAPTIONS = ("captions.jsonl", "metadata.jsonl")
PART = 1_000  # images read together
MAX_LINE = 16 << 20
Source = tuple[str, Callable[[], bytes]]  # a name, and what reads it


def read(source: Path) -> Reading:
    """All of a file; bad rows are collected."""
    return Reading.joined(batches(source))


def batches(source: Path) -> Iterator[Reading]:
    """The same a thousand rows at a time."""
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    rows = _lines(source) if source.suffix.lower() == ".jsonl" else _pictures(source)
    part, seen = Reading(), 0
    for row, name, found in rows:
        seen += 1
        if isinstance(found, Image):
            part.items.append(found)
        else:
            part.rejected.append(Rejected(row, name[:200], str(found)))
        if seen % PART == 0:
            yield part
            part = Reading()
    if seen == 0:
        raise InputError(f"{source}: no image in it; {', '.join(PICTURES)} are read, from folders, .zip and .jsonl too")
    yield part


def one(source: Path) -> Image:
    """The only image of a file; EncodeError says why there is none."""
    if not source.is_file():
        raise EncodeError(f"{source}: no such image file")
    try:
        return Image.of(unpacked(opened(_limited(source)), None, None))
    except EncodeError as error:
        raise EncodeError(f"{source}: {error}") from None


def _lines(source: Path) -> Iterator[tuple[int, str, Image | EncodeError]]:
    with source.open("rb") as file:
        for row, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                data = base64.b64decode(entry["image"], validate=True)
                pixels = unpacked(opened(data), None, None)
                label, prompt = (str(entry.get(n) or entry.get(f"asked_{n}") or "") for n in ("label", "prompt"))
                yield row, "", Image.of(pixels, label, prompt)
            except EncodeError as error:
                yield row, line[:60].decode(errors="replace"), error
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
                reason = EncodeError(f'no line like {{"image": "base64 of a PNG", "label": "..."}} ({error!r:.60})')
                yield row, line[:60].decode(errors="replace"), reason


def _pictures(source: Path) -> Iterator[tuple[int, str, Image | EncodeError]]:
    if source.is_dir():
        files = sorted(p for p in source.rglob("*") if p.suffix.lower() in PICTURES and p.is_file())
        named: list[Source] = [(p.relative_to(source).as_posix(), lambda p=p: _limited(p)) for p in files]  # type: ignore[misc]
        yield from _alike(named, _captions(_beside(source)))
    elif source.suffix.lower() == ".zip":
        try:
            with zipfile.ZipFile(source) as archive:
                entries = [e for e in archive.infolist() if Path(e.filename).suffix.lower() in PICTURES]
                named = [(e.filename, lambda e=e: _from_zip(archive, e)) for e in entries]  # type: ignore[misc]
                inside = next((archive.getinfo(n) for n in CAPTIONS if n in archive.namelist()), None)
                data = _from_zip(archive, inside) if inside else _beside(source.parent)
                yield from _alike(named, _captions(data))
        except zipfile.BadZipFile as error:
            raise InputError(f"{source}: not a readable .zip ({error})") from None
    elif source.suffix.lower() in PICTURES:
        yield from _alike([(source.name, lambda: _limited(source))], {})
    else:
        raise InputError(f"{source}: images are read from {', '.join(PICTURES)}, .jsonl, .zip and folders")


def _alike(named: Sequence[Source], captions: Mapping[str, Mapping[str, Any]]) -> Iterator[Any]:
    """All in one shape."""
    shapes = set()
    for _, load in named:
        try:
            picture = opened(load())
            shapes.add((*picture.size, channels_of(picture)))
        except EncodeError:
            continue
        if len(shapes) > 1:
            break
    width, height, channels = shapes.pop() if len(shapes) == 1 else (0, SIDE, 3)
    side = width if width == height <= SIDE else SIDE
    for row, (name, load) in enumerate(named, 1):
        about = captions.get(name, {})
        folder = PurePosixPath(name).parent.name
        label = str(about.get("label") or ("" if about else folder))
        prompt = next((str(about[k]) for k in ("prompt", "text", "caption") if about.get(k)), "")
        try:
            yield row, name, Image.of(unpacked(opened(load()), side, channels), label, prompt)
        except EncodeError as error:
            yield row, name, error


def _beside(folder: Path) -> bytes:
    return next((_limited(folder / name) for name in CAPTIONS if (folder / name).exists()), b"")


def _captions(data: bytes) -> dict[str, dict[str, Any]]:
    if len(data) > MAX_BYTES:
        raise InputError(f"captions: more than {MAX_BYTES:,} bytes; split the images into several files")
    out = {}
    for number, line in enumerate(data.splitlines(), 1):
        try:
            entry = json.loads(line)
            out[str(entry.get("file") or entry["file_name"])] = entry
        except (ValueError, KeyError, AttributeError) as error:
            raise InputError(
                f'captions, line {number}: no line like {{"file": ..., "prompt": ...}} ({error})'
            ) from None
    return out


def _limited(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _from_zip(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(entry) as file:
            return file.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise EncodeError(f"damaged in the archive ({error})") from None


def check_target(target: Path, count: int = 1) -> None:
    """UsageError where nothing could be written."""
    suffix = target.suffix.lower()
    if suffix not in ("", ".jsonl", ".zip", *((".png",) if count == 1 else ())):
        raise UsageError(f"{target}: images are written as .jsonl, .zip, a folder, or a .png that shows them all")
    if not target.resolve().parent.is_dir():
        raise UsageError(f"{target}: its folder is not there")
    if not suffix and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target}: is there already, and is no empty folder")


def write(items: Sequence[Image], target: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Items with their columns; the suffix says the format; whole or not at all."""
    check_target(target, len(items))
    suffix = target.suffix.lower()
    rows: list[dict[str, Any]] = [{} for _ in items]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            if not isinstance(value, float) or math.isfinite(value):  # JSON has no word for the others
                row[name] = value
    for row, item in zip(rows, items, strict=True):
        for name, value in (("label", item.label), ("prompt", item.prompt)):
            if value:
                row.setdefault(name, value)
    names = [f"{i:05d}.png" for i in range(len(items))]
    with tempfile.TemporaryDirectory(dir=target.resolve().parent, prefix=f".{target.name}.") as folder:
        part = Path(folder) / target.name
        if suffix == ".jsonl":
            with part.open("w", encoding="utf-8") as file:
                for item, row in zip(items, rows, strict=True):
                    png = base64.b64encode(item.png()).decode()
                    file.write(json.dumps({"image": png, **row}, ensure_ascii=False) + "\n")
        elif suffix == ".png":
            part.write_bytes(items[0].png())
        else:
            lines = [json.dumps({"file": n, **row}, ensure_ascii=False) for n, row in zip(names, rows, strict=True)]
            contents = [(n, item.png()) for n, item in zip(names, items, strict=True)]
            contents.append((CAPTIONS[0], ("\n".join(lines) + "\n").encode()))
            if suffix == ".zip":
                with zipfile.ZipFile(part, "w") as archive:
                    for name, data in contents:
                        archive.writestr(name, data)
            else:
                part.mkdir()
                for name, data in contents:
                    (part / name).write_bytes(data)
                if target.is_dir():
                    target.rmdir()
        os.replace(part, target)

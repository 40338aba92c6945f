"""A corpus as arrays on disk: tokens, where each item begins, and its condition values.

The files are raw and memory-mapped, so a corpus larger than memory trains, and they are written as a stream into a
temporary folder that is renamed at the end: a folder that exists is whole.

    N  items    M  all tokens together    P  properties
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genesis.data.whole import Whole
from genesis.errors import InputError

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One encoded item: tokens without ``<bos>`` and ``<eos>``, values (NaN: not known), held out or not."""

    tokens: NDArray[np.uint16]
    values: NDArray[np.float32]
    held_out: bool


@dataclass(frozen=True, slots=True)
class Encoded:
    """An opened corpus. Item ``i`` is ``tokens[offsets[i]:offsets[i + 1]]``."""

    path: Path
    meta: dict[str, Any]
    tokens: NDArray[np.uint16]  # [M]
    offsets: NDArray[np.int64]  # [N + 1]
    values: NDArray[np.float32]  # [N, P]
    held_out: NDArray[np.bool_]  # [N]
    longest: int  # tokens of the longest item

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``[N]`` tokens of each item."""
        return np.diff(self.offsets)

    @property
    def properties(self) -> tuple[str, ...]:
        return tuple(self.meta["properties"])

    def select(self, names: Sequence[str]) -> Encoded:
        """The same items with the values of the named properties only, in that order."""
        if tuple(names) == self.properties:
            return self
        columns = [self.properties.index(name) for name in names]
        return replace(self, meta={**self.meta, "properties": list(names)}, values=self.values[:, columns])


def write(rows: Iterable[Row], target: Path, meta: dict[str, Any]) -> Encoded:
    """Stream rows into ``target``. ``meta`` holds at least ``properties``, ``vocab_hash``, ``corpus``, ``licence``."""
    width = len(meta["properties"])
    offset, count = 0, 0
    with Whole(target, "meta.json") as part:
        with (
            (part / "tokens.u16").open("wb") as tokens,
            (part / "offsets.i64").open("wb") as offsets,
            (part / "values.f32").open("wb") as values,
            (part / "held_out.u8").open("wb") as marks,
        ):
            offsets.write(np.zeros(1, "<i8").tobytes())
            for row in rows:
                assert row.tokens.dtype == np.uint16
                assert row.values.shape == (width,)
                offset += len(row.tokens)
                count += 1
                tokens.write(row.tokens.astype("<u2").tobytes())
                offsets.write(np.full(1, offset, "<i8").tobytes())
                values.write(row.values.astype("<f4").tobytes())
                marks.write(b"\1" if row.held_out else b"\0")
        if count == 0:
            raise InputError("the corpus has no usable item; nothing to train on")
        record = {**meta, "format": FORMAT, "items": count, "tokens": offset}
        (part / "meta.json").write_text(json.dumps(record), encoding="utf-8")
    return open_encoded(target)


def open_encoded(path: Path) -> Encoded:
    """Memory-map a corpus; InputError when it is incomplete or of another format."""
    try:
        meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        if meta["format"] != FORMAT:
            raise InputError(f"{path}: encoded format {meta['format']}; this version reads {FORMAT}. Prepare it again")
        items, total, width = int(meta["items"]), int(meta["tokens"]), len(meta["properties"])
        wanted = {
            "tokens.u16": 2 * total,
            "offsets.i64": 8 * (items + 1),
            "values.f32": 4 * items * width,
            "held_out.u8": items,
        }
        for name, size in wanted.items():
            found = (path / name).stat().st_size
            if found != size:
                raise InputError(f"{path / name}: {found} bytes, expected {size}; prepare it again")
    except (OSError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: not an encoded corpus ({error!r:.200}); prepare it again") from None

    def mapped(name: str, dtype: str) -> NDArray[Any]:
        return np.memmap(path / name, dtype=dtype, mode="r") if wanted[name] else np.empty(0, dtype)

    offsets = mapped("offsets.i64", "<i8")
    lengths = np.diff(offsets)
    if items < 1 or offsets[0] != 0 or offsets[-1] != total or lengths.min() < 0:
        raise InputError(f"{path / 'offsets.i64'}: places of items out of order; prepare it again")
    return Encoded(
        path,
        meta,
        mapped("tokens.u16", "<u2"),
        offsets,
        mapped("values.f32", "<f4").reshape(items, width),
        mapped("held_out.u8", "u1").astype(bool),
        int(lengths.max()),
    )

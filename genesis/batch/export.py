"""The items of a library in a format of their field: SDF, MIDI, pictures, whatever the domain writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from genesis import registry
from genesis.batch.library import Library
from genesis.errors import InputError, UsageError
from genesis.hits import PICTURED, PICTURES, check_picture, sign_png

HIDDEN = ("item", "item_key", "tokens", "index", "seed", "model_hash")  # in the items, or written under other names


def export(folder: Path, out: Path, suffix: str, on_progress: Callable[[int, int, str], None] | None = None) -> Path:
    """One file for each shard, ``part-00000.sdf``; of a picture's format the first items of each shard, drawn.

    Where a file of the format holds one item (MIDI), a folder for each shard with ``INDEX.mid`` in it, and what made
    them in ``origin.json``.
    """
    library = Library.open(folder)
    domain: Any = registry.domain(library.order.plan.domain)
    shards = sorted(folder.glob("part-*.parquet"))
    if not shards:
        raise InputError(f"{folder}: no finished shard to export")
    out.mkdir(parents=True, exist_ok=True)
    pictures = suffix.lower() in PICTURES
    if pictures:
        check_picture(domain, out / f"part{suffix}")
    else:
        domain.check_target(out / f"part{suffix}")
    together = pictures or _holds_several(domain, out / f"part{suffix}")
    if not together:
        (out / "origin.json").write_text(json.dumps(_origin(library), indent=1) + "\n", encoding="utf-8")
    for done, (shard, table) in enumerate(library.tables(), 1):
        target = out / f"part-{shard:05d}{suffix}"
        if pictures:
            table = table.slice(0, PICTURED)
        items = [_item(domain, tokens) for tokens in table.column("tokens").to_pylist()]
        if pictures and items:
            domain.picture(items, ["" for _ in items], target)
            if suffix.lower() == ".png":
                sign_png(target, _origin(library))
        elif items and together:
            domain.write(items, target, _columns(table, library))
        elif items:
            _write_each(domain, items, target.with_suffix(""), suffix, _columns(table, library))
        if on_progress:
            on_progress(done, len(shards), "exporting")
    return out


def _holds_several(domain: Any, target: Path) -> bool:
    try:
        domain.check_target(target, 2)
    except UsageError:
        return False
    return True


def _write_each(domain: Any, items: list[Any], folder: Path, suffix: str, columns: dict[str, list[Any]]) -> None:
    folder.mkdir(exist_ok=True)
    for row, item in enumerate(items):
        one = {name: [cells[row]] for name, cells in columns.items()}
        domain.write([item], folder / f"{columns['item'][row]}{suffix}", one)


def _item(domain: Any, tokens: list[int]) -> Any:
    item = domain.decode(torch.tensor(tokens, dtype=torch.int64))
    if item is None:
        raise InputError(f"tokens {tokens[:8]}... are no item of the domain {domain.name!r}; was it changed since?")
    return item


def _columns(table: Any, library: Library) -> dict[str, list[Any]]:
    """What the generating command writes beside each item."""
    order, index = library.order, table.column("index").to_pylist()
    named = [f"{order.model}:{order.plan.seed}:{i}" for i in index]
    measured = {name: table.column(name).to_pylist() for name in table.column_names if name not in HIDDEN}
    constant = {name: [value] * len(index) for name, value in _origin(library).items()}
    return {"name": named, **measured, "item": index, **constant}


def _origin(library: Library) -> dict[str, str | int]:
    made = library.order.provenance()
    return {name: made[name] for name in ("seed", "model", "corpus", "licence", "genesis")}

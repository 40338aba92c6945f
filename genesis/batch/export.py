"""The items of a library in a format of their field: SDF, MIDI, pictures, whatever the domain writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from genesis import registry
from genesis.batch.library import Library
from genesis.errors import InputError
from genesis.hits import PICTURED, PICTURES, check_picture, sign_png

HIDDEN = ("item", "key", "tokens", "index", "seed", "model_hash")  # in the items, or written under other names


def export(folder: Path, out: Path, suffix: str, on_progress: Callable[[int, int, str], None] | None = None) -> Path:
    """One file for each shard, ``part-00000.sdf``; of a picture's format the first items of each shard, drawn."""
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
    for done, (shard, table) in enumerate(library.tables(), 1):
        target = out / f"part-{shard:05d}{suffix}"
        if pictures:
            table = table.slice(0, PICTURED)
        items = [_item(domain, tokens) for tokens in table.column("tokens").to_pylist()]
        if pictures:
            domain.picture(items, ["" for _ in items], target)
            if suffix.lower() == ".png":
                sign_png(target, _origin(library))
        elif items:
            domain.write(items, target, _columns(table, library))
        if on_progress:
            on_progress(done, len(shards), "exporting")
    return out


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

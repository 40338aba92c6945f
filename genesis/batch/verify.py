"""Is every byte of a library what it was when it was written, and every item there once?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from genesis.batch.columns import digest, key128, note_of
from genesis.batch.distinct import Keys
from genesis.batch.library import Entry, Library, Manifest, read, sha256
from genesis.batch.settle import words
from genesis.batch.shards import shard_name
from genesis.batch.tally import Tally
from genesis.errors import InputError


def verify(folder: Path, on_progress: Callable[[int, int, str], None] | None = None) -> list[str]:
    """What is wrong with the library in a folder, a line each; nothing when all is well.

    Every shard: the sum of its bytes, the digests of its rows, indices in order and in its range, the key of every
    item, and no key twice in the whole run. Then counts and hash of the manifest against the shards.
    """
    library = Library.open(folder)
    try:
        manifest = library.manifest()
    except InputError as error:
        return [str(error)]
    names = [shard_name(shard) for shard in range(len(manifest.shards))]
    wrong = [f"{name}: in the manifest out of its turn" for name in sorted(manifest.shards.keys() - set(names))]
    there = {path.name for path in folder.glob("*.parquet")}
    wrong += [f"{name}: no shard of the manifest" for name in sorted(there - manifest.shards.keys())]
    again = Manifest.of(library.order)
    with Keys(folder) as keys:
        for done, name in enumerate(names, 1):
            entry = manifest.shards.get(name)
            problems, tally = _shard(library, folder / name, entry, keys) if entry else ([f"{name}: missing"], None)
            wrong += problems
            if entry and tally:
                again.add(name, entry, tally)
            if on_progress:
                on_progress(done, len(names), "verifying")
    if len(again.shards) == len(names) and (again.total, again.hash) != (manifest.total, manifest.hash):
        wrong.append("_manifest.json: its counts or its hash are not those of the shards")
    if not manifest.complete:
        wrong.append(f"not complete: {manifest.total.returned:,} of {library.order.plan.count:,} items are there")
    return wrong


def _shard(library: Library, path: Path, entry: Entry, keys: Keys) -> tuple[list[str], Tally | None]:
    """What is wrong with one shard, and its counts when they can be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return [f"{path.name}: {error.strerror or error}"], None
    if sha256(content) != entry.sha256:
        return [f"{path.name}: {len(content):,} bytes with another SHA-256 than the {entry.bytes:,} written"], None
    try:
        table = read(path)
        note = note_of(table.schema)
        tally = Tally.model_validate(note["tally"])
    except (InputError, ValueError, KeyError) as error:
        return [f"{path.name}: {error}"], None
    index, items, stated = (table.column(name).to_pylist() for name in ("index", "item", "item_key"))
    found = words(table)
    fresh = keys.fresh(found)
    keys.add(found[fresh])
    checks = {
        "it belongs to another run": note["order"] == library.order.name,
        "rows are missing or too many": len(table) == entry.rows == tally.returned,
        "indices are out of order or out of range": index == sorted(set(index))
        and (not index or entry.first <= index[0] <= index[-1] < entry.last),
        "a key is not that of its item": all(key128(item) == key for item, key in zip(items, stated, strict=True)),
        "an item is there twice": bool(fresh.all()),
        "its rows are not those in the manifest": f"{digest(table):032x}" == entry.digest,
    }
    return [f"{path.name}: {problem}" for problem, holds in checks.items() if not holds], tally

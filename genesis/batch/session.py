"""A run from outside: begun, gone on with, estimated, and asked how far it is."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from genesis.batch.columns import with_note
from genesis.batch.library import Library, encoded
from genesis.batch.local import Pool
from genesis.batch.plan import Order, Plan, differences
from genesis.batch.run import OnProgress, Run
from genesis.batch.tally import Tally
from genesis.batch.worker import Source, open_model
from genesis.engine import TRAINING_KEYS, Engine, load
from genesis.errors import GenesisError, UsageError

PROBED = 64  # items drawn to learn how large a row is
SCRATCH = 32  # bytes an item beside the shards: its key in a sorted run, twice while runs are merged
ALIVE = 60.0  # seconds since the last manifest in which a run is taken to be running


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take, from items that were drawn on this machine."""

    indices: int
    shards: int
    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """How far the run in a folder is."""

    order: Order
    total: Tally
    shards: int
    waiting: int
    bytes: int
    seconds: float
    complete: bool
    running: bool
    known: bool
    hash: str

    @property
    def rate(self) -> float:
        """Items a second of work, over all sessions."""
        return self.total.returned / self.seconds if self.seconds > 0 else 0.0


def load_model(plan: Plan, device: str = "auto") -> Engine:
    """The model that a plan names, or its domain's default preset."""
    return load(plan.model or plan.domain, device)


def begin(plan: Plan, engine: Engine, out: Path) -> Library:
    """The library of a plan, begun or found; refused when it is another's or there is no room for it."""
    order = Order.of(plan, engine)
    if not Library.is_begun(out):
        _check_room(out, Source.of(order, engine), plan.count)
        return Library.create(out, order)
    library = Library.create(out, order)
    _check_rest(library, Source.of(order, engine))
    return library


def go_on(folder: Path, device: str = "auto") -> tuple[Library, Engine]:
    """The run in a folder and its model, if it is still the one that began it, on the same kind of device."""
    library = Library.open(folder)
    engine = open_model(library.order, device)
    different = list(differences(library.order, Order.of(library.order.plan, engine)))
    if different:
        raise UsageError(
            f"{folder} was begun with something else ({'; '.join(different[:3])}); its shards would not fit together. "
            "Put that back, or begin a new folder"
        )
    _check_rest(library, Source.of(library.order, engine))
    return library, engine


def make(library: Library, engine: Engine, pool: Pool, on_progress: OnProgress | None = None) -> Tally:
    """Bring a library to its end."""
    return Run(library, Source.of(library.order, engine), pool, on_progress).run()


def make_part(
    library: Library, engine: Engine, pool: Pool, part: tuple[int, int], on_progress: OnProgress | None = None
) -> None:
    """Draw the shards of a range of indices; ``make`` then finds them drawn."""
    Run(library, Source.of(library.order, engine), pool, on_progress).draw(*part)


def estimate(plan: Plan, engine: Engine, workers: int) -> Estimate:
    """Time and size, from two batches that are drawn here: the first only warms up."""
    order = Order.of(plan, engine)
    source = Source.of(order, engine)
    size = min(plan.batch_size, order.limit)
    source.draw(0, size)
    began = time.monotonic()
    drawn = source.draw(0, size)
    seconds = (time.monotonic() - began) / size
    valid = max(1, sum(one.key is not None for one in drawn))
    indices = min(order.limit, round(plan.count * plan.keep_best * size / valid))
    return Estimate(
        indices=indices,
        shards=-(-indices // order.shard),
        seconds=seconds * indices / workers,
        bytes=round(_row_bytes(source, size) * plan.count),
    )


def status(folder: Path) -> Status:
    """How far a run is, from its manifest and the names in its folder alone."""
    library = Library.open(folder)
    manifest = library.manifest()
    return Status(
        order=library.order,
        total=manifest.total,
        shards=len(manifest.shards),
        waiting=len(library.drafts()),
        bytes=sum(entry.bytes for entry in manifest.shards.values()),
        seconds=manifest.seconds,
        complete=manifest.complete,
        running=not manifest.complete and time.time() - manifest.updated < ALIVE,
        known=(Path(library.order.path) / TRAINING_KEYS).exists(),
        hash=manifest.hash,
    )


def _check_rest(library: Library, source: Source) -> None:
    manifest = library.manifest()
    left = library.order.plan.count - manifest.total.returned
    if not manifest.complete and left > 0:
        _check_room(library.folder, source, left)


def _check_room(folder: Path, source: Source, items: int) -> None:
    """GenesisError before the work when the disk has no room for what is still to come."""
    needed = round((_row_bytes(source, PROBED) + SCRATCH) * items)
    place = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise GenesisError(
            f"{folder}: {items:,} items take about {_size(needed)}, and {_size(free)} are free; make room or "
            "ask for fewer"
        )


def _row_bytes(source: Source, count: int) -> float:
    """Bytes of a row in a shard, from ``count`` drawn items."""
    drawn = [one for one in source.draw(0, count) if one.key is not None]
    if not drawn:
        return 1_000.0
    table = source.columns.table(drawn, [True] * len(drawn) if source.known else None)
    empty = len(encoded(with_note(table.slice(0, 0), {})))
    return (len(encoded(with_note(table, {}))) - empty) / len(drawn)


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"

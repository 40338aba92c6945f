"""Drawing one shard: batches of indices, checked and measured, into a draft that is whole or not there.

What goes wrong here stays here where it can: memory that runs out halves the batch, and an item that cannot be drawn
is isolated by halving, recorded and passed over.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from genesis.batch.columns import Columns, arrow, with_note
from genesis.batch.library import Library, encoded
from genesis.batch.plan import Order, model_hash, screened, targets_of
from genesis.batch.shards import publish
from genesis.drawing import Drawn, draw_chunk
from genesis.engine import Engine, load
from genesis.errors import GenesisError, InputError
from genesis.metrics.sets import KeySet

MOST_POISONED = 0.01  # of a shard: beyond it, something else is wrong than an item
DIED = "the process that drew it died, twice"


@dataclass(frozen=True, slots=True)
class Job:
    """A shard to draw, or (``probe``) a range to draw only to see whether a process survives it."""

    folder: str
    order: str  # its name: a process may outlive the run that it was begun for
    shard: int
    first: int
    last: int
    batch: int
    skip: tuple[int, ...] = ()  # indices that killed their process
    probe: bool = False
    device: str = field(default="cpu", compare=False)


Work = Callable[[Job], int]  # returns the batch size that memory had room for


@dataclass(frozen=True, slots=True)
class Source:
    """What draws, and what is known of it."""

    order: Order
    columns: Columns
    draw: Callable[[int, int], list[Drawn]]
    screen: Callable[[Any], str | None] | None = None
    known: KeySet | None = None

    @classmethod
    def of(cls, order: Order, engine: Engine) -> Source:
        targets, request = targets_of(order.plan, engine), order.request()
        domain = screened(order, engine)
        return cls(
            order,
            Columns(order, targets, engine.domain, engine.known is not None),
            lambda first, last: draw_chunk(engine, first, last, request, targets),
            domain.screen if domain else None,
            engine.known,
        )


@dataclass(slots=True)
class _Drawing:
    """What became of the indices of a shard."""

    batch: int
    items: list[Drawn] = field(default_factory=list)
    screened: list[tuple[int, str]] = field(default_factory=list)
    poisoned: list[tuple[int, str]] = field(default_factory=list)


def work(job: Job) -> int:
    """Draw a shard of the run in ``job.folder``; the model stays loaded from one job to the next."""
    return draw_shard(_source(job.folder, job.order, job.device), job)


def draw_shard(source: Source, job: Job) -> int:
    """Draw the indices of a job; its draft holds every valid item that passed the screen, repeated ones too."""
    drawing = _Drawing(job.batch)
    for first in range(job.first, job.last, job.batch):
        last = min(first + job.batch, job.last)
        bounds = [first - 1, *(i for i in job.skip if first <= i < last), last]
        for before, after in itertools.pairwise(bounds):
            _draw(source, before + 1, after, drawing)
        if len(drawing.poisoned) > most_poisoned(job):
            index, why = drawing.poisoned[0]
            raise GenesisError(f"{len(drawing.poisoned)} items of shard {job.shard} fail, the first at {index}: {why}")
    if not job.probe:
        _write(source, job, drawing)
    return drawing.batch


def most_poisoned(job: Job) -> float:
    """Items of a shard that may be passed over; more of them stop the run."""
    return max(8, MOST_POISONED * (job.last - job.first))


def _draw(source: Source, first: int, last: int, drawing: _Drawing) -> None:
    """Draw a range in batches that memory has room for; what fails for another reason is halved down to one item."""
    while first < last:
        end = min(first + drawing.batch, last)
        try:
            drawn = source.draw(first, end)
        except Exception as error:
            if is_memory(error):
                if end - first == 1:
                    raise GenesisError(
                        f"no memory for a batch of one item ({str(error)[:100]}); use fewer --workers or a "
                        "smaller model"
                    ) from None
                drawing.batch = (end - first + 1) // 2
                continue
            if end - first == 1:
                said = " ".join(str(error).split())
                drawing.poisoned.append((first, f"{type(error).__name__}: {said}"[:200]))
            else:
                middle = (first + end) // 2
                _draw(source, first, middle, drawing)
                _draw(source, middle, end, drawing)
        else:
            _keep(source, drawn, drawing)
        first = end


def _keep(source: Source, drawn: list[Drawn], drawing: _Drawing) -> None:
    for one in drawn:
        if one.key is None:
            continue
        family = source.screen(one.item) if source.screen else None
        if family is not None:
            drawing.screened.append((one.index, family))
        else:
            drawing.items.append(replace(one, item=None))


def _write(source: Source, job: Job, drawing: _Drawing) -> None:
    novel = None
    if source.known is not None:
        novel = (~source.known.contains([str(one.key) for one in drawing.items])).tolist()
    poisoned = sorted([*drawing.poisoned, *((index, DIED) for index in job.skip)])
    note = {
        "order": source.order.name,
        "first": job.first,
        "last": job.last,
        "screened": drawing.screened,
        "poisoned": poisoned,
    }
    table = with_note(source.columns.table(drawing.items, novel), note)
    target = Library(Path(job.folder), source.order).draft(job.shard)
    publish(encoded(table, "lz4"), target)


def is_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the processor or on an accelerator."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in said or "can't allocate memory" in said)


@cache
def _source(folder: str, name: str, device: str) -> Source:
    order = Library.open(Path(folder)).order
    if order.name != name:
        raise InputError(f"{folder}: another run was put there while this one went on")
    arrow().set_cpu_count(1)  # one process a core
    return Source.of(order, open_model(order, device))


def open_model(order: Order, device: str) -> Engine:
    """The model of an order; InputError when it is not the one that the run was begun with."""
    path = Path(order.path)
    if not path.exists():
        raise InputError(f"{path}: the model of this run is not there any more; put it back")
    if model_hash(path) != order.model_hash:
        raise InputError(f"{path}: the model was changed since this run began; put it back, or begin a new folder")
    return load(path, device)


def initialize(parent: int) -> None:
    """The first thing in a worker process: one thread, and an end when the process that began it has ended."""
    torch.set_num_threads(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

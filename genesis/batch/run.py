"""The run: shards are drawn in any order by workers, and committed in the order of their indices.

A commit compares the keys of a draft with those of every shard before it, so that of equal items the one with the
lowest index stays, whoever drew it and when. What is committed is a function of the order alone; two processes that
run one folder do double work and no harm.

S  indices of a shard
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from genesis.batch.columns import digest, note_of, with_note
from genesis.batch.distinct import Keys
from genesis.batch.library import Entry, Library, Manifest, encoded, read, sha256
from genesis.batch.local import Crash, Pool
from genesis.batch.settle import settle, words
from genesis.batch.shards import DRAFTS, publish, shard_name, sweep
from genesis.batch.tally import Tally
from genesis.batch.worker import Job, Source, most_poisoned
from genesis.errors import GenesisError, InputError

PERIOD = 5.0  # seconds between two manifests
AHEAD = 8  # shards a worker may be ahead of the last commit: drafts that wait take room on the disk
POLL = 1.0  # seconds between two looks at what others have drawn


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    done: int
    count: int
    drawn: int
    valid: float
    unique: float
    waiting: int  # shards drawn and not yet committed
    retried: int


OnProgress = Callable[[Progress], None]


class Run:
    """One process that brings a library to its end, or as far as it gets."""

    def __init__(self, library: Library, source: Source, pool: Pool, on_progress: OnProgress | None = None) -> None:
        self.library, self.order, self.source, self.pool = library, library.order, source, pool
        self.on_progress = on_progress
        self.began = self.written = time.monotonic()
        self.batch = self.order.plan.batch_size
        self.attempts: dict[int, int] = {}
        self.suspects: dict[int, list[Job]] = {}  # shards on which workers died twice: ranges that are to be tried
        self.skips: dict[int, list[int]] = {}
        self.open: set[int] = set()  # shards in the hands of workers
        self.again: list[Job] = []
        self.retried = 0

    def draw(self, first: int, last: int) -> None:
        """Draw the shards that begin in ``[first, last)`` and commit none: one part of an array of jobs."""
        shards = [s for s in range(self.order.shards) if first <= self.order.range(s)[0] < last]
        self._prepare()
        ahead = iter(s for s in shards if not self.library.is_drawn(s))
        try:
            while True:
                while self.pool.busy < self.pool.size and (job := self._repeat() or self._new(next(ahead, None))):
                    self._submit(job)
                if not self.pool.busy:
                    return
                self._collect()
                if self.on_progress:
                    done = sum(map(self.library.is_drawn, shards)) * self.order.shard
                    self.on_progress(Progress(done, last - first, done, 1.0, 1.0, 0, self.retried))
        finally:
            self.pool.close()

    def run(self) -> Tally:
        """Draw and commit until the library is complete. Whatever stops it, all that is committed stays."""
        self._prepare()
        before = self.library.manifest()
        known, spent = before.shards, before.seconds
        self.manifest = Manifest.of(self.order)
        with Keys(self.library.folder) as self.keys:
            try:
                self._absorb(known)
                while not self._is_complete():
                    self._fill()
                    self._commit(known)
                    self.manifest.seconds = spent + time.monotonic() - self.began
                    self._report()
                    if not self._is_complete() and not self.library.is_drawn(self.committed):
                        self._collect()
                self.manifest.complete = True
            finally:
                self.pool.close()
                self.manifest.seconds = spent + time.monotonic() - self.began
                self.library.write_manifest(self.manifest)
        for shard in self.library.drafts():  # the folder stays: another process may be about to write there
            self.library.draft(shard).unlink(missing_ok=True)
        return self.manifest.total

    @property
    def committed(self) -> int:
        """Shards that are finished, with none missing before them."""
        return len(self.manifest.shards)

    def _prepare(self) -> None:
        (self.library.folder / DRAFTS).mkdir(exist_ok=True)
        sweep(self.library.folder)
        sweep(self.library.folder / DRAFTS)

    def _is_complete(self) -> bool:
        return self.manifest.total.returned >= self.order.plan.count or self.committed >= self.order.shards

    def _fill(self) -> None:
        """Give every free worker the next shard that is needed, as far as can be foreseen."""
        while self.pool.busy < self.pool.size:
            job = self._repeat() or self._new(self._next())
            if job is None:
                return
            self._submit(job)

    def _submit(self, job: Job) -> None:
        self.open.add(job.shard)
        self.pool.submit(job)

    def _repeat(self) -> Job | None:
        return self.again.pop(0) if self.again else None

    def _new(self, shard: int | None) -> Job | None:
        if shard is None:
            return None
        return self._job(shard)

    def _next(self) -> int | None:
        total, plan = self.manifest.total, self.order.plan
        share = (total.returned + 1) / (total.drawn + 1) if total.drawn else 1 / plan.keep_best
        needed = math.ceil((plan.count - total.returned) / share / self.order.shard)
        most = self.committed + min(max(needed, 1), AHEAD * self.pool.size)
        for shard in range(self.committed, min(most, self.order.shards)):
            if shard not in self.open and shard not in self.suspects and not self.library.is_drawn(shard):
                return shard
        return None

    def _collect(self) -> None:
        """Wait for workers, and answer what went wrong."""
        if not self.pool.busy:
            time.sleep(POLL)
        for job, outcome in self.pool.wait(POLL):
            self.open.discard(job.shard)
            if isinstance(outcome, int):
                self.batch = min(self.batch, outcome)
                if job.probe:
                    self._probed(job)
            elif isinstance(outcome, Crash):
                self.retried += 1
                self._crashed(job, outcome)
            else:
                raise outcome

    def _crashed(self, job: Job, crash: Crash) -> None:
        if job.probe:
            if job.last - job.first == 1:
                found = self.skips.setdefault(job.shard, [])
                found.append(job.first)
                if len(found) > most_poisoned(self._job(job.shard)):
                    raise GenesisError(
                        f"workers die of {len(found)} items of shard {job.shard}, the first at {min(found):,} "
                        f"({crash}); something else is wrong than an item"
                    )
            else:
                middle = (job.first + job.last) // 2
                halves = [_part(job, job.first, middle), _part(job, middle, job.last)]
                self.suspects[job.shard] += halves
                self.again[:0] = halves  # to the single item first: where all items kill, that is soon known
            self._probed(job)
            return
        attempt = self.attempts[job.shard] = self.attempts.get(job.shard, 0) + 1
        if attempt == 1:
            self.again.append(job)
        elif attempt == 2 or job.batch > 1:
            self.suspects[job.shard] = [_part(job, job.first, job.last)]
            self.again += self.suspects[job.shard]
        else:
            raise GenesisError(
                f"workers died {attempt} times on items {job.first:,} to {job.last - 1:,} ({crash}), and no "
                "single item is the cause; is there enough memory for so many --workers?"
            )

    def _probed(self, job: Job) -> None:
        """A range is settled; with the last one the shard is drawn again without the items that killed.

        Where no item is to blame, memory may be: the system kills the process that asks for more than there is. The
        batch is halved.
        """
        self.suspects[job.shard].remove(job)
        if not self.suspects[job.shard]:
            del self.suspects[job.shard]
            skip = tuple(sorted(self.skips.pop(job.shard, [])))
            if not skip:
                self.batch = max(1, self.batch // 2)
            self.again.append(replace(self._job(job.shard), skip=skip))

    def _job(self, shard: int) -> Job:
        folder = str(self.library.folder.resolve())
        return Job(folder, self.order.name, shard, *self.order.range(shard), batch=self.batch)

    def _absorb(self, known: dict[str, Entry]) -> None:
        """Take in the shards that are finished already, up to the first that is missing."""
        while not self._is_complete() and self.library.shard(self.committed).exists():
            shard = self.committed
            path = self.library.shard(shard)
            name, entry = shard_name(shard), known.get(shard_name(shard))
            if entry and sha256(path.read_bytes()) != entry.sha256:  # its keys decide about all shards behind it
                raise InputError(f"{path}: not the bytes that were written; remove it and resume: it is drawn again")
            table = read(path, ["item_key"] if entry else None)
            note = note_of(table.schema)
            if note["order"] != self.order.name:
                raise GenesisError(f"{path}: a shard of another run; move it away and resume")
            if entry is None:
                entry = _entry(table, path.read_bytes(), *self.order.range(shard))
            self.keys.add(words(table))
            self.manifest.add(name, entry, Tally.model_validate(note["tally"]))
            self.library.draft(shard).unlink(missing_ok=True)

    def _commit(self, known: dict[str, Entry]) -> None:
        """Take in what is drawn, in order, up to the first shard that is not."""
        while not self._is_complete():
            shard = self.committed
            if self.library.shard(shard).exists():
                self._absorb(known)
                continue
            if not self.library.draft(shard).exists():
                return
            try:
                draft = read(self.library.draft(shard))
            except InputError:
                if self.library.shard(shard).exists():  # another process committed it meanwhile
                    continue
                raise
            table, tally = settle(draft, self.order, self.source.columns.targets, self.manifest.total, self.keys)
            first, last = self.order.range(shard)
            note = {**self.order.provenance(), "first": first, "last": last, "tally": tally.model_dump(mode="json")}
            table = with_note(table, note)
            content = encoded(table)
            if not publish(content, self.library.shard(shard)):
                continue  # another process was first; its shard is absorbed
            self.keys.add(words(table))
            self.manifest.add(shard_name(shard), _entry(table, content, first, last), tally)
            self.library.draft(shard).unlink(missing_ok=True)
            self._report()
            self._fill()  # nobody waits while others' drafts are written

    def _report(self) -> None:
        total = self.manifest.total
        now = time.monotonic()
        if now - self.written >= PERIOD:
            self.written = now
            self.library.write_manifest(self.manifest)
        if self.on_progress:
            drawn = max(1, total.drawn)
            waiting = len(self.library.drafts())
            self.on_progress(
                Progress(
                    total.returned, self.order.plan.count, total.drawn, total.valid / drawn, total.distinct / drawn,
                    waiting, self.retried,
                )
            )  # fmt: skip


def _part(job: Job, first: int, last: int) -> Job:
    """A range that is only tried."""
    return replace(job, first=first, last=last, skip=(), probe=True)


def _entry(table: Any, content: memoryview | bytes, first: int, last: int) -> Entry:
    return Entry(
        first=first,
        last=last,
        rows=len(table),
        bytes=len(content),
        sha256=sha256(content),
        digest=f"{digest(table):032x}",
    )

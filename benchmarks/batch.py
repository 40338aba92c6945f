"""What batch runs cost: against the bare engine, in memory at ten million items, and one whole run.

    python benchmarks/batch.py speed  [--items 4096] [--rounds 3]
                                          processor time of a run beside that of Engine.draw, alternating
    python benchmarks/batch.py memory [--items 10_000_000]
                                          memory of a run whose items cost nothing; writes a plot
    python benchmarks/batch.py keys   [--items 100_000_000]
                                          memory and time of the store of keys alone
    python benchmarks/batch.py whole  [--items 1_000_000] [--workers 2] [--model FOLDER] [--measure NAMES]
                                          wall time beside Engine.draw's, on a quiet machine

``memory`` draws words, not molecules: it measures shards, keys and manifest, which is all that grows with the run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import genesis
from genesis.batch.columns import key128
from genesis.batch.distinct import Keys
from genesis.batch.library import Library
from genesis.batch.local import Inline, Processes
from genesis.batch.plan import Order, Plan
from genesis.batch.run import Progress, Run
from genesis.batch.session import begin, status
from genesis.batch.verify import verify
from genesis.batch.worker import Source, draw_shard
from genesis.drawing import Drawn
from genesis.engine import Engine

RESULTS = Path(__file__).parent / "results"
WORDS = 300_000_000  # different items of the fake drawer: at ten million draws, 1.6 % come again


def speed(items: int, rounds: int, model: str) -> dict[str, object]:
    """Processor seconds an item, alternating, in one process: the bare engine, and everything a run adds to it."""
    engine = genesis.load(model, "cpu")
    plan = Plan.of({"domain": "molecules", "count": items, "shard": max(512, items // 4)})
    order = Order.of(plan, engine)
    targets, request = engine.targets(None), order.request()
    for _ in engine.draw(512, request, targets, workers=1):
        pass
    bare, batch = [], []
    for _ in range(rounds):
        bare.append(_seconds(lambda: [None for _ in engine.draw(items, request, targets, workers=1)]))
        with tempfile.TemporaryDirectory(dir=".") as folder:
            library = begin(plan, engine, Path(folder))
            source = Source.of(library.order, engine)
            pool = Inline(lambda job, source=source: draw_shard(source, job))
            batch.append(_seconds(Run(library, source, pool).run))
            drawn = status(Path(folder)).total.drawn
    shares = [one / items / (other / drawn) for one, other in zip(bare, batch, strict=True)]
    return {
        "items": items, "model": engine.name, "bare_seconds": bare, "batch_seconds": batch, "drawn": drawn,
        "share_of_bare": statistics.median(shares), "shares": shares, "load": os.getloadavg(),
    }  # fmt: skip


def memory(items: int) -> dict[str, object]:
    """Resident memory after each commit, beyond that before the run."""
    engine = genesis.load("molecules", "cpu")
    plan = Plan.of({"domain": "molecules", "count": items, "measure": ["logp"]})
    seen: list[tuple[int, float, float, float]] = []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        order = Order.of(plan, engine)
        library, source = Library.create(Path(folder), order), _words(order, engine)
        before, began = _resident(), time.monotonic()

        def see(progress: Progress) -> None:
            now = _resident()
            seen.append((progress.done, now[0] - before[0], now[1] - before[1], time.monotonic() - began))

        Run(library, source, Inline(lambda job: draw_shard(source, job)), see).run()
        seconds = time.monotonic() - began
        found = status(library.folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before[0]
    _plot(seen, items)
    return {
        "items": items, "drawn": found.total.drawn, "shards": found.shards, "bytes": found.bytes, "hash": found.hash,
        "peak_beyond_model_mb": peak, "end_beyond_model_mb": seen[-1][1], "seconds": seconds,
        "curve": seen[:: max(1, len(seen) // 100)],
    }  # fmt: skip


def keys(items: int) -> dict[str, object]:
    """Random keys, ten thousand at a time as shards bring them."""
    rng, part = np.random.default_rng(0), 10_000
    before, began, curve = _resident(), time.monotonic(), []
    with tempfile.TemporaryDirectory(dir=".") as folder, Keys(Path(folder)) as store:
        for done in range(0, items, part):
            some = rng.integers(0, 2**64, (part, 2), dtype=np.uint64)
            store.add(some[store.fresh(some)])
            if done % (items // 100) == 0:
                now = _resident()
                curve.append((done, now[0] - before[0], now[1] - before[1], time.monotonic() - began))
        seconds, count = time.monotonic() - began, len(store)
        disk = sum(path.stat().st_size for path in store.folder.glob("*.run"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before[0]
    return {"items": count, "seconds": seconds, "peak_mb": peak, "disk_mb": disk / 1e6, "curve": curve}


def whole(items: int, workers: int, model: str, measure: str) -> dict[str, object]:
    """One run by processes beside the engine's own, with the same processes, by the clock."""
    engine = genesis.load(model, "cpu")
    some = min(items, 20_000)
    plan = Plan.of(
        {"domain": "molecules", "count": items, "measure": measure if measure == "all" else measure.split(",")}
    )
    order = Order.of(plan, engine)
    targets, request = engine.targets(None), order.request()
    began = time.monotonic()
    for _ in engine.draw(some, request, targets, workers=workers):
        pass
    bare = some / (time.monotonic() - began)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        library, began = begin(plan, engine, Path(folder)), time.monotonic()
        tally = Run(library, Source.of(library.order, engine), Processes(workers, "cpu")).run()
        seconds = time.monotonic() - began
        found = status(library.folder)
        wrong = verify(library.folder)
    return {
        "items": items, "workers": workers, "bare_draws_a_second": bare, "batch_draws_a_second": tally.drawn / seconds,
        "share_of_bare": tally.drawn / seconds / bare, "seconds": seconds, "hash": found.hash, "bytes": found.bytes,
        "wrong": wrong, "tally": tally.model_dump(mode="json"),
    }  # fmt: skip


def _words(order: Order, engine: Engine) -> Source:
    def draw(first: int, last: int) -> list[Drawn]:
        return [_word(index) for index in range(first, last)]

    return dataclasses.replace(Source.of(order, engine), draw=draw, screen=None, known=engine.known)


def _word(index: int) -> Drawn:
    chosen = int.from_bytes(key128(str(index))[:8], "little")
    key = f"a molecule of about forty characters {chosen % WORDS}"
    return Drawn(index, key, key, {"logp": chosen % 1000 / 100}, -float(chosen % 50), tuple(range(3, 38)))


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _resident() -> tuple[float, float]:
    """Megabytes resident, and of those the ones that are not pages of files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))  # type: ignore[return-value]


def _plot(seen: list[tuple[int, float, float, float]], items: int) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    done = [row[0] / 1e6 for row in seen]
    axes.plot(done, [row[1] for row in seen], label="resident")
    axes.plot(done, [row[2] for row in seen], label="of those, not pages of files")
    axes.set(xlabel="million items committed", ylabel="MB beyond the model", ylim=(0, None))
    axes.set_title(f"A batch run of {items:,} items")
    axes.legend()
    figure.savefig(RESULTS / "batch-memory.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "memory", "keys", "whole"))
    parser.add_argument("--items", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default="molecules")
    parser.add_argument("--measure", default="all")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "speed":
        result = speed(given.items or 4_096, given.rounds, given.model)
    elif given.what == "memory":
        result = memory(given.items or 10_000_000)
    elif given.what == "keys":
        result = keys(given.items or 100_000_000)
    else:
        result = whole(given.items or 1_000_000, given.workers, given.model, given.measure)
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1)
    (RESULTS / f"batch-{given.what}.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()

"""Makes a library once in peace and then again and again under kill -9, by two processes at a time on one folder.

    kill_driver.py FOLDER KILLS words|molecules|music

A program of its own, which forks: torch is imported once, and each victim costs what its shards cost.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from library_of_words import fake_source, save_model, save_music

import genesis
from genesis.batch.library import Library
from genesis.batch.local import Inline
from genesis.batch.plan import Order, Plan
from genesis.batch.run import Run
from genesis.batch.session import status
from genesis.batch.verify import verify
from genesis.batch.worker import Source, draw_shard
from genesis.engine import Engine

MOST = 90  # victims of one library, so that a run of bad luck ends


def order_of(kind: str, engine: Engine) -> tuple[Order, Source]:
    settings = {"domain": engine.domain.name, "count": 260, "shard": 16, "batch_size": 16}
    if kind == "words":
        order = Order.of(Plan.of({**settings, "measure": []}), engine)
        return order, fake_source(order, engine)
    more = {"target": {"bars": 1}, "temperature": 0.02} if kind == "music" else {"temperature": 0.4}
    order = Order.of(Plan.of({**settings, **more}), engine)
    return order, Source.of(order, engine)


def start(run: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            run()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def main(folder: Path, kills: int, kind: str) -> None:
    rng = random.Random(kills)
    torch.set_num_threads(1)
    model = save_music(folder) if kind == "music" else save_model(folder)
    order, source = order_of(kind, genesis.load(model, "cpu"))

    def make(out: Path) -> None:
        Run(Library.create(out, order), source, Inline(lambda job: draw_shard(source, job))).run()

    make(folder / "warm")  # whatever is imported at the first step
    began = time.monotonic()
    assert os.waitpid(start(lambda: make(folder / "whole")), 0)[1] == 0
    seconds = time.monotonic() - began
    expected = {path.name: path.read_bytes() for path in (folder / "whole").glob("*.parquet")}
    killed = finished = torn = 0
    while killed < kills or finished == 0:
        out = folder / f"run{finished}"
        for victim in range(MOST):
            pids = [start(lambda out=out: make(out)) for _ in range(2)]  # type: ignore[misc]
            if killed < kills and victim < MOST - 1:
                time.sleep(rng.uniform(0, 0.4 * seconds))
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
            ends = [os.waitpid(pid, 0)[1] for pid in pids]
            killed += sum(os.WIFSIGNALED(end) for end in ends)
            torn += len(list(out.rglob(".*.tmp")))
            assert all(os.WIFSIGNALED(end) or end == 0 for end in ends)
            if any(end == 0 for end in ends):
                break
        finished += 1
        assert {path.name: path.read_bytes() for path in out.glob("*.parquet")} == expected
        assert status(out).hash == status(folder / "whole").hash
        assert status(out).total == status(folder / "whole").total
        assert verify(out) == []
    total = status(folder / "whole").total
    again = total.valid - sum(total.screened.values()) - total.distinct
    print(json.dumps({"killed": killed, "finished": finished, "torn": torn, "seconds": seconds, "again": again}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

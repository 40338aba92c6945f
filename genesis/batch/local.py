"""Workers on this machine: one process a core, or several a GPU, each in a pool of its own.

With a pool for each process it is known which job a dead one held; a shared pool loses every job that runs.
"""

from __future__ import annotations

import concurrent.futures
import os
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from genesis.batch.worker import Job, Work, initialize, work
from genesis.drawing import LONG_LIVED

A_GPU = 4  # processes that share one: while one decodes, others check and write


class Crash(Exception):
    """A worker process or its machine died."""


Outcome = tuple[Job, int | Exception]


class Pool(Protocol):
    """Where jobs are done; ``size`` may change while a run goes on."""

    @property
    def size(self) -> int: ...
    @property
    def busy(self) -> int: ...
    def submit(self, job: Job) -> None: ...
    def wait(self, seconds: float) -> list[Outcome]:
        """Jobs that ended since, with the batch size that had room, or with what went wrong."""
        ...

    def close(self) -> None: ...


class Inline:
    """Jobs done in this very process, one after another: for a test, or where no process may be started."""

    size = 1

    def __init__(self, work: Work = work, device: str = "cpu") -> None:
        self.work, self.device = work, device
        self.jobs: list[Job] = []

    @property
    def busy(self) -> int:
        return len(self.jobs)

    def submit(self, job: Job) -> None:
        self.jobs.append(replace(job, device=self.device))

    def wait(self, seconds: float) -> list[Outcome]:
        if not self.jobs:
            return []
        job = self.jobs.pop(0)
        try:
            return [(job, self.work(job))]
        except Exception as error:
            return [(job, error)]

    def close(self) -> None:
        self.jobs.clear()


@dataclass(slots=True)
class _Lane:
    """A process and the job it holds."""

    device: str
    pool: Any = None
    job: Job | None = None
    future: Future[int] | None = None


class Processes:
    """``workers`` processes; on GPUs they are spread over all of them."""

    def __init__(self, workers: int | None = None, device: str = "auto", work: Work = work) -> None:
        from loky import cpu_count  # what a scheduler or a container leaves to this process, not what the machine has

        devices = devices_of(device)
        if workers is None:
            workers = cpu_count() if devices == ["cpu"] else min(cpu_count(), A_GPU * len(devices))
        self.work = work
        self.lanes = [_Lane(devices[i % len(devices)]) for i in range(workers)]

    @property
    def size(self) -> int:
        return len(self.lanes)

    @property
    def busy(self) -> int:
        return sum(lane.job is not None for lane in self.lanes)

    def submit(self, job: Job) -> None:
        from loky import ProcessPoolExecutor  # unlike multiprocessing's, it needs no __main__ guard in a user's script

        lane = next(lane for lane in self.lanes if lane.job is None)
        if lane.pool is None:
            lane.pool = ProcessPoolExecutor(1, initializer=initialize, initargs=(os.getpid(),), env=LONG_LIVED)
        lane.job = replace(job, device=lane.device)
        lane.future = lane.pool.submit(self.work, lane.job)

    def wait(self, seconds: float) -> list[Outcome]:
        running = {lane.future: lane for lane in self.lanes if lane.future is not None}
        done, _ = concurrent.futures.wait(running, timeout=seconds, return_when=concurrent.futures.FIRST_COMPLETED)
        return [self._outcome(running[future]) for future in done]

    def close(self) -> None:
        for lane in self.lanes:
            if lane.pool is not None:
                lane.pool.shutdown(wait=False, kill_workers=True)
                lane.pool = lane.job = lane.future = None

    def _outcome(self, lane: _Lane) -> Outcome:
        from concurrent.futures.process import BrokenProcessPool

        job, future = lane.job, lane.future
        assert job is not None
        assert future is not None
        lane.job = lane.future = None
        try:
            return job, future.result()
        except BrokenProcessPool as error:
            lane.pool.shutdown(wait=False, kill_workers=True)
            lane.pool = None
            return job, Crash(" ".join(str(error).split())[:200])
        except Exception as error:
            return job, error


def devices_of(device: str) -> list[str]:
    """Every GPU for ``auto`` and ``cuda``, or else the device named."""
    if device in ("auto", "cuda") and torch.cuda.is_available():
        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["cpu"] if device == "auto" else [device]

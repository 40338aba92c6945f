"""Workers on a Ray cluster that shares the library's folder: one task a shard.

Ray only runs the tasks. That each item is there once is the business of the shard protocol: a task that ran twice, or
on a machine that died after it wrote, gives the same bytes under the same name.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import torch

from genesis.batch.local import A_GPU, Crash, Outcome
from genesis.batch.worker import Job, Work, work
from genesis.errors import ResourceError


class Cluster:
    """The processors (or GPUs) of a Ray cluster that is running; ``address`` as in ``ray.init``."""

    def __init__(self, address: str = "auto", gpu: bool = False, work: Work = work) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise ResourceError('a cluster needs Ray; run `pip install "genesis-engine[cluster]"`') from None
        self._ray: Any = ray
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, configure_logging=False)
            except (ConnectionError, ValueError, RuntimeError) as error:
                said = " ".join(str(error).split())[:120]
                raise ResourceError(
                    f"no Ray cluster at {address!r} ({said}); start one with `ray start --head`, or leave --cluster out"
                ) from None
        self.resource, self.share = ("GPU", 1 / A_GPU) if gpu else ("CPU", 1.0)
        options = {"num_gpus": self.share, "num_cpus": 1} if gpu else {"num_cpus": 1}
        # a lost task is ours to count: Ray would repeat a poisonous one for ever
        self.task = ray.remote(max_retries=0, **options)(_alone)
        self.work, self.device = work, "cuda" if gpu else "cpu"
        self.running: dict[Any, Job] = {}

    @property
    def size(self) -> int:
        """As many tasks as there is room for now: machines may come and go."""
        return max(1, int(self._ray.cluster_resources().get(self.resource, 0) / self.share))

    @property
    def busy(self) -> int:
        return len(self.running)

    def submit(self, job: Job) -> None:
        job = replace(job, device=self.device)
        self.running[self.task.remote(self.work, job)] = job

    def wait(self, seconds: float) -> list[Outcome]:
        done, _ = self._ray.wait(list(self.running), timeout=seconds) if self.running else ([], [])
        return [self._outcome(task) for task in done]

    def close(self) -> None:
        for task in self.running:
            self._ray.cancel(task, force=True)
        self.running.clear()

    def _outcome(self, task: Any) -> Outcome:
        job = self.running.pop(task)
        try:
            result: int = self._ray.get(task)
            return job, result
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            return job, cause if isinstance(cause, Exception) else error
        except self._ray.exceptions.RayError as error:
            return job, Crash(" ".join(str(error).split())[:200])


def _alone(work: Work, job: Job) -> int:
    torch.set_num_threads(1)
    return work(job)

"""Processes that draw: the same bytes from any number of them, also when they die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from library_of_words import fake_source

from genesis.batch.library import Library
from genesis.batch.local import Crash, Inline, Outcome, Processes, devices_of
from genesis.batch.plan import Order, Plan
from genesis.batch.run import Run
from genesis.batch.session import begin, status
from genesis.batch.verify import verify
from genesis.batch.worker import DIED, Job, Source, draw_shard, work
from genesis.engine import Engine
from genesis.errors import GenesisError

Make = Callable[..., Plan]
POISON = 45


def fatal(job: Job) -> int:
    """A native library that takes its process along, whenever it meets one item."""
    if job.first <= POISON < job.last and POISON not in job.skip:
        os.kill(os.getpid(), signal.SIGSEGV)
    return work(job)


def once(job: Job) -> int:
    """A process that is killed once, in the middle of a run."""
    flag = Path(job.folder) / "_killed"
    if job.shard == 1 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return work(job)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


class Mortal(Inline):
    """A pool in this process, whose jobs die as its ``dies`` says."""

    def __init__(self, source: Source, dies: Callable[[Job], bool]) -> None:
        super().__init__(lambda job: draw_shard(source, job))
        self.dies = dies
        self.tried: list[Job] = []

    def wait(self, seconds: float) -> list[Outcome]:
        if self.jobs and self.dies(self.jobs[0]):
            self.tried.append(self.jobs[0])
            return [(self.jobs.pop(0), Crash("killed by signal 11"))]
        return super().wait(seconds)


Deaths = Callable[[Job], bool]


@pytest.fixture
def mortal(make_plan: Make, engine: Engine, tmp_path: Path) -> Callable[..., Any]:
    """Runs of the fake drawer in a pool whose jobs die as they are told."""
    order = Order.of(make_plan(count=100, measure=[]), engine)

    def run(dies: Deaths, name: str = "mortal") -> tuple[Path, Mortal, Any]:
        library, source = Library.create(tmp_path / name, order), fake_source(order, engine)
        pool = Mortal(source, dies)
        return library.folder, pool, Run(library, source, pool).run()

    return run


@pytest.fixture
def undisturbed(mortal: Callable[..., Any]) -> dict[str, bytes]:
    folder, _, _ = mortal(lambda job: False, "undisturbed")
    return files(folder)


@pytest.fixture
def whole(make_plan: Make, run_here: Callable[..., Any], tmp_path: Path) -> Path:
    library, _ = run_here(make_plan(count=100, measure=["logp"]), tmp_path / "whole")
    folder: Path = library.folder
    return folder


def test_two_processes_of_which_one_is_killed(make_plan: Make, engine: Engine, whole: Path, tmp_path: Path) -> None:
    library = begin(make_plan(count=100, measure=["logp"]), engine, tmp_path / "lib")
    Run(library, Source.of(library.order, engine), Processes(2, "cpu", once)).run()
    assert (library.folder / "_killed").exists()
    assert files(library.folder) == files(whole)


@pytest.mark.slow
def test_processes_that_die_of_an_item(
    make_plan: Make, engine: Engine, run_here: Callable[..., Any], tmp_path: Path
) -> None:
    plan = make_plan(count=110, measure=["logp"])
    library = begin(plan, engine, tmp_path / "two")
    tally = Run(library, Source.of(library.order, engine), Processes(2, "cpu", fatal)).run()
    assert tally.poison == {str(POISON): DIED}
    assert tally.returned == 110
    run_here(plan, tmp_path / "one")
    with_it, without = (Library.open(tmp_path / name).folder for name in ("one", "two"))
    assert files(with_it)["part-00000.parquet"] == files(without)["part-00000.parquet"], "the same from two processes"
    assert verify(without) == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_processes_gives_the_same_bytes(
    make_plan: Make, engine: Engine, whole: Path, tmp_path: Path, workers: int
) -> None:
    library = begin(make_plan(count=100, measure=["logp"]), engine, tmp_path / "lib")
    Run(library, Source.of(library.order, engine), Processes(workers, "cpu")).run()
    assert files(library.folder) == files(whole)


def test_a_worker_that_dies_once_costs_one_retry(mortal: Callable[..., Any], undisturbed: dict[str, bytes]) -> None:
    died: list[int] = []

    def dies(job: Job) -> bool:
        if job.shard in died:
            return False
        died.append(job.shard)
        return True

    folder, pool, tally = mortal(dies)
    assert files(folder) == undisturbed
    assert len(pool.tried) == len(died) == len(files(folder))
    assert tally.poisoned == 0


def test_an_item_that_kills_is_found_and_the_rest_of_its_shard_is_kept(mortal: Callable[..., Any]) -> None:
    folder, pool, tally = mortal(lambda job: job.first <= POISON < job.last and POISON not in job.skip)
    assert tally.poison == {str(POISON): DIED}
    sizes = [job.last - job.first for job in pool.tried]
    assert sizes == [32, 32, 32, 16, 8, 4, 2, 1], "drawn twice, then halved"
    assert tally.returned == 100
    assert verify(folder) == []


def test_two_items_that_kill(mortal: Callable[..., Any]) -> None:
    bad = {40, 63}
    _, _, tally = mortal(lambda job: any(job.first <= i < job.last and i not in job.skip for i in bad))
    assert set(tally.poison) == {"40", "63"}


def test_a_death_of_every_item_is_soon_known(mortal: Callable[..., Any]) -> None:
    tried: list[Job] = []

    def dies(job: Job) -> bool:
        tried.append(job)
        return True

    with pytest.raises(
        GenesisError, match=r"workers die of 9 items of shard 0, the first at 0 .*something else is wrong"
    ):
        mortal(dies)
    assert len(tried) < 30, "not each of its items, one process after another"


def test_deaths_without_a_cause_stop_the_run(mortal: Callable[..., Any]) -> None:
    with pytest.raises(GenesisError, match=r"workers died 6 times on items 0 to 31 .*enough memory"):
        mortal(lambda job: not job.probe)


def test_a_process_that_the_system_kills_for_its_memory_gets_smaller_batches(
    mortal: Callable[..., Any], undisturbed: dict[str, bytes]
) -> None:
    folder, pool, tally = mortal(lambda job: min(job.batch, job.last - job.first) > 4)
    assert files(folder) == undisturbed
    assert [job.batch for job in pool.tried if not job.probe] == [16, 16, 8]
    assert tally.poisoned == 0


def test_what_is_not_a_death_stops_the_run_and_keeps_what_is_finished(
    make_plan: Make, engine: Engine, whole: Path, tmp_path: Path
) -> None:
    library = begin(make_plan(count=100, measure=["logp"]), engine, tmp_path / "lib")
    source = Source.of(library.order, engine)

    def stops(job: Job) -> int:
        if job.shard == 2:
            raise GenesisError("no space")
        return draw_shard(source, job)

    with pytest.raises(GenesisError, match="no space"):
        Run(library, source, Inline(stops)).run()
    assert status(library.folder).shards == 2
    assert files(library.folder).items() <= files(whole).items()


def test_devices() -> None:
    assert devices_of("cpu") == ["cpu"]
    assert devices_of("cuda:3") == ["cuda:3"]
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert Processes(None, "cpu").size == 1, "what is allowed, not what is there"
    finally:
        os.sched_setaffinity(0, allowed)
    assert Processes(3, "cpu").size == 3


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_run(make_plan: Make, engine: Engine, model: Path, tmp_path: Path) -> None:
    """The command itself under kill -9, three times; its processes end, and the run goes on."""
    text = (
        "import sys; from genesis.cli.app import run; "
        f"sys.exit(run(['batch', 'molecules', '--model', {str(model)!r}, '-n', '400', '--shard', '32', '--workers', "
        f"'2', '--batch-size', '16', '--device', 'cpu', '--out', {str(tmp_path / 'lib')!r}]))"
    )
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", text], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 3_600
        before = len(files(tmp_path / "lib"))
        while len(files(tmp_path / "lib")) < before + 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        assert children
        process.kill()
        process.wait()
        while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=3_600)
    assert done.returncode == 0, done.stderr
    settings = {"domain": "molecules", "model": str(model), "count": 400, "shard": 32, "batch_size": 16}
    library = begin(Plan.of(settings), engine, tmp_path / "whole")
    Run(library, Source.of(library.order, engine), Inline()).run()
    assert files(library.folder) == files(tmp_path / "lib")

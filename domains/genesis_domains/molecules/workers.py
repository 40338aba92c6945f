"""Work on many molecules in other processes, in order and in bounded memory."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

Progress = Callable[[int, int, str], None]  # done, total, stage
CHUNK = 500  # molecules a task: a second of work or less
WORTH_A_PROCESS = 4 * CHUNK  # starting a process and importing RDKit costs as much as measuring about so many


def chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Consecutive lists of ``size`` items, the last one shorter."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def in_order(function: Callable[[T], R], tasks: Iterable[T], workers: int) -> Iterator[R]:
    """``map(function, tasks)`` over fresh processes; at most four tasks a worker wait. One worker: all happens here."""
    if workers <= 1:
        yield from map(function, tasks)
        return
    from loky import ProcessPoolExecutor  # unlike multiprocessing's, it needs no __main__ guard in a user's script

    pool = ProcessPoolExecutor(workers)
    waiting: deque[Future[R]] = deque()
    whole = False
    try:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) >= 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        whole = True
    finally:
        pool.shutdown(wait=True, kill_workers=not whole)

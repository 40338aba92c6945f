"""Work spread over the cores in threads that each compute alone.

PyTorch's own way splits every operation over all cores and waits for the slowest one each time. Where another process
uses the cores too, that wait is long: on two busy cores ChemNet took nine times as long with two threads as with one,
and a Frechet distance seventy times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def one_core() -> Iterator[int]:
    """PyTorch keeps to one core inside; the value is the number of threads it used before and uses again after."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def on_each_core(function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
    """``map(function, tasks)`` in order, by as many threads as PyTorch uses, each computing on one core."""
    with one_core() as threads:
        if threads == 1:
            yield from map(function, tasks)
            return
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(function, tasks)

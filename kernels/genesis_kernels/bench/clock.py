"""Time on a GPU: calls recorded into a CUDA graph, on inputs that together do not fit the cache.

A graph leaves the host out of the figure, for every opponent alike; what cannot be recorded is timed call by call and
says so. Inputs are random: matrix products on zeros draw less power and run faster.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

COLD = 3  # times the L2 cache: what the inputs of one round take together
MOST = 64  # sets of inputs, at most
ROUNDS = 20
WARM_MS = 100.0  # an idle GPU runs at a fifth of its clock


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds of one call."""

    median: float
    p20: float
    p80: float
    recorded: bool  # in a graph


def sets_of(size: int) -> int:
    """How many sets of inputs of ``size`` bytes it takes to outgrow the cache."""
    cache = torch.cuda.get_device_properties().L2_cache_size
    return max(1, min(MOST, -(-COLD * cache // max(1, size))))


def timed(call: Callable[[int], object], sets: int) -> Timing:
    """Time ``call(i)`` for ``i`` over the sets of inputs, ``ROUNDS`` times over."""
    for i in range(min(3, sets)):
        call(i)
    torch.cuda.synchronize()
    run, recorded = _recorded(call, sets)
    _warm(run)
    taken = []
    for _ in range(ROUNDS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        taken.append(begin.elapsed_time(end) * 1e3 / sets)
    tenths = statistics.quantiles(taken, n=10)
    return Timing(statistics.median(taken), tenths[1], tenths[7], recorded)


def _recorded(call: Callable[[int], object], sets: int) -> tuple[Callable[[], None], bool]:
    def every() -> None:
        for i in range(sets):
            call(i)

    graph = torch.cuda.CUDAGraph()
    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            every()
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph):
            every()
    except RuntimeError:
        torch.cuda.synchronize()
        return every, False
    return graph.replay, True


def _warm(run: Callable[[], None]) -> None:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    spent = 0.0
    while spent < WARM_MS:
        begin.record()
        run()
        end.record()
        end.synchronize()
        spent += begin.elapsed_time(end) + 1e-3


def copy_bandwidth(size: int = 1 << 30) -> float:
    """Bytes a second of the fastest copy, read and write counted: the ceiling of whatever moves bytes.

    Negation is a copy by a kernel: in a graph ``copy_`` becomes the copy engine's, which reached two thirds of it on an
    H200.
    """
    source = torch.randn(size // 4, device="cuda")
    target = torch.empty_like(source)
    calls = (lambda _: target.copy_(source), lambda _: torch.neg(source, out=target))
    return 2 * size / (min(timed(call, 1).median for call in calls) * 1e-6)


def matrix_rate(n: int = 8192) -> float:
    """FLOPs a second of a bf16 matrix product: the ceiling of whatever multiplies."""
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * n**3 / (timed(lambda _: a @ b, 1).median * 1e-6)


def bytes_of(tensors: Sequence[object]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))

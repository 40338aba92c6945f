"""Kernels run by Triton's interpreter, which has to be chosen before they are imported: a process of their own.

``tests/kernels/test_interpreter.py`` starts it; by hand, pytest on this folder with TRITON_INTERPRET=1.
The interpreter computes bfloat16 wrongly and without an error, so nothing here is in bfloat16.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]

MARGIN = 64  # elements before and behind every buffer that a kernel is given to write
CANARY = 77
TOLERANCE = {torch.float32: 5e-6, torch.float16: 6e-3}


class Guarded:
    """Buffers full of NaN, or of the largest integer, between canaries."""

    def __init__(self) -> None:
        self.buffers: list[Tensor] = []

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        size = int(torch.Size(shape).numel())
        buffer = torch.full((size + 2 * MARGIN,), CANARY).to(dtype)
        inside = buffer[MARGIN : MARGIN + size]
        inside.fill_(float("nan") if dtype.is_floating_point else dtype != torch.bool and torch.iinfo(dtype).max)
        self.buffers.append(buffer)
        return inside.view(shape)

    def copy(self, x: Tensor) -> Tensor:
        return self.empty(tuple(x.shape), x.dtype).copy_(x)

    def check(self) -> None:
        assert self.buffers, "nothing was allocated under guard"
        for buffer in self.buffers:
            for canaries in (buffer[:MARGIN], buffer[-MARGIN:]):
                assert (canaries == torch.tensor(CANARY).to(buffer.dtype)).all(), "a store went out of bounds"


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    """What launchers allocate during the test lies between canaries, which are checked at its end."""
    guard = Guarded()

    def empty(size: tuple[int, ...], *, dtype: torch.dtype = torch.float32, device: object = None) -> Tensor:
        return guard.empty(tuple(size), dtype)

    def new_empty(x: Tensor, *size: int | tuple[int, ...], dtype: torch.dtype | None = None, **more: object) -> Tensor:
        if more:  # the interpreter's own
            return original(x, *size, dtype=dtype, **more)
        shape = size[0] if isinstance(size[0], tuple | torch.Size) else size
        return guard.empty(tuple(shape), dtype or x.dtype)

    original = Tensor.new_empty
    with (
        patch.object(torch, "empty", empty),
        patch.object(torch, "empty_like", lambda x: guard.empty(tuple(x.shape), x.dtype)),
        patch.object(Tensor, "new_empty", new_empty),
    ):
        yield guard
    guard.check()


@pytest.fixture
def normal() -> Callable[..., Tensor]:
    """Normal numbers of a shape, others at every call."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return draw


@pytest.fixture
def close() -> Callable[..., None]:
    """Within the rounding of a dtype, for an expected value in float64."""

    def check(found: Tensor, expected: Tensor, dtype: torch.dtype, factor: float = 1) -> None:
        tolerance = TOLERANCE[dtype] * factor
        torch.testing.assert_close(found.double(), expected.double(), rtol=tolerance, atol=tolerance)

    return check

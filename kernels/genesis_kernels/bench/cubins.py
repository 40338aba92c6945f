"""Kernels compiled for GPUs that are not here, specialised as a launch would: what the machine code says.

The launchers of ``genesis_kernels`` run unchanged on tensors of the meta device; a driver that only knows its
architecture takes the place of CUDA's, and each kernel is compiled where it would have been launched.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction, MockTensor

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


class Architecture:
    """A driver without a device."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return self.capability  # Triton keeps compiled kernels by device: one cache an architecture

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cuda", 0)


@dataclass(frozen=True, slots=True)
class Cubin:
    """One compiled kernel."""

    name: str
    registers: int
    shared: int  # bytes, static and dynamic
    stack: int  # bytes a thread
    code: str  # SASS

    def count(self, pattern: str) -> int:
        """Instructions that match."""
        return len(re.findall(pattern, self.code))

    @property
    def spills(self) -> int:
        """Loads and stores of registers in local memory."""
        return self.count(r"\b(?:LDL|STL)\b")

    @property
    def tensor_core(self) -> str:
        """The widest matrix instruction used."""
        return next((name for name in ("UTCHMMA", "UTCQMMA", "HGMMA", "HMMA") if self.count(rf"\b{name}")), "none")


@contextmanager
def compiling(capability: int) -> Iterator[list[Cubin]]:
    """Within the context, launches compile for an architecture and are collected instead of run."""
    found: list[Cubin] = []

    def run(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        mocked = [MockTensor(a.dtype) if isinstance(a, torch.Tensor) else a for a in args]
        found.append(_read(original(self, *mocked, grid=(1,), warmup=True, **kwargs), self.fn.__name__))

    original, driver = JITFunction.run, triton.runtime.driver
    with patch.object(JITFunction, "run", run), patch.object(driver, "_active", Architecture(capability)):
        yield found


def compiled(capability: int, launch: Callable[[], Any]) -> list[Cubin]:
    """The kernels that ``launch`` would start."""
    with compiling(capability) as found:
        launch()
    return found


def _read(kernel: Any, name: str) -> Cubin:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = _tool("cuobjdump", "-res-usage", file.name)
        code = _tool("nvdisasm", "-c", file.name)

    def number(key: str) -> int:
        return max(map(int, re.findall(rf"{key}:(\d+)", usage)), default=0)

    return Cubin(name, number("REG"), kernel.metadata.shared, number("STACK"), code)


def _tool(name: str, *arguments: str) -> str:
    return subprocess.run([TOOLS / name, *arguments], capture_output=True, text=True, check=True).stdout

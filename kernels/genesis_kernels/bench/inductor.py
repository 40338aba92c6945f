"""What Inductor would launch on a GPU that is not here: kernels and the bytes that they move, counted and not timed.

The graph of a function, or of its backward pass, is lowered for "cuda" tensors that hold nothing, by the code
generator itself: only the questions to the device are answered from a table. Nothing is compiled to machine code, so
no compiler is needed. All of this is private to torch and moves with it: a test pins what it gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import triton
from torch import Tensor

from genesis_kernels.bench.cubins import Architecture

H200 = SimpleNamespace(
    name="NVIDIA H200",
    major=9,
    minor=0,
    multi_processor_count=132,
    total_memory=141 * 10**9,
    warp_size=32,
    regs_per_multiprocessor=65_536,
    max_threads_per_multi_processor=2_048,
    max_threads_per_block=1_024,
    shared_memory_per_block=49_152,
    shared_memory_per_block_optin=232_448,
    shared_memory_per_multiprocessor=233_472,
    L2_cache_size=60 * 2**20,
    gcnArchName="",
)


@dataclass(frozen=True, slots=True)
class Generated:
    """What one graph becomes."""

    kernels: int  # launches of Triton code that Inductor writes
    library: int  # calls of what it does not write: sorting, products, attention
    bytes: int  # each kernel's inputs and outputs, counted once
    code: str


@contextmanager
def pretended() -> Iterator[None]:
    """Within the context, torch's compiler believes in an H200; nothing may be run on it."""
    import torch._inductor.graph  # whose own imports ask the device
    from torch._dynamo import device_interface
    from torch.utils._triton import has_triton

    facts: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_properties": lambda device=None: H200,
        "get_device_capability": lambda device=None: (9, 0),
        "synchronize": lambda device=None: None,
        "is_bf16_supported": lambda including_emulation=True: True,
        "_lazy_init": lambda: None,
    }
    has_triton.cache_clear()  # which may have been asked before, on a machine without a device
    with ExitStack() as stack:
        stack.callback(has_triton.cache_clear)
        for name, answer in facts.items():
            stack.enter_context(patch.object(torch.cuda, name, answer))
            if hasattr(device_interface.CudaInterface, name):
                stack.enter_context(patch.object(device_interface.CudaInterface, name, staticmethod(answer)))
        stack.enter_context(patch.object(device_interface.CudaInterface, "is_triton_capable", lambda device=None: True))
        stack.enter_context(patch.dict(device_interface.caching_worker_device_properties, {"cuda": [H200]}))
        stack.enter_context(patch.object(torch.version, "cuda", "13.0"))
        stack.enter_context(patch.object(triton.runtime.driver, "_active", Architecture(90)))
        yield


def generated(call: Callable[..., Any], inputs: Sequence[Any]) -> Generated:
    """What ``call(*inputs)`` becomes; ``inputs`` are on the CPU, and only their shapes and dtypes are read."""
    from torch._inductor.decomposition import select_decomp_table
    from torch.func import functionalize
    from torch.fx.experimental.proxy_tensor import make_fx

    # traced and decomposed beside CPU tensors: there, what is written in Python may index and copy
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        here = [_empty(x, "cpu") for x in inputs]
        graph = make_fx(functionalize(call, remove="mutations_and_views"), select_decomp_table())(*here)
        for node in graph.graph.nodes:
            if "device" in node.kwargs:
                node.kwargs = {**node.kwargs, "device": torch.device("cuda", 0)}
        graph.recompile()
        with pretended():
            there = [_empty(x, "cuda") for x in inputs]
            return _lowered(make_fx(graph)(*there), there, mode)


def generated_backward(call: Callable[..., Any], inputs: Sequence[Any]) -> Generated:
    """What the backward pass of ``call(*inputs)`` becomes, with what the partitioner keeps from the forward pass."""
    from torch._functorch.aot_autograd import aot_function, make_boxed_func
    from torch._functorch.partitioners import min_cut_rematerialization_partition

    caught: list[tuple[torch.fx.GraphModule, Sequence[Any]]] = []

    def catch(graph: torch.fx.GraphModule, example: Sequence[Any]) -> Any:
        caught.append((graph, example))
        return make_boxed_func(graph)

    def ignore(graph: torch.fx.GraphModule, example: Sequence[Any]) -> Any:
        return make_boxed_func(graph)

    leaves = [x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in inputs]
    compiled = aot_function(
        call,
        fw_compiler=ignore,
        bw_compiler=catch,
        partition_fn=min_cut_rematerialization_partition,
    )
    out = compiled(*leaves)
    made = [t for t in (out if isinstance(out, tuple | list) else (out,)) if t.requires_grad]
    torch.autograd.grad(made, [x for x in leaves if isinstance(x, Tensor) and x.requires_grad], made)
    ((graph, example),) = caught
    return generated(graph, example)


def _empty(x: Any, device: str) -> Any:
    """The same tensor without its numbers."""
    if not isinstance(x, Tensor):
        return x
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=device)


def _lowered(graph: torch.fx.GraphModule, inputs: Sequence[Any], mode: Any) -> Generated:
    from torch._inductor.compile_fx import view_to_reshape
    from torch._inductor.debug import DebugContext
    from torch._inductor.fx_passes.post_grad import post_grad_passes
    from torch._inductor.fx_passes.replace_random import replace_random_passes
    from torch._inductor.graph import GraphLowering
    from torch._inductor.virtualized import V

    for node in graph.graph.find_nodes(op="call_function", target=torch.ops.aten.detach_copy.default):
        node.replace_all_uses_with(node.args[0])  # what functionalisation leaves of a detach
        graph.graph.erase_node(node)
    view_to_reshape(graph)
    with V.set_fake_mode(mode), V.set_debug_handler(DebugContext()):
        replace_random_passes(graph)
        post_grad_passes(graph, is_inference=True)
        lowering = GraphLowering(graph, example_inputs=inputs, is_inference=True)
        with V.set_graph_handler(lowering):
            lowering.run(*inputs)
            made: Any = lowering.codegen()
            moved = sum(node.get_read_write_buffers_sizes() for node in lowering.scheduler.nodes)
    first = made[0] if isinstance(made, tuple) else made
    code = str(getattr(first, "value", first))
    body = code[code.index("def call(") :]
    library = len(re.findall(r"\b(?:extern_kernels\.\w+|torch\.ops\.aten\.[\w.]+|aten\.[\w.]+)\(", body))
    return Generated(len(re.findall(r"\btriton_\w+\.run\(", body)), library, int(moved), code)

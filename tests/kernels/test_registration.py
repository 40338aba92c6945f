"""The ops as torch sees them: schema, fake tensors, gradients, compile in one graph, export as one node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from genesis.nn.block import rotary_table
from genesis_kernels import reference

pytest.importorskip("triton", reason="the kernels need Triton, which this system has no wheel of")
from genesis_kernels import decode_attention, modulated_norm, short_attention, token_sampler  # noqa: F401

# Inductor imports what torch itself calls deprecated
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
OPS = torch.ops.genesis_kernels
H, G, K = 4, 2, 6


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def norm_inputs(rows: int = 2, dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
    x, branch = (normal(2, 5, 12, seed=s, dtype=dtype).requires_grad_() for s in (1, 2))
    gate, gain, shift = (normal(rows, 1, 12, seed=s, dtype=dtype).requires_grad_() for s in (3, 4, 5))
    return x, branch, gate, gain, shift, 1e-6, None


def attention_inputs(padded: bool = False, dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
    qkv = normal(9, H + 2 * G, K, dtype=dtype).requires_grad_()
    lengths = torch.tensor([4, 2], dtype=torch.int32) if padded else None
    tables = (t.to(dtype) for t in rotary_table(5, K))
    return qkv, torch.tensor([0, 4, 9], dtype=torch.int32), lengths, *tables, H, 5, True, 1e-6


def decode_inputs() -> tuple[Any, ...]:
    caches = (normal(3, G, 7, K, seed=s, dtype=torch.float32) for s in (1, 2))
    position = torch.tensor([0, 6, -1], dtype=torch.int32)
    return normal(3, H + 2 * G, K, dtype=torch.float32), *caches, position, *rotary_table(7, K), H, 1e-6


def sampler_inputs() -> tuple[Any, ...]:
    position = torch.tensor([0, 4, -1], dtype=torch.int32)
    made = (torch.zeros(3, dtype=torch.bool), torch.zeros(3), torch.zeros(3, 5, dtype=torch.int32))
    rules = torch.tensor([1.0, 3, 0.9, 0.1, 1])
    logits, allowed = normal(3, 16, dtype=torch.float32), torch.ones(3, 11, dtype=torch.bool)
    start = (torch.zeros(3, dtype=torch.int64), position, torch.zeros(3, dtype=torch.int32))
    return logits, allowed, torch.tensor([5]), rules, torch.arange(3), *start, *made, 11


CASES = {
    "modulated_norm": norm_inputs,
    "modulated_norm of one row": lambda: norm_inputs(1),
    "modulated_norm alone": lambda: (norm_inputs()[0], *(None,) * 4, 1e-6, torch.bfloat16),
    "short_attention": attention_inputs,
    "short_attention padded": lambda: attention_inputs(True),
    "decode_attention": decode_inputs,
    "token_sampler": sampler_inputs,
}


@pytest.mark.parametrize("name", CASES)
def test_opcheck(name: str) -> None:
    found = torch.library.opcheck(getattr(OPS, name.split()[0]), CASES[name]())
    assert set(found.values()) == {"SUCCESS"}


def copies(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in inputs)


@pytest.mark.parametrize("name", CASES)
def test_compiled_in_one_graph_it_is_the_same(name: str) -> None:
    op = getattr(OPS, name.split()[0])
    eager, compiled = copies(CASES[name]()), copies(CASES[name]())
    expected = op(*eager)
    found = torch.compile(lambda *inputs: op(*inputs), fullgraph=True, backend="aot_eager")(*compiled)
    torch.testing.assert_close(found, expected)
    for a, b in zip(compiled, eager, strict=True):
        if isinstance(a, Tensor) and not a.requires_grad:
            torch.testing.assert_close(a, b, equal_nan=True)
    leaves = [(a, b) for a, b in zip(compiled, eager, strict=True) if isinstance(a, Tensor) and a.requires_grad]
    if leaves:
        for result in (found, expected):
            sum(t.float().square().sum() for t in (result if isinstance(result, tuple) else (result,))).backward()
        for a, b in leaves:
            torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("name", ["modulated_norm", "short_attention", "decode_attention"])
def test_exported_it_is_one_node(name: str) -> None:
    tensors = [x.detach() if isinstance(x, Tensor) else x for x in CASES[name]()]

    class Alone(torch.nn.Module):
        def forward(self, *inputs: Any) -> Any:
            return getattr(OPS, name)(*inputs)

    program = torch.export.export(Alone(), tuple(tensors))
    called = [
        node for node in program.graph.nodes if node.op == "call_function" and "genesis_kernels" in str(node.target)
    ]
    assert len(called) == 1


@pytest.mark.parametrize("rows", [1, 2])
def test_gradients_of_the_norm_against_finite_differences(rows: int) -> None:
    x, branch, gate, gain, shift, eps, _ = norm_inputs(rows, torch.float64)

    def op(*inputs: Tensor | None) -> Any:
        return OPS.modulated_norm(*inputs, eps, None)

    assert torch.autograd.gradcheck(op, (x, branch, gate, gain, shift))
    assert torch.autograd.gradcheck(lambda x, branch: op(x, branch, None, None, None), (x, branch))
    assert torch.autograd.gradcheck(lambda x, gain, shift: op(x, None, None, gain, shift)[1], (x, gain, shift))


@pytest.mark.parametrize("padded", [True, False])
def test_gradients_of_attention_against_finite_differences(padded: bool) -> None:
    qkv, *rest = attention_inputs(padded, torch.float64)
    assert torch.autograd.gradcheck(lambda qkv: OPS.short_attention(qkv, *rest), (qkv,))


def test_norms_in_a_row_that_share_a_table_of_modulations() -> None:
    """What torch.compile differentiates wrongly in torch 2.10 to 2.13 (pytorch#193061), through the op."""
    table, x = normal(1, 4, 12, seed=1).requires_grad_(), normal(2, 5, 12, seed=2).requires_grad_()

    def chained(x: Tensor, table: Tensor, norm: Callable[..., Any]) -> Tensor:
        for i in (0, 2):
            gain, shift = table.narrow(1, i, 1), table.narrow(1, i + 1, 1)
            x = norm(x, None, None, 1 + gain, shift, 1e-6, None)[1]
        return x.square().sum()

    expected = torch.autograd.grad(chained(x, table, reference.modulated_norm), (x, table))
    compiled = torch.compile(lambda x, table: chained(x, table, OPS.modulated_norm), fullgraph=True)
    found = torch.autograd.grad(compiled(x, table), (x, table))
    torch.testing.assert_close(found, expected)

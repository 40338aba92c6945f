"""The kernels of the modulated norm against the reference in float64, forward and backward."""

from __future__ import annotations

import itertools

import pytest
import torch

from genesis_kernels import modulated_norm as kernel
from genesis_kernels import reference

SHAPES = [(1, 1, 2), (3, 7, 33), (2, 70, 64), (1, 3, 1000)]  # B, T, D; 70 rows are two chunks
DTYPES = (torch.float32, torch.float16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("gated", "modulated", "shared"), [(1, 1, 0), (1, 1, 1), (0, 1, 0), (1, 0, 0), (0, 0, 0)])
def test_forward_and_gradients(close, guarded, normal, shape, dtype, gated, modulated, shared):
    B, T, D = shape
    rows = (1 if shared else B, 1, D)
    x, branch = normal(B, T, D, dtype=dtype), normal(B, T, D, dtype=dtype)
    gate = normal(*rows, dtype=dtype) if gated else None
    gain, shift = (normal(*rows, dtype=dtype) if modulated else None for _ in range(2))
    inputs = [x, branch, gate, gain, shift]
    wide = [None if t is None else t.double().requires_grad_() for t in inputs]
    expected = reference.modulated_norm(*wide)
    stream, y = kernel.forward(*inputs, 1e-6, dtype)
    close(stream, expected[0].detach(), dtype)
    close(y, expected[1].detach(), dtype)
    d_stream, dy = normal(B, T, D, dtype=dtype), normal(B, T, D, dtype=dtype)
    asked = [t for t in wide if t is not None]
    gradients = torch.autograd.grad(expected, asked, (d_stream.double(), dy.double()))
    grads = {id(tensor): gradient for tensor, gradient in zip(asked, gradients, strict=True)}
    found = kernel.backward(d_stream, dy, stream, branch, gate, gain, 1e-6)
    scale = 4 * max(1.0, (B * T) ** 0.5)  # gradients of a row of modulations are sums over rows
    for gradient, tensor in zip(found, wide, strict=True):
        if gradient.numel() == 0:
            assert tensor is None or (tensor is wide[1] and gate is None)
        else:
            close(gradient, grads[id(tensor)], dtype, scale)


def test_without_a_branch_the_stream_stays(close, guarded, normal):
    x, gain, shift = normal(2, 5, 24), normal(2, 1, 24), normal(2, 1, 24)
    stream, y = kernel.forward(x, None, None, gain, shift, 1e-6, None)
    assert stream.numel() == 0
    close(y, reference.modulated_norm(x.double(), None, None, gain.double(), shift.double())[1], torch.float32)
    dy, wide = normal(2, 5, 24), x.double().requires_grad_()
    expected = torch.autograd.grad(
        reference.modulated_norm(wide, None, None, gain.double(), shift.double())[1], wide, dy.double()
    )
    dx, d_branch, d_gate, _, _ = kernel.backward(None, dy, x, None, None, gain, 1e-6)
    close(dx, expected[0], torch.float32)
    assert d_branch.numel() == d_gate.numel() == 0


def test_modulations_may_be_slices_of_one_table(close, guarded, normal):
    """As the model makes them: chunks of ``[B, 1, 6 D]``, and one row expanded over the batch."""
    x, branch, table = normal(3, 4, 16), normal(3, 4, 16), normal(3, 1, 96)
    gate, gain, shift = table.chunk(6, -1)[1:4]
    found = kernel.forward(x, branch, gate, gain, shift, 1e-6, None)
    for a, b in zip(found, reference.modulated_norm(x, branch, gate, gain, shift), strict=True):
        close(a, b, torch.float32)
    one = table[:1].expand(3, -1, -1).chunk(6, -1)[1:4]
    for a, b in zip(
        kernel.forward(x, branch, *one, 1e-6, None), reference.modulated_norm(x, branch, *one), strict=True
    ):
        close(a, b, torch.float32)


@pytest.mark.parametrize("x_dtype", DTYPES)
def test_dtypes_of_the_results(normal, x_dtype):
    """y is in the widest dtype given, or in the one asked for; the stream never narrower than its parts."""
    for branch_dtype, asked in itertools.product(DTYPES, (None, torch.float16)):
        x, branch = normal(1, 2, 8, dtype=x_dtype), normal(1, 2, 8, dtype=branch_dtype)
        rows = [normal(1, 1, 8, dtype=torch.float16) for _ in range(3)]
        found, expected = (
            kernel.forward(x, branch, *rows, 1e-6, asked),
            reference.modulated_norm(x, branch, *rows, 1e-6, asked),
        )
        assert [t.dtype for t in found] == [t.dtype for t in expected]


def test_the_sums_of_the_backward_pass_are_the_same_bits_every_time(normal):
    x, branch, dy = (normal(2, 130, 48) for _ in range(3))
    gate, gain = normal(2, 1, 48), normal(2, 1, 48)
    first = kernel.backward(x, dy, x, branch, gate, gain, 1e-6)
    for _ in range(3):
        assert all(map(torch.equal, first, kernel.backward(x, dy, x, branch, gate, gain, 1e-6)))


@pytest.mark.parametrize(("B", "T"), [(0, 3), (2, 0)])
def test_nothing_in_nothing_out(normal, B, T):
    x, gain = normal(B, T, 16), normal(B, 1, 16)
    stream, y = kernel.forward(x, x, gain, gain, gain, 1e-6, None)
    assert stream.shape == y.shape == (B, T, 16)
    assert [g.shape[1:] for g in kernel.backward(x, x, x, x, gain, gain, 1e-6)] == [(T, 16), (T, 16), *[(1, 16)] * 3]

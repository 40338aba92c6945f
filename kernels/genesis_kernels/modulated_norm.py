"""Gate, residual, RMS norm and modulation in one pass, forward and backward; see ``reference.modulated_norm``.

Bytes an element of ``[B, T, D]``, all in one dtype of ``b`` bytes: forward 4b (x, branch; x', y), 2b without a branch;
backward 6b (x', branch, dx', dy; dx, dbranch). Gate, gain and shift are a row a sequence and stay in the cache.

The backward pass sums the gradients of gate, gain and shift over rows in two stages, programs and then partial sums,
so that it has no atomics and the same bits every time. Inductor needs two to three kernels for it, and up to torch
2.13 some of its gradients are wrong where calls share a table of modulations (pytorch#193061).

    B  batch    T  tokens    D  width    C  chunks of a sequence
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from genesis_kernels import reference
from genesis_kernels.launch import INTERPRETED, device_of, power_of_two

TILE = 2048  # elements of a program's tile: 16 a thread of four warps
ROWS = 64  # of a sequence that one program of the backward pass sums over


@triton.jit(do_not_specialize=["rows", "T"])
def _forward_kernel(
    x_ptr, branch_ptr, gate_ptr, gain_ptr, shift_ptr, stream_ptr, y_ptr,
    rows, T, stride_gate, stride_gain, stride_shift, eps,
    D: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    row = (tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)).to(tl.int64)
    column = tl.arange(0, BLOCK_D)
    inside = (row < rows)[:, None] & (column < D)[None, :]
    at = row[:, None] * D + column[None, :]
    sequence = (row // T)[:, None]
    x = tl.load(x_ptr + at, inside, other=0.0).to(tl.float32)
    if branch_ptr is not None:
        branch = tl.load(branch_ptr + at, inside, other=0.0).to(tl.float32)
        if gate_ptr is not None:
            branch *= tl.load(gate_ptr + sequence * stride_gate + column[None, :], inside, other=0.0).to(tl.float32)
        x = (x + branch).to(stream_ptr.dtype.element_ty).to(tl.float32)  # what the next reader will see
        tl.store(stream_ptr + at, x, inside)
    y = x * tl.rsqrt(tl.sum(x * x, 1) / D + eps)[:, None]
    if gain_ptr is not None:
        gain = tl.load(gain_ptr + sequence * stride_gain + column[None, :], inside, other=0.0).to(tl.float32)
        shift = tl.load(shift_ptr + sequence * stride_shift + column[None, :], inside, other=0.0).to(tl.float32)
        y = y * gain + shift
    tl.store(y_ptr + at, y, inside)


@triton.jit(do_not_specialize=["T", "chunk"])
def _backward_kernel(
    d_stream_ptr, dy_ptr, stream_ptr, branch_ptr, gate_ptr, gain_ptr,
    dx_ptr, d_branch_ptr, d_gate_ptr, d_gain_ptr, d_shift_ptr,
    T, chunk, stride_gate, stride_gain, eps,
    D: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    sequence, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    column = tl.arange(0, BLOCK_D)
    within = column < D
    if gate_ptr is not None:
        gate = tl.load(gate_ptr + sequence * stride_gate + column, within, other=0.0).to(tl.float32)[None, :]
        d_gate = tl.zeros((BLOCK_R, BLOCK_D), tl.float32)
    if gain_ptr is not None:
        gain = tl.load(gain_ptr + sequence * stride_gain + column, within, other=0.0).to(tl.float32)[None, :]
        d_gain, d_shift = tl.zeros((BLOCK_R, BLOCK_D), tl.float32), tl.zeros((BLOCK_R, BLOCK_D), tl.float32)
    first = part * chunk
    last = tl.minimum(first + chunk, T)
    for start in range(first, last, BLOCK_R):
        row = start + tl.arange(0, BLOCK_R)
        inside = (row < last)[:, None] & within[None, :]
        at = (sequence * T + row)[:, None] * D + column[None, :]
        x = tl.load(stream_ptr + at, inside, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + at, inside, other=0.0).to(tl.float32)
        r = tl.rsqrt(tl.sum(x * x, 1) / D + eps)[:, None]
        n = x * r
        dn = dy
        if gain_ptr is not None:
            d_gain += dy * n
            d_shift += dy
            dn = dy * gain
        dx = r * (dn - n * (tl.sum(dn * n, 1) / D)[:, None])
        if d_stream_ptr is not None:
            dx += tl.load(d_stream_ptr + at, inside, other=0.0).to(tl.float32)
        tl.store(dx_ptr + at, dx, inside)
        if gate_ptr is not None:
            d_gate += dx * tl.load(branch_ptr + at, inside, other=0.0).to(tl.float32)
            tl.store(d_branch_ptr + at, dx * gate, inside)
    at = (sequence * tl.num_programs(1) + part) * D + column
    if gate_ptr is not None:
        tl.store(d_gate_ptr + at, tl.sum(d_gate, 0), within)
    if gain_ptr is not None:
        tl.store(d_gain_ptr + at, tl.sum(d_gain, 0), within)
        tl.store(d_shift_ptr + at, tl.sum(d_shift, 0), within)


def tile(D: int) -> tuple[int, int, int]:
    """Rows, columns and warps of a program for a width."""
    columns = power_of_two(D)
    rows = max(1, min(16, TILE // columns))
    return rows, columns, 4 if rows * columns <= TILE else 8 if rows * columns <= 2 * TILE else 16


def _stride(t: Tensor | None) -> int:
    return 0 if t is None or t.shape[0] == 1 else t.stride(0)


def _dense(t: Tensor | None) -> Tensor | None:
    """Rows of a modulation ``[B or 1, 1, D]``; only the last axis has to lie together."""
    return t if t is None or t.stride(-1) == 1 else t.contiguous()


def _shapes(
    x: Tensor, branch: Tensor | None, gate: Tensor | None, gain: Tensor | None, shift: Tensor | None,
    dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    stream_dtype = x.dtype
    for t in (branch, gate) if branch is not None else ():
        stream_dtype = stream_dtype if t is None else torch.promote_types(stream_dtype, t.dtype)
    widest = torch.promote_types(stream_dtype, torch.float32)
    for t in (gain, shift):
        widest = widest if t is None else torch.promote_types(widest, t.dtype)
    stream = x.new_empty(x.shape if branch is not None else (0,), dtype=stream_dtype)
    return stream, x.new_empty(x.shape, dtype=dtype or widest)


def forward(
    x: Tensor, branch: Tensor | None, gate: Tensor | None, gain: Tensor | None, shift: Tensor | None, eps: float,
    dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Launch the forward kernel; the first result is empty where there is no branch to add."""
    x, branch = x.contiguous(), None if branch is None else branch.contiguous()
    gate, gain, shift = _dense(gate), _dense(gain), _dense(shift)
    stream, y = _shapes(x, branch, gate, gain, shift, dtype)
    B, T, D = x.shape
    if x.numel():
        BLOCK_R, BLOCK_D, warps = tile(D)
        with device_of(x):
            _forward_kernel[(triton.cdiv(B * T, BLOCK_R),)](
                x, branch, gate, gain, shift, stream, y, B * T, T, _stride(gate), _stride(gain), _stride(shift), eps,
                D=D, BLOCK_R=BLOCK_R, BLOCK_D=BLOCK_D, num_warps=warps,
            )  # fmt: skip
    return stream, y


def backward(
    d_stream: Tensor | None, dy: Tensor, stream: Tensor, branch: Tensor | None, gate: Tensor | None,
    gain: Tensor | None, eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of x, branch, gate, gain and shift; the last four are empty where the op has no such input.

    That of a branch without a gate is that of x, and empty too.
    """
    stream, dy = stream.contiguous(), dy.contiguous()
    d_stream, branch = (None if t is None else t.contiguous() for t in (d_stream, branch))
    gate, gain = _dense(gate) if branch is not None else None, _dense(gain)
    B, T, D = stream.shape
    chunks = max(1, triton.cdiv(T, ROWS))
    partial = stream.new_zeros((3, B, chunks, D), dtype=torch.float32)
    dx, d_branch = torch.empty_like(stream), stream.new_empty(0)
    if branch is not None and gate is not None:
        d_branch = torch.empty_like(branch)
    if stream.numel():
        BLOCK_R, BLOCK_D, warps = tile(D)
        with device_of(stream):
            _backward_kernel[(B, chunks)](
                d_stream, dy, stream, branch, gate, gain, dx, d_branch, *partial.unbind(0),
                T, ROWS, _stride(gate), _stride(gain), eps,
                D=D, BLOCK_R=BLOCK_R, BLOCK_D=BLOCK_D, num_warps=warps,
            )  # fmt: skip
    d_gate, d_gain, d_shift = (
        stream.new_empty(0) if t is None else p.sum((0, 1) if t.shape[0] == 1 else 1, keepdim=True).to(t.dtype)
        for p, t in zip(partial, (gate, gain, gain), strict=True)
    )
    return dx, d_branch, d_gate, d_gain, d_shift


@torch.library.custom_op("genesis_kernels::modulated_norm", mutates_args=(), device_types="cuda")
def _op(
    x: Tensor, branch: Tensor | None, gate: Tensor | None, gain: Tensor | None, shift: Tensor | None, eps: float,
    dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return forward(x, branch, gate, gain, shift, eps, dtype)


@_op.register_kernel("cpu")
def _(x, branch, gate, gain, shift, eps, dtype):  # type: ignore[no-untyped-def]
    if INTERPRETED:
        return forward(x, branch, gate, gain, shift, eps, dtype)
    stream, y = reference.modulated_norm(x, branch, gate, gain, shift, eps, dtype)
    return (x.new_empty(0) if branch is None else stream), y


@_op.register_fake
def _(x, branch, gate, gain, shift, eps, dtype):  # type: ignore[no-untyped-def]
    return _shapes(x, branch, gate, gain, shift, dtype)


@torch.library.custom_op("genesis_kernels::modulated_norm_backward", mutates_args=(), device_types="cuda")
def _backward_op(
    d_stream: Tensor | None, dy: Tensor, stream: Tensor, branch: Tensor | None, gate: Tensor | None,
    gain: Tensor | None, eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    return backward(d_stream, dy, stream, branch, gate, gain, eps)


@_backward_op.register_kernel("cpu")
def _(d_stream, dy, stream, branch, gate, gain, eps):  # type: ignore[no-untyped-def]
    if INTERPRETED:
        return backward(d_stream, dy, stream, branch, gate, gain, eps)
    return reference.modulated_norm_backward(d_stream, dy, stream, branch, gate, gain, eps)


@_backward_op.register_fake
def _(d_stream, dy, stream, branch, gate, gain, eps):  # type: ignore[no-untyped-def]
    def like(t: Tensor | None) -> Tensor:
        return stream.new_empty(0) if t is None else t.new_empty(t.shape)

    gate = None if branch is None else gate
    return stream.new_empty(stream.shape), like(None if gate is None else branch), like(gate), like(gain), like(gain)


def _remember(ctx, inputs, output):  # type: ignore[no-untyped-def]
    x, branch, gate, gain, shift, ctx.eps, _ = inputs
    ctx.shift_dtype = None if shift is None else shift.dtype
    ctx.x_dtype, ctx.branch_dtype = x.dtype, None if branch is None else branch.dtype
    ctx.save_for_backward(x if branch is None else output[0], branch, gate, gain)
    ctx.set_materialize_grads(False)


def _differentiate(ctx, d_stream, dy):  # type: ignore[no-untyped-def]
    stream, branch, gate, gain = ctx.saved_tensors
    if dy is None:
        dy = torch.zeros_like(stream)
    if branch is None:
        d_stream = None
    dx, d_branch, d_gate, d_gain, d_shift = _backward_op(d_stream, dy, stream, branch, gate, gain, ctx.eps)
    if branch is None or gate is None:
        d_branch, d_gate = None if branch is None else dx.to(ctx.branch_dtype), None
    if gain is None:
        return dx.to(ctx.x_dtype), d_branch, d_gate, None, None, None, None
    return dx.to(ctx.x_dtype), d_branch, d_gate, d_gain, d_shift.to(ctx.shift_dtype), None, None


_op.register_autograd(_differentiate, setup_context=_remember)

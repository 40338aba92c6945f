"""What the attention kernels share: heads as two halves, their norm, and their rotation.

A head is kept as its two halves, so that rotary positions (half-split) are arithmetic on registers: nothing moves
between lanes, not even in the backward pass, and q k^T is the sum of two products.

    T  rows of a tile    K  head width    HALF  power of two that holds K/2
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_rows(ptr, row, live, stride, K: tl.constexpr, WIDTH: tl.constexpr):
    """``[T, WIDTH]`` of the rows ``row [T]`` (int64), zero where not ``live [T]`` and beyond K."""
    column = tl.arange(0, WIDTH)
    return tl.load(ptr + row[:, None] * stride + column[None, :], live[:, None] & (column < K)[None, :], other=0.0)


@triton.jit
def store_rows(ptr, row, live, stride, value, K: tl.constexpr, WIDTH: tl.constexpr):
    column = tl.arange(0, WIDTH)
    tl.store(ptr + row[:, None] * stride + column[None, :], value, live[:, None] & (column < K)[None, :])


@triton.jit
def load_halves(ptr, row, live, stride, K: tl.constexpr, HALF: tl.constexpr):
    """The same as two tiles ``[T, HALF]``."""
    column = tl.arange(0, HALF)
    inside = live[:, None] & (column < K // 2)[None, :]
    at = ptr + row[:, None] * stride + column[None, :]
    return tl.load(at, inside, other=0.0), tl.load(at + K // 2, inside, other=0.0)


@triton.jit
def store_halves(ptr, row, live, stride, low, high, K: tl.constexpr, HALF: tl.constexpr):
    column = tl.arange(0, HALF)
    inside = live[:, None] & (column < K // 2)[None, :]
    at = ptr + row[:, None] * stride + column[None, :]
    tl.store(at, low, inside)
    tl.store(at + K // 2, high, inside)


@triton.jit
def load_turn(cos_ptr, sin_ptr, position, live, K: tl.constexpr, HALF: tl.constexpr):
    """cos and sin ``[T, HALF]`` of positions ``[T]``."""
    column = tl.arange(0, HALF)
    inside = live[:, None] & (column < K // 2)[None, :]
    at = position[:, None] * (K // 2) + column[None, :]
    cos, sin = tl.load(cos_ptr + at, inside, other=0.0), tl.load(sin_ptr + at, inside, other=0.0)
    return cos.to(tl.float32), sin.to(tl.float32)


@triton.jit
def inverse_rms(low, high, eps, K: tl.constexpr):
    """``[T]``: 1 / sqrt(mean of squares + eps) of a head."""
    return tl.rsqrt((tl.sum(low * low, 1) + tl.sum(high * high, 1)) / K + eps)


@triton.jit
def turned(low, high, cos, sin):
    """Rotated by the angles of cos and sin; by the opposite ones with -sin."""
    return low * cos - high * sin, high * cos + low * sin


@triton.jit
def placed(low, high, cos, sin, eps, K: tl.constexpr):
    """Unit RMS and rotation, rounded to the dtype that came in: the operands of q k^T."""
    kind = low.dtype
    low, high = low.to(tl.float32), high.to(tl.float32)
    r = inverse_rms(low, high, eps, K)[:, None]
    low, high = turned(low * r, high * r, cos, sin)
    return low.to(kind), high.to(kind)


@triton.jit
def placed_backward(d_low, d_high, low, high, cos, sin, eps, K: tl.constexpr):
    """The gradient of what :func:`placed` was given, from that of what it gave."""
    low, high = low.to(tl.float32), high.to(tl.float32)
    r = inverse_rms(low, high, eps, K)[:, None]
    low, high = low * r, high * r
    d_low, d_high = turned(d_low, d_high, cos, -sin)
    mean = ((tl.sum(d_low * low, 1) + tl.sum(d_high * high, 1)) / K)[:, None]
    return (d_low - low * mean) * r, (d_high - high * mean) * r


@triton.jit
def product(a_low, a_high, b_low, b_high):
    """``a b^T`` in float32; float32 operands are not cut to TF32."""
    first = tl.dot(a_low, tl.trans(b_low), input_precision="ieee")
    return tl.dot(a_high, tl.trans(b_high), first, input_precision="ieee")

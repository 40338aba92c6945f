"""Attention inside many short sequences, forward and backward; see ``reference.short_attention``.

All keys and values of a sequence and key-value head lie in one tile: no online softmax, and the query heads of a group
reuse them. Norm and rotation of queries and keys happen on load, so that between the projections and the output
nothing is written but the result.

Bytes of ``b`` bytes an element, H query heads, G key-value heads, N tokens of width K: forward (2H + 2G) N K b;
backward (3H + 4G) N K b where one tile holds a sequence (``WHOLE``), else the keys' pass reads again. FLOPs 4 and 10
H K sum(T^2), half of it causal; the tile does more, see ``bench.shapes``.

The backward pass has no atomics: up to ``WHOLE`` tokens one program owns a sequence and key-value head; beyond, one
pass owns queries (and leaves each row's normaliser), and a second owns keys.

    N  tokens of all sequences    B  sequences    T  tokens    H  query heads    G  key-value heads    K  head width
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from genesis_kernels import reference
from genesis_kernels.heads import (
    load_halves,
    load_rows,
    load_turn,
    placed,
    placed_backward,
    product,
    store_halves,
    store_rows,
)
from genesis_kernels.launch import INTERPRETED, device_of, power_of_two
from genesis_kernels.limits import LONGEST, WIDEST_TRAINED

QUERIES = 64  # rows of queries in a tile: beyond, several programs share a sequence
WHOLE = 64  # tokens up to which the backward pass is one program a sequence and key-value head
STAGES = 2  # of the loads that run ahead in the loop over query heads
LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _span(cu_ptr, lengths_ptr, sequence):
    """Where a sequence begins, how many rows it has, and how many of them are not padding."""
    begin = tl.load(cu_ptr + sequence)
    width = tl.load(cu_ptr + sequence + 1) - begin
    live = width
    if lengths_ptr is not None:
        live = tl.minimum(tl.load(lengths_ptr + sequence), width)
    return begin.to(tl.int64), width, live


@triton.jit
def _scores(q_low, q_high, k_low, k_high, query, key, live, K: tl.constexpr, CAUSAL: tl.constexpr):
    """Scores in powers of two, minus infinity where a query does not see."""
    s = product(q_low, q_high, k_low, k_high) * (LOG2E / (K**0.5))
    seen = (key < live)[None, :] & (query < live)[:, None]
    if CAUSAL:
        seen = seen & (key[None, :] <= query[:, None])
    return tl.where(seen, s, float("-inf"))


@triton.jit
def _exponentials(s):
    """``2^(s - max)``, the maximum and the sum, each finite also in rows that see nothing."""
    m = tl.max(s, 1)
    m = tl.where(m == float("-inf"), 0.0, m)
    p = tl.exp2(s - m[:, None])
    total = tl.sum(p, 1)
    return p, m, tl.where(total > 0, total, 1.0)


@triton.jit
def _forward_kernel(
    qkv_ptr, cu_ptr, lengths_ptr, cos_ptr, sin_ptr, out_ptr, eps,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, HALF: tl.constexpr, CAUSAL: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    sequence, group = tl.program_id(0) // G, tl.program_id(0) % G
    begin, width, live = _span(cu_ptr, lengths_ptr, sequence)
    query = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    if tl.program_id(1) * BLOCK_M < width:
        stride = (H + 2 * G) * K
        key = tl.arange(0, BLOCK_N)
        k_low, k_high = load_halves(qkv_ptr + (H + group) * K, begin + key, key < live, stride, K, HALF)
        cos, sin = load_turn(cos_ptr, sin_ptr, key, key < live, K, HALF)
        k_low, k_high = placed(k_low, k_high, cos, sin, eps, K)
        v = load_rows(qkv_ptr + (H + G + group) * K, begin + key, key < live, stride, K, 2 * HALF)
        cos, sin = load_turn(cos_ptr, sin_ptr, query, query < live, K, HALF)
        for i in range(H // G):
            head = group * (H // G) + i
            q_low, q_high = load_halves(qkv_ptr + head * K, begin + query, query < live, stride, K, HALF)
            q_low, q_high = placed(q_low, q_high, cos, sin, eps, K)
            p, _, total = _exponentials(_scores(q_low, q_high, k_low, k_high, query, key, live, K, CAUSAL))
            out = tl.dot(p.to(v.dtype), v, input_precision="ieee") / total[:, None]
            store_rows(out_ptr + head * K, begin + query, query < width, H * K, out, K, 2 * HALF)


@triton.jit
def _backward_kernel(
    d_out_ptr, qkv_ptr, cu_ptr, lengths_ptr, cos_ptr, sin_ptr, row_ptr, d_qkv_ptr, eps,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, HALF: tl.constexpr, CAUSAL: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The gradients of a block of keys and their values; without ``row_ptr`` of the queries too."""
    sequence, group = tl.program_id(0) // G, tl.program_id(0) % G
    begin, width, live = _span(cu_ptr, lengths_ptr, sequence)
    key = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    if tl.program_id(1) * BLOCK_N < width:
        stride = (H + 2 * G) * K
        k_ptr, v_ptr = qkv_ptr + (H + group) * K, qkv_ptr + (H + G + group) * K
        k_low, k_high = load_halves(k_ptr, begin + key, key < live, stride, K, HALF)
        cos, sin = load_turn(cos_ptr, sin_ptr, key, key < live, K, HALF)
        k_low, k_high = placed(k_low, k_high, cos, sin, eps, K)
        v = load_rows(v_ptr, begin + key, key < live, stride, K, 2 * HALF)
        dk_low, dk_high = tl.zeros((BLOCK_N, HALF), tl.float32), tl.zeros((BLOCK_N, HALF), tl.float32)
        dv = tl.zeros((BLOCK_N, 2 * HALF), tl.float32)
        first = 0
        if CAUSAL:
            first = tl.program_id(1) * BLOCK_N // BLOCK_M * BLOCK_M
        for start in range(first, width, BLOCK_M):
            query = start + tl.arange(0, BLOCK_M)
            for i in range(H // G):
                head = group * (H // G) + i
                q_row, q_column = begin + query, head * K
                q_low, q_high = load_halves(qkv_ptr + q_column, q_row, query < live, stride, K, HALF)
                q_cos, q_sin = load_turn(cos_ptr, sin_ptr, query, query < live, K, HALF)
                q_low, q_high = placed(q_low, q_high, q_cos, q_sin, eps, K)
                d_out = load_rows(d_out_ptr + q_column, q_row, query < live, H * K, K, 2 * HALF)
                s = _scores(q_low, q_high, k_low, k_high, query, key, live, K, CAUSAL)
                dp = tl.dot(d_out, tl.trans(v), input_precision="ieee")
                if row_ptr is None:
                    p, _, total = _exponentials(s)
                    p = p / total[:, None]
                    delta = tl.sum(p * dp, 1)
                else:
                    at = (q_row * H + head) * 2
                    p = tl.exp2(s - tl.load(row_ptr + at, query < live, other=0.0)[:, None])
                    delta = tl.load(row_ptr + at + 1, query < live, other=0.0)
                ds = p * (dp - delta[:, None]) / (K**0.5)
                dv = tl.dot(tl.trans(p.to(v.dtype)), d_out, dv, input_precision="ieee")
                ds = ds.to(v.dtype)
                if row_ptr is None:
                    dq_low = tl.dot(ds, k_low, input_precision="ieee")
                    dq_high = tl.dot(ds, k_high, input_precision="ieee")
                    # loaded again: kept over the products they would take registers that the tiles need
                    raw_low, raw_high = load_halves(qkv_ptr + q_column, q_row, query < live, stride, K, HALF)
                    q_cos, q_sin = load_turn(cos_ptr, sin_ptr, query, query < live, K, HALF)
                    dq_low, dq_high = placed_backward(dq_low, dq_high, raw_low, raw_high, q_cos, q_sin, eps, K)
                    store_halves(d_qkv_ptr + q_column, q_row, query < width, stride, dq_low, dq_high, K, HALF)
                ds = tl.trans(ds)
                dk_low = tl.dot(ds, q_low, dk_low, input_precision="ieee")
                dk_high = tl.dot(ds, q_high, dk_high, input_precision="ieee")
        k_raw_low, k_raw_high = load_halves(k_ptr, begin + key, key < live, stride, K, HALF)
        cos, sin = load_turn(cos_ptr, sin_ptr, key, key < live, K, HALF)
        dk_low, dk_high = placed_backward(dk_low, dk_high, k_raw_low, k_raw_high, cos, sin, eps, K)
        rows, inside = begin + key, key < width
        store_halves(d_qkv_ptr + (H + group) * K, rows, inside, stride, dk_low, dk_high, K, HALF)
        store_rows(d_qkv_ptr + (H + G + group) * K, rows, inside, stride, dv, K, 2 * HALF)


@triton.jit
def _queries_kernel(
    d_out_ptr, qkv_ptr, cu_ptr, lengths_ptr, cos_ptr, sin_ptr, row_ptr, d_qkv_ptr, eps,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, HALF: tl.constexpr, CAUSAL: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The gradients of a block of queries, and of each row the normaliser and ``sum(p dp)`` for the keys' pass."""
    sequence, group = tl.program_id(0) // G, tl.program_id(0) % G
    begin, width, live = _span(cu_ptr, lengths_ptr, sequence)
    query = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    if tl.program_id(1) * BLOCK_M < width:
        stride = (H + 2 * G) * K
        key = tl.arange(0, BLOCK_N)
        k_low, k_high = load_halves(qkv_ptr + (H + group) * K, begin + key, key < live, stride, K, HALF)
        cos, sin = load_turn(cos_ptr, sin_ptr, key, key < live, K, HALF)
        k_low, k_high = placed(k_low, k_high, cos, sin, eps, K)
        v = load_rows(qkv_ptr + (H + G + group) * K, begin + key, key < live, stride, K, 2 * HALF)
        cos, sin = load_turn(cos_ptr, sin_ptr, query, query < live, K, HALF)
        for i in range(H // G):
            head = group * (H // G) + i
            row = begin + query
            raw_low, raw_high = load_halves(qkv_ptr + head * K, row, query < live, stride, K, HALF)
            q_low, q_high = placed(raw_low, raw_high, cos, sin, eps, K)
            d_out = load_rows(d_out_ptr + head * K, row, query < live, H * K, K, 2 * HALF)
            p, m, total = _exponentials(_scores(q_low, q_high, k_low, k_high, query, key, live, K, CAUSAL))
            p = p / total[:, None]
            dp = tl.dot(d_out, tl.trans(v), input_precision="ieee")
            delta = tl.sum(p * dp, 1)
            ds = (p * (dp - delta[:, None]) / (K**0.5)).to(v.dtype)
            dq_low, dq_high = tl.dot(ds, k_low, input_precision="ieee"), tl.dot(ds, k_high, input_precision="ieee")
            dq_low, dq_high = placed_backward(dq_low, dq_high, raw_low, raw_high, cos, sin, eps, K)
            store_halves(d_qkv_ptr + head * K, row, query < width, stride, dq_low, dq_high, K, HALF)
            at = (row * H + head) * 2
            tl.store(row_ptr + at, m + tl.log2(total), query < live)
            tl.store(row_ptr + at + 1, delta, query < live)


def tiles(longest: int, K: int) -> tuple[int, int, int]:
    """Rows of queries, rows of keys and warps of a program that sees all keys."""
    keys = power_of_two(longest)
    warps = {16: 1, 32: 2, 64: 4, 128: 4}[keys]
    return min(keys, QUERIES), keys, warps if K <= 64 else 2 * warps


def backward_tiles(longest: int, K: int) -> tuple[int, int, int]:
    """The same of a program that owns keys; smaller tiles of wide heads spill, since keys then stay in registers."""
    if K > 32:
        return WHOLE, WHOLE, 8
    rows = min(power_of_two(longest), WHOLE)
    return rows, rows, {16: 2, 32: 2, 64: 8}[rows]


def _checked(qkv: Tensor, cu_seqlens: Tensor, heads: int, longest: int) -> tuple[int, int, int]:
    """Sequences, key-value heads and head width."""
    groups = (qkv.shape[1] - heads) // 2
    assert heads % groups == 0, f"{heads} query heads cannot share {groups} key-value heads evenly"
    assert longest <= LONGEST, f"sequences of {longest} tokens; a tile holds {LONGEST}"
    return len(cu_seqlens) - 1, groups, qkv.shape[2]


def forward(
    qkv: Tensor, cu_seqlens: Tensor, lengths: Tensor | None, cos: Tensor, sin: Tensor, heads: int, longest: int,
    causal: bool, eps: float,
) -> Tensor:  # fmt: skip
    """Launch the forward kernel: a program for each sequence, key-value head and block of queries."""
    B, G, K = _checked(qkv, cu_seqlens, heads, longest)
    qkv, cos, sin = qkv.contiguous(), cos.contiguous(), sin.contiguous()
    out = qkv.new_empty(len(qkv), heads, K)
    BLOCK_M, BLOCK_N, warps = tiles(longest, K)
    HALF = power_of_two(K // 2)
    if out.numel():
        with device_of(qkv):
            _forward_kernel[(B * G, triton.cdiv(longest, BLOCK_M))](
                qkv, cu_seqlens, lengths, cos, sin, out, eps,
                H=heads, G=G, K=K, HALF=HALF, CAUSAL=causal, BLOCK_M=BLOCK_M, BLOCK_N=BLOCK_N,
                num_warps=warps, num_stages=STAGES,
            )  # fmt: skip
    return out


def backward(
    d_out: Tensor, qkv: Tensor, cu_seqlens: Tensor, lengths: Tensor | None, cos: Tensor, sin: Tensor, heads: int,
    longest: int, causal: bool, eps: float,
) -> Tensor:  # fmt: skip
    """The gradient of ``qkv``; d_out comes in its dtype."""
    B, G, K = _checked(qkv, cu_seqlens, heads, longest)
    if K > WIDEST_TRAINED:
        raise ValueError(f"gradients of head width {K}; the kernel takes at most {WIDEST_TRAINED}, SDPA takes more")
    qkv, d_out, cos, sin = qkv.contiguous(), d_out.contiguous(), cos.contiguous(), sin.contiguous()
    d_qkv = torch.empty_like(qkv)
    if not qkv.numel():
        return d_qkv
    HALF = power_of_two(K // 2)
    shape = dict(H=heads, G=G, K=K, HALF=HALF, CAUSAL=causal)
    row = None
    with device_of(qkv):
        if longest > WHOLE:
            row = qkv.new_empty((len(qkv), heads, 2), dtype=torch.float32)
            BLOCK_M, BLOCK_N, _ = tiles(longest, K)
            _queries_kernel[(B * G, triton.cdiv(longest, BLOCK_M))](
                d_out, qkv, cu_seqlens, lengths, cos, sin, row, d_qkv, eps,
                **shape, BLOCK_M=BLOCK_M, BLOCK_N=BLOCK_N, num_warps=8, num_stages=STAGES,
            )  # fmt: skip
        BLOCK_M, BLOCK_N, warps = backward_tiles(longest, K)
        _backward_kernel[(B * G, triton.cdiv(longest, BLOCK_N))](
            d_out, qkv, cu_seqlens, lengths, cos, sin, row, d_qkv, eps,
            **shape, BLOCK_M=BLOCK_M, BLOCK_N=BLOCK_N, num_warps=warps, num_stages=STAGES,
        )  # fmt: skip
    return d_qkv


@torch.library.custom_op("genesis_kernels::short_attention", mutates_args=(), device_types="cuda")
def _op(
    qkv: Tensor, cu_seqlens: Tensor, lengths: Tensor | None, cos: Tensor, sin: Tensor, heads: int, longest: int,
    causal: bool, eps: float,
) -> Tensor:  # fmt: skip
    return forward(qkv, cu_seqlens, lengths, cos, sin, heads, longest, causal, eps)


@_op.register_kernel("cpu")
def _(*inputs):  # type: ignore[no-untyped-def]
    return (forward if INTERPRETED else reference.short_attention)(*inputs)


@_op.register_fake
def _(qkv, cu_seqlens, lengths, cos, sin, heads, longest, causal, eps):  # type: ignore[no-untyped-def]
    return qkv.new_empty(qkv.shape[0], heads, qkv.shape[2])


@torch.library.custom_op("genesis_kernels::short_attention_backward", mutates_args=(), device_types="cuda")
def _backward_op(
    d_out: Tensor, qkv: Tensor, cu_seqlens: Tensor, lengths: Tensor | None, cos: Tensor, sin: Tensor, heads: int,
    longest: int, causal: bool, eps: float,
) -> Tensor:  # fmt: skip
    return backward(d_out, qkv, cu_seqlens, lengths, cos, sin, heads, longest, causal, eps)


@_backward_op.register_kernel("cpu")
def _(*inputs):  # type: ignore[no-untyped-def]
    return (backward if INTERPRETED else reference.short_attention_backward)(*inputs)


@_backward_op.register_fake
def _(d_out, qkv, *rest):  # type: ignore[no-untyped-def]
    return qkv.new_empty(qkv.shape)


def _remember(ctx, inputs, output):  # type: ignore[no-untyped-def]
    qkv, cu_seqlens, lengths, cos, sin, *ctx.rest = inputs
    ctx.save_for_backward(qkv, cu_seqlens, lengths, cos, sin)


def _differentiate(ctx, d_out):  # type: ignore[no-untyped-def]
    qkv, *saved = ctx.saved_tensors
    return _backward_op(d_out.to(qkv.dtype), qkv, *saved, *ctx.rest), *(None,) * 8


_op.register_autograd(_differentiate, setup_context=_remember)

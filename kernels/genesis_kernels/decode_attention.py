"""One new position a row of a batch that is being decoded; see ``reference.decode_attention``.

A program owns a row and a key-value head: it normalises and rotates the new key, appends it and the value to the
cache, and reads the live positions alone, each key and value once for all query heads of the group. The new position
is taken from registers and begins the online softmax, so that no partial result is ever empty.

Bytes: 2 G K b for each live position of a row, and (2H + 4G) K b. What a row gives depends on nothing but the row.

    R  rows    H  query heads    G  key-value heads    K  head width    S  positions of the cache
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from genesis_kernels import reference
from genesis_kernels.heads import load_halves, load_rows, load_turn, placed, product, store_halves, store_rows
from genesis_kernels.launch import INTERPRETED, device_of, power_of_two

KEYS = 32  # positions of the cache that one step of the loop reads
LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _decode_kernel(
    qkv_ptr, k_ptr, v_ptr, position_ptr, cos_ptr, sin_ptr, out_ptr, stride_row, stride_group, eps,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, HALF: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    row, group = (tl.program_id(0) // G).to(tl.int64), tl.program_id(0) % G
    position = tl.load(position_ptr + row)
    head = tl.arange(0, BLOCK_Q)
    inside = head < H // G
    out_ptr += (row * H + group * (H // G)) * K
    if position < 0:
        zero = tl.zeros((BLOCK_Q, 2 * HALF), out_ptr.dtype.element_ty)
        store_rows(out_ptr, head.to(tl.int64), inside, K, zero, K, 2 * HALF)
    else:
        qkv_ptr += row * (H + 2 * G) * K
        k_ptr += row * stride_row + group * stride_group
        v_ptr += row * stride_row + group * stride_group
        kind = k_ptr.dtype.element_ty
        one = tl.arange(0, 1)
        here = (position + one).to(tl.int64)
        always = one == 0
        cos, sin = load_turn(cos_ptr, sin_ptr, here, always, K, HALF)
        k_low, k_high = load_halves(qkv_ptr + (H + group) * K, one.to(tl.int64), always, K, K, HALF)
        k_low, k_high = placed(k_low.to(tl.float32), k_high.to(tl.float32), cos, sin, eps, K)
        k_low, k_high = k_low.to(kind), k_high.to(kind)  # [1, HALF], as later steps will read it
        store_halves(k_ptr, here, always, K, k_low, k_high, K, HALF)
        v = load_rows(qkv_ptr + (H + G + group) * K, one.to(tl.int64), always, K, K, 2 * HALF).to(kind)
        store_rows(v_ptr, here, always, K, v, K, 2 * HALF)
        q_ptr = qkv_ptr + group * (H // G) * K
        q_low, q_high = load_halves(q_ptr, head.to(tl.int64), inside, K, K, HALF)
        q_low, q_high = placed(q_low.to(tl.float32), q_high.to(tl.float32), cos, sin, eps, K)
        scale = LOG2E / (K**0.5)
        q_low, q_high = (q_low * scale).to(kind), (q_high * scale).to(kind)
        m = tl.sum(q_low.to(tl.float32) * k_low.to(tl.float32) + q_high.to(tl.float32) * k_high.to(tl.float32), 1)
        total = tl.full((BLOCK_Q,), 1.0, tl.float32)
        acc = tl.zeros((BLOCK_Q, 2 * HALF), tl.float32) + v.to(tl.float32)
        for start in range(0, position, BLOCK_N):
            key = start + tl.arange(0, BLOCK_N)
            live = key < position
            low, high = load_halves(k_ptr, key.to(tl.int64), live, K, K, HALF)
            s = tl.where(live[None, :], product(q_low, q_high, low, high), float("-inf"))
            new = tl.maximum(m, tl.max(s, 1))
            p, shrunk = tl.exp2(s - new[:, None]), tl.exp2(m - new)
            total = total * shrunk + tl.sum(p, 1)
            values = load_rows(v_ptr, key.to(tl.int64), live, K, K, 2 * HALF)
            acc = tl.dot(p.to(kind), values, acc * shrunk[:, None], input_precision="ieee")
            m = new
        out = acc / total[:, None]
        store_rows(out_ptr, head.to(tl.int64), inside, K, out.to(out_ptr.dtype.element_ty), K, 2 * HALF)


def forward(
    qkv: Tensor, k_cache: Tensor, v_cache: Tensor, position: Tensor, cos: Tensor, sin: Tensor, heads: int, eps: float
) -> Tensor:
    """Launch the kernel: a program for each row and key-value head."""
    R, _, K = qkv.shape
    G = k_cache.shape[1]
    assert k_cache.stride() == v_cache.stride(), "the two caches of a layer lie in memory alike"
    assert k_cache.stride()[2:] == (K, 1), "the positions of a cache lie together"
    qkv, cos, sin = qkv.contiguous(), cos.contiguous(), sin.contiguous()
    out = torch.empty((R, heads * K), dtype=k_cache.dtype, device=qkv.device)
    if R:
        with device_of(qkv):
            _decode_kernel[(R * G,)](
                qkv, k_cache, v_cache, position, cos, sin, out, k_cache.stride(0), k_cache.stride(1), eps,
                H=heads, G=G, K=K, HALF=power_of_two(K // 2), BLOCK_Q=power_of_two(heads // G), BLOCK_N=KEYS,
                num_warps=1 if K <= 64 else 4,
            )  # fmt: skip
    return out


@torch.library.custom_op("genesis_kernels::decode_attention", mutates_args=("k_cache", "v_cache"), device_types="cuda")
def _op(
    qkv: Tensor, k_cache: Tensor, v_cache: Tensor, position: Tensor, cos: Tensor, sin: Tensor, heads: int, eps: float
) -> Tensor:
    return forward(qkv, k_cache, v_cache, position, cos, sin, heads, eps)


@_op.register_kernel("cpu")
def _(*inputs):  # type: ignore[no-untyped-def]
    return (forward if INTERPRETED else reference.decode_attention)(*inputs)


@_op.register_fake
def _(qkv, k_cache, v_cache, position, cos, sin, heads, eps):  # type: ignore[no-untyped-def]
    return k_cache.new_empty(qkv.shape[0], heads * qkv.shape[2])

"""One step of drawing in one launch; see ``reference.token_sampler``.

A program owns a row, whose logits stay in registers: guidance, mask, temperature, the kept set, Gumbel noise, argmax,
append, likelihood and stop. The kept set is exact: thresholds are found by bisection over the bits of a float, whose
order as integers is the order of the numbers, and ties go to the lower token. Settings are read from memory and not
compiled in, so that one launch, captured once, serves every request.

Bytes: R V b of logits, R V of the mask; the rest is some 50 bytes a row.

    R  rows    V  vocabulary    L  positions of a result
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from genesis_kernels import reference
from genesis_kernels.launch import INTERPRETED, device_of, power_of_two
from genesis_kernels.limits import WIDEST_VOCAB
from genesis_kernels.philox import HASH_A, HASH_B, LANE, ROUND_A, ROUND_B, WEYL_A, WEYL_B

_PAD, _BOS, _EOS = (tl.constexpr(t) for t in (reference.PAD, reference.BOS, reference.EOS))
_ROUND_A, _ROUND_B, _WEYL_A, _WEYL_B = (tl.constexpr(word) for word in (ROUND_A, ROUND_B, WEYL_A, WEYL_B))
_HASH_A, _HASH_B, _LANE = (tl.constexpr(word & 0xFFFFFFFF) for word in (HASH_A, HASH_B, LANE))


@triton.jit
def _words(seed, item, step):
    """The first two words of Philox4x32-10 for a seed, an item (int64) and a step of stream 0."""
    k0, k1 = seed.to(tl.uint32), (seed >> 32).to(tl.uint32)
    c0, c1, c2 = item.to(tl.uint32), (item >> 32).to(tl.uint32), step.to(tl.uint32)
    c3 = c2 * 0
    a, b = tl.full((), _ROUND_A, tl.uint32), tl.full((), _ROUND_B, tl.uint32)
    for _ in tl.static_range(10):
        high_a, high_b = tl.umulhi(c0, a), tl.umulhi(c2, b)
        c0, c1, c2, c3 = high_b ^ c1 ^ k0, c2 * b, high_a ^ c3 ^ k1, c0 * a
        k0 += tl.full((), _WEYL_A, tl.uint32)
        k1 += tl.full((), _WEYL_B, tl.uint32)
    return c0, c1


@triton.jit
def _scramble(h):
    """Wellons' lowbias32."""
    h ^= h >> 16
    h *= tl.full((), _HASH_A, tl.uint32)
    h ^= h >> 15
    h *= tl.full((), _HASH_B, tl.uint32)
    return h ^ (h >> 16)


@triton.jit
def _gumbel(w0, w1, column):
    """-log(-log u) of the hash of a row's two words and a column."""
    h = _scramble(column.to(tl.uint32) * tl.full((), _LANE, tl.uint32) + w0)
    h = _scramble(h ^ w1) >> 9
    u = (h.to(tl.float32) + 0.5) * 1.1920928955078125e-07  # 2^-23
    return -tl.log(-tl.log(u))


@triton.jit
def _ordered(z):
    """int32 keys in the order of the floats; minus zero becomes zero."""
    bits = (z + 0.0).to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@triton.jit
def _keep_top(z, key, k):
    """The ``k`` largest, ties by the lower token: the threshold t is the largest key with at least k at or above."""
    low, high = tl.min(key, 0), tl.max(key, 0)
    while low < high:
        middle = (low | high) - ((low ^ high) >> 1)  # their mean, rounded up and without overflow
        enough = tl.sum((key >= middle).to(tl.int32), 0) >= k
        low, high = tl.where(enough, middle, low), tl.where(enough, high, middle - 1)
    above, same = key > low, key == low
    place = tl.cumsum(same.to(tl.int32), 0)
    return tl.where(above | (same & (place <= k - tl.sum(above.to(tl.int32), 0))), z, float("-inf"))


@triton.jit
def _keep_nucleus(z, key, top_p):
    """Those above which less than ``top_p`` of the probability lies: t is the smallest key with less mass above it."""
    p = tl.exp(z - tl.max(z, 0))
    mass = top_p * tl.sum(p, 0)
    low, high = tl.min(key, 0), tl.max(key, 0)
    while low < high:
        middle = (low & high) + ((low ^ high) >> 1)
        less = tl.sum(tl.where(key > middle, p, 0.0), 0) < mass
        low, high = tl.where(less, low, middle + 1), tl.where(less, middle, high)
    above, same = key > low, key == low
    each = tl.where(same, p, 0.0)
    before = tl.sum(tl.where(above, p, 0.0), 0) + tl.cumsum(each, 0) - each
    return tl.where(above | (same & (before < mass)), z, float("-inf"))


@triton.jit
def _sampler_kernel(
    logits_ptr, allowed_ptr, seed_ptr, rules_ptr, item_ptr,
    token_ptr, position_ptr, length_ptr, ended_ptr, log_prob_ptr, out_ptr,
    stride_logits, stride_allowed, room,
    V: tl.constexpr, BLOCK_V: tl.constexpr, GUIDED: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    step = tl.load(position_ptr + row)
    if step >= 0:
        column = tl.arange(0, BLOCK_V)
        inside = column < V
        z = tl.load(logits_ptr + row * stride_logits + column, inside, other=float("-inf")).to(tl.float32)
        if GUIDED:
            other = (row + tl.num_programs(0)) * stride_logits
            free = tl.load(logits_ptr + other + column, inside, other=0.0).to(tl.float32)
            z = free + tl.load(rules_ptr + 4) * (z - free)
            z = tl.where(inside & (column != _PAD) & (column != _BOS), z, float("-inf"))
        spoiled = tl.max((z != z).to(tl.int32), 0) > 0
        largest = tl.max(tl.where(z != z, float("-inf"), z), 0)
        normaliser = tl.log(tl.sum(tl.exp(z - largest), 0)) + largest
        finite = (spoiled == 0) & (tl.abs(largest) < float("inf"))
        normaliser = tl.where(finite, normaliser, float("nan"))
        plain = z
        if allowed_ptr is not None:
            allowed = tl.load(allowed_ptr + row * stride_allowed + column, inside, other=0)
            z = tl.where(allowed != 0, z, float("-inf"))
        z = tl.where(z != z, float("-inf"), z)
        temperature = tl.load(rules_ptr)
        if temperature > 0:
            z = z / temperature
            top_k, top_p, min_p = tl.load(rules_ptr + 1), tl.load(rules_ptr + 2), tl.load(rules_ptr + 3)
            if (top_k > 0) & (top_k < V):
                z = _keep_top(z, _ordered(z), top_k.to(tl.int32))
            if top_p < 1:
                z = _keep_nucleus(z, _ordered(z), top_p)
            if min_p > 0:
                z = tl.where(tl.exp(z - tl.max(z, 0)) < min_p, float("-inf"), z)
            w0, w1 = _words(tl.load(seed_ptr), tl.load(item_ptr + row), step)
            z += _gumbel(w0, w1, column)
        token = tl.min(tl.where((z == tl.max(z, 0)) & inside, column, BLOCK_V), 0)
        token = tl.where(token < V, token, 0)
        gain = tl.sum(tl.where(column == token, plain, 0.0), 0) - normaliser
        stops = (token == _EOS) | (finite == 0)
        goes_on = (stops == 0) & (step < room - 1)
        tl.store(token_ptr + row, token.to(tl.int64))
        tl.store(log_prob_ptr + row, tl.load(log_prob_ptr + row) + gain)
        tl.store(out_ptr + row * room + step, tl.where(stops, _PAD, token))
        tl.store(length_ptr + row, tl.load(length_ptr + row) + (stops == 0).to(tl.int32))
        tl.store(ended_ptr + row, (tl.load(ended_ptr + row) != 0) | (stops & finite))
        tl.store(position_ptr + row, tl.where(goes_on, step + 1, -1))


def forward(
    logits: Tensor, allowed: Tensor | None, seed: Tensor, rules: Tensor, item: Tensor, token: Tensor,
    position: Tensor, length: Tensor, ended: Tensor, log_prob: Tensor, out: Tensor, vocab: int,
) -> None:  # fmt: skip
    """Launch the kernel: a program for each row."""
    R, room = out.shape
    assert vocab <= WIDEST_VOCAB, f"a vocabulary of {vocab}; a row of at most {WIDEST_VOCAB} fits a program"
    assert out.is_contiguous(), "results are one block: rows are found by their number"
    assert logits.stride(-1) == 1, "the logits of a row lie together"
    assert len(logits) in (R, 2 * R), f"{len(logits)} rows of logits for {R} rows; under guidance twice as many"
    assert allowed is None or allowed.stride(-1) == 1, "the mask of a row lies together"
    BLOCK_V = power_of_two(vocab, 128)
    if R:
        with device_of(logits):
            _sampler_kernel[(R,)](
                logits, allowed, seed, rules, item, token, position, length, ended, log_prob, out,
                logits.stride(0), 0 if allowed is None else allowed.stride(0), room,
                V=vocab, BLOCK_V=BLOCK_V, GUIDED=len(logits) > R,
                num_warps=1 if BLOCK_V <= 512 else 4 if BLOCK_V <= 2048 else 8 if BLOCK_V <= 8192 else 16,
            )  # fmt: skip


@torch.library.custom_op(
    "genesis_kernels::token_sampler",
    mutates_args=("token", "position", "length", "ended", "log_prob", "out"),
    device_types="cuda",
)
def _op(
    logits: Tensor, allowed: Tensor | None, seed: Tensor, rules: Tensor, item: Tensor, token: Tensor,
    position: Tensor, length: Tensor, ended: Tensor, log_prob: Tensor, out: Tensor, vocab: int,
) -> None:  # fmt: skip
    forward(logits, allowed, seed, rules, item, token, position, length, ended, log_prob, out, vocab)


@_op.register_kernel("cpu")
def _(*inputs):  # type: ignore[no-untyped-def]
    (forward if INTERPRETED else reference.token_sampler)(*inputs)


@_op.register_fake
def _(*inputs):  # type: ignore[no-untyped-def]
    return None

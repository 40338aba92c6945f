"""One new position a row: result, what is appended, and what is never read, against the reference in float64."""

from __future__ import annotations

import pytest
import torch

from genesis.nn.block import rotary_table
from genesis_kernels import decode_attention as kernel
from genesis_kernels import reference

CASES = [
    (1, 1, 1, 2, 3),
    (5, 4, 2, 8, 40),
    (4, 8, 2, 32, 70),
    (2, 3, 1, 64, 33),
    (2, 2, 2, 128, 20),
    (3, 20, 1, 16, 50),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_rows_at_places_of_their_own(close, guarded, normal, case, dtype):
    R, H, G, K, S = case
    qkv, (cos, sin) = normal(R, H + 2 * G, K, dtype=dtype), rotary_table(S, K)
    position = torch.tensor([0, S - 1, -1, S // 2, min(32, S - 1)][:R], dtype=torch.int32)
    full = [normal(R, G, S, K, dtype=dtype) for _ in range(2)]
    for cache in full:
        for row, at in enumerate(position.clamp(min=0).tolist()):
            cache[row, :, at:] = float("nan")  # what was there before, or was never written
    caches = [guarded.copy(cache) for cache in full]
    wide = [cache.double() for cache in full]
    found = kernel.forward(qkv, *caches, position, cos, sin, H, 1e-6)
    expected = reference.decode_attention(qkv.double(), *wide, position, cos.double(), sin.double(), H, 1e-6)
    assert found.dtype == dtype
    close(found, expected, dtype)
    for cache, whole, before in zip(caches, wide, full, strict=True):
        for row, at in enumerate(position.tolist()):
            rest = torch.arange(S) != at
            torch.testing.assert_close(cache[row, :, rest], before[row, :, rest], rtol=0, atol=0, equal_nan=True)
            if at >= 0:
                close(cache[row, :, at], whole[row, :, at], dtype)


def test_a_row_does_not_depend_on_the_batch(normal):
    R, H, G, K, S = 6, 4, 2, 16, 40
    qkv, (cos, sin) = normal(R, H + 2 * G, K), rotary_table(S, K)
    keys, values = normal(R, G, S, K), normal(R, G, S, K)
    position = torch.tensor([3, 39, 0, 17, 32, 8], dtype=torch.int32)
    whole = kernel.forward(qkv, keys.clone(), values.clone(), position, cos, sin, H, 1e-6)
    for order in (torch.tensor([4]), torch.tensor([5, 1, 3])):
        some = kernel.forward(qkv[order], keys[order], values[order], position[order], cos, sin, H, 1e-6)
        assert torch.equal(some, whole[order])


def test_step_by_step_it_is_causal_attention(close, normal):
    T, H, G, K = 21, 4, 2, 8
    qkv, (cos, sin) = normal(T, H + 2 * G, K), rotary_table(T, K)
    keys, values = (torch.full((1, G, T, K), float("nan")) for _ in range(2))
    steps = [
        kernel.forward(qkv[t : t + 1], keys, values, torch.tensor([t], dtype=torch.int32), cos, sin, H, 1e-6)
        for t in range(T)
    ]
    bounds = torch.tensor([0, T], dtype=torch.int32)
    expected = reference.short_attention(qkv.double(), bounds, None, cos.double(), sin.double(), H, T, True, 1e-6)
    close(torch.cat(steps), expected.flatten(1), torch.float32)

"""The reference ops against float64 written out here, and their gradients against finite differences.

B  batch    T, S  tokens    D  width    H  query heads    G  key-value heads    K  head width
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from genesis.nn.block import rotary_table
from genesis_kernels.reference import attention, modulated_norm, rotate, step_attention, unit_rms

SHAPES = [(1, 1, 1, 1, 2), (2, 7, 3, 1, 5), (3, 63, 8, 2, 32), (1, 33, 4, 4, 16)]  # B, T, H, G, K


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def qkv(B: int, T: int, H: int, G: int, K: int, S: int = 0, dtype: torch.dtype = torch.float64):
    S = S or T
    return normal(B, H, T, K, seed=1, dtype=dtype), *(normal(B, G, S, K, seed=s, dtype=dtype) for s in (2, 3))


def attention_by_loops(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    B, H, T, K = q.shape
    G, S = k.shape[1:3]
    out = torch.zeros(B, H, T, K, dtype=torch.float64)
    for b in range(B):
        for h in range(H):
            g = h // (H // G)
            for t in range(T):
                seen = S - T + t + 1 if causal else S
                w = [math.exp(float(q[b, h, t] @ k[b, g, s]) / math.sqrt(K)) for s in range(seen)]
                out[b, h, t] = sum(w[s] * v[b, g, s] for s in range(seen)) / sum(w)
    return out


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (2, 5, 4, 2, 3), (1, 6, 3, 1, 4)])
def test_attention_is_the_written_formula(shape, causal):
    q, k, v = qkv(*shape)
    torch.testing.assert_close(attention(q, k, v, causal), attention_by_loops(q, k, v, causal))


def test_queries_are_the_last_positions_of_longer_keys():
    q, k, v = qkv(2, 3, 4, 2, 5, S=7)
    torch.testing.assert_close(attention(q, k, v), attention_by_loops(q, k, v, True))


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6), (torch.bfloat16, 2e-2)]
)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_attention_agrees_with_torch_in_float64(shape, causal, dtype, tolerance):
    H, G = shape[2:4]
    q, k, v = qkv(*shape, dtype=dtype)
    wide = [t.double() for t in (q, k.repeat_interleave(H // G, 1), v.repeat_interleave(H // G, 1))]
    expected = F.scaled_dot_product_attention(*wide, is_causal=causal)
    got = attention(q, k, v, causal)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("causal", [True, False])
def test_gradients_of_attention(causal):
    inputs = [t.requires_grad_() for t in qkv(2, 5, 4, 2, 3)]
    assert torch.autograd.gradcheck(lambda *x: attention(*x, causal), inputs)


@pytest.mark.parametrize("shape", SHAPES)
def test_decoding_step_by_step_is_causal_attention(shape):
    B, T, _, G, K = shape
    q, k, v = qkv(*shape, dtype=torch.float32)
    keys, values = (torch.full((B, G, T + 2, K), 7.0) for _ in range(2))
    steps = [step_attention(q[:, :, t], k[:, :, t], v[:, :, t], keys, values, t) for t in range(T)]
    expected = attention(q, k, v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(torch.stack(steps, 1), expected, rtol=1e-5, atol=1e-5)
    assert (keys[:, :, T:] == 7).all()  # nothing is written beyond the live length
    assert (values[:, :, T:] == 7).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 7, 5), (3, 1, 256)])
def test_unit_rms_has_unit_rms(shape):
    x = normal(*shape)
    torch.testing.assert_close(unit_rms(x, 0.0).square().mean(-1), torch.ones(shape[:-1], dtype=torch.float64))
    torch.testing.assert_close(unit_rms(x, 0.5), x / (x.pow(2).sum(-1, keepdim=True) / shape[-1] + 0.5).sqrt())
    assert unit_rms(torch.zeros(shape, dtype=torch.bfloat16), 1e-6).equal(torch.zeros(shape))


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)]
)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("B", "T", "D"), [(1, 1, 1), (2, 7, 5), (3, 13, 96)])
def test_modulated_norm_is_its_formula(B, T, D, first, dtype, tolerance):
    x, branch = (normal(B, T, D, seed=s, dtype=dtype) for s in (1, 2))
    gate, gain, shift = (normal(B, 1, D, seed=s, dtype=dtype) for s in (3, 4, 5))
    if first:
        stream, y = modulated_norm(x, None, None, gain, shift)
        wide = x.double()
    else:
        stream, y = modulated_norm(x, branch, gate, gain, shift)
        wide = x.double() + gate.double() * branch.double()
    expected = wide / (wide.square().mean(-1, keepdim=True) + 1e-6).sqrt() * gain.double() + shift.double()
    torch.testing.assert_close(stream.double(), wide, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(y.double(), expected, rtol=tolerance, atol=tolerance)


def test_gradients_of_modulated_norm():
    x, branch = (normal(2, 3, 5, seed=s).requires_grad_() for s in (1, 2))
    gate, gain, shift = (normal(2, 1, 5, seed=s).requires_grad_() for s in (3, 4, 5))
    assert torch.autograd.gradcheck(modulated_norm, (x, branch, gate, gain, shift))
    assert torch.autograd.gradcheck(lambda x, gain, shift: modulated_norm(x, None, None, gain, shift), (x, gain, shift))


@given(st.integers(1, 9), st.integers(1, 16), st.integers(0, 2**31))
def test_rotation_keeps_the_norm_and_is_undone_by_the_opposite_angle(T, half, seed):
    x = normal(2, T, 2 * half, seed=seed)
    cos, sin = (t.double() for t in rotary_table(T, 2 * half))
    turned = rotate(x, cos, sin)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(rotate(turned, cos, -sin), x, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(turned[:, 0], x[:, 0])  # position 0 stays


def test_scores_of_rotated_vectors_depend_on_the_distance_alone():
    K, T = 16, 40
    cos, sin = (t.double() for t in rotary_table(T, K))
    q, k = normal(K, seed=1), normal(K, seed=2)
    scores = rotate(q.expand(T, K), cos, sin) @ rotate(k.expand(T, K), cos, sin).T
    for distance in (0, 1, 5, 17):
        diagonal = scores.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-5, atol=1e-5)
    assert (scores[0, 0] - scores[5, 0]).abs() > 0.1


def test_rotary_tables_are_powers_of_the_base():
    cos, sin = rotary_table(6, 8)
    for t in range(6):
        for i in range(4):
            angle = t * 10_000 ** (-2 * i / 8)
            assert (float(cos[t, i]), float(sin[t, i])) == pytest.approx((math.cos(angle), math.sin(angle)), abs=1e-6)


def test_gradients_of_rotation():
    x = normal(2, 5, 6).requires_grad_()
    cos, sin = (t.double() for t in rotary_table(5, 6))
    assert torch.autograd.gradcheck(lambda x: rotate(x, cos, sin), (x,))

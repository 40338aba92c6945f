"""The block beside the same arithmetic written with torch's own attention, and what its conditions do."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from genesis import ops
from genesis.nn.block import QK_EPS, Block, rotary_table
from genesis.ops import split_heads

D, H, G, FF, C = 24, 6, 2, 40, 5


@pytest.fixture
def block() -> Block:
    torch.manual_seed(0)
    block = Block(D, H, G, FF, C).double()
    torch.nn.init.normal_(block.modulate.weight, std=0.3)
    torch.nn.init.normal_(block.modulate.bias, std=0.3)
    return block


def norm(x: Tensor, eps: float) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


def turn(x: Tensor) -> Tensor:
    """Rotary positions as complex multiplication: ``x [B, H, T, K]``."""
    K = x.shape[-1]
    z = torch.complex(x[..., : K // 2], x[..., K // 2 :])
    angle = torch.arange(x.shape[-2])[:, None] * 10_000.0 ** (-2 * torch.arange(K // 2) / K)
    z = z * torch.exp(1j * angle.double())
    return torch.cat((z.real, z.imag), -1)


def by_hand(block: Block, x: Tensor, c: Tensor, causal: bool) -> Tensor:
    B, T, _ = x.shape
    K = D // H
    scale_a, shift_a, gate_a, scale_f, shift_f, gate_f = F.linear(c, block.modulate.weight, block.modulate.bias)[
        :, None
    ].split(D, -1)
    y = norm(x, 1e-6) * (1 + scale_a) + shift_a
    q, k, v = F.linear(y, block.qkv.weight).split((H * K, G * K, G * K), -1)
    q, k, v = (t.view(B, T, -1, K).transpose(1, 2) for t in (q, k, v))
    q, k = turn(norm(q, QK_EPS)), turn(norm(k, QK_EPS))
    a = F.scaled_dot_product_attention(
        q, k.repeat_interleave(H // G, 1), v.repeat_interleave(H // G, 1), is_causal=causal
    )
    x = x + (1 + gate_a) * F.linear(a.transpose(1, 2).reshape(B, T, D), block.out.weight)
    y = norm(x, 1e-6) * (1 + scale_f) + shift_f
    gate, value = F.linear(y, block.up.weight).chunk(2, -1)
    return x + (1 + gate_f) * F.linear(F.silu(gate) * value, block.down.weight)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("B", "T"), [(1, 1), (2, 7), (3, 33)])
def test_block_is_its_formula(block, B, T, causal):
    x, c = torch.randn(B, T, D, dtype=torch.float64), torch.randn(B, C, dtype=torch.float64)
    m = block.modulation(c)
    cos, sin = (t.double() for t in rotary_table(T, D // H))
    stream, branch = block(x, None, None, m, cos, sin, causal)
    # the tables are float32
    torch.testing.assert_close(stream + m.gate_f * branch, by_hand(block, x, c, causal), rtol=1e-6, atol=1e-6)


def test_a_new_block_ignores_its_condition():
    torch.manual_seed(0)
    block = Block(D, H, G, FF, C)
    x = torch.randn(2, 5, D)
    cos, sin = rotary_table(5, D // H)
    a, b = (block(x, None, None, block.modulation(torch.randn(2, C)), cos, sin) for _ in range(2))
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])


def test_the_branch_that_is_handed_on_is_added_by_the_next_norm(block):
    x, branch = torch.randn(2, 5, D, dtype=torch.float64), torch.randn(2, 5, D, dtype=torch.float64)
    gate, c = torch.randn(2, 1, D, dtype=torch.float64), torch.randn(2, C, dtype=torch.float64)
    cos, sin = (t.double() for t in rotary_table(5, D // H))
    m = block.modulation(c)
    late = block(x, branch, gate, m, cos, sin)
    early = block(x + gate * branch, None, None, m, cos, sin)
    torch.testing.assert_close(late[0], early[0])
    torch.testing.assert_close(late[1], early[1])


def test_queries_and_keys_have_bounded_length(block):
    y = 1e4 * torch.randn(2, 9, D, dtype=torch.float64)
    cos, sin = (t.double() for t in rotary_table(9, D // H))
    q, k, v = split_heads(block.project(y), H, cos, sin, QK_EPS)
    for t in (q, k):
        torch.testing.assert_close(t.square().mean(-1), torch.ones_like(t[..., 0]), rtol=1e-3, atol=1e-3)
    assert v.abs().max() > 100


def test_map_changes_all_six_vectors(block):
    doubled = block.modulation(torch.ones(1, C, dtype=torch.float64)).map(lambda t: 2 * t)
    once = block.modulation(torch.ones(1, C, dtype=torch.float64))
    for name in ("gain_a", "shift_a", "gate_a", "gain_f", "shift_f", "gate_f"):
        assert torch.equal(getattr(doubled, name), 2 * getattr(once, name))


@pytest.mark.parametrize("T", [127, 128, 200])
def test_the_fused_attention_of_long_sequences_is_the_reference(T):
    qkv = torch.randn(2, T, 8, 8, generator=torch.Generator().manual_seed(T), requires_grad=True)
    cos, sin = rotary_table(T, 8)
    mine = ops.short_attention(qkv, 4, cos, sin, QK_EPS)
    truth = ops.short_attention(qkv.double(), 4, cos.double(), sin.double(), QK_EPS)  # float64 is never fused
    torch.testing.assert_close(mine, truth.float(), atol=2e-6, rtol=1e-5)
    weight = torch.randn(mine.shape, generator=torch.Generator().manual_seed(9))
    (a,), (b,) = (torch.autograd.grad((out * weight).sum(), qkv) for out in (mine, truth))
    torch.testing.assert_close(a, b.float(), atol=5e-6, rtol=1e-4)

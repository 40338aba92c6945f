"""The kernels of short attention against the reference in float64, forward and backward."""

from __future__ import annotations

import pytest
import torch

from genesis.nn.block import rotary_table
from genesis_kernels import reference
from genesis_kernels import short_attention as kernel

DTYPES = (torch.float32, torch.float16)
CASES = [  # lengths of the sequences, H, G, K
    ((1,), 1, 1, 2),
    ((5, 1, 13, 16), 4, 2, 8),
    ((31, 7, 17), 2, 1, 32),
    ((60, 33), 2, 2, 64),
]
LONG = [((100, 128), 2, 1, 32), ((120,), 2, 1, 64), ((65, 3), 3, 1, 20), ((128,), 1, 1, 64)]


def problem(normal, lengths, H, G, K, dtype):
    bounds = torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=torch.int32)
    return normal(sum(lengths), H + 2 * G, K, dtype=dtype), bounds, *rotary_table(max(lengths), K)


def check(close, normal, case, dtype, causal, padded):
    lengths, H, G, K = case
    qkv, bounds, cos, sin = problem(normal, lengths, H, G, K, dtype)
    live = torch.tensor([max(0, n - 3) for n in lengths], dtype=torch.int32) if padded else None
    longest = max(lengths)
    wide = qkv.double().requires_grad_()
    expected = reference.short_attention(wide, bounds, live, cos.double(), sin.double(), H, longest, causal, 1e-6)
    close(kernel.forward(qkv, bounds, live, cos, sin, H, longest, causal, 1e-6), expected.detach(), dtype)
    d_out = normal(*expected.shape, dtype=dtype)
    gradient = torch.autograd.grad(expected, wide, d_out.double())[0]
    close(kernel.backward(d_out, qkv, bounds, live, cos, sin, H, longest, causal, 1e-6), gradient, dtype, 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("causal", "padded"), [(True, False), (False, True)])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_short_sequences(guarded, close, normal, case, dtype, causal, padded):
    check(close, normal, case, dtype, causal, padded)


@pytest.mark.parametrize("case", [LONG[0]], ids=str)
def test_sequences_of_several_tiles(guarded, close, normal, case):
    check(close, normal, case, torch.float32, True, True)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("causal", "padded"), [(True, False), (False, False), (True, True), (False, True)])
@pytest.mark.parametrize("case", LONG, ids=str)
def test_every_tile_and_mask(guarded, close, normal, case, dtype, causal, padded):
    check(close, normal, case, dtype, causal, padded)


@pytest.mark.parametrize("longest", [20, 70])
def test_heads_of_128_have_a_forward_pass_alone(guarded, close, normal, longest):
    qkv, bounds, cos, sin = problem(normal, (longest, 9), 1, 1, 128, torch.float32)
    rest = (bounds, None, cos, sin, 1, longest, True, 1e-6)
    expected = reference.short_attention(qkv.double(), bounds, None, cos.double(), sin.double(), *rest[4:])
    close(kernel.forward(qkv, *rest), expected, torch.float32)
    with pytest.raises(ValueError, match="gradients of head width 128; the kernel takes at most 64"):
        kernel.backward(qkv[:, :1], qkv, *rest)


def test_a_sequence_sees_nothing_of_the_others_nor_of_padding(normal):
    """Bit for bit the same with NaN in another sequence and in its own padding, forward and backward."""
    qkv, bounds, cos, sin = problem(normal, (9, 12, 10), 2, 1, 16, torch.float32)
    live = torch.tensor([9, 8, 10], dtype=torch.int32)
    d_out = normal(31, 2, 16)
    spoiled = qkv.clone()
    spoiled[:9], spoiled[17:21] = float("nan"), float("nan")
    spoiled_d_out = d_out.clone()
    spoiled_d_out[17:21] = float("nan")
    for causal in (True, False):
        rest = (bounds, live, cos, sin, 2, 12, causal, 1e-6)
        assert torch.equal(kernel.forward(qkv, *rest)[9:], kernel.forward(spoiled, *rest)[9:])
        assert torch.equal(kernel.backward(d_out, qkv, *rest)[9:], kernel.backward(spoiled_d_out, spoiled, *rest)[9:])
        assert (kernel.forward(spoiled, *rest)[17:21] == 0).all()


@pytest.mark.parametrize("longest", [20, 80])
def test_the_backward_pass_gives_the_same_bits_every_time(normal, longest):
    qkv, bounds, cos, sin = problem(normal, (longest,), 2, 1, 32, torch.float32)
    rest = (qkv, bounds, None, cos, sin, 2, longest, True, 1e-6)
    d_out = normal(longest, 2, 32)
    assert torch.equal(kernel.backward(d_out, *rest), kernel.backward(d_out, *rest))


def test_the_whole_model_runs_through_the_kernels():
    """Loss and gradients of a tiny decoder with every op a kernel, against plain PyTorch in float64.

    By the norm of each gradient: the account's Fourier features magnify the rounding of either path two hundredfold.
    """
    from unittest.mock import patch

    from genesis import ops
    from genesis.models.transformer import Transformer, TransformerConfig
    from genesis.nn.conditioner import NumberField

    torch.manual_seed(0)
    fields = (NumberField(name="a", mean=0, std=1, quantiles=(0, 1)),)
    model = Transformer(TransformerConfig.of("tiny", 32, 24, fields))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    tokens, values = torch.randint(3, 30, (3, 19)), torch.randn(3, 1)

    def gradients(values):
        model.zero_grad()
        loss = model.loss(tokens, values)
        loss.backward()
        return [loss.detach().double(), *(p.grad.double() for p in model.parameters() if p.grad is not None)]

    assert ops.path("short_attention", torch.device("cpu"), 32, torch.float32) == (True, "Triton interpreter")
    by_kernels = gradients(values)
    with patch.object(ops, "_served", lambda *facts: False):
        model.double()
        plain = gradients(values.double())
    for a, b in zip(by_kernels, plain, strict=True):
        assert (a - b).norm() <= 1e-3 * b.norm()

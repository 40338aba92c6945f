"""What is timed is what it says: bytes and FLOPs by hand, and every opponent computes what ours does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="the kernels need Triton, which this system has no wheel of")
from genesis_kernels.bench import cases, checks

# Inductor and flex import what torch itself calls deprecated
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "DEVICE", "cpu")
    monkeypatch.setattr(cases, "BF16", torch.float32)


def test_bytes_and_flops_by_hand():
    # 1,000 tokens, 8 query and 2 key-value heads of 32, bf16: q, k, v come in (12 heads), the output goes out (8)
    assert cases.attention_bytes(1_000, 8, 2, 32, False) == 1_000 * 20 * 32 * 2
    # backward: q, k, v and d_out come in (20 heads), dq, dk and dv go out (12)
    assert cases.attention_bytes(1_000, 8, 2, 32, True) == 1_000 * (20 + 20 + 12) * 32 * 2
    # two products forward, five backward, over the pairs that a causal mask leaves: 1 + 2 + ... + 4
    assert cases.attention_flops(3, 4, 2, 8, False) == 3 * 2 * 10 * 8 * 2 * 2
    assert cases.attention_flops(3, 4, 2, 8, True) == 3 * 2 * 10 * 8 * 2 * 7
    # 24 live keys and values; q, new k and v in, k and v appended, output out
    assert cases.decode_bytes(1, 8, 2, 32, 24) == (2 * 2 * 32 * 24 + (8 + 2 + 2) * 32 + (2 + 2) * 32 + 8 * 32) * 2
    assert cases.sampler_bytes(2, 100, True) == 2 * (100 * 2 + 100 + 50)
    # x in float32 and branch in bf16 come in, x' and y go out; x', dx', dx in float32, branch, dy, d_branch in bf16
    assert cases.norm_bytes(1, 1, 1, False) == 4 + 2 + 4 + 2
    assert cases.norm_bytes(1, 1, 1, True) == 12 + 3 * 4 + 3 * 2


def tensors(found: object) -> list[Tensor]:
    return [t for t in (found if isinstance(found, tuple | list) else [found]) if isinstance(t, Tensor)]


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("G", [1, 4])
def test_opponents_of_attention_compute_the_same(G, backward):
    case = cases._attention_case(3, 10, 4, G, 8, backward)
    inputs = case.inputs(0)
    ours = tensors(case.ours(*inputs))[0]
    eager = tensors(case.opponents["eager, rotary too"](*inputs))[0]
    ready = case.opponents["SDPA flash"](*inputs)
    if backward:  # of qkv through the rotation; of queries, keys and values that are rotated already
        torch.testing.assert_close(ours, eager, rtol=1e-4, atol=1e-4)
        assert [g.shape for g in tensors(ready)] == [(3, 4, 10, 8), (3, G, 10, 8), (3, G, 10, 8)]
    else:
        for dense in (eager, ready):
            torch.testing.assert_close(ours.view(3, 10, 4, 8), dense.transpose(1, 2), rtol=1e-4, atol=1e-4)


def test_opponents_of_decoding_compute_the_same():
    case = cases._decode_case(3, 4, 2, 8, 10)
    ours = case.ours(*case.inputs(0))
    for name in ("eager", "SDPA flash, static cache"):
        torch.testing.assert_close(case.opponents[name](*case.inputs(0)), ours, rtol=1e-4, atol=1e-4)


def test_opponents_of_the_sampler_leave_the_same_kind_of_state():
    case = cases._sampler_case(40, 30, (0.8, 5, 0.9, 0.0))
    ours, theirs = case.inputs(0), case.inputs(0)
    case.ours(*ours)
    case.opponents["eager"](*theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
    for inputs in (ours, theirs):
        logits, allowed, token = inputs[0], inputs[1], inputs[5]
        assert allowed.gather(1, token[:, None]).all()
        rank = (logits.masked_fill(~allowed, float("-inf")) > logits.gather(1, token[:, None])).sum(1)
        assert int(rank.max()) < 5
    assert len(set(ours[5].tolist())) > 5


@pytest.mark.parametrize("backward", [False, True])
def test_opponents_of_the_norm_compute_the_same(backward):
    case = cases._norm_case(3, 5, 16, backward)
    inputs = case.inputs(0)
    for a, b in zip(case.ours(*inputs), case.opponents["eager"](*inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_every_op_has_cases_and_checks():
    for op, run in checks.CHECKS.items():
        found = list(cases.cases(op))
        assert found
        assert all(case.op == op and case.bytes > 0 for case in found)
        assert len({case.name for case in found}) == len(found)
        names = [name for name, _ in run()]
        assert len(set(names)) == len(names) > 5


def test_a_check_says_what_is_wrong():
    good = torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert checks.differences(["y"], [good], [good.double()], 1e-5) == []
    spoiled = good.clone()
    spoiled[3] += 1
    assert "y is off by" in checks.differences(["y"], [spoiled], [good.double()], 1e-5)[0]
    spoiled[3] = float("nan")
    assert len(checks.differences(["y"], [spoiled], [good.double()], 1e-5)) == 2
    numbers = iter(range(100))
    assert checks.repeated(lambda: [torch.tensor(next(numbers))]) == ["49 of 49 repetitions gave other bits"]
    assert checks.summary({"a": [], "b": ["wrong"]}) == {"ok": False, "cases": 2, "wrong": {"b": ["wrong"]}}
    assert checks.summary({})["ok"] is False

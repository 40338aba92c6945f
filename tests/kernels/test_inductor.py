"""What Inductor makes of the op that each kernel is to beat: kernels and bytes on a GPU that is not here.

Code is generated for an H200 and counted, not run. The counts say how many launches and how much memory the opponent
needs at these shapes; they say nothing of its speed. They are torch's own and private, so they are pinned for one
version; the comparisons with our bytes hold for any.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("triton", reason="the kernels need Triton, which this system has no wheel of")
from genesis_kernels import reference
from genesis_kernels.bench import cases, inductor

MEASURED = "2.13."
BF16 = torch.bfloat16
# Inductor imports what torch itself calls deprecated
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def expect(found: inductor.Generated, kernels: int, library: int) -> None:
    assert found.kernels + found.library >= 1
    assert found.bytes > 0
    if torch.__version__.startswith(MEASURED):
        assert (found.kernels, found.library) == (kernels, library)


# modulated norm


B, T, D = 64, 40, 256


def norm_inputs() -> tuple[Tensor, ...]:
    x, branch = torch.zeros(B, T, D).requires_grad_(), torch.zeros(B, T, D, dtype=BF16).requires_grad_()
    return x, branch, *(torch.zeros(B, 1, D, dtype=BF16).requires_grad_() for _ in range(3))


def norm(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    return reference.modulated_norm(*inputs, 1e-6, BF16)


def test_the_norm_forward_is_one_kernel_and_ours_moves_no_fewer_bytes() -> None:
    found = inductor.generated(norm, norm_inputs())
    expect(found, 1, 0)
    ours = cases.norm_bytes(B, T, D, False) + 3 * 2 * B * D  # and the rows of modulations
    assert found.bytes == pytest.approx(ours, rel=0.02)


def test_the_norm_backward_takes_several_kernels_and_more_bytes_than_ours() -> None:
    found = inductor.generated_backward(norm, norm_inputs())
    expect(found, 3, 0)
    assert found.kernels >= 2
    ours = cases.norm_bytes(B, T, D, True) - cases.norm_bytes(B, T, D, False)
    assert found.bytes > ours


# sampler


def sampler(V: int, top_k: int, top_p: float, R: int = 64) -> tuple[Callable[..., Any], tuple[Tensor, ...]]:
    def draw(logits: Tensor, allowed: Tensor, log_prob: Tensor, length: Tensor, ended: Tensor) -> Any:
        plain = logits.float()
        z = plain.masked_fill(~allowed, float("-inf")) / 0.8
        if top_k:
            ordered, order = z.sort(dim=-1, descending=True, stable=True)
            ordered = torch.where(torch.arange(V) < top_k, ordered, float("-inf"))
            p = ordered.softmax(-1)
            ordered = ordered.masked_fill(p.cumsum(-1) - p >= top_p, float("-inf"))
            z = torch.full_like(z, float("-inf")).scatter(-1, order, ordered)
        drawn = (z - torch.empty_like(z).exponential_().log()).argmax(-1)
        gain = plain.gather(-1, drawn.unsqueeze(-1)).squeeze(-1) - plain.logsumexp(-1)
        stops = drawn == reference.EOS
        return drawn, log_prob + gain, length + ~stops, ended | stops

    masks = torch.ones(R, V, dtype=torch.bool)
    state = (torch.zeros(R), torch.zeros(R, dtype=torch.int32), torch.zeros(R, dtype=torch.bool))
    return draw, (torch.zeros(R, V, dtype=BF16), masks, *state)


@pytest.mark.parametrize(("V", "kernels", "library"), [(272, 3, 1), (1_024, 4, 2)])
def test_limits_cost_inductor_launches_and_bytes_where_ours_is_one_launch(V: int, kernels: int, library: int) -> None:
    free, held = inductor.generated(*sampler(V, 0, 1.0)), inductor.generated(*sampler(V, 40, 0.95))
    expect(free, 1, 1)  # the library's call draws the seed
    expect(held, kernels, library)  # the larger one sorts by the library too
    assert held.kernels > 1
    assert held.bytes > 5 * cases.sampler_bytes(64, V, True)
    assert held.bytes > 5 * free.bytes


# attention


S, L, H, G, K = 64, 64, 8, 2, 32


def attention_inputs() -> tuple[Tensor, ...]:
    return torch.zeros(S, L, H + 2 * G, K, dtype=BF16).requires_grad_(), torch.zeros(L, K // 2), torch.zeros(L, K // 2)


def rotary(qkv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    q, k, v = (t.transpose(1, 2).to(BF16) for t in reference.split_heads(qkv, H, cos, sin, 1e-6))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


def test_rotary_is_not_fused_into_attention() -> None:
    """Kernels before a call of SDPA: queries and keys are written and read once more than in ours.

    Attention is the call that the tracing beside CPU tensors chose, so only what surrounds it is judged.
    """
    found = inductor.generated(rotary, attention_inputs())
    assert found.library == 1
    assert found.kernels >= 1
    assert found.bytes > cases.attention_bytes(S * L, H, G, K, False)


def test_nor_is_its_gradient() -> None:
    found = inductor.generated_backward(rotary, attention_inputs())
    assert (found.kernels >= 1, found.library) == (True, 1)
    ours = cases.attention_bytes(S * L, H, G, K, True) - cases.attention_bytes(S * L, H, G, K, False)
    assert found.bytes > ours


def test_the_pretence_ends() -> None:
    inductor.generated(torch.relu, [torch.zeros(16)])
    assert not torch.cuda.is_available() or torch.version.cuda != "13.0" or torch.cuda.device_count()
    assert (torch.zeros(3) + 1).device.type == "cpu"
    assert torch.compile(lambda x: x * 2, backend="eager")(torch.ones(2)).tolist() == [2, 2]

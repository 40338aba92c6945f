"""What is timed: shapes, the bytes and FLOPs that they need at least, our call and everybody else's.

Bytes count each input that is read and each output that is written once; FLOPs count what the mathematics asks for,
not what a tile multiplies. Opponents of attention get queries and keys that are normalised and rotated already, unless
their name says otherwise; ours does both within.

    B  sequences    T  tokens    D  width    H  query heads    G  key-value heads    K  head width    R  rows
    S  positions of a cache    V  vocabulary    b  bytes an element
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from genesis_kernels import decode_attention, modulated_norm, reference, short_attention, token_sampler  # noqa: F401

OPS = torch.ops.genesis_kernels
BF16 = torch.bfloat16
EPS = 2.0**-7
DEVICE = "cuda"
BACKENDS = {
    "SDPA flash": SDPBackend.FLASH_ATTENTION,
    "SDPA efficient": SDPBackend.EFFICIENT_ATTENTION,
    "SDPA cuDNN": SDPBackend.CUDNN_ATTENTION,
}
Call = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One op at one shape. ``inputs(seed)`` makes a set of inputs; each call takes what ``inputs`` gives."""

    op: str
    name: str
    bytes: int
    flops: int
    inputs: Callable[[int], Sequence[Any]]
    ours: Call
    opponents: dict[str, Call] = field(default_factory=dict)


def cases(op: str) -> Iterator[Case]:
    """Every shape of an op; nothing is on the device before ``inputs`` is called."""
    yield from {
        "short_attention": _attention,
        "decode_attention": _decode,
        "token_sampler": _sampler,
        "modulated_norm": _norm,
    }[op]()


def random(*shape: int, seed: int, dtype: torch.dtype | None = None) -> Tensor:
    generator = torch.Generator(DEVICE).manual_seed(seed)
    return torch.randn(*shape, generator=generator, device=DEVICE, dtype=torch.float32).to(dtype or BF16)


def table(length: int, K: int) -> tuple[Tensor, Tensor]:
    angle = torch.arange(length, device=DEVICE)[:, None] * 1e4 ** (-torch.arange(0, K, 2, device=DEVICE) / K)
    return angle.cos(), angle.sin()


def compiled(call: Call) -> Call:
    return torch.compile(call, fullgraph=True, dynamic=False)


# attention: bytes forward (2H + 2G) K b a token; forward and backward together (5H + 6G) K b and H K b of d_out


def attention_bytes(tokens: int, H: int, G: int, K: int, backward: bool, b: int = 2) -> int:
    return tokens * K * b * ((2 * H + 2 * G) + (3 * H + 4 * G if backward else 0))


def attention_flops(B: int, T: int, H: int, K: int, backward: bool, causal: bool = True) -> int:
    pairs = B * H * (T * (T + 1) // 2 if causal else T * T)
    return pairs * K * (14 if backward else 4)


def _attention() -> Iterator[Case]:
    preset, wide = (2**18, 8, 2, 32), (2**17, 8, 8, 64)
    shapes = [(preset, T, False) for T in (32, 64, 128, 16)] + [(wide, T, False) for T in (32, 64, 128)]
    shapes += [(preset, T, True) for T in (32, 64, 128)] + [(wide, 64, True)]
    for (tokens, H, G, K), T, backward in shapes:
        yield _attention_case(tokens // T, T, H, G, K, backward)


def _attention_case(B: int, T: int, H: int, G: int, K: int, backward: bool) -> Case:
    N = B * T

    def inputs(seed: int) -> Sequence[Any]:
        cos, sin = table(T, K)
        qkv = random(N, H + 2 * G, K, seed=seed)
        q, k, v = reference.split_heads(qkv.view(B, T, H + 2 * G, K), H, cos, sin, EPS)
        bounds = torch.arange(0, N + 1, T, dtype=torch.int32, device=DEVICE)
        ready = [t.transpose(1, 2).contiguous().to(BF16).requires_grad_(backward) for t in (q, k, v)]
        return qkv.requires_grad_(backward), bounds, cos, sin, *ready, random(N, H, K, seed=seed + 1)

    def ours(qkv: Tensor, bounds: Tensor, cos: Tensor, sin: Tensor, *_: Tensor) -> Tensor:
        out: Tensor = OPS.short_attention(qkv, bounds, None, cos, sin, H, T, True, EPS)
        return out

    def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=H != G)

    def rotary(qkv: Tensor, bounds: Tensor, cos: Tensor, sin: Tensor, *_: Tensor) -> Tensor:
        parts = reference.split_heads(qkv.view(B, T, H + 2 * G, K), H, cos, sin, EPS)
        return dense(*(t.transpose(1, 2).to(BF16) for t in parts))

    def eager(qkv: Tensor, bounds: Tensor, cos: Tensor, sin: Tensor, *_: Tensor) -> Tensor:
        parts = reference.split_heads(qkv.view(B, T, H + 2 * G, K), H, cos, sin, EPS)
        q, k, v = (t.transpose(1, 2).to(BF16) for t in parts)
        return reference.attention(q, k, v)

    def backend(which: SDPBackend) -> Call:
        def call(*inputs: Tensor) -> Tensor:
            q, k, v = inputs[4:7]
            if which == SDPBackend.EFFICIENT_ATTENTION:  # it knows no groups: the widening is part of its price
                k, v = (t.repeat_interleave(H // G, 1) for t in (k, v))
            with sdpa_kernel(which):
                return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=k.shape[1] != H)

        return call

    opponents: dict[str, Call] = {
        "eager, rotary too": eager,
        "compile + SDPA, rotary too": compiled(rotary),
        **{name: backend(which) for name, which in BACKENDS.items()},
        "flex": _flex(B, T, H, G),
    }
    with suppress(ImportError):
        from torch.nn.attention.varlen import varlen_attn

        def varlen(*inputs: Tensor) -> Any:
            q, k, v = (t.transpose(1, 2).flatten(0, 1) for t in inputs[4:7])
            return varlen_attn(q, k, v, inputs[1], inputs[1], T, T, window_size=(-1, 0), enable_gqa=H != G)

        opponents["varlen_attn"] = varlen
    if backward:
        ours_call, opponents = _with_backward(ours, 1), {n: _with_backward(c, None) for n, c in opponents.items()}
    return Case(
        "short_attention",
        f"{'forward and backward' if backward else 'forward'}, B {B} T {T} H {H} G {G} K {K}, causal",
        attention_bytes(N, H, G, K, backward),
        attention_flops(B, T, H, K, backward),
        inputs,
        ours_call if backward else ours,
        opponents,
    )


def _with_backward(call: Call, leaves: int | None) -> Call:
    """Forward, and the gradients of whatever the call could have used: qkv, or queries, keys and values."""

    def both(*inputs: Tensor) -> Any:
        out = call(*inputs)
        d_out = inputs[-1]
        if out.shape != d_out.shape:
            d_out = d_out.view_as(out) if out.dim() == 3 else _dense_like(d_out, out)
        used = [t for t in inputs[:leaves] if isinstance(t, Tensor) and t.requires_grad]
        return torch.autograd.grad(out, used, d_out, allow_unused=True)

    return both


def _dense_like(d_out: Tensor, out: Tensor) -> Tensor:
    B, H, T, K = out.shape
    return d_out.view(B, T, H, K).transpose(1, 2)


def _flex(B: int, T: int, H: int, G: int) -> Call:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    fast = torch.compile(flex_attention, dynamic=False)
    made: list[Any] = []

    def call(*inputs: Tensor) -> Any:
        if not made:
            made.append(create_block_mask(lambda b, h, i, j: i >= j, None, None, T, T, device=DEVICE))
        q, k, v = inputs[4:7]
        return fast(q, k, v, block_mask=made[0], enable_gqa=H != G)

    return call


# one position of decoding: bytes 2 G K b for each live position, and what comes in and goes out


def decode_bytes(R: int, H: int, G: int, K: int, live: int, b: int = 2) -> int:
    return R * (2 * G * K * live + (2 * H + 4 * G) * K) * b


def _decode() -> Iterator[Case]:
    for R, H, G, K, live in (
        (8192, 8, 2, 32, 24), (4096, 8, 2, 32, 64), (4096, 8, 8, 32, 64), (1024, 8, 2, 32, 512),
        (1024, 12, 4, 64, 128), (256, 8, 2, 32, 24),
    ):  # fmt: skip
        yield _decode_case(R, H, G, K, live)


def _decode_case(R: int, H: int, G: int, K: int, live: int) -> Case:
    S = -(-(live + 1) // 16) * 16

    def inputs(seed: int) -> Sequence[Any]:
        caches = (random(R, G, S, K, seed=seed + n) for n in (1, 2))
        position = torch.full((R,), live, dtype=torch.int32, device=DEVICE)
        return random(R, H + 2 * G, K, seed=seed), *caches, position, *table(S, K)

    def static(qkv: Tensor, k_cache: Tensor, v_cache: Tensor, position: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """What a loop with a static cache does: rotate, write, and attend over all positions under a mask."""
        q, k, v = reference.split_heads(qkv, H, cos[position], sin[position], EPS)
        at = position[:1].long()
        k_cache.index_copy_(2, at, k[:, :, None].to(k_cache.dtype))
        v_cache.index_copy_(2, at, v[:, :, None].to(v_cache.dtype))
        seen = (torch.arange(S, device=q.device) <= position[:, None])[:, None, None]
        out = F.scaled_dot_product_attention(
            q[:, :, None].to(k_cache.dtype), k_cache, v_cache, attn_mask=seen, enable_gqa=H != G
        )
        return out.flatten(1)

    def backend(which: SDPBackend) -> Call:
        def call(*inputs: Tensor) -> Tensor:
            with sdpa_kernel(which):
                return static(*inputs)

        return call

    return Case(
        "decode_attention",
        f"R {R} H {H} G {G} K {K}, {live} live positions",
        decode_bytes(R, H, G, K, live),
        4 * R * H * K * (live + 1),
        inputs,
        lambda *inputs: OPS.decode_attention(*inputs, H, EPS),
        {
            "eager": lambda *inputs: reference.decode_attention(*inputs, H, EPS),
            "compile of the reference": compiled(lambda *inputs: reference.decode_attention(*inputs, H, EPS)),
            "compile + SDPA, static cache": compiled(static),
            **{f"{name}, static cache": backend(which) for name, which in BACKENDS.items()},
        },
    )


# a draw: bytes V b of logits, V of the mask, some 50 of state a row


def sampler_bytes(R: int, V: int, masked: bool, b: int = 2) -> int:
    return R * (V * b + V * masked + 50)


def _sampler() -> Iterator[Case]:
    for R, V in ((4096, 272), (4096, 512), (8192, 1024), (256, 272), (512, 16_384)):
        for limits in ((1.0, 0, 1.0, 0.0), (0.8, 40, 0.95, 0.0)):
            yield _sampler_case(R, V, limits)


def _sampler_case(R: int, V: int, limits: tuple[float, int, float, float]) -> Case:
    temperature, top_k, top_p, min_p = limits
    room = 64

    def inputs(seed: int) -> Sequence[Any]:
        allowed = random(R, V, seed=seed + 1) > -0.5
        rules = torch.tensor([*limits, 1.0], device=DEVICE)

        def full(value: float, dtype: torch.dtype) -> Tensor:
            return torch.full((R,), value, dtype=dtype, device=DEVICE)

        made = (full(0, torch.int64), full(0, torch.int32), full(0, torch.int32), full(0, torch.bool))
        out = torch.zeros(R, room, dtype=torch.int32, device=DEVICE)
        item = torch.arange(R, device=DEVICE) + seed
        seeds = torch.tensor([seed], device=DEVICE)
        return random(R, V, seed=seed), allowed, seeds, rules, item, *made, full(0, torch.float32), out

    def ours(*inputs: Tensor) -> None:
        inputs[6].zero_()  # every call finds open rows; one small launch that opponents have too
        OPS.token_sampler(*inputs, V)

    def torchs(
        logits: Tensor, allowed: Tensor, seed: Tensor, rules: Tensor, item: Tensor, token: Tensor, position: Tensor,
        length: Tensor, ended: Tensor, log_prob: Tensor, out: Tensor,
    ) -> None:  # fmt: skip
        """The same with torch's own generator, limits compiled in."""
        position.zero_()
        plain = logits.float()
        z = reference.keep(plain.masked_fill(~allowed, float("-inf")) / temperature, top_k, top_p, min_p)
        drawn = (z - torch.empty_like(z).exponential_().log()).argmax(-1)
        log_prob.add_(plain.gather(-1, drawn[:, None])[:, 0] - plain.logsumexp(-1))
        stops = drawn == reference.EOS
        out[:, 0] = torch.where(stops, reference.PAD, drawn.int())
        length.add_(~stops)
        ended.logical_or_(stops)
        token.copy_(drawn)
        position.copy_(torch.where(stops, -1, position + 1))

    what = "no limits" if not top_k else f"top_k {top_k}, top_p {top_p}"
    return Case(
        "token_sampler",
        f"R {R} V {V}, {what}",
        sampler_bytes(R, V, True),
        0,
        inputs,
        ours,
        {"eager": torchs, "compile": compiled(torchs)},
    )


# a norm: x and branch come in, x' and y go out; backward x', branch, dx', dy come in, dx and d_branch go out


def norm_bytes(B: int, T: int, D: int, backward: bool, stream: int = 4, b: int = 2) -> int:
    forward = 2 * stream + 2 * b
    return B * T * D * (forward + (3 * stream + 3 * b if backward else 0))


def _norm() -> Iterator[Case]:
    for B, T, D in ((4096, 40, 256), (512, 64, 768), (4096, 1, 256), (64, 256, 1024)):
        for backward in (False, True):
            if T > 1 or not backward:
                yield _norm_case(B, T, D, backward)


def _norm_case(B: int, T: int, D: int, backward: bool) -> Case:
    def inputs(seed: int) -> Sequence[Any]:
        x = random(B, T, D, seed=seed, dtype=torch.float32).requires_grad_(backward)
        branch = random(B, T, D, seed=seed + 1).requires_grad_(backward)
        rows = (random(B, 1, D, seed=seed + n).requires_grad_(backward) for n in (2, 3, 4))
        d_stream, dy = random(B, T, D, seed=seed + 5, dtype=torch.float32), random(B, T, D, seed=seed + 6)
        return x, branch, *rows, d_stream, dy

    def of(norm: Call) -> Call:
        def call(*inputs: Tensor) -> Any:
            made = norm(*inputs[:5], 1e-6, BF16)
            return torch.autograd.grad(made, inputs[:5], inputs[5:]) if backward else made

        return call

    return Case(
        "modulated_norm",
        f"{'forward and backward' if backward else 'forward'}, B {B} T {T} D {D}, stream in float32",
        norm_bytes(B, T, D, backward),
        0,
        inputs,
        of(OPS.modulated_norm),
        {"eager": of(reference.modulated_norm), "compile": of(compiled(reference.modulated_norm))},
    )

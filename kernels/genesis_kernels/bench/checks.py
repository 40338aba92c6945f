"""What a GPU alone can show of a kernel: bfloat16 values, races, and that a launch does what the interpreter did.

Each check compares with the reference in float64 on the same device, starts from memory full of NaN, and is repeated
``REPEATS`` times for the same bits. A check that finds nothing wrong returns an empty list, else sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from genesis_kernels import reference
from genesis_kernels.bench.cases import BF16, EPS, OPS, random, table

REPEATS = 50
ERROR = {torch.float32: 1e-5, BF16: 1e-2, torch.float16: 2e-3}  # norm of the difference to that of the expected
DTYPES = tuple(ERROR)
DRAWS = 200_000


def check(op: str) -> dict[str, list[str]]:
    """For each case of an op what is wrong with it."""
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills new memory with NaN
    torch.utils.deterministic.fill_uninitialized_memory = True
    found: dict[str, list[str]] = {}
    for name, run in CHECKS[op]():
        try:
            found[name] = run()
            torch.cuda.synchronize()
        except Exception as error:  # a report names every illness; one that breaks the device breaks what follows too
            found[name] = [f"{type(error).__name__}: {str(error)[:300]}"]
    return found


def differences(names: Sequence[str], found: Sequence[Tensor], expected: Sequence[Tensor], error: float) -> list[str]:
    """One sentence for each tensor that is not what was expected."""
    said = []
    for name, a, b in zip(names, found, expected, strict=True):
        a, b = a.double(), b.double()
        scale = float(b.norm()) or 1.0
        off = float((a - b).norm()) / scale
        if not off <= error:
            said.append(f"{name} is off by {off:.2e} of its norm; at most {error:.0e} is allowed")
        worst = float((a - b).abs().max()) if a.numel() else 0.0
        if not worst <= 20 * error * max(1.0, float(b.abs().max()) if b.numel() else 0.0):
            said.append(f"one element of {name} is off by {worst:.2e}")
    return said


def repeated(run: Callable[[], Sequence[Tensor]]) -> list[str]:
    """Whether every run gives the bits of the first; NaN, which equals nothing, has bits too."""

    def bits() -> list[Tensor]:
        return [t.detach().clone().reshape(-1).view(torch.uint8) for t in run()]

    first = bits()
    changed = sum(not all(map(torch.equal, first, bits())) for _ in range(REPEATS - 1))
    return [f"{changed} of {REPEATS - 1} repetitions gave other bits"] if changed else []


Named = tuple[str, Callable[[], list[str]]]


def _norm() -> Iterator[Named]:
    for dtype in DTYPES:
        for B, T, D, rows in ((3, 7, 33, 3), (64, 40, 256, 64), (5, 130, 768, 1), (2, 3, 8192, 2), (4096, 1, 256, 1)):

            def run(dtype: torch.dtype = dtype, B: int = B, T: int = T, D: int = D, rows: int = rows) -> list[str]:
                made = [random(B, T, D, seed=s, dtype=dtype) for s in (0, 1)]
                made += [random(rows, 1, D, seed=s, dtype=dtype) for s in (2, 3, 4)]
                d_out = [random(B, T, D, seed=s, dtype=dtype) for s in (5, 6)]
                wide = [t.double().requires_grad_() for t in made]
                expected = reference.modulated_norm(*wide)
                grads = torch.autograd.grad(expected, wide, [t.double() for t in d_out])
                leaves = [t.requires_grad_() for t in made]

                def ours() -> Sequence[Tensor]:
                    out = OPS.modulated_norm(*leaves, 1e-6, dtype)
                    return *(t.detach() for t in out), *torch.autograd.grad(out, leaves, d_out)

                names = ("stream", "y", "dx", "d_branch", "d_gate", "d_gain", "d_shift")
                return differences(names, ours(), (*expected, *grads), ERROR[dtype]) + repeated(ours)

            yield f"{dtype} B {B} T {T} D {D}, {rows} rows of modulations".removeprefix("torch."), run


def _attention() -> Iterator[Named]:
    few = [((36,) * 64, 8, 2, 32), ((100, 128, 1, 77), 4, 2, 64), ((5, 30, 12), 2, 1, 20)]
    more = [((16,) * 64, 8, 2, 32), ((31, 7) * 16, 8, 2, 32), ((128, 17) * 8, 4, 4, 64), ((64, 48), 12, 4, 64)]
    more += [((97, 65), 8, 2, 32)]
    for dtype in (BF16, torch.float32, torch.float16):
        for lengths, H, G, K in (*few, *more) if dtype == BF16 else few:  # every kernel takes a second to compile
            for causal, padded in ((True, False), (False, True)):

                def run(
                    lengths: tuple[int, ...] = lengths, H: int = H, G: int = G, K: int = K, causal: bool = causal,
                    padded: bool = padded, dtype: torch.dtype = dtype,
                ) -> list[str]:  # fmt: skip
                    sizes = torch.tensor(lengths, device="cuda", dtype=torch.int32)
                    bounds = torch.cat((sizes.new_zeros(1), sizes.cumsum(0).int()))
                    live = (sizes - 3).clamp(min=0) if padded else None
                    qkv, d_out = random(sum(lengths), H + 2 * G, K, seed=0, dtype=dtype), None
                    cos, sin = table(max(lengths), K)
                    rest = (H, max(lengths), causal, EPS)
                    wide = qkv.double().requires_grad_()
                    expected = reference.short_attention(wide, bounds, live, cos.double(), sin.double(), *rest)
                    d_out = random(*expected.shape, seed=1, dtype=dtype)
                    grad = torch.autograd.grad(expected, wide, d_out.double())[0]
                    leaf = qkv.requires_grad_()

                    def ours() -> Sequence[Tensor]:
                        out = OPS.short_attention(leaf, bounds, live, cos, sin, *rest)
                        return out.detach(), torch.autograd.grad(out, leaf, d_out)[0]

                    return differences(("out", "d_qkv"), ours(), (expected, grad), ERROR[dtype]) + repeated(ours)

                mask = "causal" if causal else "full, padded"
                yield f"{dtype} {len(lengths)} x {max(lengths)} H {H} G {G} K {K} {mask}".removeprefix("torch."), run


def _decode() -> Iterator[Named]:
    for dtype in DTYPES:
        for R, H, G, K, S in ((64, 8, 2, 32, 80), (33, 4, 4, 64, 130), (17, 12, 4, 64, 48), (5, 8, 8, 128, 300)):

            def run(
                R: int = R, H: int = H, G: int = G, K: int = K, S: int = S, dtype: torch.dtype = dtype
            ) -> list[str]:
                qkv, (cos, sin) = random(R, H + 2 * G, K, seed=0, dtype=dtype), table(S, K)
                position = torch.arange(R, device="cuda", dtype=torch.int32) * 7 % S
                position[1] = -1
                full = [random(R, G, S, K, seed=s, dtype=dtype) for s in (1, 2)]
                beyond = torch.arange(S, device="cuda") >= position.clamp(min=0)[:, None]
                for cache in full:
                    cache.masked_fill_(beyond[:, None, :, None], float("nan"))
                wide = [cache.double() for cache in full]
                args = (position, cos.double(), sin.double(), H, EPS)
                expected = reference.decode_attention(qkv.double(), *wide, *args)

                def ours() -> Sequence[Tensor]:
                    caches = [cache.clone() for cache in full]
                    return OPS.decode_attention(qkv, *caches, position, cos, sin, H, EPS), *caches

                out, *caches = ours()
                said = differences(("out",), (out,), (expected,), ERROR[dtype])
                kept = [c.masked_fill(beyond[:, None, :, None] & c.isnan(), 0) for c in (*caches, *wide)]
                said += differences(("keys", "values"), kept[:2], kept[2:], ERROR[dtype])
                some = torch.tensor([R - 1, 0, 2], device="cuda")
                few = [cache[some].clone() for cache in full]
                alone = OPS.decode_attention(qkv[some], *few, position[some], cos, sin, H, EPS)
                if not torch.equal(alone, out[some]):
                    said.append("a row depends on the batch")
                return said + repeated(lambda: [ours()[0]])

            yield f"{dtype} R {R} H {H} G {G} K {K} S {S}".removeprefix("torch."), run


LIMITS = (
    (1, 0, 1, 0, 1),
    (0, 0, 1, 0, 1),
    (0.7, 5, 1, 0, 1),
    (1, 0, 0.8, 0, 1),
    (1.3, 0, 1, 0.2, 1),
    (1, 40, 0.7, 0.1, 1),
)
MADE = ("token", "position", "length", "ended", "log_prob", "out")


def _state(R: int, room: int, position: Tensor) -> dict[str, Tensor]:
    whole = position.clamp(min=0)
    out = torch.full((R, room), -9, device="cuda", dtype=torch.int32)
    return {
        "token": torch.full((R,), 7, device="cuda"),
        "position": position.clone(),
        "length": whole.clone(),
        "ended": torch.zeros(R, dtype=torch.bool, device="cuda"),
        "log_prob": torch.zeros(R, device="cuda"),
        "out": out,
    }


def _sampler() -> Iterator[Named]:
    for V in (11, 272, 1000, 4096, 16_384):
        for limits in (*LIMITS, (1, 0, 1, 0, 2.5)):

            def run(V: int = V, limits: Sequence[float] = limits) -> list[str]:
                R, room, guided = 999, 40, limits[4] != 1
                logits = 3 * random(R * (1 + guided), V + 5, seed=0, dtype=torch.float32)
                logits[:, :2] = float("-inf")
                allowed = random(R, V, seed=1) > -0.5
                allowed[:, 2] = True
                logits[8, 5] = float("nan")
                position = torch.arange(R, device="cuda", dtype=torch.int32) % room
                position[3] = -1
                rules = torch.tensor(limits, device="cuda", dtype=torch.float32)
                item, seed = torch.arange(R, device="cuda") * 2**33 + 3, torch.tensor([2**40 + 17], device="cuda")
                inputs = (logits, allowed, seed, rules, item)

                def ours() -> Sequence[Tensor]:
                    made = _state(R, room, position)
                    OPS.token_sampler(*inputs, *made.values(), V)
                    return list(made.values())

                found, expected = ours(), list(_state(R, room, position).values())
                reference.token_sampler(*inputs, *expected, V)
                good = torch.arange(R, device="cuda") != 8
                said = []
                other = int((found[0] != expected[0])[good].sum())
                if other > R // 500:  # logarithms differ by an ulp, and a near tie then falls the other way
                    said.append(f"{other} of {R} tokens are not the reference's")
                forbidden = good & (position >= 0) & ~allowed.gather(1, found[0][:, None])[:, 0]
                if bool(forbidden.any()):
                    said.append(f"{int(forbidden.sum())} tokens that the mask forbids")
                same = good & (found[0] == expected[0])
                for name, a, b in zip(MADE[1:], found[1:], expected[1:], strict=True):
                    if not torch.allclose(a[same].double(), b[same].double(), rtol=1e-4, atol=1e-4):
                        said.append(f"{name} is not the reference's")
                if int(found[1][8]) != -1 or bool(found[3][8]):
                    said.append("a row with NaN did not stop, or counts as ended")
                return said + repeated(ours)

            yield f"V {V}, limits {limits}", run
    yield f"frequencies of {DRAWS} draws", _frequencies


def _frequencies() -> list[str]:
    p = torch.tensor([0.4, 0.25, 0.15, 0.12, 0.06, 0.02], device="cuda")
    logits = torch.cat((torch.full((3,), float("-inf"), device="cuda"), p.log())).expand(DRAWS, 9).contiguous()
    made = _state(DRAWS, 2, torch.zeros(DRAWS, dtype=torch.int32, device="cuda"))
    rules = torch.tensor([1.0, 0, 1, 0, 1], device="cuda")
    seed, item = torch.tensor([11], device="cuda"), torch.arange(DRAWS, device="cuda")
    OPS.token_sampler(logits, None, seed, rules, item, *made.values(), 9)
    seen = torch.bincount(made["token"], minlength=9)[3:].double()
    chi_square = float(((seen - DRAWS * p) ** 2 / (DRAWS * p)).sum())
    return [] if chi_square < 25.7 else [f"chi-square {chi_square:.1f}; 25.7 is exceeded once in 10,000 times"]


CHECKS: dict[str, Callable[[], Iterator[Named]]] = {
    "modulated_norm": _norm,
    "short_attention": _attention,
    "decode_attention": _decode,
    "token_sampler": _sampler,
}


def summary(found: dict[str, list[str]]) -> dict[str, Any]:
    """Whether all is well, how many cases there were, and what is wrong with which."""
    wrong = {name: said for name, said in found.items() if said}
    return {"ok": bool(found) and not wrong, "cases": len(found), "wrong": wrong}

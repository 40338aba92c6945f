"""Machine code for four architectures, compiled without a GPU: registers, spills, shared memory, instructions.

Registers were measured with Triton 3.9.0, with a little room; other versions are held to no spills alone.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="the kernels need Triton, which this system has no wheel of")
import triton

from genesis_kernels import decode_attention, modulated_norm, short_attention, token_sampler
from genesis_kernels.bench.cubins import Cubin, compiled
from genesis_kernels.limits import WIDEST_TRAINED

MEASURED = "3.9."
ARCHITECTURES = (80, 90, 100, 120)
BF16 = torch.bfloat16
pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION:UserWarning")


def meta(*shape: int, dtype: torch.dtype = BF16) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def norm(D: int, backward: bool = False) -> None:
    x, branch, row = meta(8, 40, D, dtype=torch.float32), meta(8, 40, D), meta(8, 1, D)
    if backward:
        modulated_norm.backward(x, branch, x, branch, row, row, 1e-6)
    else:
        modulated_norm.forward(x, branch, row, row, row, 1e-6, BF16)


def attention(T: int, K: int, backward: bool = False) -> None:
    H, G = 8, 2
    qkv, table = meta(8 * T, H + 2 * G, K), meta(256, K // 2, dtype=torch.float32)
    rest = (qkv, meta(9, dtype=torch.int32), None, table, table, H, T, True, 1e-6)
    if backward:
        short_attention.backward(meta(8 * T, H, K), *rest)
    else:
        short_attention.forward(*rest)


def decode(K: int, H: int, G: int) -> None:
    cache, table = meta(64, G, 128, K), meta(128, K // 2, dtype=torch.float32)
    position = meta(64, dtype=torch.int32)
    decode_attention.forward(meta(64, H + 2 * G, K), cache, cache, position, table, table, H, 1e-6)


def sampler(V: int) -> None:
    def whole(dtype: torch.dtype) -> Tensor:
        return meta(64, dtype=dtype)

    allowed, seed, rules = meta(64, V, dtype=torch.bool), meta(1, dtype=torch.int64), meta(5, dtype=torch.float32)
    made = (whole(torch.int64), whole(torch.int32), whole(torch.int32), whole(torch.bool), whole(torch.float32))
    out, logits = meta(64, 80, dtype=torch.int32), meta(64, -(-V // 16) * 16)
    token_sampler.forward(logits, allowed, seed, rules, whole(torch.int64), *made, out, V)


# what the preset launches: registers a thread and bytes of shared memory, at most
PRESET = {
    "norm forward": (lambda: norm(256), 64, 8_192),
    "norm backward": (lambda: norm(256, True), 176, 8_192),
    "attention forward, 64": (lambda: attention(64, 32), 168, 32_768),
    "attention backward, 64": (lambda: attention(64, 32, True), 255, 65_536),
    "decode": (lambda: decode(32, 8, 2), 128, 16_384),
    "sampler": (lambda: sampler(272), 128, 1_024),
}


def expect(cubin: Cubin, registers: int, shared: int) -> None:
    about = (cubin.name, cubin.registers, cubin.shared, cubin.spills)
    assert cubin.spills == 0, about
    assert cubin.shared <= shared, about
    assert cubin.registers <= registers or not triton.__version__.startswith(MEASURED), about


@pytest.mark.parametrize(
    "capability", [n if n == 90 else pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES]
)
def test_the_presets_kernels_keep_to_their_budgets(capability: int) -> None:
    for name, (launch, registers, shared) in PRESET.items():
        (cubin,) = compiled(capability, launch)
        expect(cubin, registers, shared)
        assert cubin.count(r"LDG\.E\.128|LDGSTS\.E\.BYPASS\.128|LDGSTS\.E\.BYPASS\.LTC128B\.128") > 0, name
        if name.startswith("attention"):
            wanted = {80: "HMMA", 90: "HGMMA", 100: "UTCHMMA", 120: "HMMA"}[capability]
            assert cubin.tensor_core in (wanted, "HMMA"), name
            assert capability != 90 or cubin.tensor_core == "HGMMA", name
        elif name == "decode":
            assert cubin.tensor_core == "HMMA"
        else:
            assert cubin.tensor_core == "none"


def test_a_batch_or_a_length_compiles_nothing_new() -> None:
    """Two launches of one tile: same kernel, since batch, length and rows are no constants of it."""
    from triton.runtime.jit import JITFunction

    seen: list[int] = []

    def count(batch: int, T: int) -> None:
        x, row = meta(batch, T, 64, dtype=torch.float32), meta(batch, 1, 64, dtype=torch.float32)
        modulated_norm.forward(x, x, row, row, row, 1e-6, None)
        modulated_norm.backward(x, x, x, x, row, row, 1e-6)
        qkv, table = meta(batch * T, 4, 32), meta(T, 16, dtype=torch.float32)
        bounds = meta(batch + 1, dtype=torch.int32)
        short_attention.forward(qkv, bounds, None, table, table, 2, T, True, 1e-6)
        kernels = (modulated_norm._forward_kernel, modulated_norm._backward_kernel, short_attention._forward_kernel)
        assert all(isinstance(kernel, JITFunction) for kernel in kernels)
        seen.append(sum(len(kernel.device_caches[90][0]) for kernel in kernels))

    compiled(90, lambda: [count(batch, T) for batch, T in ((2, 17), (1, 32), (3, 20), (16, 31), (7, 16 + 1))])
    assert len(set(seen)) == 1, seen


@pytest.mark.slow
@pytest.mark.parametrize("capability", ARCHITECTURES)
@pytest.mark.parametrize("K", [32, 64, 128])
@pytest.mark.parametrize("T", [16, 32, 64, 128])
def test_no_tile_of_attention_spills(T: int, K: int, capability: int) -> None:
    for backward in (False, True) if K <= WIDEST_TRAINED else (False,):
        for cubin in compiled(capability, lambda backward=backward: attention(T, K, backward)):
            assert cubin.spills == 0, (cubin.name, cubin.registers, cubin.spills)
            assert cubin.shared <= 99 * 1024, (cubin.name, cubin.shared)  # what a block of sm_120 may have
            assert cubin.tensor_core != "none"


@pytest.mark.slow
@pytest.mark.parametrize("capability", ARCHITECTURES)
def test_other_widths_spill_nothing(capability: int) -> None:
    launches = [
        lambda: norm(768), lambda: norm(768, True), lambda: norm(8192), lambda: norm(8192, True),
        lambda: decode(64, 12, 4), lambda: decode(128, 8, 8), lambda: sampler(1000), lambda: sampler(16_384),
    ]  # fmt: skip
    for launch in launches:
        for cubin in compiled(capability, launch):
            assert cubin.spills == 0, (cubin.name, cubin.registers, cubin.spills)

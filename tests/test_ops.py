"""The door to the kernels: which path an op takes, why, and that it says so once."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch

from genesis import ops
from genesis.nn.block import rotary_table
from genesis_kernels import reference

CUDA = torch.device("cuda", 0)


@pytest.fixture
def capability(monkeypatch: pytest.MonkeyPatch):
    """A GPU that is asked for nothing but its compute capability."""
    pytest.importorskip("triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    ops._decide.cache_clear()
    yield lambda *numbers: monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: numbers)
    ops._decide.cache_clear()


@pytest.mark.parametrize(
    ("op", "width", "dtype", "found", "served", "why"),
    [
        ("short_attention", 64, torch.bfloat16, (9, 0), True, "Triton kernel"),
        ("token_sampler", 16_384, torch.float32, (12, 0), True, "Triton kernel"),
        ("unit_rms", 64, torch.float32, (9, 0), False, "no kernel"),
        ("short_attention", 256, torch.bfloat16, (9, 0), False, "width 256; the kernel takes at most 128"),
        ("decode_attention", 33, torch.bfloat16, (9, 0), False, "head width 33 is odd"),
        ("modulated_norm", 16_384, torch.float32, (9, 0), False, "width 16384; the kernel takes at most 8192"),
        ("token_sampler", 65_536, torch.float32, (9, 0), False, "width 65536; the kernel takes at most 16384"),
        ("modulated_norm", 64, torch.float64, (9, 0), False, "torch.float64; the kernel takes float32"),
        ("modulated_norm", 64, torch.float32, (7, 5), False, "compute capability 7.5; the kernels need 8.0"),
    ],
)
def test_the_path_of_an_op_and_why(capability, op, width, dtype, found, served, why):
    capability(*found)
    ok, said = ops.path(op, CUDA, width, dtype)
    assert ok == served
    assert said.startswith(why)


def test_on_a_cpu_the_reference_serves_and_triton_is_not_imported():
    code = (
        "import sys, torch; from genesis import ops; from genesis.nn.block import Block, rotary_table\n"
        "b = Block(16, 2, 1, 24, 4); x = torch.randn(2, 5, 16)\n"
        "b(x, None, None, b.modulation(torch.zeros(2, 4)), *rotary_table(5, 8))\n"
        "print(ops.path('short_attention', torch.device('cpu')), 'triton' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(False, 'cpu tensors take the PyTorch reference') False"


def test_one_warning_says_why_a_gpu_goes_without_a_kernel(capability):
    capability(7, 5)
    with pytest.warns(RuntimeWarning, match=r"modulated_norm runs as plain PyTorch on cuda:0: compute capability 7\.5"):
        assert not ops._decide("modulated_norm", CUDA, 64, torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not ops._decide("modulated_norm", CUDA, 64, torch.float32)


def test_without_triton_a_gpu_takes_the_reference(capability, monkeypatch):
    capability(9, 0)
    monkeypatch.setattr(ops.importlib.util, "find_spec", lambda name: None)
    assert ops.path("modulated_norm", CUDA) == (False, "triton is not installed")


@pytest.mark.parametrize("causal", [True, False])
def test_padding_is_not_seen_where_lengths_are_given(causal):
    qkv, (cos, sin) = torch.randn(2, 6, 8, 4), rotary_table(6, 4)
    whole = ops.short_attention(qkv, 4, cos, sin, 1e-6, causal)
    torch.testing.assert_close(
        ops.short_attention(qkv, 4, cos, sin, 1e-6, causal, torch.tensor([6, 6], dtype=torch.int32)), whole
    )
    cut = ops.short_attention(qkv, 4, cos, sin, 1e-6, causal, torch.tensor([6, 3], dtype=torch.int32))
    torch.testing.assert_close(cut[0], whole[0])
    torch.testing.assert_close(cut[1, :3], ops.short_attention(qkv[1:, :3], 4, cos[:3], sin[:3], 1e-6, causal)[0])
    assert (cut[1, 3:] == 0).all()


def test_every_op_that_has_a_kernel_has_a_reference_of_its_name():
    for op in ops.KERNELS:
        assert callable(getattr(reference, op))
        assert op in ops.__all__

"""The one door to ``genesis_kernels``: each op under its name, the fastest correct path behind it.

Nothing of Triton is imported before a tensor on a CUDA device asks for a kernel (or TRITON_INTERPRET=1 runs kernels on
a CPU, for tests). What a kernel does not support goes through the PyTorch reference, with one warning that says why.

    B  batch    T  tokens    H  query heads    G  key-value heads    K  head width    R  rows being decoded
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from genesis_kernels import reference
from genesis_kernels.limits import LONGEST, WIDEST_HEAD, WIDEST_ROW, WIDEST_TRAINED, WIDEST_VOCAB
from genesis_kernels.philox import open_unit, philox, signed, spread
from genesis_kernels.reference import keep, rotate, split_heads, step_attention, unit_rms

__all__ = [
    "decode_attention",
    "keep",
    "modulated_norm",
    "open_unit",
    "path",
    "philox",
    "rotate",
    "short_attention",
    "signed",
    "split_heads",
    "spread",
    "step_attention",
    "token_sampler",
    "unit_rms",
]

KERNELS = ("short_attention", "decode_attention", "token_sampler", "modulated_norm")  # module and op have one name
FUSED_FROM = 128  # tokens from which torch's fused attention is the faster one on a CPU: 4 times at 512, in float32
FLOATS = (torch.float32, torch.float16, torch.bfloat16)
OLDEST = (8, 0)  # compute capability: bf16 and the tensor-core instructions that the kernels are tuned for


def path(op: str, device: torch.device, width: int | None = None, dtype: torch.dtype | None = None) -> tuple[bool, str]:
    """Whether a kernel serves ``op`` there, and why or why not, in words for a report."""
    if op not in KERNELS:
        return False, "no kernel: Inductor makes a good one, or the CPU alone needs it"
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if device.type != "cuda" and not interpreted:
        return False, f"{device.type} tensors take the PyTorch reference"
    if importlib.util.find_spec("triton") is None:
        return False, "triton is not installed"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < OLDEST:
        found = ".".join(map(str, torch.cuda.get_device_capability(device)))
        return False, f"compute capability {found}; the kernels need {'.'.join(map(str, OLDEST))} or newer"
    most = {"modulated_norm": WIDEST_ROW, "token_sampler": WIDEST_VOCAB}.get(op, WIDEST_HEAD)
    if width is not None and width > most:
        return False, f"width {width}; the kernel takes at most {most}"
    if width is not None and width % 2 and op.endswith("attention"):
        return False, f"head width {width} is odd; the kernel rotates halves"
    if dtype is not None and dtype not in FLOATS:
        return False, f"{dtype}; the kernel takes float32, float16 and bfloat16"
    return True, "Triton interpreter" if interpreted else "Triton kernel"


def _served(op: str, kind: str, index: int | None, width: int, dtype: torch.dtype) -> bool:
    """:func:`path`, remembered; loads the kernel, and says once why there is none on a GPU."""
    return _decide(op, torch.device(kind, index) if index is not None else torch.device(kind), width, dtype)


# what torch.compiler.assume_constant_result does, without its import of the compiler: the answer is not traced
_served._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def _decide(op: str, device: torch.device, width: int, dtype: torch.dtype) -> bool:
    served, why = path(op, device, width, dtype)
    if served:
        importlib.import_module(f"genesis_kernels.{op}")
    elif device.type == "cuda":
        warnings.warn(f"{op} runs as plain PyTorch on {device}: {why}", RuntimeWarning, stacklevel=2)
    return served


def _kernel(op: str, x: Tensor, width: int) -> bool:
    return bool(_served(op, x.device.type, x.device.index, width, x.dtype))


def modulated_norm(
    x: Tensor,
    branch: Tensor | None,
    gate: Tensor | None,
    gain: Tensor | None,
    shift: Tensor | None,
    eps: float = 1e-6,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Add a branch to the stream, normalise, modulate; see ``genesis_kernels.reference``.

    On a GPU under autocast ``y`` comes in autocast's dtype: its reader would cast it, in a pass of its own.
    """
    if not _kernel("modulated_norm", x, x.shape[-1]):
        return reference.modulated_norm(x, branch, gate, gain, shift, eps, dtype)
    if dtype is None and torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
    stream, y = torch.ops.genesis_kernels.modulated_norm(x, branch, gate, gain, shift, eps, dtype)
    return (x if branch is None else stream), y


def short_attention(
    qkv: Tensor, heads: int, cos: Tensor, sin: Tensor, eps: float, causal: bool = True, lengths: Tensor | None = None
) -> Tensor:
    """Attention within each of B sequences of one width, from the projections as they come.

    Args:
        qkv: ``[B, T, H + 2G, K]``; queries and keys are given unit RMS and rotated on the way.
        cos, sin: ``[T, K/2]``.
        lengths: ``[B]`` int32, how many tokens are not padding; None where padding comes last and ``causal`` hides it.
    Returns:
        ``[B, T, H * K]``.
    """
    B, T, _, K = qkv.shape
    trained = qkv.requires_grad and torch.is_grad_enabled()
    short = T <= LONGEST and not (trained and K > WIDEST_TRAINED) and _kernel("short_attention", qkv, K)
    if short or lengths is not None:
        bounds = torch.arange(0, (B + 1) * T, T, dtype=torch.int32, device=qkv.device)
        op = torch.ops.genesis_kernels.short_attention if short else reference.short_attention
        out: Tensor = op(qkv.flatten(0, 1), bounds, lengths, cos, sin, heads, T, causal, eps)
        return out.view(B, T, heads * K)
    q, k, v = (t.transpose(1, 2) for t in split_heads(qkv, heads, cos, sin, eps))
    if qkv.device.type == "cuda" or (qkv.dtype == torch.float32 and T >= FUSED_FROM):
        q, k = q.to(v.dtype), k.to(v.dtype)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
    else:
        a = reference.attention(q, k, v, causal=causal)
    return a.transpose(1, 2).flatten(2)


def decode_attention(
    qkv: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    position: Tensor,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    eps: float,
) -> Tensor:
    """One new position a row: rotate, append to the cache, attend; see ``genesis_kernels.reference``."""
    if _kernel("decode_attention", qkv, qkv.shape[-1]):
        out: Tensor = torch.ops.genesis_kernels.decode_attention(qkv, k_cache, v_cache, position, cos, sin, heads, eps)
        return out
    return reference.decode_attention(qkv, k_cache, v_cache, position, cos, sin, heads, eps)


def token_sampler(
    logits: Tensor,
    allowed: Tensor | None,
    seed: Tensor,
    rules: Tensor,
    item: Tensor,
    token: Tensor,
    position: Tensor,
    length: Tensor,
    ended: Tensor,
    log_prob: Tensor,
    out: Tensor,
    vocab: int,
) -> None:
    """One step of drawing for every open row, in place; see ``genesis_kernels.reference``."""
    kernel = _kernel("token_sampler", logits, vocab)
    op = torch.ops.genesis_kernels.token_sampler if kernel else reference.token_sampler
    op(logits, allowed, seed, rules, item, token, position, length, ended, log_prob, out, vocab)

"""Every op in plain PyTorch: the truth in each test, and the path on every machine without a GPU.

B  batch    N  tokens of all sequences    T  tokens    D  width    H  query heads    G  key-value heads    K  head width
R  rows being decoded    S  positions of a cache    L  positions of a result    V  vocabulary
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genesis_kernels.philox import MASK32, philox, signed, spread

LANES = 16  # float32 numbers of a vector register: softmax takes a slow path for rows of fewer
PAD, BOS, EOS = 0, 1, 2
NEVER = float("-inf")
TOKENS = 0  # the stream of random numbers that draws use


def unit_rms(x: Tensor, eps: float) -> Tensor:
    """``x / sqrt(mean(x^2) + eps)`` over the last axis (Zhang and Sennrich 2019), in float32 at least."""
    x = _wide(x)
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def modulated_norm(
    x: Tensor,
    branch: Tensor | None,
    gate: Tensor | None,
    gain: Tensor | None,
    shift: Tensor | None,
    eps: float = 1e-6,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """``x' = x + gate * branch`` and ``y = unit_rms(x') * gain + shift``, in one pass over the residual stream.

    Modulation: adaptive layer norm, Peebles and Xie 2023 (DiT), section 3.2.

    Args:
        x: ``[B, T, D]``, the residual stream.
        branch: ``[B, T, D]`` or None, what the block before adds to it.
        gate: ``[B, 1, D]``, or ``[1, 1, D]`` where all rows share it; None is 1.
        gain, shift: the same; both are None (1 and 0) or neither is.
        dtype: of ``y``; the widest of the dtypes given if None.
    Returns:
        ``(x', y)``, both ``[B, T, D]``; ``x'`` in the widest of the dtypes of ``x``, ``branch`` and ``gate``.
    """
    if branch is not None:
        x = x + branch if gate is None else torch.addcmul(x, gate, branch)
    y = unit_rms(x, eps)
    if gain is not None and shift is not None:
        y = torch.addcmul(shift, y, gain)
    return x, y if dtype is None else y.to(dtype)


def modulated_norm_backward(
    d_stream: Tensor | None,
    dy: Tensor,
    stream: Tensor,
    branch: Tensor | None,
    gate: Tensor | None,
    gain: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, branch, gate, gain and shift from those of ``x'`` (None: zero) and ``y``; see the kernel.

    With ``n = unit_rms(x')`` and ``dn = dy * gain``: ``dx = r (dn - n mean(dn n)) + dx'``, ``r = 1 / rms(x')``.
    """
    x, dn = _wide(stream), _wide(dy)
    r = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    n = x * r
    d_gain, d_shift, d_branch, d_gate = (x.new_empty(0) for _ in range(4))
    if gain is not None:
        d_gain, d_shift = _summed(dn * n, gain), _summed(dn, gain)
        dn = dn * gain
    dx = r * (dn - n * (dn * n).mean(-1, keepdim=True))
    if d_stream is not None:
        dx = dx + d_stream
    if branch is not None and gate is not None:
        d_branch, d_gate = (dx * gate).to(branch.dtype), _summed(dx * branch, gate)
    return dx.to(stream.dtype), d_branch, d_gate, d_gain, d_shift


def _summed(rows: Tensor, like: Tensor) -> Tensor:
    """``[B, T, D]`` added up to the rows of a modulation ``[B or 1, 1, D]``, in its dtype."""
    return rows.sum((0, 1) if like.shape[0] == 1 else 1, keepdim=True).to(like.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021, equation 34), half-split: ``x`` ``[..., K]``, tables ``[..., K/2]``."""
    half = x.shape[-1] // 2
    cos, sin = torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)
    return torch.addcmul(x * cos, x.roll(half, -1), sin)


def split_heads(qkv: Tensor, heads: int, cos: Tensor, sin: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Queries ``[..., H, K]``, keys and values ``[..., G, K]`` of ``qkv [..., H + 2G, K]``.

    Queries and keys get unit RMS and are rotated by the tables ``[..., K/2]`` of their positions.
    """
    groups = (qkv.shape[-2] - heads) // 2
    qk, v = qkv.split((heads + groups, groups), -2)
    q, k = rotate(unit_rms(qk, eps), cos.unsqueeze(-2), sin.unsqueeze(-2)).split((heads, groups), -2)
    return q, k, v


def attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = True) -> Tensor:
    """softmax(q k^T / sqrt(K)) v for ``q [B, H, T, K]`` and ``k, v [B, G, T, K]``, H a multiple of G.

    Written out, with the query heads of a group as rows of one matrix: at T = 36 on a CPU, forward and backward take
    17 ms compiled (39 ms eager) where ``scaled_dot_product_attention`` takes 306 ms in bf16 (B 256, H 8, G 2, K 32).
    """
    B, H, T, K = q.shape
    G, S = k.shape[1], k.shape[2]
    scores = _wide((q.reshape(B, G, H // G * T, K) @ k.transpose(-1, -2)).view(B, G, H // G, T, S)) * K**-0.5
    if causal:
        assert T <= S  # the queries are the last T of S positions
        scores = scores.masked_fill(torch.ones(T, S, dtype=torch.bool, device=q.device).triu(1 + S - T), NEVER)
    p = scores.softmax(-1).to(v.dtype).view(B, G, H // G * T, S)
    out: Tensor = (p @ v).view(B, H, T, K)
    return out


def short_attention(
    qkv: Tensor,
    cu_seqlens: Tensor,
    lengths: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    longest: int,
    causal: bool = True,
    eps: float = 1e-6,
) -> Tensor:
    """Attention inside each of many short sequences that lie one after the other.

    Args:
        qkv: ``[N, H + 2G, K]``, projections not yet normalised or rotated (see :func:`split_heads`).
        cu_seqlens: ``[B + 1]`` int32; sequence ``b`` is rows ``cu_seqlens[b]`` to ``cu_seqlens[b + 1]``.
        lengths: ``[B]`` int32, how many of them are not padding; None: all. Padding is not seen and gives zeros.
        cos, sin: ``[P, K/2]`` with P at least ``longest``, tables of the positions 0, 1, 2, ...
        longest: of the sequences, at most; a longer one is not allowed and on a GPU not noticed.
    Returns:
        ``[N, H, K]`` in the dtype of ``qkv``.
    """
    batch = _Batch.of(cu_seqlens, lengths, longest, len(qkv))
    q, k, v = split_heads(qkv[batch.place], heads, cos[:longest], sin[:longest], eps)  # [B, longest, heads, K]
    q, k, v = (t.transpose(1, 2).to(qkv.dtype) for t in (q, k, v))
    p = batch.probabilities(q, k, causal).to(v.dtype)
    out = (p @ _spread(batch.live(v), heads)).transpose(1, 2)  # [B, longest, H, K]
    whole = qkv.new_zeros(len(qkv), heads, qkv.shape[-1])
    return whole.index_put((batch.place[batch.inside],), out[batch.inside])


def short_attention_backward(
    d_out: Tensor,
    qkv: Tensor,
    cu_seqlens: Tensor,
    lengths: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    longest: int,
    causal: bool = True,
    eps: float = 1e-6,
) -> Tensor:
    """The gradient of ``qkv`` from that of the result of :func:`short_attention`, ``[N, H, K]``.

    With probabilities p and ``dp = d_out v^T``: ``ds = p (dp - sum(p dp)) / sqrt(K)``, ``dq = ds k``, ``dk = ds^T q``
    and ``dv = p^T d_out``; then back through the rotation and the norm.
    """
    batch = _Batch.of(cu_seqlens, lengths, longest, len(qkv))
    cos, sin = cos[:longest], sin[:longest]
    groups, K = (qkv.shape[1] - heads) // 2, qkv.shape[2]
    q, k, v = (t.transpose(1, 2) for t in split_heads(qkv[batch.place], heads, cos, sin, eps))
    p = batch.probabilities(q, k, causal)
    d = _wide(batch.live(d_out[batch.place].transpose(1, 2)))
    dp = d @ _spread(_wide(batch.live(v)), heads).transpose(-1, -2)
    ds = p * (dp - (p * dp).sum(-1, keepdim=True)) * K**-0.5
    dq, dk, dv = ds @ _spread(batch.live(k), heads), ds.transpose(-1, -2) @ batch.live(q), p.transpose(-1, -2) @ d
    dk, dv = (t.unflatten(1, (groups, -1)).sum(2) for t in (dk, dv))
    d_qk = torch.cat((dq, dk), 1).transpose(1, 2)  # [B, longest, H + G, K]
    d_qk = rotate(d_qk, cos[:, None], -sin[:, None])
    x = _wide(qkv[batch.place][:, :, : heads + groups])
    r = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    d_qk = r * (d_qk - x * r * (d_qk * x * r).mean(-1, keepdim=True))
    found = torch.cat((d_qk, dv.transpose(1, 2)), 2).to(qkv.dtype)
    return torch.zeros_like(qkv).index_put((batch.place[batch.inside],), found[batch.inside])


def _spread(x: Tensor, heads: int) -> Tensor:
    """``[B, G, T, K]`` repeated for the query heads of each group."""
    return x.repeat_interleave(heads // x.shape[1], 1)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Sequences that lie one after the other, as a batch with padding."""

    place: Tensor  # [B, longest]: the row of each position
    inside: Tensor  # [B, longest] bool: whether it is one

    @classmethod
    def of(cls, cu_seqlens: Tensor, lengths: Tensor | None, longest: int, rows: int) -> _Batch:
        bounds, within = cu_seqlens.long(), torch.arange(longest, device=cu_seqlens.device)
        live = lengths.long() if lengths is not None else bounds.diff()
        place = (bounds[:-1, None] + within).clamp(max=max(rows - 1, 0))
        return cls(place, within < live[:, None])

    def live(self, x: Tensor) -> Tensor:
        """``[B, heads, longest, K]`` with zeros for padding, whatever lies there."""
        return x.masked_fill(~self.inside[:, None, :, None], 0)

    def probabilities(self, q: Tensor, k: Tensor, causal: bool) -> Tensor:
        """``[B, H, longest, longest]``, float32 at least; zeros for padding."""
        scores = _wide(q @ _spread(k, q.shape[1]).transpose(-1, -2)) * q.shape[-1] ** -0.5
        seen = self.inside[:, None, :] & self.inside[:, :, None]
        if causal:
            within = torch.arange(q.shape[2], device=q.device)
            seen = seen & (within <= within[:, None])
        return self.live(scores.masked_fill(~seen[:, None], NEVER).softmax(-1))


def step_attention(q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, length: int) -> Tensor:
    """One new position, the same for all rows: append it to the cache, attend over the live length only.

    Args:
        q: ``[B, H, K]``; k, v: ``[B, G, K]``, all rotated already.
        k_cache, v_cache: ``[B, G, S, K]``, finite also where nothing was written yet.
        length: positions already in the cache; the new one is written there.
    Returns:
        ``[B, H * K]`` in the dtype of the cache.
    """
    B, H, K = q.shape
    G = k.shape[1]
    k_cache[:, :, length] = k
    v_cache[:, :, length] = v
    room = min(k_cache.shape[2], -(-(length + 1) // LANES) * LANES)
    q = (q * K**-0.5).to(k_cache.dtype).view(B, G, H // G, K)
    scores = q @ k_cache[:, :, :room].transpose(-1, -2)
    scores[..., length + 1 :] = float("-inf")
    p = scores.softmax(-1, torch.float32).to(v_cache.dtype)
    return (p @ v_cache[:, :, :room]).view(B, H * K)


def decode_attention(
    qkv: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    position: Tensor,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    eps: float = 1e-6,
) -> Tensor:
    """One new position a row, each row at its own: append it to the cache, attend over what is there.

    Args:
        qkv: ``[R, H + 2G, K]``, projections not yet normalised or rotated (see :func:`split_heads`).
        k_cache, v_cache: ``[R, G, S, K]``, written in place at ``position``; what lies beyond is not read.
        position: ``[R]`` int32; negative: an idle row, which writes nothing and gives zeros.
        cos, sin: ``[S, K/2]``.
    Returns:
        ``[R, H * K]`` in the dtype of the cache.
    """
    R, _, K = qkv.shape
    G, S = k_cache.shape[1:3]
    rows, at, live = torch.arange(R, device=qkv.device), position.clamp(min=0).long(), position >= 0
    q, k, v = split_heads(qkv, heads, cos[at], sin[at], eps)
    for cache, new in ((k_cache, k), (v_cache, v)):
        cache[rows, :, at] = torch.where(live[:, None, None], new.to(cache.dtype), cache[rows, :, at])
    seen = torch.arange(S, device=qkv.device) <= position[:, None]  # [R, S]
    q = (q * K**-0.5).to(k_cache.dtype).view(R, G, heads // G, K)
    scores = _wide(q @ k_cache.transpose(-1, -2)).masked_fill(~seen[:, None, None], NEVER)
    p = scores.softmax(-1).masked_fill(~live[:, None, None, None], 0).to(v_cache.dtype)
    return (p @ v_cache.masked_fill(~seen[:, None, :, None], 0)).view(R, heads * K)


def keep(logits: Tensor, top_k: int, top_p: float, min_p: float) -> Tensor:
    """``[B, V]`` logits with every token outside the kept set at minus infinity.

    In this order, each on what the one before left: the ``top_k`` largest; the smallest set whose probability reaches
    ``top_p`` (Holtzman et al. 2020); tokens of at least ``min_p`` times the largest probability (Nguyen et al. 2024).
    Ties go to the lower token, so the set is exact and has at least one member. 0, 1 and 0 are no limits.
    """
    if top_k or top_p < 1:
        ordered, order = torch.sort(logits, dim=-1, descending=True, stable=True)
        if top_k:
            ordered[:, top_k:] = NEVER
        if top_p < 1:
            p = ordered.softmax(-1)
            before = p.cumsum(-1) - p  # probability of everything ranked above
            ordered = ordered.masked_fill(before >= top_p, NEVER)
        logits = torch.empty_like(logits).scatter_(-1, order, ordered)
    if min_p > 0:
        p = logits.softmax(-1)
        logits = logits.masked_fill(p < min_p * p.amax(-1, keepdim=True), NEVER)
    return logits


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
    """One step of drawing for every open row: draw, append, add up the likelihood, stop. All but the inputs change.

    ``token = argmax(keep(logits / temperature) + Gumbel noise)``, with noise that is a function of seed, item and
    position alone. A row stops at ``<eos>``, at a logit that is not finite, or when ``out`` is full; its position is
    then -1, and nothing of it changes any more.

    Args:
        logits: ``[R, >= V]``; ``[2R, >= V]`` under guidance, conditional rows first: ``u + w (c - u)`` is taken.
        allowed: ``[R, V]`` bool or None, what the automaton leaves.
        seed: ``[1]`` int64.
        rules: ``[5]`` float32, temperature (0: the most probable token), top_k, top_p, min_p, guidance w.
        item: ``[R]`` int64.
        token: ``[R]`` int64, the tokens drawn.
        position: ``[R]`` int32, where a row stands; -1: closed.
        length: ``[R]`` int32, tokens written.
        ended: ``[R]`` bool, whether ``<eos>`` was drawn.
        log_prob: ``[R]`` float32, nats under the logits as they came: without temperature, limits or automaton.
        out: ``[R, L]`` int32.
        vocab: V.
    """
    temperature, top_k, top_p, min_p, guidance = rules.tolist()
    R, room = out.shape
    is_open = position >= 0
    step = position.clamp(min=0).long()
    logits = logits[:, :vocab].float()
    if len(logits) > R:
        conditional, unconditional = logits.chunk(2)
        logits = unconditional + guidance * (conditional - unconditional)
        logits[:, [PAD, BOS]] = NEVER  # infinity less infinity
    normaliser = logits.logsumexp(-1)
    finite = normaliser.isfinite()
    normaliser = torch.where(finite, normaliser, float("nan"))
    chosen = logits.masked_fill(logits.isnan() if allowed is None else logits.isnan() | ~allowed, NEVER)
    if temperature > 0:
        low, high = item & MASK32, (item >> 32) & MASK32
        w0, w1, _, _ = philox(low, high, step, torch.full_like(item, TOKENS), seed & MASK32, (seed >> 32) & MASK32)
        chosen = keep(chosen / temperature, int(top_k), top_p, min_p)
        chosen = chosen + spread(torch.stack((signed(w0), signed(w1)), -1), vocab)
    drawn = chosen.argmax(-1)
    gain = logits.gather(-1, drawn[:, None])[:, 0] - normaliser
    log_prob += torch.where(is_open, gain, 0)
    stops = is_open & ((drawn == EOS) | ~finite)
    writes = is_open & ~stops
    rows = torch.arange(R, device=out.device)
    out[rows, step] = torch.where(writes, drawn.int(), torch.where(is_open, PAD, out[rows, step]))
    length += writes
    ended |= stops & finite
    token.copy_(torch.where(is_open, drawn, token))
    goes_on = writes & (step < room - 1)
    position.copy_(torch.where(goes_on, position + 1, -1))

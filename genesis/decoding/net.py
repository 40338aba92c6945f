"""The network's side of one batch of decoding: weights made ready, caches, one position at a time.

R  rows of the batch    P  properties    D  width    H  query heads    G  key-value heads    K  head width
V  vocabulary           N  numeric properties
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from genesis.decoding.constraint import BOS, PAD
from genesis.models.transformer import Transformer
from genesis.nn.block import QK_EPS, Block
from genesis.ops import step_attention

GROWTH = 16  # positions a cache grows by: a softmax over fewer numbers than a register holds is seven times slower
EPS = 1e-6
SAFE = 16  # rows from which on the product of a row rounds alike on every processor met


class _Parts:
    """Tensors of which those named in ``by_row`` have a row an item, or are None where all items share them."""

    __slots__: tuple[str, ...] = ()
    by_row: ClassVar[tuple[str, ...]]

    def map(self, f: Callable[[Tensor], Tensor]) -> Self:
        """The same change made to all of them."""
        tensors = (getattr(self, name) for name in self.__slots__)
        return type(self)(*(None if t is None else f(t) for t in tensors))

    def select(self, chosen: Tensor) -> Self:
        """Keep only the chosen rows of what differs by row."""
        rows = {name: getattr(self, name) for name in self.by_row}
        return replace(self, **{name: None if t is None else t[chosen] for name, t in rows.items()})  # type: ignore[type-var]

    def put_rows(self, rows: Tensor, other: Self) -> None:
        """Overwrite some rows of what differs by row."""
        for name in self.by_row:
            mine = getattr(self, name)
            if mine is not None:
                mine[rows] = getattr(other, name)

    def copy_(self, other: Self) -> None:
        """Overwrite everything."""
        for name in self.__slots__:
            mine = getattr(self, name)
            if mine is not None:
                mine.copy_(getattr(other, name))


@dataclass(frozen=True, slots=True)
class Layer(_Parts):
    """One block. Gains, shifts and gates are folded into the weights where all rows share them, else a row each."""

    by_row: ClassVar[tuple[str, ...]] = ("gain_a", "shift_a", "gate_a", "gain_f", "shift_f", "gate_f")

    qkv: Tensor
    out: Tensor
    up: Tensor
    down: Tensor
    qkv_bias: Tensor | None = None
    up_bias: Tensor | None = None
    gain_a: Tensor | None = None  # [R, D], like the five below
    shift_a: Tensor | None = None
    gate_a: Tensor | None = None
    gain_f: Tensor | None = None
    shift_f: Tensor | None = None
    gate_f: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Head(_Parts):
    """From the stream to logits; ``<pad>`` and ``<bos>`` are never drawn, so their bias is minus infinity."""

    by_row: ClassVar[tuple[str, ...]] = ("gain", "shift")

    weight: Tensor
    bias: Tensor
    gain: Tensor | None = None  # [R, D]
    shift: Tensor | None = None


class Weights:
    """A transformer made ready for decoding: products in the device's fast precision, conditions in float32.

    ``interleaved``: the two halves of each query and key alternate, so that rotating is a product of complex numbers.
    """

    def __init__(self, model: Transformer, dtype: torch.dtype, interleaved: bool = True) -> None:
        self.model, self.dtype, config = model, dtype, model.config
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.dim // config.heads
        half = self.head_dim // 2
        pairs = torch.stack((torch.arange(half), torch.arange(half) + half), -1).flatten()  # 0, K/2, 1, K/2 + 1, ...
        qk = (torch.arange(self.heads + self.kv_heads)[:, None] * self.head_dim + pairs).flatten()
        rest = torch.arange(len(qk), (self.heads + 2 * self.kv_heads) * self.head_dim)
        order = torch.cat((qk, rest)) if interleaved else torch.arange(len(qk) + len(rest))
        self.order = order.to(model.embed.weight.device)
        self.plain = [self._plain(block) for block in model.layers]
        self.turn = torch.complex(model.cos, model.sin)  # [T, K/2]: one step of rotation is a product with it
        self._last: tuple[bytes, list[Layer], Head] | None = None

    def _plain(self, block: Block) -> Layer:
        weights = (block.qkv.weight[self.order], block.out.weight, block.up.weight, block.down.weight)
        return Layer(*(self._laid(w.detach()) for w in weights))

    def _laid(self, weight: Tensor) -> Tensor:
        """In the fast precision; on a CPU in float32 column by column, where few rows take half to 0.8 of the time."""
        weight = weight.to(self.dtype)
        return weight.T.contiguous().T if weight.device.type == "cpu" and weight.dtype == torch.float32 else weight

    @cached_property
    def fewest(self) -> int:
        """Rows that a batch of this network is never smaller than: 4, 8 or 16.

        By itself a row rounds differently than among many, and from how many on it does not is a matter of the
        processor and the shape: so it is tried on the products of one step.
        """
        if self.model.embed.weight.device.type != "cpu":
            return SAFE
        layer, account = self.plain[0], self.model.account
        weights = [layer.qkv, layer.out, layer.up, layer.down, self._laid(self.model.head.weight.detach())]
        if account is not None:
            weights += [account.contribution.weight.detach(), account.left.weight.detach()]
        return next(rows for rows in (4, 8, SAFE) if all(_rounds_alike(weight, rows) for weight in weights))

    def shared(self, values: Tensor) -> tuple[list[Layer], Head]:
        """For one row of condition values ``[1, P]`` that serves all items; the last one is remembered."""
        key = values.cpu().numpy().tobytes()
        if self._last is None or self._last[0] != key:
            modulations, gain, shift = self.model.modulations(values)
            layers = []
            for block, m, plain in zip(self.model.layers, modulations, self.plain, strict=True):
                if block.modulate is None:
                    layers.append(plain)
                    continue
                qkv, shift_a, shift_f = block.qkv.weight[self.order], m.shift_a[0, 0], m.shift_f[0, 0]
                weights = (
                    qkv * m.gain_a[0],
                    block.out.weight * m.gate_a[0, 0, :, None],
                    block.up.weight * m.gain_f[0],
                    block.down.weight * m.gate_f[0, 0, :, None],
                    qkv @ shift_a,
                    block.up.weight @ shift_f,
                )
                layers.append(Layer(*map(self._laid, weights[:4]), *(w.to(self.dtype) for w in weights[4:])))
            weight = self.model.head.weight
            head = Head(self._laid(weight * gain[0]), self._bias(self.model.head.bias + weight @ shift[0, 0]))
            self._last = key, layers, head
        return self._last[1], self._last[2]

    def by_row(self, values: Tensor) -> tuple[list[Layer], Head]:
        """For condition values ``[R, P]`` that differ by row."""
        modulations, gain, shift = self.model.modulations(values)
        layers = [
            plain
            if block.modulate is None
            else Layer(
                plain.qkv, plain.out, plain.up, plain.down, None, None,
                m.gain_a[:, 0], m.shift_a[:, 0], m.gate_a[:, 0], m.gain_f[:, 0], m.shift_f[:, 0], m.gate_f[:, 0],
            )
            for block, m, plain in zip(self.model.layers, modulations, self.plain, strict=True)
        ]  # fmt: skip
        weight, bias = self._laid(self.model.head.weight), self._bias(self.model.head.bias)
        return layers, Head(weight, bias, gain[:, 0], shift[:, 0])

    def _bias(self, bias: Tensor) -> Tensor:
        bias = bias.clone()
        bias[[PAD, BOS]] = float("-inf")
        return bias.to(self.dtype)


class Net:
    """The caches and conditions of the rows of one batch.

    ``values`` is ``[1, P]`` where every row is asked for the same, else ``[R, P]``.
    """

    def __init__(self, weights: Weights, values: Tensor, rows: int) -> None:
        model = weights.model
        self.weights, self.embed, self.position = weights, model.embed, model.position.weight
        self.layers, self.head = weights.shared(values) if len(values) == 1 else weights.by_row(values)
        asked = model.conditioner.standardised(values).expand(rows, -1)  # [R, N]
        # where no number is asked for, nothing of the account enters the stream
        self.account = None if asked.isnan().all() else model.account
        self.reading, self.asked, self.spent = model.config.reading, asked, torch.zeros_like(asked)
        self.before = 0  # positions of the prefix
        # float32 on a CPU: the small products of attention gain nothing from bf16 there, and casting costs
        kind = torch.float32 if values.device.type == "cpu" else weights.dtype
        shape = (rows, weights.kv_heads, 0, weights.head_dim)
        self.keys = [torch.zeros(shape, dtype=kind, device=values.device) for _ in self.layers]
        self.values = [torch.zeros(shape, dtype=kind, device=values.device) for _ in self.layers]

    def read(self, prefix: Tensor) -> None:
        """See ``prefix [R, L, D]`` before the first token, all its positions at once.

        ``SAFE`` rows go together: what they take stays near the core.
        """
        L = self.before = prefix.shape[1]
        room = (0, 0, 0, -(-L // GROWTH) * GROWTH)
        for number in range(self.reading, len(self.layers)):
            for caches in (self.keys, self.values):
                caches[number] = F.pad(caches[number], room)
        turn = self.weights.turn[:L, None]
        for rows in torch.arange(len(prefix), device=prefix.device).split(SAFE):
            x = prefix[rows].float()
            for number in range(self.reading, len(self.layers)):
                attend = partial(_attend_causally, self.keys[number], self.values[number], rows)
                self._through(self.layers[number].select(rows[:, None]), x, turn, attend)

    def step(self, token: Tensor, t: int) -> Tensor:
        """``[R, V]`` float32 logits after the token ``[R]`` at position ``t``."""
        x = self.embed(token) + self.position[t]
        for number, layer in enumerate(self.layers):
            if self.account is not None and number == self.reading:
                self.spent = self.spent + self.account.contributions(x)
                x = x + self.account.enter(self.asked, self.spent)
            place = t if number < self.reading else self.before + t
            if place == self.keys[number].shape[2]:
                for caches in (self.keys, self.values):
                    caches[number] = F.pad(caches[number], (0, 0, 0, GROWTH))
            attend = partial(_attend, self.keys[number], self.values[number], place)
            self._through(layer, x, self.weights.turn[place], attend)
        logits = F.linear(self._norm(x, self.head.gain, self.head.shift), self.head.weight, self.head.bias)
        return logits.float()

    def _through(
        self, layer: Layer, x: Tensor, turn: Tensor, attend: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> None:
        """One layer of the stream ``x [..., D]``, in place; ``attend(q, k, v)`` of heads ``[..., H or G, K]``."""
        w = self.weights
        H, G, K, lead = w.heads, w.kv_heads, w.head_dim, x.shape[:-1]
        qkv = F.linear(self._norm(x, layer.gain_a, layer.shift_a), layer.qkv, layer.qkv_bias)
        qk = F.rms_norm(qkv[..., : (H + G) * K].float().view(*lead, H + G, K), (K,), None, QK_EPS)
        qk = torch.view_as_real(torch.view_as_complex(qk.view(*lead, H + G, K // 2, 2)) * turn).flatten(-2)
        v = qkv[..., (H + G) * K :].view(*lead, G, K)
        a = attend(qk[..., :H, :], qk[..., H:, :], v)
        _add(x, F.linear(a.to(w.dtype), layer.out), layer.gate_a)
        gate, value = F.linear(self._norm(x, layer.gain_f, layer.shift_f), layer.up, layer.up_bias).chunk(2, -1)
        _add(x, F.linear(F.silu(gate) * value, layer.down), layer.gate_f)

    def _norm(self, x: Tensor, gain: Tensor | None, shift: Tensor | None) -> Tensor:
        y = F.rms_norm(x, x.shape[-1:], None, EPS)
        if gain is not None and shift is not None:
            y = torch.addcmul(shift, y, gain)
        return y.to(self.weights.dtype)

    def select(self, chosen: Tensor) -> None:
        """Keep only the chosen rows."""
        self.keys = [cache[chosen] for cache in self.keys]
        self.values = [cache[chosen] for cache in self.values]
        self.asked, self.spent = self.asked[chosen], self.spent[chosen]
        self.layers = [layer.select(chosen) for layer in self.layers]
        self.head = self.head.select(chosen)


def _rounds_alike(weight: Tensor, rows: int) -> bool:
    """Whether products of so many rows, and of 2, 4, ... times as many, round as those of ``SAFE`` rows."""
    dice = torch.Generator().manual_seed(0)
    x, bias = (torch.randn(n, generator=dice).to(weight.dtype) for n in ((SAFE, weight.shape[1]), weight.shape[:1]))
    sizes = [rows << k for k in range(5) if rows << k < SAFE]
    return all(torch.equal(F.linear(x[:n], weight, b), F.linear(x, weight, b)[:n]) for n in sizes for b in (bias, None))


def _attend(keys: Tensor, values: Tensor, place: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One new position: ``[R, H K]`` of ``q [R, H, K]`` and ``k, v [R, G, K]``."""
    return step_attention(q, k, v, keys, values, place)


def _attend_causally(keys: Tensor, values: Tensor, rows: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The first L positions of some rows: ``[r, L, H K]`` of ``q [r, L, H, K]`` and ``k, v [r, L, G, K]``."""
    q, k, v = (t.transpose(1, 2).to(keys.dtype) for t in (q, k, v))
    keys[rows, :, : q.shape[2]], values[rows, :, : q.shape[2]] = k, v
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2).flatten(2)


def _add(x: Tensor, branch: Tensor, gate: Tensor | None) -> None:
    """``x += gate * branch``, in place."""
    if gate is None:
        x.add_(branch)
    else:
        x.addcmul_(gate, branch.to(x.dtype))

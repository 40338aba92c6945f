"""Rows of a batch in buffers that never move: what one step reads and writes, so that a CUDA graph can replay it.

A slot holds an item until the item ends, then another one. Where a row stands is a number on the device, and an idle
row (position -1) costs almost nothing and changes nothing.

R  slots    E  rows of the network: R, or 2R under guidance    P  properties    D  width    N  numeric properties
H  query heads    G  key-value heads    K  head width    L  positions    V  vocabulary
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from genesis import ops
from genesis.decoding.constraint import BOS, PAD, Constraint
from genesis.decoding.net import EPS, Weights
from genesis.decoding.sampling import Rules
from genesis.nn.block import QK_EPS


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compiled into a step: two requests with equal plans share buffers and graph."""

    rows: int
    guided: bool
    shared: bool  # all rows are asked for the same, which is folded into the weights
    account: bool  # some number is asked for


class Slots:
    """Buffers for ``plan.rows`` items, and the step over them."""

    def __init__(self, weights: Weights, plan: Plan, vocab: int, constraint: Constraint | None) -> None:
        model, device = weights.model, weights.model.embed.weight.device
        config, R = model.config, plan.rows
        self.weights, self.plan, self.vocab, self.constraint = weights, plan, vocab, constraint
        self.room, E = config.max_length, R * (1 + plan.guided)

        def full(value: float, *shape: int, dtype: torch.dtype) -> Tensor:
            return torch.full(shape, value, dtype=dtype, device=device)

        self.seed, self.rules = full(0, 1, dtype=torch.int64), full(0, 5, dtype=torch.float32)
        self.item, self.token = full(0, R, dtype=torch.int64), full(PAD, R, dtype=torch.int64)
        self.position, self.length = full(-1, R, dtype=torch.int32), full(0, R, dtype=torch.int32)
        self.ended, self.log_prob = full(0, R, dtype=torch.bool), full(0, R, dtype=torch.float32)
        self.out = full(PAD, R, self.room, dtype=torch.int32)
        self.state = constraint.start(1, device).repeat(R, 1) if constraint else None
        self.asked = full(float("nan"), E, config.numbers, dtype=torch.float32)
        self.spent = full(0, E, config.numbers, dtype=torch.float32)
        cache = (E, weights.kv_heads, self.room, weights.head_dim)
        self.keys = [full(0, *cache, dtype=weights.dtype) for _ in weights.plain]
        self.values = [full(0, *cache, dtype=weights.dtype) for _ in weights.plain]
        nothing = torch.full((1, len(config.fields)), float("nan"), device=device)
        layers, head = weights.shared(nothing) if plan.shared else weights.by_row(nothing.expand(E, -1))
        if plan.shared:  # the other kind has rows of its own already, and weights that never change
            layers, head = [layer.map(Tensor.clone) for layer in layers], head.map(Tensor.clone)
        self.layers, self.head = layers, head

    def begin(self, seed: int, rules: Rules, guidance: float, values: Tensor) -> None:
        """Set what a whole request shares; ``values [1, P]`` where the plan says that all rows do."""
        self.seed.fill_(seed)
        numbers = [rules.temperature, rules.top_k, rules.top_p, rules.min_p, guidance]
        self.rules.copy_(torch.tensor(numbers, dtype=torch.float32))
        self.position.fill_(-1)
        if self.plan.shared:
            layers, head = self.weights.shared(values)
            for mine, theirs in zip((*self.layers, self.head), (*layers, head), strict=True):
                mine.copy_(theirs)

    def fill(self, slots: Tensor, values: Tensor, items: Tensor, state: Tensor | None) -> None:
        """Begin new items ``[n]`` in ``slots [n]``, asked for ``values [n, P]``, with the automaton at ``state``."""
        R = self.plan.rows
        self.item[slots] = items
        fresh = ((self.token, BOS), (self.position, 0), (self.length, 0), (self.log_prob, 0), (self.out, PAD))
        for buffer, value in (*fresh, (self.ended, False)):
            buffer.index_fill_(0, slots, value)
        if self.state is not None and state is not None:
            self.state[slots] = state
        if self.plan.guided:
            slots = torch.cat((slots, slots + R))
            values = torch.cat((values, torch.full_like(values, float("nan"))))
        self.asked[slots] = self.weights.model.conditioner.standardised(values)
        self.spent.index_fill_(0, slots, 0)
        if not self.plan.shared:
            layers, head = self.weights.by_row(values)
            for mine, theirs in zip((*self.layers, self.head), (*layers, head), strict=True):
                mine.put_rows(slots, theirs)

    def move(self, chosen: Tensor, target: Slots) -> None:
        """Copy the rows ``chosen [n]`` into the first slots of another, smaller set; the rest of it is idle."""
        n = len(chosen)
        target.seed.copy_(self.seed)
        target.rules.copy_(self.rules)
        target.position.fill_(-1)
        for name in ("item", "token", "position", "length", "ended", "log_prob", "out"):
            getattr(target, name)[:n] = getattr(self, name)[chosen]
        if self.state is not None and target.state is not None:
            target.state[:n] = self.state[chosen]
        to = torch.arange(n, device=chosen.device)
        if self.plan.guided:
            to, chosen = torch.cat((to, to + target.plan.rows)), torch.cat((chosen, chosen + self.plan.rows))
        target.asked[to], target.spent[to] = self.asked[chosen], self.spent[chosen]
        for mine, theirs in zip((*self.keys, *self.values), (*target.keys, *target.values), strict=True):
            theirs[to] = mine[chosen]
        for part, other in zip((*self.layers, self.head), (*target.layers, target.head), strict=True):
            if self.plan.shared:
                other.copy_(part)
            else:
                other.put_rows(to, part.select(chosen))

    def step(self) -> None:
        """One token for each open row; nothing here waits for the device, and no buffer moves."""
        position, token = self.position, self.token
        if self.plan.guided:
            position, token = position.repeat(2), token.repeat(2)
        logits = self._logits(token, position)
        allowed = None
        if self.constraint is not None and self.state is not None:
            allowed = self.constraint.allowed(self.state, self.room - self.position)
        ops.token_sampler(
            logits, allowed, self.seed, self.rules, self.item, self.token, self.position, self.length, self.ended,
            self.log_prob, self.out, self.vocab,
        )  # fmt: skip
        if self.constraint is not None and self.state is not None:
            after = self.constraint.advance(self.state, self.token)
            self.state.copy_(torch.where((self.position >= 0)[:, None], after, self.state))

    def _logits(self, token: Tensor, position: Tensor) -> Tensor:
        """``[E, >= V]`` after the tokens ``[E]`` at their positions."""
        w, model = self.weights, self.weights.model
        at = position.clamp(min=0).long()
        x = (model.embed(token) + model.position(at))[:, None]
        branch = gate = None
        for number, layer in enumerate(self.layers):
            if self.plan.account and model.account is not None and number == model.config.reading:
                x = x if branch is None else x + branch
                self.spent.add_(model.account.contributions(x[:, 0]))
                x, branch, gate = x + model.account.enter(self.asked, self.spent)[:, None], None, None
            x, y = self._norm(x, branch, gate, layer.gain_a, layer.shift_a)
            qkv = F.linear(y, layer.qkv, layer.qkv_bias).view(len(x), -1, w.head_dim)
            a = ops.decode_attention(
                qkv, self.keys[number], self.values[number], position, model.cos, model.sin, w.heads, QK_EPS
            )
            x, y = self._norm(x, F.linear(a, layer.out)[:, None], layer.gate_a, layer.gain_f, layer.shift_f)
            up, value = F.linear(y, layer.up, layer.up_bias).chunk(2, -1)
            branch, gate = F.linear(F.silu(up) * value, layer.down), layer.gate_f
        _, y = self._norm(x, branch, gate, self.head.gain, self.head.shift)
        return F.linear(y, self.head.weight, self.head.bias)[:, 0]

    def _norm(
        self, x: Tensor, branch: Tensor | None, gate: Tensor | None, gain: Tensor | None, shift: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        gate, gain, shift = (None if t is None else t[:, None] for t in (gate, gain, shift))
        return ops.modulated_norm(x, branch, gate, gain, shift, EPS, self.weights.dtype)

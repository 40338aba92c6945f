"""Decoding on a GPU: slots refilled as items end, a CUDA graph a step, and a host that never waits for a token.

The host starts ``LOOK`` steps, asks for a copy of where the rows stand, and reads the copy of the round before, which
has long arrived: it refills slots one round late, and the device is never idle. On a CPU the same code runs without
the graph; ``loop.py`` is faster there.

    B  items asked for    R  slots    P  properties    L  positions    V  vocabulary
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genesis.decoding.constraint import PAD, Constraint
from genesis.decoding.loop import Decoded, fast_dtype
from genesis.decoding.net import Weights
from genesis.decoding.sampling import Rules
from genesis.decoding.slots import Plan, Slots
from genesis.errors import UsageError
from genesis.models.transformer import Transformer

BUCKETS = (4096, 1024, 256)  # sizes of a batch, each with buffers and a graph of its own
LOOK = 4  # steps between two looks at what has ended: a slot stays idle for six steps on average
WARM = 2  # steps before a capture, in which kernels are compiled and libraries take their workspaces


class ContinuousDecoder:
    """A transformer made ready for decoding any number of items in a few fixed sizes of batch.

    ``buckets``: sizes, largest first; a request begins in the smallest that holds it. ``shrinks``: the last items of a
    request move to smaller ones. A library's matrix product may round differently at another size, so that an item is
    the same to the bit whatever the batch only where ``buckets`` is a single size; with several it is the same for one
    size of request.
    """

    def __init__(
        self,
        model: Transformer,
        vocab: int,
        dtype: torch.dtype | None = None,
        buckets: Sequence[int] = BUCKETS,
        shrinks: bool = True,
    ) -> None:
        if not buckets or min(buckets) < 8 or sorted(set(buckets), reverse=True) != list(buckets):
            raise UsageError(f"buckets={tuple(buckets)}: sizes of at least 8 are needed, the largest first")
        self.model, self.vocab, self.buckets, self.shrinks = model, vocab, tuple(buckets), shrinks
        self.device = model.embed.weight.device
        self.weights = Weights(model, dtype or fast_dtype(self.device), interleaved=False)
        self._constraint: Constraint | None = None
        self._ready: dict[Plan, tuple[Slots, Callable[[], None]]] = {}

    @torch.inference_mode()
    def decode(
        self,
        values: Tensor,
        items: Tensor,
        seed: int,
        rules: Rules,
        constraint: Constraint | None = None,
        guidance: float = 1.0,
        shared: bool = False,
    ) -> Decoded:
        """Draw one sequence for each row of ``values [B, P]`` and item ``items [B]``; see ``loop.Decoder.decode``."""
        values, items = values.to(self.device), items.to(self.device)
        if constraint != self._constraint:  # equal ones read tokens alike: what is recorded serves both
            self._ready.clear()
            self._constraint = constraint
        numbers = self.model.conditioner.standardised(values)
        guided = guidance != 1.0
        request = _Request(
            values, items, constraint.start(len(items), self.device) if constraint else None, seed, rules, guidance
        )
        plan = Plan(
            rows=min((size for size in self.buckets if size >= len(items)), default=self.buckets[0]),
            guided=guided,
            shared=shared and not guided,
            account=self.model.account is not None and not bool(numbers.isnan().all()),
        )
        return _Run(request, self._slots, plan, self.buckets if self.shrinks else ()).finish()

    def _slots(self, plan: Plan) -> tuple[Slots, Callable[[], None]]:
        if plan not in self._ready:
            slots = Slots(self.weights, plan, self.vocab, self._constraint)
            self._ready[plan] = slots, recorded(slots.step, self.device)
        return self._ready[plan]


def recorded(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """``step`` as a CUDA graph, recorded while all rows are idle; on a CPU the step itself."""
    if device.type != "cuda":
        return step
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARM):
            step()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


@dataclass(frozen=True, slots=True)
class _Request:
    """All that is asked for, on the device."""

    values: Tensor  # [B, P]
    items: Tensor  # [B]
    state: Tensor | None  # [B, S]
    seed: int
    rules: Rules
    guidance: float


class _Run:
    """One request on its way through the slots."""

    def __init__(
        self,
        request: _Request,
        slots: Callable[[Plan], tuple[Slots, Callable[[], None]]],
        plan: Plan,
        buckets: Iterable[int],
    ) -> None:
        self.request, self._find, self.plan, self.buckets = request, slots, plan, sorted(buckets)
        B, device = len(request.items), request.items.device
        self.slots, self.step = slots(plan)
        self.slots.begin(request.seed, request.rules, request.guidance, request.values[:1])
        self.tokens = torch.full((B, self.slots.room), PAD, dtype=torch.int32, device=device)
        self.length = torch.zeros(B, dtype=torch.int32, device=device)
        self.ended = torch.zeros(B, dtype=torch.bool, device=device)
        self.log_prob = torch.zeros(B, device=device)
        self.next = 0  # the first item that has no slot yet
        self.owner = [-1] * plan.rows  # the item in each slot
        self.since = [0] * plan.rows  # the round from which a copy of positions speaks of that item
        self.lap = 0

    def finish(self) -> Decoded:
        self._refill(range(self.plan.rows))
        seen = _Copy(self.slots.position, self.lap)
        while self.next < len(self.request.items) or any(owner >= 0 for owner in self.owner):
            for _ in range(LOOK):
                self.step()
            self.lap += 1
            later = _Copy(self.slots.position, self.lap)
            stands = seen.read()
            closed = [
                slot
                for slot, owner in enumerate(self.owner)
                if owner >= 0 and self.since[slot] <= seen.lap and stands[slot] < 0
            ]
            self._take(closed)
            self._refill(closed)
            seen = later if not self._shrink() else _Copy(self.slots.position, self.lap)
        longest = max(1, int(self.length.max())) if len(self.length) else 1
        return Decoded(self.tokens[:, :longest].long(), self.length.long(), self.ended, self.log_prob)

    def _take(self, slots: Sequence[int]) -> None:
        """Bring what is in closed slots to its place in the results."""
        if not slots:
            return
        here, there = self._send(slots), self._send([self.owner[slot] for slot in slots])
        self.tokens[there] = self.slots.out[here]
        self.length[there], self.ended[there] = self.slots.length[here], self.slots.ended[here]
        self.log_prob[there] = self.slots.log_prob[here]
        for slot in slots:
            self.owner[slot] = -1

    def _refill(self, slots: Iterable[int]) -> None:
        """Give free slots to the items that wait."""
        request = self.request
        pairs = list(zip(slots, range(self.next, len(request.items)), strict=False))
        if not pairs:
            return
        first, last = self.next, self.next + len(pairs)
        state = None if request.state is None else request.state[first:last]
        here = self._send([slot for slot, _ in pairs])
        self.slots.fill(here, request.values[first:last], request.items[first:last], state)
        for slot, item in pairs:
            self.owner[slot], self.since[slot] = item, self.lap + 1
        self.next = last

    def _shrink(self) -> bool:
        """Move what is left to a smaller batch, once nothing waits and a smaller one will do."""
        busy = [slot for slot, owner in enumerate(self.owner) if owner >= 0]
        rows = next((size for size in self.buckets if size >= len(busy)), self.plan.rows)
        if self.next < len(self.request.items) or not busy or rows >= self.plan.rows:
            return False
        self.plan = Plan(rows, self.plan.guided, self.plan.shared, self.plan.account)
        smaller, self.step = self._find(self.plan)
        self.slots.move(self._send(busy), smaller)
        self.slots = smaller
        rest = rows - len(busy)
        self.owner = [self.owner[slot] for slot in busy] + [-1] * rest
        self.since = [0] * rows
        return True

    def _send(self, numbers: Sequence[int]) -> Tensor:
        """To the device; from pageable memory the host would wait for all that the device has still to do."""
        on_host, device = torch.tensor(numbers), self.tokens.device
        return on_host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else on_host


class _Copy:
    """Where the rows stood after a round, on its way to the host."""

    def __init__(self, position: Tensor, lap: int) -> None:
        self.lap = lap
        self.copy = torch.empty(position.shape, dtype=position.dtype, pin_memory=position.device.type == "cuda")
        self.copy.copy_(position, non_blocking=True)
        self.arrived = torch.cuda.Event() if position.device.type == "cuda" else None
        if self.arrived is not None:
            self.arrived.record()

    def read(self) -> list[int]:
        if self.arrived is not None:
            self.arrived.synchronize()
        where: list[int] = self.copy.tolist()
        return where

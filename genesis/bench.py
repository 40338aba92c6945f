"""How fast this installation is, and whether a GPU decodes what it should.

B  items    P  properties    L  positions
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

import torch

from genesis import ops
from genesis.decoding import continuous
from genesis.decoding.continuous import ContinuousDecoder
from genesis.decoding.loop import Decoded, Decoder
from genesis.decoding.sampling import Rules
from genesis.engine import Engine
from genesis.errors import ResourceError, UsageError, suggest
from genesis.models.transformer import TransformerConfig
from genesis.nn.conditioner import NumberField

PASSES = 4  # items for each row of a batch: most steps then have a full batch
GREEDY = Rules(temperature=0)
ALIKE = 0.99  # of greedy items that may differ by the rounding of a product at another size of batch


def kernels(names: Sequence[str] = (), on_row: Callable[[dict[str, Any]], None] | None = None) -> list[dict[str, Any]]:
    """Check, then time, each kernel against its opponents, in a process of its own; see ``genesis_kernels.bench``."""
    unknown = next((name for name in names if name not in ops.KERNELS), None)
    if unknown is not None:
        raise UsageError(f"no kernel {unknown!r}; {suggest(unknown, ops.KERNELS)}")
    if not torch.cuda.is_available():
        raise ResourceError("kernels are timed on a CUDA device, and torch finds none here; `make test` checks them")
    rows = []
    for name in names or ops.KERNELS:
        command = [sys.executable, "-m", "genesis_kernels.bench", "time", name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                row = {"op": name, **json.loads(line)}
                rows.append(row)
                if on_row:
                    on_row(row)
        if child.returncode:
            rows.append({"op": name, "refused": f"its process ended with {child.returncode}"})
    return rows


def step_bytes(config: TransformerConfig, rows: int, live: float, width: int) -> float:
    """Bytes that one step of decoding moves at least: caches, the stream of every layer, weights.

    ``width`` bytes a number, ``live`` positions in the cache. A layer moves about 28 widths a token outside attention
    (two norms, four products, SwiGLU), besides its keys and values.
    """
    head_dim = config.dim // config.heads
    cache = 2 * config.kv_heads * head_dim * live * config.depth * rows
    stream = 28 * config.dim * config.depth * rows
    qkv = (config.heads + 2 * config.kv_heads) * head_dim
    weights = config.depth * config.dim * (qkv + config.dim + 3 * config.ff_dim) + config.vocab * config.dim
    return (cache + stream + weights) * width


def decode(engine: Engine, sizes: Sequence[int], constrained: bool = False) -> Iterator[dict[str, Any]]:
    """Tokens and items a second of the decoder alone, unconditioned, for sizes of batch."""
    config, device = engine.loop.model.config, engine.device
    nothing = torch.full((1, len(config.fields)), float("nan"))
    for size in sizes:
        decoder = _decoder(engine, size)
        count = PASSES * size
        constraint = engine.domain.constraint(config.max_length) if constrained else None  # type: ignore[attr-defined]
        ask = (nothing.expand(count, -1), torch.arange(count))

        def run(decoder: Any = decoder, ask: Any = ask, constraint: Any = constraint) -> Decoded:
            decoded: Decoded = decoder.decode(*ask, 0, Rules(), constraint, shared=True)
            return decoded.cpu()

        run()
        began = time.perf_counter()
        decoded = run()
        seconds = time.perf_counter() - began
        tokens = int(decoded.length.sum()) + int(decoded.ended.sum())
        live = tokens / count / 2
        width = 4 if decoder.weights.dtype == torch.float32 else 2
        yield {
            "batch": size,
            "constrained": constrained,
            "device": device.type,
            "dtype": str(decoder.weights.dtype).removeprefix("torch."),
            "items": count,
            "mean_tokens": tokens / count,
            "seconds": seconds,
            "tokens_a_second": tokens / seconds,
            "items_a_second": count / seconds,
            "bytes_a_second": step_bytes(config, size, live, width) / size * tokens / seconds,
        }


def _decoder(engine: Engine, size: int) -> Decoder | ContinuousDecoder:
    usual = engine.decoder
    if isinstance(usual, ContinuousDecoder):
        return ContinuousDecoder(usual.model, usual.vocab, usual.weights.dtype, buckets=(size,), shrinks=False)
    return engine.loop


def whole(engine: Engine, count: int, workers: int | None = None) -> Iterator[dict[str, Any]]:
    """Valid, distinct items a second from request to canonical form: alone, with the automaton, and measured."""
    engine.generate(64, measure=())
    for constrained, measure in ((False, ()), (True, ()), (True, "all")):
        began = time.perf_counter()
        hits = engine.generate(count, constrained=constrained, measure=measure, workers=workers)
        seconds = time.perf_counter() - began
        yield {
            "what": "measured" if measure else "parsed and canonical",
            "constrained": constrained,
            "drawn": hits.summary.drawn,
            "valid_unique": len(hits),
            "seconds": seconds,
            "a_second": len(hits) / seconds,
        }


def check_engine(engine: Engine, count: int = 600) -> dict[str, Any]:
    """What a GPU must show of recorded decoding; ``wrong`` names what it did not."""
    model, vocab = engine.loop.model, len(engine.config.vocab)
    generator = torch.Generator().manual_seed(0)
    values = torch.full((count, len(model.config.fields)), float("nan"))
    for column, field in enumerate(model.config.fields):
        if isinstance(field, NumberField):
            values[:, column] = field.mean + field.std * torch.randn(count, generator=generator)
    items = torch.arange(count)
    wrong: list[str] = []

    def decoder(*buckets: int, dtype: torch.dtype | None = None) -> ContinuousDecoder:
        return ContinuousDecoder(model, vocab, dtype, buckets)

    recorded = decoder(256).decode(values, items, 1, Rules()).cpu()
    with patch.object(continuous, "recorded", lambda step, device: step):
        plain = decoder(256).decode(values, items, 1, Rules()).cpu()
    if _alike(recorded, plain) < 1:
        wrong.append(f"{_alike(recorded, plain):.2%} of items are the same with and without a graph")
    again = decoder(256).decode(values, items, 1, Rules()).cpu()
    if _alike(recorded, again) < 1:
        wrong.append(f"{_alike(recorded, again):.2%} of items are the same in a second run")
    order = torch.randperm(count, generator=generator)
    other = decoder(256).decode(values[order], items[order], 1, Rules()).cpu()
    mixed = _alike(recorded, other, order)
    if mixed < 1:
        wrong.append(f"{mixed:.2%} of items are the same in another order of one size of batch")
    loop = Decoder(model, vocab, torch.float32).decode(values, items, 0, GREEDY).cpu()
    exact = decoder(512, 128, 32, dtype=torch.float32).decode(values, items, 0, GREEDY).cpu()
    if _alike(loop, exact) < ALIKE:
        wrong.append(f"{_alike(loop, exact):.2%} of greedy items in float32 are those of the loop")
    if hasattr(engine.domain, "constraint"):
        constraint = engine.domain.constraint(model.config.max_length)
        held = decoder(512, 128).decode(values, items, 2, Rules(), constraint).cpu()
        valid = sum(engine.domain.decode(t[:n]) is not None for t, n in zip(held.tokens, held.length, strict=True))
        if valid < len(items):
            wrong.append(f"{valid} of {len(items)} items are valid under the automaton")
    return {"ok": not wrong, "wrong": wrong, "greedy_as_the_loop": _alike(loop, exact), "other_order": mixed}


def _alike(a: Decoded, b: Decoded, order: torch.Tensor | None = None) -> float:
    """Fraction of items with the same tokens; ``order`` says where an item of ``b`` stands in ``a``."""
    place = torch.arange(len(a.length)) if order is None else order
    same = 0
    for row, at in enumerate(place.tolist()):
        n, m = int(a.length[at]), int(b.length[row])
        same += n == m and torch.equal(a.tokens[at, :n], b.tokens[row, :m])
    return same / max(1, len(place))

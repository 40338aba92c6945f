"""From indices to items: what is asked, decoded and checked, here or in other processes.

B  items of a batch
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, Field

import genesis
from genesis import checkpoint, families, registry, rng
from genesis.decoding.foreign import PainterDecoder
from genesis.decoding.latent import LatentDecoder
from genesis.decoding.loop import Decoded
from genesis.decoding.masked import MaskedDecoder
from genesis.decoding.sampling import Rules
from genesis.domain import Begun, Constrained, Constraint, Domain, Gapped, Grid, Obeying, Speaking, Task
from genesis.models.transformer import Transformer
from genesis.targets import Targets

if TYPE_CHECKING:
    from torch import Tensor

    from genesis.engine import Engine

# glibc gives blocks of a megabyte back at once and takes them again at the next step: 8 % of decoding on two cores
LONG_LIVED = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30), "OMP_NUM_THREADS": "1"}
TURN = 1 << 40  # items of one pass over what is given; the next pass has the noise of the items beyond
ROWS = 512  # candidates that are finished together, where the chunk is not longer
SHARE = 512  # items that a process beside a GPU checks in one go

Chunk = tuple[int, int]  # the first index, and the one after the last


class Request(BaseModel):
    """One way of drawing items, the same in every process that serves it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)
    seed: int = Field(default=0, ge=0, lt=2**63)
    rules: Rules = Rules()
    guidance: float = Field(default=1.0, ge=0, le=20)
    constrained: bool = True
    strict: bool = False  # what the domain does not find as it was asked counts as invalid
    measure: tuple[str, ...] = ()
    candidates: int = Field(default=0, ge=0, le=256)  # of each item round what is given; 0: the task's own


@dataclass(frozen=True, slots=True)
class Drawn:
    """What became of one index: ``item`` is None when the sequence is not a valid item."""

    index: int
    item: Any | None
    key: str | None
    measured: Mapping[str, float | str]
    log_prob: float
    tokens: tuple[int, ...] = ()  # what the domain decoded; empty where it gave no item


def draw_chunk(
    engine: Engine, first: int, last: int, request: Request, targets: Targets, task: Task | Begun | None = None
) -> list[Drawn]:
    """Decode and check the items of one range of indices."""
    if task is not None and not isinstance(task, Begun):
        return finish_chunk(engine, first, last, request, targets, task)
    decoded = decode_chunk(engine, first, last, request, targets, task)
    drawn = check(engine.domain, first, decoded.cpu(), request.measure, engine.shape)
    return list(obeying(engine.domain, drawn, request, targets))


def decode_chunk(
    engine: Engine, first: int, last: int, request: Request, targets: Targets, begun: Begun | None = None
) -> Decoded:
    """Decode the items of one range of indices."""
    constraint = None
    if request.constrained and isinstance(engine.domain, Constrained) and engine.config.family != "masked":
        asked = [targets.of(index) for index in range(first, last)]
        constraint = engine.domain.constraint(engine.model.config.max_length, asked)
    return _decode(engine, list(range(first, last)), request, targets, constraint, begun=begun)


def check(
    domain: Domain[Any], first: int, decoded: Decoded, measure: Sequence[str], shape: Sequence[int] = ()
) -> list[Drawn]:
    """What became of the sequences of the indices from ``first`` on; ``shape`` of each, where they are grids."""
    out = []
    for row in range(len(decoded.length)):
        tokens = decoded.tokens[row, : decoded.length[row]]
        x = domain.spec.numbers(tokens, shape) if isinstance(domain.spec, Grid) else tokens
        item = domain.decode(x) if decoded.ended[row] else None
        log_prob = float(decoded.log_prob[row])
        out.append(_drawn(domain, first + row, item, measure, log_prob, tokens.tolist() if item is not None else ()))
    return out


def obeying(domain: Domain[Any], drawn: Iterable[Drawn], request: Request, targets: Targets) -> Iterator[Drawn]:
    """The same draws; under a strict request those that the domain does not find as they were asked have no item."""
    looks = domain if request.strict and targets.asked and isinstance(domain, Obeying) else None
    for one in drawn:
        if looks and one.item is not None and not looks.obeys(one.item, targets.of(one.index)):
            yield Drawn(one.index, None, None, {}, one.log_prob)
        else:
            yield one


def finish_chunk(engine: Engine, first: int, last: int, request: Request, targets: Targets, task: Task) -> list[Drawn]:
    """:func:`draw_chunk` where a part is given: pass by pass, each with noise of its own; a draft that fails is out.

    What is forced may be what the model would hardly write there. So each item is drawn several times, and one of its
    candidates kept with the probability that forcing left of it: the more there are, the nearer the items are to the
    model's own that hold what is given (sampling importance resampling, Rubin 1988).
    """
    if isinstance(engine.decoder, MaskedDecoder):
        assert isinstance(task, Gapped)
        items = torch.arange(first, last)
        room = engine.model.config.max_length
        templates = [task.template(index, request.seed, room) for index in range(first, last)]
        values = targets.values(items, request.seed)
        filled = engine.decoder.complete(templates, values, items, request.seed, request.rules, request.guidance)
        return check(engine.domain, first, filled.cpu(), request.measure)
    each = (request.candidates or task.candidates) if isinstance(engine.model, Transformer) else 1
    together = max(1, max(ROWS, last - first) // each)
    parts = (range(at, min(at + together, last)) for at in range(first, last, together))
    return [one for part in parts for one in _finish(engine, part, each, request, targets, task)]


def _finish(
    engine: Engine, indices: Sequence[int], each: int, request: Request, targets: Targets, task: Task
) -> Iterator[Drawn]:
    room = engine.model.config.max_length
    tries = [(index, k) for index in indices for k in range(each)]
    apart = TURN * task.passes  # candidates have the noise of items that nobody asks for
    drafts = {(index, k): task.begin(index, request.seed, k) for index, k in tries}
    log_prob, weight = dict.fromkeys(tries, 0.0), dict.fromkeys(tries, 0.0)
    for turn in range(task.passes):
        if not drafts:
            break
        alive = list(drafts)
        constraint = task.constraint(turn, [drafts[one] for one in alive], room)
        noise = torch.tensor([index + k * apart + turn * TURN for index, k in alive])
        asked = [index for index, _ in alive]
        decoded = _decode(engine, asked, request, targets, constraint, noise, weigh=each > 1).cpu()
        for row, one in enumerate(alive):
            tokens = decoded.tokens[row, : decoded.length[row]].tolist()
            draft = task.join(turn, drafts[one], tokens, room) if decoded.ended[row] else None
            log_prob[one] += float(decoded.log_prob[row])
            if decoded.log_mass is not None:
                weight[one] += float(decoded.log_mass[row])
            if draft is None:
                del drafts[one]
            else:
                drafts[one] = draft
    finished = {one: item for one, draft in drafts.items() if (item := task.finish(draft)) is not None}
    for index in indices:
        valid = [(index, k) for k in range(each) if (index, k) in finished]
        one = valid[0] if valid else (index, 0)
        if len(valid) > 1:
            u = rng.uniform(request.seed, torch.tensor([i + k * apart for i, k in valid]), 0, rng.STREAM_CHOICE)[:, 0]
            scores = torch.tensor([weight[i] for i in valid], dtype=torch.float64) - (-u.double().log()).log()
            one = valid[int(scores.argmax())]
        yield _drawn(engine.domain, index, finished.get(one), request.measure, log_prob[one])


def in_processes(
    engine: Engine,
    chunks: Iterable[Chunk],
    request: Request,
    targets: Targets,
    workers: int,
    task: Task | Begun | None = None,
) -> Iterator[Drawn]:
    """The items of the chunks in order, decoded and checked in worker processes."""
    from loky import ProcessPoolExecutor  # unlike multiprocessing's, it needs no __main__ guard in a user's script

    with tempfile.TemporaryDirectory() as folder:
        path = engine.path
        if path is None:
            path = Path(folder) / "model"
            checkpoint.save(engine.model, engine.config, path, torch.float32)
        pool = ProcessPoolExecutor(workers, initializer=_single_thread, env=LONG_LIVED)
        try:
            waiting, ahead = deque[Any](), iter(chunks)
            for chunk in [c for _, c in zip(range(2 * workers), ahead, strict=False)]:
                waiting.append(pool.submit(_serve, str(path), *chunk, request, targets, task))
            while waiting:
                yield from waiting.popleft().result()
                following = next(ahead, None)
                if following:
                    waiting.append(pool.submit(_serve, str(path), *following, request, targets, task))
        finally:
            pool.shutdown(wait=True, kill_workers=True)


def checked_beside(
    engine: Engine, chunks: Iterable[Chunk], request: Request, targets: Targets, workers: int, share: int = SHARE
) -> Iterator[Drawn]:
    """Decode here, and check in worker processes meanwhile: a GPU does not wait for RDKit."""
    from loky import ProcessPoolExecutor

    pool = ProcessPoolExecutor(workers, initializer=_single_thread, env=LONG_LIVED)
    own = engine.config.vocab if isinstance(engine.domain, Speaking) else None
    waiting: deque[list[Any]] = deque()
    try:
        for first, last in chunks:
            parts = decode_chunk(engine, first, last, request, targets).split(share)
            starts = range(first, last, share)
            waiting.append(
                [
                    pool.submit(_check, engine.config.domain, *part, request.measure, engine.shape, own)
                    for part in zip(starts, parts, strict=True)
                ]
            )
            if len(waiting) > 1:
                for part in waiting.popleft():
                    yield from obeying(engine.domain, part.result(), request, targets)
        for part in (part for parts in waiting for part in parts):
            yield from obeying(engine.domain, part.result(), request, targets)
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def _decode(
    engine: Engine,
    indices: Sequence[int],
    request: Request,
    targets: Targets,
    constraint: Constraint | None,
    noise: Tensor | None = None,
    begun: Begun | None = None,
    weigh: bool = False,
) -> Decoded:
    items = torch.tensor(indices)
    mixture = targets.mixture(items, request.seed)
    noise = items if noise is None else noise
    if len(mixture) > 1 or weigh:
        values = mixture if len(mixture) > 1 else mixture[0][1]
        shared, seed, rules = len(mixture) == 1 and targets.alike, request.seed, request.rules
        return engine.loop.decode(values, noise, seed, rules, constraint, request.guidance, shared, weigh=weigh)
    ((_, values),) = mixture
    if isinstance(engine.decoder, LatentDecoder | PainterDecoder):
        engine.tell(targets)
        start = families.start(engine.model, begun) if begun else None
        return engine.decoder.decode(
            values, noise, request.seed, request.rules, constraint, request.guidance, targets.alike, start
        )
    return engine.decoder.decode(
        values, noise, request.seed, request.rules, constraint, request.guidance, shared=targets.alike
    )


def _drawn(
    domain: Domain[Any],
    index: int,
    item: Any | None,
    measure: Sequence[str],
    log_prob: float,
    tokens: Sequence[int] = (),
) -> Drawn:
    key = domain.key(item) if item is not None else None
    measured = domain.describe(item, measure) if item is not None else {}
    return Drawn(index, item, key, measured, log_prob, tuple(tokens))


def _check(
    domain: str,
    first: int,
    decoded: Decoded,
    measure: Sequence[str],
    shape: Sequence[int],
    vocab: Sequence[str] | None,
) -> list[Drawn]:
    return check(registry.domain(domain, vocab), first, decoded, measure, shape)


@cache
def _served(path: str) -> Engine:
    return genesis.load(path, "cpu")


def _serve(
    path: str, first: int, last: int, request: Request, targets: Targets, task: Task | Begun | None = None
) -> list[Drawn]:
    return draw_chunk(_served(path), first, last, request, targets, task)


def _single_thread() -> None:
    torch.set_num_threads(1)  # one process a core: threads inside would only wait for one another

"""What a latent space is good for: the way from one item to another, items like a given one, and a map.

An item is read as the mean of q(z | x). What is written from a latent is checked like everything else, and where the
likeliest sequence is no new item, draws near by are looked at instead, so that every step of a way is one.

    N  items    L  latent vectors    K  numbers in each    S  steps
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from genesis.decoding.constraint import Constraint
from genesis.decoding.latent import LatentDecoder
from genesis.decoding.loop import Decoded
from genesis.decoding.sampling import NEVER, Rules
from genesis.domain import BOS, EOS, PAD, Compared, Constrained, Grid, Label, Parsed, Text
from genesis.errors import EncodeError, UsageError
from genesis.hits import Hits, Report

if TYPE_CHECKING:
    from genesis.engine import Engine

GREEDY, DRAWN = Rules(temperature=0), Rules(temperature=0.8)
SEARCHED = 32  # draws for a latent whose likeliest sequence is in doubt
AT_ONCE = 512  # of them
NEAR = (0.35, 0.7, 1.4)  # deviations of the draws about a step, in those of the prior, where it is no new item itself
DRAWS = 32  # at each of them, until one is a new item
WIDTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)  # deviations about an item at which its analogues are looked for
ROUNDS = 16  # of DRAWS at each width


def encode(engine: Engine, items: Sequence[Any]) -> Tensor:
    """``[N, L, K]``: the mean latent of each item; UsageError where one does not fit the model."""
    decoder = _latent(engine)
    most = engine.model.config.max_length - 1
    rows = []
    for item in items:
        try:
            tokens = engine.domain.encode(item)
        except EncodeError as error:
            raise UsageError(f"{engine.domain.key(item)}: {error}") from None
        if isinstance(engine.domain.spec, Grid):
            if tuple(tokens.shape) != engine.shape:
                found, own = ("x".join(map(str, shape)) for shape in (tokens.shape, engine.shape))
                raise UsageError(f"an item of {found} numbers; this model's are {own} (height, width, channels)")
            tokens = engine.domain.spec.tokens(tokens)
        if len(tokens) > most:
            raise UsageError(f"{engine.domain.key(item)}: {len(tokens)} tokens; this model reads at most {most}")
        rows.append(torch.cat((tokens.new_tensor([BOS]), tokens, tokens.new_tensor([EOS]))))
    if not rows:
        raise UsageError("no items to encode")
    return decoder.read(pad_sequence(rows, batch_first=True, padding_value=PAD)).cpu()


def decode(
    engine: Engine, z: Tensor, rules: Rules = GREEDY, seed: int = 0, blur: float = 0.0, first: int = 0
) -> list[Any | None]:
    """The item of each latent ``[N, L, K]``, the likeliest by default; None where the sequence is no item.

    With ``blur`` the latents are read so many deviations about where they are; row ``i`` takes the noise of the item
    ``first + i``. A sharp latent's likeliest sequence is searched for, see :func:`likeliest`.
    """
    decoder = _latent(engine)
    wanted = (decoder.vae.config.latents, decoder.vae.config.latent_dim)
    if z.ndim != 3 or tuple(z.shape[1:]) != wanted:
        raise UsageError(f"latents of shape {tuple(z.shape)}; this model's are [N, {wanted[0]}, {wanted[1]}]")
    domain = engine.domain
    constraint = domain.constraint(engine.model.config.max_length) if isinstance(domain, Constrained) else None
    if rules == GREEDY and not blur and not isinstance(domain.spec, Grid):
        written = likeliest(decoder, z, seed, constraint)
    else:
        written = decoder.write(z, first + torch.arange(len(z)), seed, rules, constraint, blur)
    rows = [written.tokens[row, : written.length[row]].cpu() for row in range(len(z))]
    if isinstance(domain.spec, Grid):
        rows = [domain.spec.numbers(row, engine.shape) for row in rows]
    return [domain.decode(row) if ended else None for row, ended in zip(rows, written.ended.tolist(), strict=True)]


def likeliest(decoder: LatentDecoder, z: Tensor, seed: int, constraint: Constraint | None) -> Decoded:
    """The most probable sequence found for each latent ``[N, L, K]``.

    Token by token the most probable one, and where the whole has less than half of the probability, so that another may
    have more, the best of ``SEARCHED`` draws if it is better.
    """
    found = decoder.write(z, torch.arange(len(z)), seed, GREEDY, constraint)
    unsure = (~found.ended | (found.log_prob < math.log(0.5))).nonzero()[:, 0].cpu()
    if not len(unsure):
        return found
    items = torch.arange(SEARCHED).repeat(len(unsure))  # the same noise for every latent: each is of its own alone
    rows = unsure.repeat_interleave(SEARCHED)
    parts = [
        decoder.write(z[rows[at : at + AT_ONCE]], items[at : at + AT_ONCE], seed, DRAWN, constraint)
        for at in range(0, len(rows), AT_ONCE)
    ]
    worth = torch.cat([part.log_prob.masked_fill(~part.ended, NEVER) for part in parts]).view(-1, SEARCHED)
    best = worth.argmax(1)
    width = max(part.tokens.shape[1] for part in (found, *parts))
    tokens = F.pad(found.tokens, (0, width - found.tokens.shape[1]), value=PAD)
    length, ended, log_prob = found.length.clone(), found.ended.clone(), found.log_prob.clone()
    for number, row in enumerate(unsure.tolist()):
        if worth[number, best[number]] <= (log_prob[row] if ended[row] else NEVER):
            continue
        part, at = divmod(number * SEARCHED + int(best[number]), AT_ONCE)
        own = parts[part]
        tokens[row, : own.tokens.shape[1]] = own.tokens[at]
        tokens[row, own.tokens.shape[1] :] = PAD
        length[row], ended[row], log_prob[row] = own.length[at], True, own.log_prob[at]
    return Decoded(tokens, length, ended, log_prob)


def interpolate(engine: Engine, a: str, b: str, steps: int, seed: int = 0) -> Hits:
    """``steps`` different items from ``a`` to ``b``, the ends among them, evenly spaced on the line between.

    Measured beside the properties: position, and the similarity to either end and to the step before.
    """
    if steps < 2:
        raise UsageError(f"steps={steps}: a way has at least its two ends")
    began = time.monotonic()
    near = _compared(engine)
    ends = _parse(engine, a), _parse(engine, b)
    if engine.domain.key(ends[0]) == engine.domain.key(ends[1]):
        raise UsageError(f"{a!r} and {b!r} are the same item; give two different ones")
    z_a, z_b = encode(engine, ends)
    found, drawn = {engine.domain.key(ends[0]): ends[0]}, 0
    taken = {engine.domain.key(ends[1])}
    positions = [0.0]
    places = torch.arange(1, steps - 1) / (steps - 1)
    middles = z_a + places[:, None, None] * (z_b - z_a)
    written = decode(engine, middles) if steps > 2 else []
    for number, t in enumerate(places.tolist()):
        for width in (0.0, *NEAR):  # the point itself, then what lies about it
            around = middles[number].expand(DRAWS, -1, -1)
            candidates = decode(engine, around, GREEDY, seed, width, number * DRAWS) if width else [written[number]]
            drawn += len(candidates)
            fresh = [c for c in candidates if c is not None and engine.domain.key(c) not in taken | set(found)]
            if fresh:
                break
        else:
            continue
        to_a, to_b = near.similarity(ends, fresh)
        chosen = fresh[int(((1 - t) * to_a + t * to_b).argmax())]
        found[engine.domain.key(chosen)] = chosen
        positions.append(t)
    found[engine.domain.key(ends[1])] = ends[1]
    items = list(found.values())
    alike = near.similarity(items, items)
    extra = {
        "position": [*positions, 1.0],
        "similarity_to_first": alike[0].tolist(),
        "similarity_to_last": alike[-1].tolist(),
        "similarity_to_step_before": [1.0, *alike.diagonal(1).tolist()],
    }
    return _hits(engine, items, extra, _Made(steps, 2 + drawn, seed, time.monotonic() - began))


def analogues(engine: Engine, like: str, count: int, similarity: tuple[float, float], seed: int = 0) -> Hits:
    """``count`` different items whose similarity to ``like`` lies in the range, drawn about its latent.

    The widths of the neighbourhood are tried in turn, since the one that gives the asked distance depends on the item.
    """
    low, high = similarity
    if not 0 <= low <= high <= 1:
        raise UsageError(f"similarity={low:g}:{high:g}: a range within 0 to 1 is needed, the lower end first")
    if count < 1:
        raise UsageError(f"count={count}: at least 1")
    began = time.monotonic()
    near, item = _compared(engine), _parse(engine, like)
    z = encode(engine, [item])
    found: dict[str, Any] = {}
    drawn = valid = 0
    for turn in range(ROUNDS * len(WIDTHS)):
        around, width = z.expand(DRAWS, -1, -1), WIDTHS[turn % len(WIDTHS)]
        made = [x for x in decode(engine, around, GREEDY, seed, width, turn * DRAWS) if x is not None]
        drawn, valid = drawn + DRAWS, valid + len(made)
        for other, s in zip(made, near.similarity([item], made)[0].tolist(), strict=True):
            if low <= s <= high and engine.domain.key(other) != engine.domain.key(item):
                found.setdefault(engine.domain.key(other), other)
        if len(found) >= count:
            break
    items = list(found.values())[:count]
    extra = {"similarity": near.similarity([item], items)[0].tolist()}
    return _hits(engine, items, extra, _Made(count, drawn, seed, time.monotonic() - began, valid / drawn))


def explore(engine: Engine, count: int, seed: int = 0) -> Hits:
    """A map: ``count`` items of the prior with their place ``x, y`` on the two main axes of their latents (PCA).

    Latents are written as for every draw, through the model's own blur.
    """
    if count < 3:
        raise UsageError(f"count={count}: a map needs at least 3 items")
    began = time.monotonic()
    decoder = _latent(engine)
    values = torch.full((count, len(engine.properties)), float("nan"))
    z = decoder.latents(values, torch.arange(count), seed, Rules())
    made = decode(engine, z, Rules(), seed, decoder.model.config.blur)
    kept = {engine.domain.key(item): row for row, item in reversed(list(enumerate(made))) if item is not None}
    rows = sorted(kept.values())
    flat = z.cpu()[rows].flatten(1).double()
    if len(rows) < 3:
        raise UsageError(f"only {len(rows)} of {count} draws gave different items; train the model for longer")
    flat = flat - flat.mean(0)
    axes = torch.linalg.svd(flat, full_matrices=False).Vh[:2]
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()  # the sign of an axis is anybody's choice
    place = flat @ axes.T
    extra = {"x": place[:, 0].tolist(), "y": place[:, 1].tolist()}
    items = [made[row] for row in rows]
    return _hits(engine, items, extra, _Made(count, count, seed, time.monotonic() - began, len(rows) / count))


@dataclass(frozen=True, slots=True)
class _Made:
    """What a report says of how items came about."""

    asked: int
    drawn: int
    seed: int
    seconds: float
    valid: float = 1.0


def _hits(engine: Engine, items: list[Any], extra: Mapping[str, list[float]], made: _Made) -> Hits:
    domain, provenance = engine.domain, engine.config.provenance
    names = [name for name, kind in domain.properties.items() if not isinstance(kind, Label | Text)]
    described = [domain.describe(item, names) for item in items]
    keys = [domain.key(item) for item in items]
    novel = (~engine.known.contains(keys)).tolist() if engine.known and keys else None
    report = Report(
        asked=made.asked, drawn=made.drawn, returned=len(items), valid=made.valid, unique=len(items) / made.drawn,
        temperature=0.0, seed=made.seed, model=engine.name, corpus=provenance.corpus, licence=provenance.licence,
        seconds=made.seconds,
    )  # fmt: skip
    return Hits(
        domain=domain,
        items=items,
        index=list(range(len(items))),
        keys=keys,
        measured={**extra, **{name: [row[name] for row in described] for name in names}},
        asked={},
        log_prob=[float("nan")] * len(items),
        summary=report,
        novel=novel,
    )


def _latent(engine: Engine) -> LatentDecoder:
    if not isinstance(engine.decoder, LatentDecoder):
        raise UsageError(
            f"this needs a model with latents (family vae, diffusion or gan); this is a {engine.config.family}. "
            "Train one with `genesis train DOMAIN SOURCE --family vae`"
        )
    return engine.decoder


def _parse(engine: Engine, text: str) -> Any:
    if not isinstance(engine.domain, Parsed):
        raise UsageError(f"the domain {engine.domain.name!r} has no items that are written in a line of text")
    try:
        return engine.domain.parse(text)
    except EncodeError as error:
        raise UsageError(f"{text!r}: {error}") from None


def _compared(engine: Engine) -> Compared[Any]:
    if not isinstance(engine.domain, Compared):
        raise UsageError(f"the domain {engine.domain.name!r} does not say how alike two items are")
    return engine.domain

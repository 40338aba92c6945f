"""From a file to an encoded corpus: read, encode and measure in worker processes, in bounded memory.

P  properties
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genesis import registry
from genesis.data import fetch, packages, sources
from genesis.data.encoded import Encoded, Row, open_encoded, write
from genesis.domain import Augmented, Built, Category, Domain, Grid, Grouped, Number, Reading, Rejected, Respelled, Text
from genesis.errors import EncodeError, InputError, UsageError, suggest
from genesis.metrics.sets import KeySet, held_out, key_hash
from genesis.nn.conditioner import CategoryField, ConditionField, NumberField
from genesis.nn.text import TextField

KEYS = "keys.npy"
REJECTED = "rejected.csv"
TIER = "licence_tier"  # the column of a file that says who may use an item
QUANTILES = 100
MAX_LABELS = 1_000  # different values of a text column that is to be a category
ALONE = 2  # parts done in this process before others are started

OnProgress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """An encoded corpus, its fields, and how many rows were refused (listed in ``rejected.csv`` in its folder)."""

    encoded: Encoded
    fields: tuple[ConditionField, ...]
    rejected: int


@dataclass(frozen=True, slots=True)
class _Part:
    tokens: list[NDArray[np.uint16]]
    measured: list[Mapping[str, float | str]]
    held_out: list[bool]
    keys: list[str]
    kept: list[int]  # which items of the part the rows are
    rejected: list[Rejected]
    shapes: list[list[int]]  # of each item that is a grid


def prepare(
    domain_name: str,
    source: Path | str,
    target: Path,
    *,
    column: str | None = None,
    targets: Sequence[str] = (),
    share: float = 1.0,
    licence_tier: str | None = None,
    max_rejected: float = 0.1,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
    vocab: Sequence[str] | None = None,
    spellings: int = 1,
) -> Prepared:
    """Encode a file, or a corpus by name (or several: ``one+other``), into the folder ``target``.

    Every item gets all the properties of its domain, and the columns named in ``targets``: numbers as they are, text as
    categories. ``share`` keeps that part of the items, chosen by a stable hash, and ``licence_tier`` those whose
    licence allows at least as much. Rows that are no items are collected; InputError when they are more than
    ``max_rejected`` of all. A folder that answers the same question is used again. ``vocab`` is what the domain shall
    speak, where it is not its own. ``spellings`` above 1 writes each item in so many ways.
    """
    domain = registry.domain(domain_name, vocab)
    allowed = _allowed(licence_tier)
    asked = {"source": str(source), "column": column, "targets": list(targets), "share": share}
    asked |= {"licence_tier": licence_tier} if licence_tier else {}
    asked |= {"spellings": spellings} if spellings > 1 else {}
    if spellings > 1 and not isinstance(domain, Respelled):
        raise UsageError(f"spellings={spellings}: {domain_name} are written in one way; leave it out")
    if (target / "meta.json").exists():
        encoded = open_encoded(target)
        if encoded.meta["asked"] == asked and encoded.meta["vocab_hash"] == vocab_hash(domain):
            return _with_fields(encoded, 0)
    clash = sorted(set(targets) & set(domain.properties))
    if clash:
        raise UsageError(f"the column {clash[0]!r} has the name of a measured property; rename the column")
    files, corpus, licence = _files(domain, source, allowed)
    measured = tuple(domain.properties)
    labels: dict[str, dict[str, int] | None] = {}
    for name, kind in domain.properties.items():
        if not isinstance(kind, Number):
            labels[name] = {value: i for i, value in enumerate(kind.values)} if isinstance(kind, Category) else {}
    rejected: list[Rejected] = []
    hashes = array("Q")
    seen = 0

    def rows() -> Iterator[Row]:
        nonlocal seen
        for part, reading in _encoded_parts(domain, vocab, files, column, measured, share, workers, spellings):
            rejected.extend(reading.rejected)
            rejected.extend(part.rejected)
            seen += len(reading.items) + len(reading.rejected)
            extra = _columns(reading, targets, labels)
            tiers = reading.columns.get(TIER)
            for i, (key, at) in enumerate(zip(part.keys, part.kept, strict=True)):
                shape, first = part.shapes[i], meta.setdefault("shape", part.shapes[i])
                if shape != first:  # grids of one corpus have one shape
                    reason = (
                        f"{'x'.join(map(str, shape))} numbers, where the first item has {'x'.join(map(str, first))}"
                    )
                    rejected.append(Rejected(0, key[:200], reason))
                    continue
                if allowed and tiers and tiers[at] not in allowed:
                    continue
                hashes.append(key_hash(key))
                values = [_value(name, part.measured[i][name], labels) for name in measured]
                own = [values[at] for values in extra]
                yield Row(part.tokens[i], np.array([*values, *own], np.float32), part.held_out[i])
            if on_progress:
                on_progress(seen, 0, "encoding")

    meta: dict[str, Any] = {
        "properties": [*measured, *targets],
        "domain": domain_name,
        "vocab_hash": vocab_hash(domain),
        "corpus": corpus,
        "licence": licence,
        "asked": asked,
        "labels": labels,
        "texts": [name for name, kind in domain.properties.items() if isinstance(kind, Text)],
    }
    encoded = write(rows(), target, meta)
    KeySet.of_hashes(np.frombuffer(hashes, np.uint64), target / KEYS)
    if rejected:
        write_rejected(rejected, target / REJECTED)
    if len(rejected) > max_rejected * seen:
        raise InputError(_too_many(rejected, seen, max_rejected, target / REJECTED))
    return _with_fields(encoded, len(rejected))


def learned(
    domain_name: str, source: Path | str, column: str | None = None, licence_tier: str | None = None
) -> Iterator[Any]:
    """The items of a source that training saw, in the form in which it saw them."""
    domain = registry.domain(domain_name)
    allowed = _allowed(licence_tier)
    files, _, _ = _files(domain, source, allowed)
    for part in (part for file in files for part in domain.read_parts(file, column)):
        tiers = part.columns.get(TIER)
        for at, item in enumerate(part.items):
            if allowed and tiers and tiers[at] not in allowed:
                continue
            for variant in domain.augment(item) if isinstance(domain, Augmented) else (item,):
                if not _is_held_out(domain, item, domain.key(variant)):
                    yield variant


def _is_held_out(domain: Domain[Any], item: Any, key: str) -> bool:
    return held_out(domain.group(item), domain.held_out) if isinstance(domain, Grouped) else held_out(key)


def _with_fields(encoded: Encoded, rejected: int) -> Prepared:
    fields = fields_of(encoded)
    return Prepared(encoded.select([field.name for field in fields]), fields, rejected)


def fields_of(encoded: Encoded) -> tuple[ConditionField, ...]:
    """How each property enters the network: its spread over the corpus. One that never varies is left out."""
    labels = encoded.meta["labels"]
    fields: list[ConditionField] = []
    for column, name in enumerate(encoded.properties):
        known = labels.get(name)
        values = np.asarray(encoded.values[:, column], np.float64)
        values = values[np.isfinite(values)]
        if known is not None and name in encoded.meta.get("texts", ()):
            if known:
                fields.append(TextField.of(name, list(known)))
            continue
        if known is not None:
            if len(np.unique(values)) > 1:
                fields.append(CategoryField(name=name, values=tuple(known)))
            continue
        if len(values) and values.std() > 1e-6 * max(1.0, abs(values.mean())):
            grid = np.quantile(values, np.linspace(0, 1, QUANTILES + 1))
            fields.append(
                NumberField(
                    name=name, mean=float(values.mean()), std=float(values.std()), quantiles=tuple(grid.tolist())
                )
            )
    return tuple(fields)


def vocab_hash(domain: Domain[Any]) -> str:
    """What an encoded corpus and a model must agree on."""
    return hashlib.sha256("\n".join(domain.spec.vocab).encode()).hexdigest()


def prepared_corpus(name: str) -> Path:
    """Where ``genesis data prepare NAME`` puts the encoded corpus."""
    return fetch.cache_root() / "encoded" / sources.get(name).folder


def write_rejected(rejected: Sequence[Rejected], target: Path) -> None:
    """The refused rows as a table: row, text, reason."""
    with target.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("row", "text", "reason"))
        rows.writerows((r.row, r.text, r.reason) for r in rejected)


def built(name: str, workers: int | None = None, on_progress: OnProgress | None = None) -> Path:
    """The folder of a fetched corpus, with what its domain makes of the files: made now when it is not there."""
    corpus = sources.get(name)
    folder = fetch.cached(corpus)
    if all((folder / file).exists() for file in corpus.made):
        return folder
    domain = registry.domain(corpus.domain)
    assert isinstance(domain, Built), f"the corpus {name!r} has files to make, and {corpus.domain!r} makes none"
    kept = {member.path: folder / member.name for member in corpus.members}
    with packages.opened(kept, folder) as files:
        rejected = domain.build(name, files, folder, workers, on_progress)
    write_rejected(rejected, folder / REJECTED)
    return folder


def _files(domain: Domain[Any], source: Path | str, allowed: Sequence[str]) -> tuple[list[Path], str, str]:
    """The files of a source: a path, or the training members of corpora; with what the model's card should say."""
    names = [str(source)] if isinstance(source, Path) else source.split("+")
    if isinstance(source, Path) or not all(name in sources.CORPORA for name in names):
        path = Path(source)
        if not path.exists() and str(source) != "-":
            raise InputError(
                f"{source}: no such file, and no corpus of that name; {suggest(str(source), sources.CORPORA)}"
            )
        return [path], path.name, "not stated"
    files, titles, licences = [], [], []
    for name in names:
        corpus = sources.get(name)
        if corpus.domain != domain.name:
            raise UsageError(f"the corpus {corpus.name!r} belongs to {corpus.domain}, not to {domain.name}")
        split = "train" if "train" in corpus.files else "all"
        if split not in corpus.files:
            raise UsageError(f"the corpus {corpus.name!r} holds no items to train on")
        if allowed and corpus.tier not in allowed:
            raise UsageError(f"the corpus {corpus.name!r} is of the tier {corpus.tier}; allowed: {', '.join(allowed)}")
        folder = built(corpus.name)
        files += [folder / member for member in corpus.files[split]]
        titles.append(f"{corpus.name} ({split})")
        licences.append(corpus.licence)
    return files, " + ".join(titles), "; ".join(dict.fromkeys(licences))


def _encoded_parts(
    domain: Domain[Any],
    vocab: Sequence[str] | None,
    files: Sequence[Path],
    column: str | None,
    names: tuple[str, ...],
    share: float,
    workers: int | None,
    spellings: int,
) -> Iterator[tuple[_Part, Reading]]:
    parts = (part for file in files for part in domain.read_parts(file, column))
    for _, part in zip(range(ALONE), parts, strict=False):
        yield encode_part(domain.name, part, names, share, vocab, spellings), part
    from loky import ProcessPoolExecutor

    pool, count = None, workers or os.cpu_count() or 1
    waiting: deque[tuple[Future[_Part], Reading]] = deque()
    try:
        for part in parts:
            if count == 1:
                yield encode_part(domain.name, part, names, share, vocab, spellings), part
                continue
            pool = pool or ProcessPoolExecutor(count)
            waiting.append((pool.submit(encode_part, domain.name, part, names, share, vocab, spellings), part))
            if len(waiting) >= 3 * count:
                future, read = waiting.popleft()
                yield future.result(), read
        while waiting:
            future, read = waiting.popleft()
            yield future.result(), read
    finally:
        if pool:
            pool.shutdown(kill_workers=True)


def encode_part(
    domain_name: str,
    part: Reading,
    names: tuple[str, ...],
    share: float = 1.0,
    vocab: Sequence[str] | None = None,
    spellings: int = 1,
) -> _Part:
    """Tokens and measured values of the chosen items of one part; runs in a worker process."""
    domain = registry.domain(domain_name, vocab)
    out = _Part([], [], [], [], [], [], [])
    for at, item in enumerate(part.items):
        key = domain.key(item)
        if share < 1 and _stable(key) >= share:
            continue
        try:
            for variant in domain.augment(item) if isinstance(domain, Augmented) else (item,):
                x = domain.encode(variant)
                grid = isinstance(domain.spec, Grid)
                tokens = (domain.spec.tokens(x) if isinstance(domain.spec, Grid) else x).numpy().astype(np.uint16)
                key, measured = domain.key(variant), domain.describe(variant, names)
                held = _is_held_out(domain, item, key)
                others = domain.spellings(variant, spellings - 1) if isinstance(domain, Respelled) else ()
                for sequence in (tokens, *(t.numpy().astype(np.uint16) for t in others)):
                    out.tokens.append(sequence)
                    out.shapes.append(list(x.shape) if grid else [])
                    out.measured.append(measured)
                    out.held_out.append(held)
                    out.keys.append(key)
                    out.kept.append(at)
        except EncodeError as error:
            out.rejected.append(Rejected(0, domain.key(item)[:200], str(error)))
    return out


def _value(name: str, value: float | str, labels: Mapping[str, dict[str, int] | None]) -> float:
    """A measured value as a number: of a label its place in the list, which a label not met before extends."""
    known = labels.get(name)
    if known is None:
        return float(value)
    return float(known.setdefault(str(value), len(known))) if value != "" else math.nan


def _allowed(tier: str | None) -> tuple[str, ...]:
    """The tiers that allow at least as much as the named one; of synthetic items only themselves."""
    if tier is None:
        return ()
    if tier not in sources.TIERS:
        raise UsageError(f"no licence tier {tier!r}; {suggest(tier, sources.TIERS)}")
    return (tier,) if tier == "synthetic" else sources.TIERS[: sources.TIERS.index(tier) + 1]


def _columns(reading: Reading, targets: Sequence[str], labels: dict[str, dict[str, int] | None]) -> list[list[float]]:
    """The user's columns of one part as numbers; a column with text in it becomes a category."""
    out = []
    for name in targets:
        if name not in reading.columns:
            raise InputError(f"no column {name!r}; {suggest(name, reading.columns)}")
        out.append([_cell(name, cell, labels) for cell in reading.columns[name]])
    return out


def _cell(name: str, cell: Any, labels: dict[str, dict[str, int] | None]) -> float:
    """A cell as a number; the first one that is not empty decides whether the column is numbers or labels."""
    if cell is None or cell == "":
        return math.nan
    try:
        number: float | None = float(cell)
    except (TypeError, ValueError):
        number = None
    known = labels.setdefault(name, None if number is not None else {})
    if known is None:
        if number is None:
            raise InputError(
                f"the column {name!r} begins with numbers and then holds {str(cell)[:40]!r}; a target is either"
            )
        return number if math.isfinite(number) else math.nan
    if len(known) >= MAX_LABELS and str(cell) not in known:
        raise InputError(
            f"the column {name!r} has more than {MAX_LABELS} different texts; a target is a number or a label"
        )
    return float(known.setdefault(str(cell), len(known)))


def _stable(key: str) -> float:
    """A number in [0, 1) that belongs to the key; not the one that decides what is held out."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8, person=b"share").digest(), "big") / 2**64


def _too_many(rejected: Sequence[Rejected], seen: int, limit: float, file: Path) -> str:
    first = rejected[0]
    return (
        f"{len(rejected):,} of {seen:,} rows are no items, more than the allowed share of {limit:g}; the first is "
        f"row {first.row}: {first.text[:60]!r}: {first.reason}; all are in {file}"
    )

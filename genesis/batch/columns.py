"""The columns of a shard: typed, the same in every shard of a run, and what a row's digest is made of.

N  rows
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from genesis.batch.plan import Order
from genesis.domain import Domain, Number
from genesis.drawing import Drawn
from genesis.errors import ResourceError, UsageError
from genesis.targets import Targets

METADATA = b"genesis"
CONSTANT = ("seed", "model_hash")  # the same in every row, so no part of its digest
MODULUS = 1 << 128


@cache
def arrow() -> Any:
    """pyarrow with its Parquet module; ResourceError says how to get it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ResourceError('batch runs write Parquet; run `pip install "genesis-engine[parquet]"`') from None
    return pyarrow


class Columns:
    """Makes the rows of one order: what was drawn, measured beside asked, novelty, tokens and origin."""

    def __init__(self, order: Order, targets: Targets, domain: Domain[Any], known: bool) -> None:
        self.order, self.targets, self.domain, self.known = order, targets, domain, known
        pa = arrow()
        fields: list[tuple[str, Any]] = [("index", pa.int64()), ("item", pa.string()), ("item_key", pa.binary(16))]
        names = [*targets.asked, *(name for name in order.measure if name not in targets.asked)]
        self._measured = [name for name in names if name in order.measure]
        self._ranged = {name for name, each in targets.asked.items() if any(isinstance(v, tuple) for v in each)}
        for name in names:
            if name in order.measure:
                fields.append((name, self._type(name)))
            if name in self._ranged:
                fields += [(f"asked_{name}_low", pa.float64()), (f"asked_{name}_high", pa.float64())]
            elif name in targets.asked:
                label = isinstance(targets.asked[name][0], str)
                fields.append((f"asked_{name}", pa.string() if label else pa.float64()))
        fields.append(("log_prob", pa.float32()))
        if known:
            fields.append(("novel", pa.bool_()))
        fields += [("tokens", pa.list_(pa.uint16())), ("seed", pa.int64()), ("model_hash", pa.string())]
        twice = next((name for name, count in Counter(name for name, _ in fields).items() if count > 1), None)
        if twice is not None:
            raise UsageError(
                f"{domain.name} measures a property {twice!r}, and every library has a column of that name"
            )
        self.schema = pa.schema(fields)

    def table(self, drawn: Sequence[Drawn], novel: Sequence[bool] | None) -> Any:
        """``N`` valid items as an Arrow table."""
        keys = [str(one.key) for one in drawn]
        columns: dict[str, Any] = {
            "index": [one.index for one in drawn],
            "item": keys,
            "item_key": [key128(key) for key in keys],
            "log_prob": [one.log_prob for one in drawn],
            "tokens": [one.tokens for one in drawn],
            "seed": [self.order.plan.seed] * len(drawn),
            "model_hash": [self.order.model_hash] * len(drawn),
        }
        if self.known:
            columns["novel"] = novel
        for name in self._measured:
            whole = arrow().types.is_integer(self.schema.field(name).type)
            columns[name] = [_cell(one.measured[name], whole) for one in drawn]
        for name, values in self.targets.asked.items():
            wants = [values[one.index % len(values)] for one in drawn]
            if name in self._ranged:
                columns[f"asked_{name}_low"] = [_end(want, 0) for want in wants]
                columns[f"asked_{name}_high"] = [_end(want, 1) for want in wants]
            else:
                columns[f"asked_{name}"] = wants
        return arrow().table(columns, schema=self.schema)

    def _type(self, name: str) -> Any:
        kind = self.domain.properties[name]
        if not isinstance(kind, Number):
            return arrow().string()
        return arrow().int64() if kind.integer else arrow().float64()


def key128(key: str) -> bytes:
    """128 bits of BLAKE2b of a canonical text: two of 10^9 keys agree by accident with probability 10^-21."""
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


def digest(table: Any) -> int:
    """The sum modulo 2^128 of a digest of every row: the same for any order of rows and any cut into shards."""
    names = [name for name in table.column_names if name not in CONSTANT]
    columns = [table.column(name).to_pylist() for name in names]
    total = 0
    for row in zip(*columns, strict=True):
        total += int.from_bytes(hashlib.blake2b(repr(row).encode(), digest_size=16).digest(), "little")
    return total % MODULUS


def with_note(table: Any, note: Mapping[str, Any]) -> Any:
    """The table with a JSON note in its schema, where Parquet readers find it under ``genesis``."""
    return table.replace_schema_metadata({METADATA: json.dumps(note, sort_keys=True)})


def note_of(schema: Any) -> dict[str, Any]:
    """The note of a table that we wrote; ValueError if it has none."""
    found = json.loads((schema.metadata or {})[METADATA])
    if not isinstance(found, dict):
        raise ValueError("its note is no table")
    return found


def _cell(value: float | str, whole: bool) -> float | int | str | None:
    """A measured value; a number that is not finite is missing."""
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return None
    return int(value) if whole else float(value)


def _end(want: Any, which: int) -> float | None:
    end: float = want[which] if isinstance(want, tuple) else want
    return end if math.isfinite(end) else None

"""Which rows of a draft stay, given every shard before it; a function of the order, the draft and the keys so far.

N  rows of the draft
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genesis.batch.columns import note_of
from genesis.batch.distinct import Keys, Words, keys_of
from genesis.batch.plan import Order, combinations
from genesis.batch.tally import Tally
from genesis.targets import Targets


def settle(draft: Any, order: Order, targets: Targets, total: Tally, keys: Keys) -> tuple[Any, Tally]:
    """The rows that stay, by index, and the counts of the shard.

    Of equal items the lowest index stays. When the library is full the draft is cut behind the item that filled it, as
    if nobody had drawn further. With ``keep_best`` n the closest rows stay, so many that 1 in n of all distinct items
    has been kept so far.
    """
    plan, note = order.plan, note_of(draft.schema)
    index = draft.column("index").to_numpy()
    rows = np.flatnonzero(keys.fresh(words(draft)))
    end, room = int(note["last"]), plan.count - total.returned
    if plan.keep_best > 1:
        distinct = len(rows)
        quota = min(room, (total.distinct + distinct) // plan.keep_best - total.returned)
        rows = _closest(draft, rows, index, targets, order, quota)
    else:
        if len(rows) >= room:
            rows = rows[:room]
            end = int(index[rows[-1]]) + 1
        distinct = len(rows)
    kept = draft.take(rows)
    screened = Counter(family for i, family in note["screened"] if i < end)
    poison = {str(i): why for i, why in note["poisoned"] if i < end}
    tally = Tally(
        drawn=end - int(note["first"]),
        valid=int((index < end).sum()) + sum(screened.values()),
        distinct=distinct,
        returned=len(rows),
        known=kept.column("novel").to_pylist().count(False) if "novel" in kept.column_names else 0,
        screened=dict(screened),
        poisoned=len(poison),
        poison=poison,
        **_errors(kept, index[rows], targets),
        groups=_groups(index[rows], order),
    )
    return kept, tally


def words(table: Any) -> Words:
    """``[N, 2]``: the keys of a table."""
    return keys_of(b"".join(table.column("item_key").to_pylist()))


def _closest(
    draft: Any, rows: NDArray[np.int64], index: NDArray[np.int64], targets: Targets, order: Order, quota: int
) -> NDArray[np.int64]:
    """The ``quota`` rows closest to their targets, in the order of their indices."""
    names = [name for name in targets.asked if name in order.measure]
    columns = {name: draft.column(name).to_pylist() for name in names}
    measured = [{name: columns[name][row] for name in names} for row in rows]
    distance = [
        math.inf if None in each.values() else targets.distance(int(index[row]), each)
        for row, each in zip(rows, measured, strict=True)
    ]
    return np.sort(rows[np.argsort(distance, kind="stable")[:quota]])


def _errors(kept: Any, index: NDArray[np.int64], targets: Targets) -> dict[str, dict[str, Any]]:
    """Sums over rows, by target: its error, and whether it is 0 where a range or a label was asked for."""
    error: dict[str, float] = {}
    inside: dict[str, int] = {}
    for name, asked in targets.asked.items():
        if name not in kept.column_names:
            continue
        measured = kept.column(name).to_pylist()
        each = [targets.error(name, int(i), got) for i, got in zip(index, measured, strict=True) if got is not None]
        error[name] = sum(each)
        if any(isinstance(want, str | tuple) for want in asked):
            inside[name] = each.count(0.0)
    return {"error": error, "inside": inside}


def _groups(index: NDArray[np.int64], order: Order) -> tuple[int, ...]:
    """Rows by combination of the sweep; nothing without a sweep."""
    several = len(combinations(order.plan))
    return tuple(np.bincount(index % several, minlength=several).tolist()) if order.plan.sweep else ()

"""What is asked of each item: numbers, ranges, labels, or one value an item.

B  items of a batch    P  properties the model was trained on
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genesis import rng
from genesis.asked import blend
from genesis.domain import Asked, Label, Number, Property
from genesis.errors import UnknownProperty, UsageError, suggest
from genesis.metrics.calibration import error
from genesis.nn.conditioner import CategoryField, ConditionField, NumberField
from genesis.nn.text import TextField
from genesis.profiles import Profiles

Target = Asked | Sequence[Asked]


@dataclass(frozen=True, slots=True)
class Targets:
    """Checked targets. A list asks item ``i`` for its element ``i`` modulo its length; anything else asks all alike."""

    fields: tuple[ConditionField, ...]
    asked: Mapping[str, tuple[Asked, ...]]
    profiles: Profiles | None = None  # from which an item borrows the properties it is not asked for

    @classmethod
    def check(
        cls,
        target: Mapping[str, Target] | None,
        fields: Sequence[ConditionField],
        known: Mapping[str, Property],
        profiles: Profiles | None = None,
    ) -> Targets:
        """Refuse what cannot be meant: an unknown property, an impossible range, a label that does not exist."""
        trained = {field.name: field for field in fields}
        asked: dict[str, tuple[Asked, ...]] = {}
        for name, value in (target or {}).items():
            if name not in trained:
                if name in known:
                    raise UsageError(f"this model was not trained on {name!r}; it knows {', '.join(trained) or 'none'}")
                raise UnknownProperty(name, trained, "this model")
            several = isinstance(value, np.ndarray | list)
            each: list[Any] = list(value) if isinstance(value, np.ndarray | list) else [value]
            if several and not each:
                raise UsageError(f"{name}: an empty list of targets; give one value an item")
            if len(each) > 1 and any(_mixed(v, trained[name]) for v in each):
                raise UsageError(f"{name}: a mixture is asked of all items alike, not in a list")
            asked[name] = tuple(_one(name, v, trained[name], known.get(name)) for v in each)
        return cls(tuple(fields), asked, profiles if asked else None)

    def of(self, item: int) -> dict[str, Asked]:
        """What item ``i`` was asked for."""
        return {name: values[item % len(values)] for name, values in self.asked.items()}

    @property
    def alike(self) -> bool:
        """Whether every item gets the same condition values: no lists, no ranges, and nothing borrowed."""
        fixed = all(len(values) == 1 and not isinstance(values[0], tuple) for values in self.asked.values())
        return fixed and self.profiles is None

    def texts(self) -> dict[str, list[str]]:
        """What is asked in words, by field: the condition value of a text is its place in the list."""
        return {f.name: [str(a) for a in self.asked[f.name]] for f in self.fields
                if isinstance(f, TextField) and f.name in self.asked}  # fmt: skip

    def values(self, items: Tensor, seed: int) -> Tensor:
        """``[B, P]`` condition values, NaN where nothing is asked and no profile says what goes with it.

        A range gives each item a number of its own, drawn from the training corpus's distribution within the range, so
        that a wide range is filled as the corpus fills it and not at its middle.
        """
        out = torch.full((len(items), len(self.fields)), float("nan"))
        for column, field in enumerate(self.fields):
            if field.name not in self.asked:
                continue
            u = rng.uniform(seed, items, column, rng.STREAM_TARGETS)[:, 0].double().numpy()
            for row, item in enumerate(items.tolist()):
                if isinstance(field, TextField):
                    out[row, column] = item % len(self.asked[field.name])
                    continue
                out[row, column] = _value(self.of(item)[field.name], field, float(u[row]))
        if self.profiles is None:
            return out
        return self.profiles.fill(out, rng.uniform(seed, items, len(self.fields), rng.STREAM_TARGETS)[:, 0])

    def mixture(self, items: Tensor, seed: int) -> list[tuple[float, Tensor]]:
        """Shares that add up to one, and the condition values ``[B, P]`` of each; one where no label is a mixture."""
        mixed = next((name for name, values in self.asked.items() if _mixed(values[0], self._field(name))), None)
        if mixed is None:
            return [(1.0, self.values(items, seed))]
        shares = blend(mixed, str(self.asked[mixed][0]), self._field(mixed).values)  # type: ignore[union-attr]
        return [
            (share, replace(self, asked={**self.asked, mixed: (label,)}).values(items, seed))
            for label, share in shares.items()
        ]

    def unseen(self) -> tuple[str, ...]:
        """Labels, and pairs with a label, that no training item of the profiles has: ``style=irish with meter=7/8``.

        Of what is asked of all items alike; a number has half a standard deviation to spare.
        """
        if self.profiles is None:
            return ()
        having: dict[str, NDArray[np.bool_]] = {}
        labels: set[str] = set()
        for column, field in enumerate(self.fields):
            values = self.asked.get(field.name, ())
            if len(values) != 1 or _mixed(values[0], field):
                continue
            known, asked = self.profiles.values[:, column], values[0]
            if isinstance(field, TextField):
                continue
            if isinstance(field, CategoryField):
                having[f"{field.name}={asked}"] = known == field.values.index(str(asked))
                labels.add(f"{field.name}={asked}")
            else:
                low, high = asked if isinstance(asked, tuple) else (float(asked), float(asked))
                spare = field.std / 2
                having[f"{field.name}={low:g}"] = (known >= low - spare) & (known <= high + spare)
        alone = tuple(name for name in labels if not having[name].any())
        pairs = (
            f"{a} with {b}"
            for a, b in combinations(having, 2)
            if labels & {a, b} and having[a].any() and having[b].any() and not (having[a] & having[b]).any()
        )
        return (*sorted(alone), *pairs)

    def _field(self, name: str) -> ConditionField:
        return next(field for field in self.fields if field.name == name)

    def distance(self, item: int, measured: Mapping[str, float | str]) -> float:
        """Root mean square of the errors in standard deviations of the corpus; 0 is exactly on target."""
        scale = {field.name: field.std for field in self.fields if isinstance(field, NumberField)}
        squares = [(self.error(name, item, measured[name]) / scale.get(name, 1.0)) ** 2 for name in self.asked]
        return math.sqrt(sum(squares) / len(squares)) if squares else 0.0

    def error(self, name: str, item: int, measured: float | str) -> float:
        """Absolute error of one property: distance to the number or range asked for; 0 or 1 for a label."""
        asked = self.of(item)[name]
        if isinstance(asked, str) or isinstance(measured, str):
            return float(asked != measured)
        return abs(error(asked, measured))


def _one(name: str, value: Asked, field: ConditionField, known: Property | None) -> Asked:
    if isinstance(field, CategoryField):
        if isinstance(known, Label) and _mixed(value, field):
            blend(name, str(value), field.values)
            return value
        if not isinstance(value, str) or value not in field.values:
            raise UsageError(f"{name}={value!r}: not a label; {suggest(str(value), field.values)}")
        return value
    if isinstance(field, TextField):
        try:
            field.pieces_of(str(value))
        except ValueError as error:
            raise UsageError(f"{name}={str(value)[:60]!r}: {error}") from None
        return str(value)
    if isinstance(value, str):
        raise UsageError(f"{name}={value!r}: a number or a range LOW:HIGH is needed")
    low, high = (float(v) for v in value) if isinstance(value, tuple) else (float(value), float(value))
    if math.isnan(low) or math.isnan(high) or (not isinstance(value, tuple) and math.isinf(low)):
        raise UsageError(f"{name}={value!r}: not a finite number")
    if low > high:
        raise UsageError(f"{name}={low:g}:{high:g}: the range is empty; the lower end comes first")
    if isinstance(known, Number):
        sane = f"{known.low:g} to {known.high:g}{' ' + known.unit if known.unit else ''}"
        if isinstance(value, tuple):
            if high < known.low or low > known.high:
                raise UsageError(f"{name}={low:g}:{high:g}: impossible; {name} lies within {sane}")
        elif not known.low <= low <= known.high:
            raise UsageError(f"{name}={low:g}: impossible; {name} lies within {sane}")
    return (low, high) if isinstance(value, tuple) else low


def _mixed(value: Asked, field: ConditionField) -> bool:
    return isinstance(field, CategoryField) and value not in field.values and ":" in str(value)


def _value(asked: Asked, field: ConditionField, u: float) -> float:
    if isinstance(field, CategoryField):
        return float(field.values.index(str(asked)))
    assert isinstance(field, NumberField)
    if not isinstance(asked, tuple):
        return float(asked)
    low, high = asked
    grid = np.linspace(0, 1, len(field.quantiles))
    first, last = np.interp([low, high], field.quantiles, grid, left=0.0, right=1.0)
    if first == last:  # the corpus has nothing there: spread evenly over what is finite
        low, high = max(low, field.mean - 8 * field.std), min(high, field.mean + 8 * field.std)
        return float(low + u * (high - low)) if low <= high else float(np.clip(field.mean, *asked))
    return float(np.clip(np.interp(first + u * (last - first), grid, field.quantiles), low, high))

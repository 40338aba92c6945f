"""Synthetic items for a labelled data set: its labels, new items, and none that is a near copy of one it has.

What a near copy is, the data say themselves: an item that lies nearer to one of theirs than all but a few of them lie
to one another. Whether synthetic items help a model that is trained on both is for the user to measure; labels that are
asked for and cannot be measured are as right as the model that was asked.

    N  items of the data set    M  synthetic ones
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from genesis import registry
from genesis.domain import Asked, Compared, Domain, Grid, Reading
from genesis.errors import InputError, UsageError, suggest
from genesis.hits import Hits

if TYPE_CHECKING:
    from genesis.engine import Engine
    from genesis.train import Progress

LEARNING_RATE = 1e-3  # of a model that is fitted to a data set: it may begin with the weights of a preset
LOOKED_AT = 2_000  # items of the data set whose nearest neighbours say what is near
SYNTHETIC = "synthetic"  # the column that marks provenance: 1 for items of the model, 0 for those of the data set


@dataclass(frozen=True, slots=True)
class Labelled:
    """The items of a data set ``[N]``, and the labels of each; None where an item lacks one."""

    domain: Domain[Any]
    items: list[Any]
    labels: Mapping[str, list[Asked | None]]
    columns: Mapping[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, domain: Domain[Any], source: Path, names: Sequence[str], column: str | None = None) -> Labelled:
        """A file with a column for each name; labels that items bring along need none."""
        if not names:
            raise UsageError("no label is named; say which columns the synthetic items shall have too")
        reading = domain.read(source, column)
        if not reading.items:
            raise InputError(f"{source}: no row is an item of {domain.name}")
        return cls(domain, reading.items, {n: _cells(domain, reading, n) for n in names}, reading.columns)

    def drawn(self, count: int, seed: int) -> dict[str, list[Asked]]:
        """The labels of ``count`` rows drawn with replacement from those that have them all."""
        full = [row for row in range(len(self.items)) if all(cells[row] is not None for cells in self.labels.values())]
        if not full:
            raise InputError(f"no row has all of {', '.join(self.labels)}")
        rows = np.random.default_rng(seed).choice(full, count).tolist()
        return {name: [cell for row in rows if (cell := cells[row]) is not None] for name, cells in self.labels.items()}

    def near(self, share: float, seed: int) -> float:
        """The similarity to the nearest other item that the share of the data set exceeds; 1 where nobody can say."""
        if not isinstance(self.domain, Compared) or len(self.items) < 2:
            return 1.0
        rows = np.random.default_rng(seed).permutation(len(self.items))[:LOOKED_AT]
        alike = self.domain.similarity([self.items[row] for row in rows], self.items)
        alike[np.arange(len(rows)), rows] = -1
        return float(np.quantile(alike.max(1), 1 - share))

    def nearest(self, items: Sequence[Any]) -> list[float]:
        """The similarity of each item to the nearest one of the data set; 0 or 1 where only sameness is known."""
        if isinstance(self.domain, Compared):
            return [float(x) for x in self.domain.similarity(items, self.items).max(1)]
        keys = {self.domain.key(item) for item in self.items}
        return [float(self.domain.key(item) in keys) for item in items]

    def write(self, hits: Hits, folder: Path, suffix: str) -> list[Path]:
        """``synthetic`` and ``together``, a column for each label, and where every item comes from."""
        labels = {name: hits.measured.get(name, hits.asked[name]) for name in self.labels}
        marks = {SYNTHETIC: [1] * len(hits), "nearest": hits.measured["nearest"]}
        origin = {name: [value] * len(hits) for name, value in hits.origin().items()}
        own: dict[str, list[Any]] = {**labels, **marks, **origin}
        old = {name: [_plain(cell) for cell in cells] for name, cells in {**self.columns, **self.labels}.items()}
        old |= {SYNTHETIC: [0] * len(self.items)}
        names = dict.fromkeys((*self.labels, SYNTHETIC, *old, *own))
        blank = [""] * len(self.items), [""] * len(hits)
        both = {name: old.get(name, blank[0]) + own.get(name, blank[1]) for name in names}
        targets = [folder / f"{stem}{suffix}" for stem in (SYNTHETIC, "together")]
        self.domain.write(hits.items, targets[0], own)
        self.domain.write([*self.items, *hits.items], targets[1], both)
        return targets


def augment(engine: Engine, data: Labelled, count: int, near: float, seed: int, how: Mapping[str, Any]) -> Hits:
    """``count`` items with labels drawn from rows of the data set, each farther from all its items than near copies."""
    if not 0 <= near < 1:
        raise UsageError(f"near={near:g}: the share of the data set that counts as near copies of one another, below 1")
    unknown = next((name for name in data.labels if name not in engine.properties), None)
    if unknown is not None:
        raise UsageError(
            f"this model cannot be asked for {unknown!r}; {suggest(unknown, engine.properties)}, or train one on the "
            f"data: genesis train {engine.domain.name} FILE --target-property {unknown} --out FOLDER"
        )
    limit = data.near(near, seed)
    found: dict[str, float] = {}

    def far(item: Any) -> bool:
        (nearest,) = data.nearest([item])
        found[engine.domain.key(item)] = nearest
        return nearest < limit

    hits = engine.generate(count, data.drawn(count, seed), seed=seed, accept=far, **how)
    hits.measured["nearest"] = [found[key] for key in hits.keys]
    return hits


def _cells(domain: Domain[Any], reading: Reading, name: str) -> list[Asked | None]:
    if name in reading.columns:
        return [_value(cell) for cell in reading.columns[name]]
    if name in domain.properties:
        said = [domain.describe(item, (name,))[name] for item in reading.items]
        return [None if cell == "" else cell for cell in said]
    raise InputError(f"no column {name!r}; {suggest(name, (*reading.columns, *domain.properties))}")


def _value(cell: Any) -> Asked | None:
    """A number where it is one; None where nothing stands."""
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return str(cell) if cell not in (None, "") else None
    return number if math.isfinite(number) else None


def _plain(cell: Any) -> Any:
    return "" if cell is None else cell


def fitted(
    domain: str,
    source: Path,
    labels: Sequence[str],
    folder: Path,
    *,
    column: str | None = None,
    items: int = 0,
    seed: int = 0,
    device: str = "auto",
    on_progress: Callable[[str], None] | None = None,
) -> Engine:
    """A model that was trained on the data set itself and can be asked for its labels; trained now if it is not there.

    Sequences begin with the domain's preset, where there is one. Grids are a VAE and a diffusion over it.
    """
    from genesis.engine import Engine, load
    from genesis.models.transformer import SIZES, Size, Transformer
    from genesis.train import TrainConfig

    def report(what: str) -> Callable[[Progress], None] | None:
        return (lambda p: on_progress(f"{what}: {p.items:,} items, loss {p.loss or 0:.3f}")) if on_progress else None

    adapter = registry.domain(domain)
    config = TrainConfig(items=items, seed=seed, learning_rate=LEARNING_RATE)
    settings: dict[str, Any] = {"column": column, "device": device, "config": config}
    settings["targets"] = [name for name in labels if name not in adapter.properties]
    if isinstance(adapter.spec, Grid):
        Engine.train(
            domain, source, folder / "vae", family="vae", size="small", on_progress=report("autoencoder"), **settings
        )
        return Engine.train(
            domain, source, folder / "model", family="diffusion", vae=folder / "vae", size="mini",
            on_progress=report("diffusion"), **settings,
        )  # fmt: skip
    preset = next((name for name in registry.presets() if name.startswith(f"{domain}-")), None)
    parent = load(preset, "cpu") if preset else None
    known = parent is not None and isinstance(parent.model, Transformer)
    width = parent.model.config.dim if parent and isinstance(parent.model, Transformer) else 0
    sizes: tuple[Size, ...] = get_args(Size)
    size: Size = next((name for name in sizes if SIZES[name][0] == width), "mini")
    return Engine.train(
        domain, source, folder / "model", size=size, begin_with=preset if known else None,
        on_progress=report("transformer"), **settings,
    )  # fmt: skip

"""What a generation gave: checked items, what was measured on each beside what was asked, and the report of the whole.

N  items
"""

from __future__ import annotations

import base64
import html
import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

from genesis import __version__
from genesis.domain import Asked, Audible, Domain, Number, Pictured, Reporting, Screened
from genesis.errors import ResourceError, UsageError
from genesis.metrics.calibration import error
from genesis.table import duration, number, share, table

SHOWN = 10  # rows of a table in a terminal
TEXT = 40  # characters an item's text may always have in that table
PICTURED = 24  # items of a picture: six rows of four
CAPTIONS = 3  # property lines under a picture
PICTURES = (".png", ".svg")
SOUNDS = (".wav",)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Report:
    """How a generation went. ``valid`` and ``unique`` are fractions of what was drawn, ``novel`` of what was returned.

    ``target``, ``error`` and ``inside`` are by property: what was asked (None: another value for each item), the mean
    distance to it (0 inside a range; 0 or 1 for a label), and the fraction inside the range or with the label. A
    target that the domain cannot measure, such as a column of a training file, is in ``target`` only.
    """

    asked: int
    drawn: int
    returned: int
    valid: float
    unique: float
    novel: float | None = None  # None: the training set's keys are not at hand
    target: Mapping[str, Asked | None] = field(default_factory=dict)
    error: Mapping[str, float] = field(default_factory=dict)
    inside: Mapping[str, float] = field(default_factory=dict)
    refused: int | None = None  # valid items that whoever asked did not accept; None: everything was
    screened: Mapping[str, int] | None = None  # items of listed hazardous families; None: nobody looked
    selected: bool = False  # a selection of what was returned: fewer than asked is no shortfall
    unseen: tuple[str, ...] = ()  # what was asked together and no training item has
    keep_best: int = 1
    candidates: int = 1  # draws of each item round what is given, of which one was kept
    constrained: bool = True
    temperature: float = 1.0
    guidance: float = 1.0
    seed: int = 0
    model: str = ""
    corpus: str = ""
    licence: str = ""
    version: str = __version__
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def shortfall(self) -> str:
        """Why fewer items came than were asked for, or nothing."""
        if self.selected or self.returned >= self.asked:
            return ""
        if self.interrupted:
            return f"interrupted at {self.returned:,} of {self.asked:,}"
        return f"only {self.returned:,} of {self.asked:,}: {self.drawn:,} draws gave no more valid, distinct items"

    def __str__(self) -> str:
        rules = f"seed {self.seed}, temperature {number(self.temperature)}, guidance {number(self.guidance)}"
        rules += f", the closest of {self.keep_best:,} kept" if self.keep_best > 1 else ""
        rules += f", 1 of {self.candidates:,} candidates each" if self.candidates > 1 else ""
        rules += "" if self.constrained else ", no constraint"
        notes = [self.shortfall, "selected" if self.selected else ""]
        notes += [f"{share(self.novel)} not in the training set"] if self.novel is not None else []
        rows = [
            ("asked", f"{self.asked:,}", rules),
            ("drawn", f"{self.drawn:,}", f"{share(self.valid)} valid, {share(self.unique)} valid and distinct"),
            ("returned", f"{self.returned:,}", ", ".join(filter(None, notes))),
        ]
        if self.unseen:
            which = ", nor ".join(self.unseen)
            rows.append(("unseen", f"{len(self.unseen):,}", f"none of the training items looked at has {which}"))
        if self.refused is not None:
            rows.append(("refused", f"{self.refused:,}", "valid, and not accepted"))
        if self.screened is not None:
            rows.append(("screen", f"{sum(self.screened.values()):,}", self._families()))
        if self.seconds > 0:
            rows.append(("time", duration(self.seconds), f"{number(round(self.returned / self.seconds, 1))} a second"))
        if self.model:
            origin = f"corpus {self.corpus or 'not recorded'}, licence {self.licence or 'not recorded'}"
            rows.append(("model", self.model, origin))
        parts = [table(("", "", ""), rows)]
        if self.target:
            lines = [(name, written(want), *self._error(name)) for name, want in self.target.items()]
            parts.append(table(("target", "asked", "mean error", "inside"), lines, right=(1, 2, 3)))
        return "\n\n".join(parts)

    __repr__ = __str__

    def _families(self) -> str:
        """``of listed families: nerve agents (Schedule 1.A.1) 2``, the most frequent first."""
        families = sorted((self.screened or {}).items(), key=lambda family: (-family[1], family[0]))
        named = ", ".join(f"{name} {count:,}" for name, count in families)
        return f"of listed families: {named}" if named else "of a listed family"

    def _error(self, name: str) -> tuple[str, str]:
        measured = number(self.error[name]) if name in self.error else "not measured"
        return measured, share(self.inside[name]) if name in self.inside else ""


@dataclass(frozen=True, slots=True, repr=False)
class Hits:
    """Items in the order they were made, with a list of ``N`` for everything known about them.

    ``index`` is the item's number under the seed, ``keys`` its canonical text, ``scale`` the unit that makes the errors
    of several targets comparable (a standard deviation of the training set; 1 where none is given).
    """

    domain: Domain[Any]
    items: list[Any]
    index: list[int]
    keys: list[str]
    measured: dict[str, list[Any]]
    asked: dict[str, list[Asked]]
    log_prob: list[float]
    summary: Report
    novel: list[bool] | None = None
    scale: Mapping[str, float] = field(default_factory=dict)
    model: Path | None = None  # the folder of the model that made them

    def __post_init__(self) -> None:
        columns: list[list[Any]] = [self.index, self.keys, self.log_prob, *self.measured.values(), *self.asked.values()]
        columns += [self.novel] if self.novel is not None else []
        assert all(len(column) == len(self.items) for column in columns), "every column has an entry for each item"

    def report(self) -> Report:
        """The report of the generation, with what depends on these items computed from them."""
        errors = {name: values for name in self.asked if (values := self._errors(name))}
        bounded = [name for name in errors if any(isinstance(want, str | tuple) for want in self.asked[name])]
        return replace(
            self.summary,
            returned=len(self),
            novel=_mean(self.novel) if self.novel else self.summary.novel,
            target={name: _common(wants) for name, wants in self.asked.items()},
            error={name: _mean(values) for name, values in errors.items()},
            inside={name: _mean([e == 0 for e in errors[name]]) for name in bounded},
            screened=self._screened(),
        )

    def best(self, n: int) -> Hits:
        """The ``n`` items closest to what was asked, the closest first: root mean square of errors over ``scale``."""
        if not self.asked:
            raise UsageError(
                "best() ranks by distance to the targets, and none was asked for; give generate() a target"
            )
        names = [name for name in self.asked if name in self.measured]
        if not names:
            raise UsageError(f"best() cannot rank: {', '.join(self.asked)} cannot be measured on a generated item")
        if n < 1:
            raise UsageError(f"best({n}): give 1 or more")
        scaled = [[e / self.scale.get(name, 1.0) for e in self._errors(name)] for name in names]
        distances = [math.hypot(*errors) for errors in zip(*scaled, strict=True)]
        return self._take(sorted(range(len(self)), key=distances.__getitem__)[:n])

    def columns(self) -> dict[str, list[Any]]:
        """What ``write`` puts beside each item: the targets first, measured and asked side by side; its origin last."""
        summary = self.summary
        columns: dict[str, list[Any]] = {"name": [f"{summary.model}:{summary.seed}:{i}" for i in self.index]}
        for name in self._names():
            if name in self.measured:
                columns[name] = self._counts(name)
            wants = self.asked.get(name, [])
            if any(isinstance(want, tuple) for want in wants):
                columns[f"asked_{name}_low"] = [_end(want, 0) for want in wants]
                columns[f"asked_{name}_high"] = [_end(want, 1) for want in wants]
            elif name in self.asked:
                columns[f"asked_{name}"] = wants
        if isinstance(self.domain, Reporting) and self.items:
            columns |= {name: list(cells) for name, cells in self.domain.report(self.items, self.model).items()}
        columns["log_prob"] = self.log_prob
        if self.novel is not None:
            columns["novel"] = self.novel
        columns["item"] = self.index
        return columns | {name: [value] * len(self) for name, value in self.origin().items()}

    def write(self, path: Path | str) -> None:
        """Items and ``columns()`` into a file, whole or not at all; the suffix says the format."""
        self.domain.write(self.items, Path(path), self.columns())

    def picture(self, path: Path | str, count: int | None = None) -> None:
        """The first ``count`` items (24; 400 images) side by side, .png or .svg, with targets or properties below."""
        drawn = check_picture(self.domain, Path(path))
        if not self.items:
            raise UsageError(f"no item to draw into {path}")
        most = count or int(getattr(self.domain, "pictured", PICTURED))
        shown, target = min(most, len(self)), Path(path)
        with tempfile.TemporaryDirectory(dir=target.resolve().parent, prefix=f".{target.stem}.") as folder:
            part = Path(folder) / target.name
            drawn.picture(self.items[:shown], [self.caption(i) for i in range(shown)], part)
            if part.suffix.lower() == ".png":
                sign_png(part, self.origin())
            part.replace(target)

    def origin(self) -> dict[str, str | int]:
        """What made these items, as every file of them says it."""
        made = self.summary
        origin: dict[str, str | int] = {"seed": made.seed, "model": made.model, "corpus": made.corpus}
        return origin | {"licence": made.licence, "genesis": made.version}

    def sound(self, path: Path | str) -> None:
        """The items one after the other as a .wav file."""
        heard = check_sound(self.domain, Path(path))
        if not self.items:
            raise UsageError(f"no item to play into {path}")
        heard.sound(self.items, Path(path))

    def caption(self, i: int) -> str:
        """What was measured on item ``i`` and what was asked of it, a line each; three properties without targets."""
        lines = []
        for name in list(self.asked) or list(self.measured)[:CAPTIONS]:
            asked = f"asked {written(self.asked[name][i])}" if name in self.asked else ""
            if name in self.measured:
                asked = written(self.measured[name][i]) + (f" ({asked})" if asked else "")
            lines.append(f"{name} {asked}")
        return "\n".join(lines)

    def to_frame(self) -> Any:
        """A pandas DataFrame of canonical texts and ``columns()``."""
        try:
            import pandas
        except ImportError:
            raise ResourceError('to_frame() needs pandas; run `pip install "genesis-engine[frame]"`') from None
        return pandas.DataFrame({self.domain.name: self.keys, **self.columns()})

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> Hits: ...
    def __getitem__(self, at: int | slice) -> Any:
        return self._take(range(len(self))[at]) if isinstance(at, slice) else self.items[at]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __repr__(self) -> str:
        """A table of the first rows, as wide as the terminal."""
        text = table(*self._cells(shutil.get_terminal_size((100, 24)).columns), right=range(2, 100))
        more = len(self) - SHOWN
        return f"{text}\n... and {more:,} more" if more > 0 else text

    def _repr_html_(self) -> str:
        """Pictures in a notebook, or else the table; below them the sound of the first item, and the report."""
        report = f"<pre>{html.escape(str(self.report()))}</pre>"
        if self.items and isinstance(self.domain, Audible):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "hits.wav"
                self[:1].sound(path)
                sound = base64.b64encode(path.read_bytes()).decode()
            report = f'<audio controls src="data:audio/wav;base64,{sound}"></audio>{report}'
        if self.items and isinstance(self.domain, Pictured):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "hits.svg"
                self.picture(path)
                drawing = base64.b64encode(path.read_bytes()).decode()
            return f'<img alt="{html.escape(self.domain.name)}" src="data:image/svg+xml;base64,{drawing}">{report}'
        header, rows = self._cells(width=10_000)
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(c)}</td>' for c in row)}</tr>" for row in rows)
        return f"<table><tr>{head}</tr>{body}</table>{report}"

    def _cells(self, width: int) -> tuple[list[str], list[list[str]]]:
        """Header and first rows: index, text, targets, then as many other properties as ``width`` has room for."""
        count = min(SHOWN, len(self))
        index = ["item", *map(str, self.index[:count])]
        texts = [self.domain.name, *self.keys[:count]]
        longest = max(map(len, texts))
        room = width - max(map(len, index)) - 2 - min(longest, TEXT)
        columns: list[list[str]] = []
        for name in self._names():
            part = [[name, *map(written, self.measured[name][:count])]] if name in self.measured else []
            if name in self.asked:
                part.append(["asked" if part else f"asked {name}", *map(written, self.asked[name][:count])])
            needed = sum(max(map(len, column)) + 2 for column in part)
            if needed > room and name not in self.asked:
                break
            room -= needed
            columns += part
        limit = min(longest, TEXT) + max(room, 0)
        short = [text if len(text) <= limit else f"{text[: limit - 3]}..." for text in texts]
        header, *rows = (list(row) for row in zip(index, short, *columns, strict=True))
        return header, rows

    def _names(self) -> list[str]:
        """Properties, the targets first."""
        return [*self.asked, *(name for name in self.measured if name not in self.asked)]

    def _counts(self, name: str) -> list[Any]:
        """The measured values, as whole numbers where the domain says that they are counts."""
        kind = self.domain.properties.get(name)
        whole = isinstance(kind, Number) and kind.integer
        return [int(value) for value in self.measured[name]] if whole else self.measured[name]

    def _errors(self, name: str) -> list[float]:
        """The distance of each item to a target; empty when the domain cannot measure it."""
        if name not in self.measured:
            return []
        return [distance(got, want) for got, want in zip(self.measured[name], self.asked[name], strict=True)]

    def _screened(self) -> dict[str, int] | None:
        """Items of listed families, by family; None where the domain has no list."""
        if not isinstance(self.domain, Screened):
            return None
        families = (self.domain.screen(item) for item in self.items)
        return dict(sorted(Counter(family for family in families if family is not None).items()))

    def _take(self, chosen: Sequence[int]) -> Hits:
        """The chosen items, in that order."""
        return replace(
            self,
            items=[self.items[i] for i in chosen],
            index=[self.index[i] for i in chosen],
            keys=[self.keys[i] for i in chosen],
            measured={name: [values[i] for i in chosen] for name, values in self.measured.items()},
            asked={name: [wants[i] for i in chosen] for name, wants in self.asked.items()},
            log_prob=[self.log_prob[i] for i in chosen],
            novel=[self.novel[i] for i in chosen] if self.novel is not None else None,
            summary=replace(self.summary, selected=True, novel=None),
        )


def sign_png(path: Path, origin: Mapping[str, str | int]) -> None:
    """Add text chunks to a PNG file: ``genesis:seed``, ``genesis:model``, ..., and ``Software``; no pixel changes."""
    from PIL import Image, PngImagePlugin

    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Software", f"genesis {origin.get('genesis', __version__)}")
    for name, value in origin.items():
        chunks.add_itxt(f"genesis:{name}", str(value))
    part = path.with_suffix(".signed")
    with Image.open(path) as image:
        image.save(part, "PNG", pnginfo=chunks)
    part.replace(path)


def distance(measured: Any, asked: Asked) -> float:
    """|measured - asked|; the distance to a range, 0 inside it; for a label 0 or 1."""
    return float(measured != asked) if isinstance(asked, str) else abs(error(asked, measured))


def written(value: Any) -> str:
    """A measured or an asked value in a table: ``0.9``, ``2:3``, ``bach``; None, where items differ, is ``varies``."""
    if value is None:
        return "varies"
    if isinstance(value, tuple):
        return ":".join(map(written, value))
    return value if isinstance(value, str) else number(value)


def check_picture(domain: Domain[Any], path: Path) -> Pictured[Any]:
    """The domain, if it can draw its items there; else a UsageError before any work is done."""
    if not isinstance(domain, Pictured):
        raise UsageError(f"the domain {domain.name!r} has no pictures; leave --picture out")
    _check_file(path, "draw", PICTURES)
    return domain


def check_sound(domain: Domain[Any], path: Path) -> Audible[Any]:
    """The same for a sound."""
    if not isinstance(domain, Audible):
        raise UsageError(f"the domain {domain.name!r} has no sound; leave --audio out")
    _check_file(path, "play", SOUNDS)
    return domain


def _check_file(path: Path, verb: str, suffixes: Sequence[str]) -> None:
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"cannot {verb} into {path.name!r}; allowed: {', '.join(suffixes)}")
    if path.is_dir():
        raise UsageError(f"cannot {verb} into {path}: it is a folder")
    if not path.resolve().parent.is_dir():
        raise UsageError(f"cannot {verb} into {path}: folder {path.resolve().parent} is not there; make it first")


def _end(want: Any, which: int) -> float | None:
    """An end of a range as a file holds it: an open one is empty, since JSON has no infinity."""
    end: float = want[which] if isinstance(want, tuple) else want
    return end if math.isfinite(end) else None


def _common(wants: Sequence[Asked]) -> Asked | None:
    return wants[0] if wants and all(want == wants[0] for want in wants) else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)

"""``genesis evaluate DOMAIN FILE``: what a file of items holds, and how it compares with a benchmark's reference."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesis.cli import streams
from genesis.cli.flags import Column, Debug, Json, Quiet, flag
from genesis.errors import UsageError
from genesis.table import number, share, table

if TYPE_CHECKING:
    from genesis.domain import Domain, Reading

EPILOG = """\
Without --reference nothing but the file is needed. A reference is a corpus that was fetched.

Examples:
  genesis evaluate molecules hits.csv
  genesis evaluate molecules hits.csv --reference moses
  genesis evaluate molecules library.smi --json"""

REFUSED = 3  # refused rows that are shown

DomainName = Annotated[str, typer.Argument(metavar="DOMAIN", help="What the items are.", show_default=False)]
File = Annotated[Path, typer.Argument(metavar="FILE", help="Items; the suffix says the format.", show_default=False)]
Reference = Annotated[
    str | None, flag("--reference", metavar="NAME", help="Compare with this corpus, such as moses: its benchmark.")
]


def evaluate(
    domain: DomainName,
    file: File,
    reference: Reference = None,
    column: Column = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Judge a file of items: validity, uniqueness, properties, a benchmark."""
    from genesis import registry

    adapter = registry.domain(domain)
    reading = adapter.read(file, column)
    with streams.Progress(quiet) as progress:
        properties = _properties(adapter, reading, progress)
        scores = _benchmark(adapter, reading, reference, progress) if reference is not None else {}
    valid, rows = len(reading.items), len(reading.items) + len(reading.rejected)
    distinct = len({adapter.key(item) for item in reading.items})
    if json:
        figures = {"rows": rows, "valid": valid / rows, "unique": distinct / rows}
        streams.show_json({**figures, "properties": properties, "reference": reference, "scores": scores})
        return
    facts = [
        ("rows", f"{rows:,}", ""),
        ("valid", f"{valid:,}", share(valid / rows)),
        ("distinct", f"{distinct:,}", share(distinct / rows)),
    ]
    parts = [table(("", "", ""), facts, right=(1, 2))]
    refused = [(f"row {r.row}", r.text[:40], r.reason) for r in reading.rejected[:REFUSED]]
    if refused:
        more = len(reading.rejected) - len(refused)
        parts.append(table(("refused", "", ""), refused) + (f"\n... and {more:,} more" if more else ""))
    if properties:
        spread = [(name, *map(number, figures.values())) for name, figures in properties.items()]
        parts.append(table(("property", "mean", "deviation", "lowest", "highest"), spread, right=(1, 2, 3, 4)))
    if scores:
        parts.append(table((f"against {reference}", ""), [(k, number(v)) for k, v in scores.items()], right=(1,)))
    streams.show("\n\n".join(parts))


def _properties(domain: Domain[Any], reading: Reading, progress: streams.Progress) -> dict[str, dict[str, float]]:
    """Mean, standard deviation and extremes of every measured number."""
    from genesis.domain import Number

    names = [name for name, kind in domain.properties.items() if isinstance(kind, Number)]
    measured = []
    for done, item in enumerate(reading.items, 1):
        measured.append(domain.describe(item, names))
        progress(done, len(reading.items), "measuring")
    if not measured:
        return {}
    columns = {name: [float(row[name]) for row in measured] for name in names}
    return {
        name: {
            "mean": statistics.fmean(values),
            "deviation": statistics.pstdev(values),
            "lowest": min(values),
            "highest": max(values),
        }
        for name, values in columns.items()
    }


def _benchmark(domain: Domain[Any], reading: Reading, reference: str, progress: streams.Progress) -> dict[str, float]:
    """The field's own figures; a row that is no item counts as one that was asked for and is not valid."""
    from genesis.data import fetch
    from genesis.domain import Evaluated

    if not isinstance(domain, Evaluated):
        raise UsageError(f"the domain {domain.name!r} has no benchmark; leave --reference out")
    items = [*reading.items, *[None] * len(reading.rejected)]
    return dict(domain.evaluate(items, reference, fetch.cached, progress))

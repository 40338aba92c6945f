"""Aligned text: the one table that a terminal, a log and a pipe can all show, and how its numbers are written."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

GAP = "  "


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Rows under their header, each column as wide as its widest cell; the columns in ``right`` end together.

    A header of empty texts is left out. A cell is one printable line, so a hostile file cannot recolour a terminal.
    """
    lines = [[plain(cell) for cell in row] for row in (header, *rows) if row is not header or any(header)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        GAP.join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def plain(text: str) -> str:
    """One printable line: control characters as Python writes them."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def number(value: float) -> str:
    """Whole numbers in full, with thousands apart; others with four significant digits."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.1f}"


def share(value: float) -> str:
    """``0.998`` as ``99.8 %``. Only all is 100 % and only none is 0 %: the rest is rounded away from both."""
    if value in (0, 1):
        return f"{value:.0%}".replace("%", " %")
    return f"{min(max(100 * value, 0.1), 99.9):.1f} %"


def duration(seconds: float) -> str:
    """``7.3 s``, ``2 min 5 s``, ``3 h 20 min``: two units at most."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"

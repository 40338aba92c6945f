"""Where things are printed: results on standard output, everything else on standard error.

Progress is a bar on a terminal and a line every thirty seconds elsewhere, so a log of a night has a thousand lines.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from genesis.table import duration, plain

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

PERIOD = 30.0  # seconds between two lines of a log


@contextmanager
def results() -> Iterator[None]:
    """Printing to standard output; a reader that has seen enough (``| head``) ends the command in silence."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # what is still buffered goes nowhere, or the interpreter would complain of the pipe at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise typer.Exit(0) from None


def show(text: str) -> None:
    """Print a result."""
    with results():
        print(text)


def show_json(value: Mapping[str, Any] | list[Any]) -> None:
    """Print a result as one JSON value."""
    show(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=str))


def note(text: str) -> None:
    """Print what is not a result."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """``progress(done, total, what)``; ``total`` 0 is not known. With ``size`` the counts are bytes."""

    def __init__(self, quiet: bool = False, size: bool = False) -> None:
        self.quiet, self.size = quiet, size
        self.bar: Bar | None = None
        self.task: Any = None
        self.what = ""
        self.began = self.printed = time.monotonic()

    def __enter__(self) -> Progress:
        if not self.quiet and sys.stderr.isatty():
            self.bar = _bar(self.size)
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, done: int, total: int, what: str) -> None:
        if self.quiet:
            return
        now = time.monotonic()
        if what != self.what:
            self.what, self.began, self.printed = what, now, now
            if self.bar is not None:
                if self.task is not None:
                    self.bar.remove_task(self.task)
                self.task = self.bar.add_task(plain(what), total=total or None)
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=total or None)
        elif now - self.printed >= PERIOD:
            self.printed = now
            note(f"genesis: {self.line(done, total, now - self.began)}")

    def line(self, done: int, total: int, seconds: float) -> str:
        """``drawing: 512 of 1,000, 51.2 a second, 10 s left``."""
        rate = done / seconds if seconds > 0 else 0.0
        parts = [f"{self.what}: {self._count(done)}" + (f" of {self._count(total)}" if total else "")]
        parts.append(f"{rate / 1e6:.1f} MB a second" if self.size else f"{rate:,.1f} a second")
        if total and rate > 0:
            parts.append(f"{duration((total - done) / rate)} left")
        return ", ".join(parts)

    def _count(self, n: int) -> str:
        return f"{n / 1e6:,.1f} MB" if self.size else f"{n:,}"


def _bar(size: bool) -> Bar:
    """A bar on standard error that vanishes when the work is done."""
    from rich import progress
    from rich.console import Console

    counts = progress.DownloadColumn() if size else progress.MofNCompleteColumn()
    columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), counts, progress.TimeRemainingColumn())
    return progress.Progress(*columns, console=Console(stderr=True), transient=True)

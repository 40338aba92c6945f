"""Commands whose help is plain text in groups: it is quick, it can be piped, and examples stay as they were written.

Typer's own panels need rich and markdown-it, which doubled the time of ``genesis --help``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from genesis.errors import GenesisError

ARGUMENTS, OPTIONS = "Arguments", "Options"
MARGIN = 36  # columns that the names of flags may take
Rows = list[tuple[str, str]]


class Interrupted(GenesisError):
    """Ctrl-C, or a scheduler's SIGTERM, where there was nothing to keep."""

    exit_code = 130


class Command(TyperCommand):
    """A command whose options stand under the headings of their panels."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # Typer would end in silence
            raise Interrupted("interrupted") from None

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write(_parameters(self, ctx), formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _write_epilog(self, formatter)


class Group(TyperGroup):
    """Commands under the headings of their panels."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, Rows] = {}
        for name, command in self.commands.items():
            panel = getattr(command, "rich_help_panel", None) or "Commands"
            # the first sentence, whole: the formatter wraps it
            panels.setdefault(panel, []).append((name, command.get_short_help_str(limit=500)))
        _write(panels | _parameters(self, ctx), formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _write_epilog(self, formatter)


def show_help(ctx: typer.Context) -> None:
    """What a group does when no command is named."""
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


def _parameters(command: Any, ctx: Any) -> dict[str, Rows]:
    """Arguments, then options without a panel, then the panels in the order in which they appear."""
    panels: dict[str, Rows] = {ARGUMENTS: [], OPTIONS: []}
    for parameter in command.get_params(ctx):
        name, text = parameter.get_help_record(ctx)
        if parameter.param_type_name == "argument":
            panels[ARGUMENTS].append((name.split()[0], text.removesuffix("[required]").rstrip()))
        else:
            panels.setdefault(getattr(parameter, "rich_help_panel", None) or OPTIONS, []).append((name, text))
    return panels


def _write(panels: Mapping[str, Rows], formatter: Any) -> None:
    for title, rows in panels.items():
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows, col_max=MARGIN)


def _write_epilog(command: Any, formatter: Any) -> None:
    if command.epilog:
        formatter.write(f"\n{command.epilog}\n")

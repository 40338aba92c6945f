"""Flags that several commands have: the same name, meaning and default everywhere."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from genesis.errors import UsageError

RUN = "How it runs"
MAX_SEED = 2**63 - 1


def flag(*names: str, help: str, metavar: str = "", panel: str | None = None, **more: Any) -> Any:
    """An option of the command line; its variable in the environment is not repeated in the help of each."""
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, show_envvar=False, **more)


def _seed(value: int) -> int:
    if not 0 <= value <= MAX_SEED:
        raise UsageError(f"--seed {value}: a seed is a whole number from 0 to {MAX_SEED}")
    return value


Seed = Annotated[int, flag("--seed", metavar="N", callback=_seed, help="Same seed, same result.")]
Device = Annotated[str, flag("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N.", panel=RUN)]
Workers = Annotated[
    int | None, flag("--workers", metavar="N", min=1, help="Processes; else by the size of the work.", panel=RUN)
]
Json = Annotated[bool, flag("--json", help="Print JSON.")]
Quiet = Annotated[bool, flag("--quiet", "-q", help="No progress and no report, errors only.", panel=RUN)]
Debug = Annotated[bool, flag("--debug", help="Show the traceback of an error.", panel=RUN)]
DryRun = Annotated[bool, flag("--dry-run", help="Check everything, print the plan, and stop.", panel=RUN)]
Column = Annotated[
    str | None,
    flag("--column", "--smiles-column", metavar="NAME", help="Column of the items; else it is found by its name."),
]

"""The command ``genesis``: its commands, and how each way of ending becomes one line and an exit code.

Every installed domain has a generating command of its own name; the names come from the entry points, and no domain is
imported to list them.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from genesis import __version__, registry
from genesis.cli import augment, batch, bench, data, doctor, evaluate, generate, latent, models, train
from genesis.cli.command import Command, Group, show_help
from genesis.cli.flags import flag
from genesis.errors import GenesisError
from genesis.table import plain

EPILOG = """\
Results go to standard output; progress, reports and errors to standard error.
A flag may stand in the environment: GENESIS_MOLECULES_SEED=1 is --seed 1 of `genesis molecules`.

Exit codes:
  0    done
  1    failed, or fewer items than asked for
  2    usage: a flag or an argument cannot be meant
  3    a file is unreadable, or too much of it is
  4    a model, a corpus or a library is missing
  5    a check refused the result
  130  interrupted; what was finished is kept"""


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. An error is one line on standard error; --debug adds the traceback."""
    try:
        code = application()(list(arguments), prog_name="genesis", standalone_mode=False, obj=list(arguments))
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        return _failed(error.format_message(), error.exit_code, arguments)
    except GenesisError as error:
        return _failed(str(error), error.exit_code, arguments)
    except SystemExit:  # Typer's answer to a reader of the help that has seen enough
        return 0
    except (MemoryError, OSError) as error:
        return _failed(f"{type(error).__name__}: {error}", GenesisError.exit_code, arguments)
    except Exception as error:
        said = f"{type(error).__name__}: {error}; this is a mistake in genesis, and --debug shows where"
        return _failed(said, GenesisError.exit_code, arguments)


def application() -> typer.Typer:
    """The commands of this installation."""
    app = typer.Typer(
        name="genesis",
        help="Make items with the properties you ask for, each checked and measured.",
        epilog=EPILOG,
        invoke_without_command=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        cls=Group,
        context_settings={
            "auto_envvar_prefix": "GENESIS",
            "help_option_names": ["--help", "-h"],
            "max_content_width": 100,
        },
    )
    app.callback()(_top)
    for name in registry.domains():
        app.command(name, cls=generate.Making, rich_help_panel="Make", epilog=generate.epilog(name))(
            generate.command(name)
        )
    app.add_typer(batch.app, name="batch", rich_help_panel="Make")
    app.command("augment", cls=Command, rich_help_panel="Make", epilog=augment.EPILOG)(augment.augment)
    app.command("interpolate", cls=Command, rich_help_panel="Make", epilog=latent.WAY)(latent.interpolate)
    app.command("explore", cls=Command, rich_help_panel="Make", epilog=latent.MAP)(latent.explore)
    learn, here = "Learn and judge", "What is here"
    app.command("train", cls=Command, rich_help_panel=learn, epilog=train.EPILOG)(train.train)
    app.command("evaluate", cls=Command, rich_help_panel=learn, epilog=evaluate.EPILOG)(evaluate.evaluate)
    app.add_typer(data.app, name="data", rich_help_panel=here)
    app.add_typer(models.app, name="models", rich_help_panel=here)
    app.command("bench", cls=Command, rich_help_panel=here, epilog=bench.EPILOG)(bench.bench)
    app.command("doctor", cls=Command, rich_help_panel=here, epilog=doctor.EPILOG)(doctor.doctor)
    return app


def _version(asked: bool) -> None:
    if asked:
        print(f"genesis {__version__}")
        raise typer.Exit


def _top(
    ctx: typer.Context,
    version: Annotated[bool, flag("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
) -> None:
    show_help(ctx)


def _failed(message: str, code: int, arguments: Sequence[str]) -> int:
    if "--debug" in arguments:
        traceback.print_exc()
    print(f"genesis: error: {plain(' '.join(message.split()))}", file=sys.stderr)
    return code

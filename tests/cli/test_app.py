"""How a command ends: exit codes, one line an error, a closed pipe, a signal; and what the help says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from genesis import __version__, errors
from genesis.cli.app import run

Call = Callable[..., Any]
COMMAND = [sys.executable, "-c", "from genesis.cli import main; main()"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.GenesisError("it failed"), 1),
        (errors.UsageError("it failed"), 2),
        (errors.UnknownProperty("qd", ["qed"], "molecules"), 2),
        (errors.InputError("it failed"), 3),
        (errors.EncodeError("it failed"), 3),
        (errors.ResourceError("it failed"), 4),
        (errors.CheckpointError("it failed"), 4),
        (errors.GateError("it failed"), 5),
        (KeyboardInterrupt(), 130),
        (OSError(28, "No space left on device", "hits.csv"), 1),
        (MemoryError("no room"), 1),
        (RuntimeError("a mistake"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_its_exit_code_and_one_line(call: Call, engine: Any, error: BaseException, code: int) -> None:
    engine.error = error
    done = call("words")
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("genesis: error: ")
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err


def test_an_error_cannot_recolour_the_terminal(call: Call, engine: Any) -> None:
    engine.error = errors.InputError("row 1: \x1b[31mred\x07\nsecond line")
    assert call("words").err == "genesis: error: row 1: \\x1b[31mred\\x07 second line\n"


def test_the_version(call: Call) -> None:
    assert call("--version").out == f"genesis {__version__}\n"


def test_an_unknown_command_suggests_the_near_one(call: Call) -> None:
    done = call("evalaute")
    assert done.code == 2
    assert "No such command 'evalaute'. Did you mean 'evaluate'?" in done.err


def test_without_a_command_the_help_is_shown(call: Call) -> None:
    assert call() == call("--help")
    assert call("data") == call("data", "--help")
    assert call("models") == call("models", "--help")


EVERY = ["", "words", "train", "evaluate", "data", "data list", "data fetch", "data prepare", "models", "models list"]
EVERY += ["models info", "doctor"]


@pytest.mark.parametrize("name", EVERY)
def test_help_is_complete_and_fits_a_terminal(call: Call, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    done = call(*name.split(), "--help")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].startswith(f"Usage: genesis {name}".strip())
    assert max(map(len, lines)) <= 110
    assert not any(line.rstrip().endswith("...") for line in lines[1:]), "nothing is cut"
    assert call(*name.split(), "-h").out == done.out


def test_top_help_lists_every_domain_command_and_exit_code(call: Call) -> None:
    text = call("--help").out
    for word in ("words", "train", "evaluate", "data", "models", "doctor", "130"):
        assert f"\n  {word}" in text


def test_options_stand_under_their_headings(call: Call) -> None:
    text = call("words", "--help").out
    heads = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert heads == [
        "Options:",
        "How it is drawn:",
        "Where it goes:",
        "How it runs:",
        "What can be asked for:",
        "Examples:",
    ]
    assert text.index("--temperature") > text.index("How it is drawn:")


@pytest.mark.parametrize("arguments", ["data list --json", "models list --json", "--version", "--help", "data"])
def test_a_reader_that_leaves_ends_the_command_in_silence(arguments: str) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([*COMMAND, *arguments.split()], stdout=write, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_130_and_one_line(number: int) -> None:
    code = (
        "import os, time, genesis.data.fetch\n"
        f"genesis.data.fetch.status = lambda name: (os.kill(os.getpid(), {int(number)}), time.sleep(30))\n"
        "from genesis.cli import main; main()"
    )
    arguments = [sys.executable, "-c", code, "data", "list"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "genesis: error: interrupted\n"


def test_run_returns_rather_than_exits() -> None:
    assert run(["--version"]) == 0

"""``genesis train``: what reaches the engine, what is said on the way, and how a stopped run goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genesis.cli.train import line
from genesis.engine import Engine
from genesis.errors import InputError
from genesis.train import Progress

Call = Callable[..., Any]
PROGRESS = Progress(1500, 120_000, 0.8123, 0.799, 2e-3, 800.0, 150.0)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of the last training; ``error`` in it is raised."""
    found: dict[str, Any] = {}

    def train(domain: str, source: str, out: Path, **more: Any) -> Any:
        more["on_encode"](10, 0, "encoding")
        more["on_progress"](PROGRESS)
        if "error" in found:
            raise found["error"]
        found.update(more, domain=domain, source=source, out=out)
        return SimpleNamespace(properties=("letters", "fame"))

    monkeypatch.setattr(Engine, "train", train)
    return found


def test_every_flag_reaches_the_engine(call: Call, asked: dict[str, Any]) -> None:
    flags = "--out runs/mine -t fame -t era --smiles-column WORD --size tiny --items 5000 --batch-tokens 4096"
    more = "--learning-rate 0.001 --seed 3 --share 0.5 --max-rejected 0.2 --device cpu --from words-a --precision fp32"
    done = call("train", "words", "library.csv", *flags.split(), *more.split())
    assert (done.code, done.out) == (0, "runs/mine\n")
    assert (asked["domain"], asked["source"], asked["out"]) == ("words", "library.csv", Path("runs/mine"))
    assert (asked["column"], list(asked["targets"]), asked["size"]) == ("WORD", ["fame", "era"], "tiny")
    assert (asked["share"], asked["max_rejected"], asked["device"]) == (0.5, 0.2, "cpu")
    assert asked["begin_with"] == "words-a"
    config = asked["config"]
    assert (config.items, config.batch_tokens, config.learning_rate, config.seed) == (5000, 4096, 0.001, 3)
    assert config.precision == "fp32"


def test_progress_and_targets_are_said_on_stderr(call: Call, asked: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "m" / "encoded").mkdir(parents=True)
    (tmp_path / "m" / "encoded" / "rejected.csv").touch()
    done = call("train", "words", "library.csv", "--out", "m", "--items", "1000000")
    assert done.err.splitlines() == [
        "genesis: step 1,500, 120,000 of 1,000,000 items, loss 0.8123, held out 0.7990, 800 items a second, "
        "18 min 20 s left",
        "genesis: rows that are no items are listed in m/encoded/rejected.csv",
        "genesis: it can be asked for letters, fame",
    ]
    assert call("train", "words", "library.csv", "--out", "m", "--items", "1000", "--quiet").err == ""


def test_a_line_without_what_is_not_known() -> None:
    said = line(Progress(1, 50, None, None, 1e-3, 0.0, 1.0), 100)
    assert said == "step 1, 50 of 100 items, no loss was finite, 0 items a second"


def test_a_line_of_a_run_that_ends_in_time() -> None:
    progress = Progress(1, 50, 0.5, None, 1e-3, 10.0, 30.0)
    assert line(progress, 0, 2.0) == "step 1, 50 items, loss 0.5000, 10 items a second, 1 min 30 s left"
    assert line(progress, 100, 2.0).endswith("50 of 100 items, loss 0.5000, 10 items a second, 5.0 s left")


def test_a_stopped_run_prints_the_command_that_goes_on(call: Call, asked: dict[str, Any]) -> None:
    asked["error"] = KeyboardInterrupt()
    done = call("train", "words", "my library.csv", "--out", "m", "--items", "1000")
    assert (done.code, done.out) == (130, "")
    assert done.err.splitlines()[-1] == (
        "genesis: error: interrupted; to go on from the last checkpoint: "
        "genesis train words 'my library.csv' --out m --items 1000"
    )


def test_too_many_bad_rows_are_bad_input(call: Call, asked: dict[str, Any]) -> None:
    asked["error"] = InputError("900 of 1,000 rows are no items")
    done = call("train", "words", "library.csv", "--out", "m", "--items", "1000")
    assert done.code == 3
    assert done.err.splitlines()[-1] == "genesis: error: 900 of 1,000 rows are no items"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("words", "Missing argument 'SOURCE'"),
        ("words library.csv", "Missing option '--out' / '-o'"),
        (
            "words library.csv --out m --size huge",
            "'huge' is not one of 'tiny', 'micro', 'mini', 'small', 'base', 'large'",
        ),
        ("words library.csv --out m --learning-rate nan", "'--learning-rate'"),
        ("words library.csv --out m --items -1", "'--items'"),
        ("words library.csv --out m --max-rejected 2", "'--max-rejected'"),
    ],
)
def test_what_cannot_be_meant(call: Call, asked: dict[str, Any], arguments: str, said: str) -> None:
    done = call("train", *arguments.split())
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1
    assert asked == {}

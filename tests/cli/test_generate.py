"""The generating command: what it passes on, what it writes and prints, and how it ends."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genesis import registry
from genesis.cli import targets
from genesis.cli.app import run
from genesis.domain import Category, Number
from genesis.errors import GenesisError, UsageError
from genesis.nn.conditioner import CategoryField, NumberField
from genesis.targets import Targets

Call = Callable[..., Any]


def test_a_table_on_stdout_and_the_report_on_stderr(call: Call) -> None:
    done = call("words", "-n", "12", "-t", "letters=4")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["item", "words", "letters", "asked", "vowels", "kind"]
    assert lines[1].split() == ["0", "sun", "3", "4", "33.33", "short"]
    assert len(lines) == 12
    assert lines[-1] == "... and 2 more"
    assert "asked" not in done.out.replace(lines[0], "")
    assert "returned  12" in done.err
    assert "drawn     13          92.3 % valid, 92.3 % valid and distinct" in done.err
    assert done.err.splitlines()[-1].split() == ["letters", "4", "0.9167"], "(1+1+3+1+1+0+0+1+1+1+1+0) / 12"


def test_every_flag_reaches_the_engine(call: Call, engine: Any) -> None:
    flags = "--count 3 --seed 7 --temperature 0.5 --top-k 9 --top-p 0.8 --min-p 0.1 --guidance 2"
    more = "--keep-best 4 --candidates 2 --no-constraint --batch-size 16 --workers 2 --quiet -t letters=3:5"
    assert call("words", *flags.split(), *more.split(), "-t", "kind=long").code == 0
    assert engine.asked == {
        "count": 3,
        "target": {"letters": (3.0, 5.0), "kind": "long"},
        "given": {},
        "seed": 7,
        "temperature": 0.5,
        "top_k": 9,
        "top_p": 0.8,
        "min_p": 0.1,
        "guidance": 2.0,
        "steps": 0,
        "sampler": "",
        "blur": None,
        "keep_best": 4,
        "candidates": 2,
        "constrained": False,
        "batch_size": 16,
        "workers": 2,
    }


def test_the_model_and_the_device_reach_load(call: Call, engine: Any) -> None:
    call("words", "--model", "runs/mine", "--device", "cuda:1", "--dry-run")
    assert engine.asked == {"model": "runs/mine", "device": "cuda:1"}
    call("words", "--dry-run")
    assert engine.asked == {"model": "words", "device": "auto"}


def test_json_lines_alone_on_stdout(call: Call) -> None:
    done = call("words", "-n", "3", "--json", "-t", "letters=2:4")
    assert done.code == 0
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["word"] for row in rows] == ["sun", "river", "a"]
    assert rows[1]["letters"] == 5
    assert (rows[1]["asked_letters_low"], rows[1]["asked_letters_high"]) == (2.0, 4.0)
    assert {row["model"] for row in rows} == {"words-fake"}
    assert "returned" in done.err


def test_files_are_written_and_stdout_is_empty(call: Call, tmp_path: Path) -> None:
    done = call("words", "-n", "2", "-o", "hits.txt", "--picture", "hits.png", "--report", "report.json")
    assert (done.code, done.out) == (0, "")
    assert (tmp_path / "hits.txt").read_text() == "sun\nriver\n"
    assert (tmp_path / "hits.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["asked"], report["returned"], report["corpus"]) == (2, 2, "dictionary")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hits.png", "hits.txt", "report.json"]


def test_several_outputs_are_told_apart_by_their_suffixes(call: Call, tmp_path: Path) -> None:
    done = call("words", "-n", "2", "-o", "hits.txt", "-o", "hits.jsonl", "-o", "hits.png")
    assert (done.code, done.out) == (0, "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hits.jsonl", "hits.png", "hits.txt"]
    assert (tmp_path / "hits.png").read_bytes().startswith(b"\x89PNG")


def test_a_domain_without_sound_says_so_before_the_work(call: Call, engine: Any) -> None:
    done = call("words", "--audio", "hits.wav")
    assert done.code == 2
    assert "the domain 'words' has no sound; leave --audio out" in done.err
    assert engine.asked == {}


def test_every_property_is_a_flag_of_its_own(call: Call, engine: Any) -> None:
    assert call("words", "--letters", "2:4", "--kind=short", "-n", "1").code == 0
    assert engine.asked["target"] == {"letters": (2.0, 4.0), "kind": "short"}


def test_a_property_flag_needs_a_value_and_an_unknown_flag_stays_unknown(call: Call) -> None:
    missing, unknown = call("words", "--letters"), call("words", "--leters", "3")
    assert (missing.code, unknown.code) == (2, 2)
    assert "--letters: a value is missing; write --letters VALUE" in missing.err
    assert "No such option: --leters" in unknown.err


def test_a_dash_is_stdout(call: Call) -> None:
    assert call("words", "-n", "2", "--out", "-").out == "sun\nriver\n"


def test_quiet_says_nothing(call: Call) -> None:
    done = call("words", "-n", "2", "--quiet", "--out", "hits.txt")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_a_shortfall_is_an_exit_code_and_the_items_are_kept(call: Call, tmp_path: Path) -> None:
    done = call("words", "-n", "40", "--out", "hits.txt")
    assert done.code == 1
    assert len((tmp_path / "hits.txt").read_text().splitlines()) == 12
    last = done.err.splitlines()[-1]
    assert last.startswith("genesis: error: only 12 of 40: 13 draws gave no more valid, distinct items; try a higher")


def test_nothing_at_all_is_a_shortfall_without_files(call: Call, engine: Any, tmp_path: Path) -> None:
    engine.words = ()
    done = call("words", "-n", "4", "--out", "hits.txt", "--picture", "hits.png")
    assert (done.code, done.out) == (1, "")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_keeps_what_is_finished(call: Call, engine: Any, tmp_path: Path) -> None:
    engine.words, engine.said = engine.words[:5], {"interrupted": True}
    done = call("words", "-n", "12", "--out", "hits.txt")
    assert done.code == 130
    assert len((tmp_path / "hits.txt").read_text().splitlines()) == 5
    assert done.err.splitlines()[-1] == "genesis: interrupted at 5 of 12; what was finished is kept"


def test_a_dry_run_says_where_each_value_comes_from(call: Call, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENESIS_WORDS_SEED", "5")
    done = call("words", "-n", "3", "-t", "letters=3:5", "--dry-run")
    rows = {line.split()[0]: line.split()[1:] for line in done.out.splitlines()}
    assert rows["count"] == ["3", "flag"]
    assert rows["seed"] == ["5", "environment"]
    assert rows["temperature"] == ["1.0", "default"]
    assert rows["target_property"] == ["letters=3:5", "flag"]
    assert rows["corpus"] == ["dictionary", "model"]
    assert "count" not in engine.asked, "nothing was generated"
    plan = json.loads(call("words", "-n", "3", "--dry-run", "--json").out)
    assert plan["settings"]["seed"] == {"value": 5, "from": "environment"}
    assert plan["licence"] == "CC0"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("-t letters", "'letters': not understood; write NAME=NUMBER, NAME=LOW:HIGH or NAME=LABEL"),
        ("-t =3", "'=3': not understood"),
        ("-t letters=", "'letters=': not understood"),
        ("-t letters=3 -t letters=4", "letters: given twice, '3' and '4'; give it once"),
        ("-t letters=nan", "letters=nan: a target must be finite; write letters=NUMBER or letters=LOW:HIGH"),
        ("-t letters=-inf", "a target must be finite"),
        ("-t letters=1e999", "a target must be finite; the number is too large"),
        ("-t letters=3:", "letters=3:: write letters=NUMBER or letters=LOW:HIGH"),
        ("-t letters=1:2:3", "write letters=NUMBER or letters=LOW:HIGH"),
        ("-t letters=many", "letters=many: write letters=NUMBER or letters=LOW:HIGH"),
        ("-t letters=5:3", "letters=5:3: the range is empty; write the lower end first"),
        ("-t letter=5 --dry-run", "unknown property 'letter' for this model; did you mean 'letters'?"),
        ("-t vowels=5 --dry-run", "this model was not trained on 'vowels'; it knows letters, kind, fame"),
        ("-t letters=50 --dry-run", "letters=50: impossible; letters lies within 1 to 20"),
        ("-t kind=medium --dry-run", "kind='medium': not a label;"),
        ("--count 0", "'--count' / '-n'"),
        ("--count many", "'--count' / '-n'"),
        ("--temperature nan", "'--temperature'"),
        ("--temperature inf", "'--temperature'"),
        ("--top-p 1.5", "'--top-p'"),
        ("--seed -1", "--seed -1: a seed is a whole number from 0 to 9223372036854775807"),
        ("--seed 9223372036854775808", "a seed is a whole number"),
        ("--tempreature 1", "No such option: --tempreature"),
        ("--out hits.xyz", "cannot write .xyz to hits.xyz; allowed: .txt, .jsonl"),
        ("--out - --json", "--out - and --json both print the items; leave one out"),
        ("--picture hits.bmp", "cannot draw into 'hits.bmp'; allowed: .png, .svg"),
        ("--picture nowhere/hits.png", "is not there; make it first"),
        ("--report nowhere/report.json", "--report nowhere/report.json: its folder is not there"),
        ("--report .", "--report .: that is a folder"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_exit_code_2(call: Call, engine: Any, arguments: str, said: str) -> None:
    done = call("words", *arguments.split())
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.startswith("genesis: error: ")
    assert done.err.count("\n") == 1
    assert "count" not in engine.asked, "refused before the work"


def test_a_domain_without_pictures_says_so(call: Call, engine: Any) -> None:
    class Plain(type(engine.domain)):  # type: ignore[misc]
        picture = None

    engine.domain = Plain()
    done = call("words", "--picture", "hits.png")
    assert done.code == 2
    assert "the domain 'words' has no pictures; leave --picture out" in done.err


def test_a_model_of_another_domain_says_which_command_is_meant(
    call: Call, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tunes(type(engine.domain)):  # type: ignore[misc]
        name = "tunes"

    words, engine.domain = engine.domain, Tunes()
    monkeypatch.setattr(registry, "domain", lambda name: words)
    done = call("words", "--model", "runs/tunes")
    assert done.code == 2
    assert "runs/tunes is a model of tunes; use `genesis tunes --model runs/tunes`" in done.err


def test_a_label_may_look_like_a_number() -> None:
    assert targets.values({"digit": "7", "metre": "3:4", "size": "7"}, {"digit", "metre"}) == {
        "digit": "7",
        "metre": "3:4",
        "size": 7.0,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("qed=0.9", 0.9),
        (" qed = 0.9 ", 0.9),
        ("qed=.5", 0.5),
        ("qed=5.", 5.0),
        ("qed=-1e-3", -0.001),
        ("qed=+2", 2.0),
        ("qed=-1:2", (-1.0, 2.0)),
        ("qed=-3 : -1.5", (-3.0, -1.5)),
        ("qed=2:2", (2.0, 2.0)),
    ],
)
def test_numbers_and_ranges(text: str, value: object) -> None:
    assert targets.values(targets.pairs([text]), set()) == {"qed": value}


PIECES = ["qed", "logp", "kind", "long", "nan", "inf", "0x1", "1e309", "=0.5", "=", ":", *"0123456789.-+eE_ \x00\n½٣é"]
KNOWN = {"qed": Number("", 0, 1, ""), "logp": Number("", -10, 15, ""), "kind": Category(("long",), "")}
TRAINED = (
    NumberField(name="qed", mean=0.8, std=0.1, quantiles=(0, 0.8, 1)),
    CategoryField(name="kind", values=("long",)),
)


@settings(max_examples=200)
@given(st.randoms(use_true_random=False))
def test_any_text_is_a_target_or_a_usage_error(random: Random) -> None:
    for _ in range(10):
        text = random.choice(["", "qed=", "kind="]) + "".join(random.choices(PIECES, k=random.randrange(6)))
        try:
            found = targets.values(targets.pairs([text]), {"kind"})
            checked = Targets.check(found, TRAINED, KNOWN)
        except UsageError:
            continue
        (name,) = checked.asked
        (value,) = checked.asked[name]
        if name == "kind":
            assert value == "long"
        elif isinstance(value, tuple):
            assert math.isfinite(value[0] + value[1])
            assert value[0] <= value[1]
        else:
            assert 0 <= float(value) <= 1


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=20) | st.sampled_from(["letters=", "kind=short", "fame=1:2", "letters=3"]))
def test_any_text_on_the_command_line_has_a_documented_exit_code(engine: Any, text: str) -> None:
    code = run(["words", f"--target-property={text}", "--dry-run"])
    assert code == (0 if text in ("kind=short", "fame=1:2", "letters=3") else 2)


def test_a_mistake_of_ours_is_one_line_and_debug_shows_where(call: Call, engine: Any) -> None:
    engine.error = KeyError("lost\nin two lines")
    done = call("words")
    assert done.code == GenesisError.exit_code
    assert (
        done.err
        == "genesis: error: KeyError: 'lost\\nin two lines'; this is a mistake in genesis, and --debug shows where\n"
    )
    done = call("words", "--debug")
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("genesis: error: KeyError")

"""``genesis evaluate``: figures computed by hand, refused rows, and the benchmark's door."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from genesis.errors import InputError

Call = Callable[..., Any]


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("sun\nSun\nr2d2\nocean\n")
    return path


def test_figures_by_hand(call: Call, words: Path) -> None:
    found = json.loads(call("evaluate", "words", str(words), "--json").out)
    assert (found["rows"], found["valid"], found["unique"]) == (4, 0.75, 0.5)
    letters = found["properties"]["letters"]
    assert letters == {"mean": pytest.approx(11 / 3), "deviation": pytest.approx(8**0.5 / 3), "lowest": 3, "highest": 5}
    assert set(found["properties"]) == {"letters", "vowels"}, "a label has no mean"


def test_a_table_shows_refused_rows(call: Call, words: Path) -> None:
    done = call("evaluate", "words", str(words))
    assert (done.code, done.err) == (0, "")
    assert "valid     3  75.0 %" in done.out
    assert "row 3    r2d2  not a word" in done.out


def test_a_file_without_an_item_has_no_properties(call: Call, tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("1\n2\n3\n4\n")
    done = call("evaluate", "words", "none.txt")
    assert done.code == 0
    assert "valid     0  0 %" in done.out
    assert "... and 1 more" in done.out
    assert "mean" not in done.out


def test_a_benchmark_gets_none_for_each_refused_row(call: Call, engine: Any, words: Path) -> None:
    seen: list[Any] = []

    class Judged(type(engine.domain)):  # type: ignore[misc]
        def evaluate(
            self, items: Sequence[str | None], reference: str, corpus: Callable[[str], Path], progress: Any
        ) -> dict[str, float]:
            seen.extend([list(items), reference])
            progress(1, 1, "judging")
            return {"FCD": 1.25}

    engine.domain = Judged()
    done = call("evaluate", "words", str(words), "--reference", "moses")
    assert done.code == 0
    assert seen == [["sun", "Sun", "ocean", None], "moses"]
    assert done.out.splitlines()[-1].split() == ["FCD", "1.25"]


def test_a_domain_without_a_benchmark_says_so(call: Call, words: Path) -> None:
    done = call("evaluate", "words", str(words), "--reference", "moses")
    assert done.code == 2
    assert "the domain 'words' has no benchmark; leave --reference out" in done.err


def test_an_unreadable_file_is_bad_input(call: Call, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(source: Path, column: str | None) -> None:
        raise InputError(f"cannot read {source}: No such file or directory")

    monkeypatch.setattr(engine.domain, "read", read, raising=False)
    done = call("evaluate", "words", "nowhere.txt")
    assert (done.code, done.err) == (3, "genesis: error: cannot read nowhere.txt: No such file or directory\n")

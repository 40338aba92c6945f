"""Hits and their report: numbers by hand, selections, columns, and what a notebook or a terminal shows."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from genesis import __version__
from genesis.domain import Number
from genesis.errors import ResourceError, UsageError
from genesis.hits import Hits, Report, check_picture, distance, written


class Plain:
    """As much of a domain as hits use; it remembers what it was told to write."""

    name = "shapes"
    properties: Mapping[str, Number] = {"sides": Number("", 3, 12, "", integer=True), "area": Number("m^2", 0, 9, "")}

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def write(self, items: Sequence[str], target: Path, columns: Mapping[str, Sequence[Any]]) -> None:
        self.calls.append((list(items), target, dict(columns)))


class Drawn(Plain):
    def picture(self, items: Sequence[str], captions: Sequence[str], target: Path) -> None:
        self.calls.append((list(items), list(captions), target))
        target.write_text("<svg/>")


ASKED = {"sides": [4.0] * 4, "area": [(1.0, 2.0)] * 4}


def hits(domain: Any = None, asked: dict[str, list[Any]] = ASKED, **more: Any) -> Hits:
    """Four shapes; three of them were drawn beside one that was not valid and one that came twice."""
    origin = {"model": "shapes-small", "corpus": "euclid", "licence": "CC0"}
    report = Report(asked=4, drawn=6, returned=4, valid=5 / 6, unique=4 / 6, seed=7, **origin)
    return Hits(
        **{
            "domain": domain or Plain(),
            "items": ["square", "triangle", "hexagon", "kite"],
            "index": [0, 1, 3, 5],
            "keys": ["sq", "tri", "hex", "kite"],
            "measured": {"area": [1.5, 0.25, 4.0, 1.0], "sides": [4.0, 3.0, 6.0, 4.0]},
            "asked": asked,
            "log_prob": [-1.0, -2.0, -3.0, -4.0],
            "summary": report,
            **more,
        }
    )


def test_the_report_is_computed_from_the_items() -> None:
    report = hits(novel=[True, False, True, True]).report()
    assert report.error == {"sides": (0 + 1 + 2 + 0) / 4, "area": (0 + 0.75 + 2 + 0) / 4}
    assert report.inside == {"area": 0.5}, "a share inside belongs to ranges and labels"
    assert report.target == {"sides": 4.0, "area": (1.0, 2.0)}
    assert (report.returned, report.novel, report.shortfall) == (4, 0.75, "")
    assert report.version == __version__


def test_the_report_is_a_small_table() -> None:
    assert str(hits().report()).splitlines() == [
        "asked     4             seed 7, temperature 1, guidance 1",
        "drawn     6             83.3 % valid, 66.7 % valid and distinct",
        "returned  4",
        "model     shapes-small  corpus euclid, licence CC0",
        "",
        "target  asked  mean error  inside",
        "sides       4        0.75",
        "area      1:2      0.6875  50.0 %",
    ]
    assert repr(hits().report()) == str(hits().report())


def test_a_report_says_how_it_was_drawn() -> None:
    more = {"temperature": 0.7, "guidance": 2.5, "keep_best": 4, "constrained": False, "seconds": 2.0, "novel": 0.5}
    text = str(Report(asked=10, drawn=50, returned=10, valid=0.9, unique=0.8, **more))
    assert "seed 0, temperature 0.7, guidance 2.5, the closest of 4 kept, no constraint" in text
    assert "50.0 % not in the training set" in text
    assert "2.0 s  5 a second" in text


def test_a_shortfall_is_said() -> None:
    report = Report(asked=10, drawn=104, returned=3, valid=0.5, unique=0.03)
    assert report.shortfall == "only 3 of 10: 104 draws gave no more valid, distinct items"
    assert report.shortfall in str(report)
    stopped = Report(asked=10, drawn=4, returned=3, valid=0.9, unique=0.9, interrupted=True)
    assert stopped.shortfall == "interrupted at 3 of 10"


def test_targets_that_differ_by_item_and_labels() -> None:
    found = hits(
        measured={"sides": [4.0, 3.0, 6.0, 4.0], "kind": ["flat", "flat", "round", "flat"]},
        asked={"sides": [4.0, 4.0, 5.0, 5.0], "kind": ["flat"] * 4},
    ).report()
    assert found.target == {"sides": None, "kind": "flat"}
    assert found.error == {"sides": 0.75, "kind": 0.25}
    assert found.inside == {"kind": 0.75}
    assert "varies" in str(found)


def test_a_target_that_cannot_be_measured_has_no_error() -> None:
    found = hits(asked={"fame": [8.0] * 4})
    assert (found.report().error, found.report().target) == ({}, {"fame": 8.0})
    assert str(found.report()).splitlines()[-1].split() == ["fame", "8", "not", "measured"]
    assert found.columns()["asked_fame"] == [8.0] * 4
    assert "fame" not in found.columns()
    assert found.caption(0) == "fame asked 8"
    with pytest.raises(UsageError, match="fame cannot be measured on a generated item"):
        found.best(1)


def test_best_adds_the_errors_of_targets_in_their_units() -> None:
    assert hits().best(2).items == ["square", "kite"], "both are on target; the earlier comes first"
    # triangle: hypot(1/1, 0.75/0.1) = 7.57; hexagon: hypot(2/1, 2/0.1) = 20.1
    assert hits(scale={"area": 0.1}).best(3).items == ["square", "kite", "triangle"]
    # with a wide unit for area and a narrow one for sides: triangle 10, hexagon 20
    assert hits(scale={"area": 100.0, "sides": 0.1}).best(4).items == ["square", "kite", "triangle", "hexagon"]
    asked = {"sides": [5.0] * 4}
    assert hits(asked=asked).best(4).items == ["square", "hexagon", "kite", "triangle"]


def test_a_selection_reports_on_itself_and_is_no_shortfall() -> None:
    found = hits(novel=[True, False, True, True])
    part = found.best(1)
    report = part.report()
    assert (report.returned, report.error["sides"], report.novel, report.shortfall) == (1, 0.0, 1.0, "")
    assert (report.asked, report.drawn, report.valid) == (4, 6, 5 / 6), "how it was drawn does not change"
    assert found[1:3].index == [1, 3]
    assert found[1:3].measured["sides"] == [3.0, 6.0]
    assert hits()[:0].report().error == {}
    assert hits()[:2].report().novel is None, "a share of all says nothing of some"


def test_best_refuses_what_it_cannot_do() -> None:
    with pytest.raises(UsageError, match="none was asked for; give generate"):
        hits(asked={}).best(1)
    with pytest.raises(UsageError, match=r"best\(0\): give 1 or more"):
        hits().best(0)


def test_hits_are_a_sequence_of_items() -> None:
    found = hits()
    assert (len(found), found[0], found[-1], list(found)) == (4, "square", "kite", found.items)
    with pytest.raises(IndexError):
        found[4]


def test_columns_put_asked_beside_measured_and_the_origin_last() -> None:
    columns = hits(novel=[True, False, True, True]).columns()
    names = "name sides asked_sides area asked_area_low asked_area_high log_prob novel item"
    assert list(columns) == [*names.split(), "seed", "model", "corpus", "licence", "genesis"]
    assert columns["name"][2] == "shapes-small:7:3"
    assert columns["sides"] == [4, 3, 6, 4]
    assert all(type(value) is int for value in columns["sides"]), "counts are whole numbers"
    assert columns["asked_area_high"] == [2.0] * 4
    assert columns["licence"] == ["CC0"] * 4
    assert {len(values) for values in columns.values()} == {4}


def test_an_open_end_is_empty_in_a_file() -> None:
    columns = hits(asked={"area": [(1.0, float("inf")), (float("-inf"), 2.0), 3.0, (0.0, 1.0)]}).columns()
    assert columns["asked_area_low"] == [1.0, None, 3.0, 0.0]
    assert columns["asked_area_high"] == [None, 2.0, 3.0, 1.0]


def test_write_passes_items_and_columns(tmp_path: Path) -> None:
    found = hits()
    found.write(str(tmp_path / "hits.csv"))
    assert found.domain.calls == [(found.items, tmp_path / "hits.csv", found.columns())]


def test_a_picture_shows_the_first_items_with_asked_and_measured(tmp_path: Path) -> None:
    found = hits(Drawn())
    found.picture(tmp_path / "hits.svg", count=2)
    items, captions, target = found.domain.calls[0]
    assert items == ["square", "triangle"]
    assert [path.name for path in tmp_path.iterdir()] == ["hits.svg"]
    assert target.name == "hits.svg", "drawn beside its place, then moved there"
    assert captions == ["sides 4 (asked 4)\narea 1.5 (asked 1:2)", "sides 3 (asked 4)\narea 0.25 (asked 1:2)"]
    assert hits(Drawn(), asked={}).caption(0) == "area 1.5\nsides 4"


def test_a_png_says_what_made_it_and_keeps_its_pixels(tmp_path: Path) -> None:
    class Painted(Plain):
        def picture(self, items: Sequence[str], captions: Sequence[str], target: Path) -> None:
            Image.linear_gradient("L").save(target)

    hits(Painted()).picture(tmp_path / "hits.png")
    with Image.open(tmp_path / "hits.png") as image:
        assert image.tobytes() == Image.linear_gradient("L").tobytes()
        assert image.text == {
            "Software": f"genesis {__version__}",
            "genesis:seed": "7",
            "genesis:model": "shapes-small",
            "genesis:corpus": "euclid",
            "genesis:licence": "CC0",
            "genesis:genesis": __version__,
        }
    assert [path.name for path in tmp_path.iterdir()] == ["hits.png"]


def test_items_of_listed_families_are_counted() -> None:
    class Careful(Plain):
        def screen(self, item: str) -> str | None:
            return "sharp" if item == "triangle" else None

    report = hits(Careful()).report()
    assert report.screened == {"sharp": 1}
    assert "screen    1" in str(report)
    assert "of listed families: sharp 1" in str(report)
    assert hits().report().screened is None, "a domain without a list"


def test_a_picture_is_refused_before_it_is_drawn(tmp_path: Path) -> None:
    drawn = Drawn()
    assert check_picture(drawn, tmp_path / "hits.PNG") is drawn
    (tmp_path / "folder.png").mkdir()
    for domain, path, said in (
        (Plain(), tmp_path / "hits.png", "the domain 'shapes' has no pictures"),
        (drawn, tmp_path / "hits.jpg", r"cannot draw into 'hits.jpg'; allowed: .png, .svg"),
        (drawn, tmp_path / "nowhere" / "hits.png", "is not there; make it first"),
        (drawn, tmp_path / "folder.png", "it is a folder"),
    ):
        with pytest.raises(UsageError, match=said):
            check_picture(domain, path)
    with pytest.raises(UsageError, match="no item to draw"):
        hits(drawn)[:0].picture(tmp_path / "hits.png")


def test_a_terminal_shows_targets_first_and_what_it_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert repr(hits()).splitlines() == [
        "item  shapes  sides  asked  area  asked",
        "0     sq          4      4   1.5    1:2",
        "1     tri         3      4  0.25    1:2",
        "3     hex         6      4     4    1:2",
        "5     kite        4      4     1    1:2",
    ]
    monkeypatch.setenv("COLUMNS", "21")
    assert repr(hits(asked={})).splitlines()[0] == "item  shapes  area"
    assert repr(hits()).splitlines()[0].split()[2:] == ["sides", "asked", "area", "asked"], "targets are never left out"


@pytest.mark.parametrize("columns", [40, 60, 100, 200])
def test_long_texts_are_shortened_to_fit(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    keys = ["C" * n for n in (5, 20, 39, 120)]
    lines = repr(hits(keys=keys, asked={})).splitlines()
    assert max(map(len, lines)) <= max(columns, 46)
    assert lines[1].split()[1] == "CCCCC"
    assert ("..." in lines[4]) == (columns < 200)


def test_only_the_first_rows_are_shown() -> None:
    many = {"items": ["x"] * 25, "index": list(range(25)), "keys": ["x"] * 25, "log_prob": [0.0] * 25}
    text = repr(hits(asked={}, measured={"area": [1.0] * 25}, **many))
    assert len(text.splitlines()) == 12
    assert text.endswith("... and 15 more")


def test_a_notebook_gets_pictures_or_a_safe_table() -> None:
    shown = hits(Drawn())._repr_html_()
    assert base64.b64encode(b"<svg/>").decode() in shown
    assert "mean error" in shown
    shown = hits(keys=["<script>", "tri", "hex", "kite"])._repr_html_()
    assert "<th>sides</th>" in shown
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_a_frame_needs_pandas_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ResourceError, match=r'needs pandas; run `pip install "genesis-engine\[frame\]"`'):
        hits().to_frame()
    pandas = ModuleType("pandas")
    pandas.DataFrame = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    frame = hits().to_frame()
    assert list(frame)[:2] == ["shapes", "name"]
    assert frame["shapes"] == ["sq", "tri", "hex", "kite"]


@pytest.mark.parametrize(
    ("measured", "asked", "expected"),
    [
        (3.0, 4.0, 1.0),
        (5.0, 4.0, 1.0),
        (2.5, (2.0, 3.0), 0.0),
        (1.0, (2.0, 3.0), 1.0),
        (5.0, (2.0, 3.0), 2.0),
        (9.0, (2.0, float("inf")), 0.0),
        ("bach", "bach", 0.0),
        ("bach", "byrd", 1.0),
    ],
)
def test_distance(measured: Any, asked: Any, expected: float) -> None:
    assert distance(measured, asked) == expected


@pytest.mark.parametrize(
    ("value", "text"), [(0.9, "0.9"), ((2.0, 3.0), "2:3"), ("bach", "bach"), (None, "varies"), (1234.5, "1234")]
)
def test_written(value: Any, text: str) -> None:
    assert written(value) == text

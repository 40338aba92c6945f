"""Progress: a line now and then in a log, with a rate and the time left."""

from __future__ import annotations

import io
import sys

import pytest

from genesis.cli import streams


class Clock:
    """Seconds that pass only when told to."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(streams.time, "monotonic", found.monotonic)
    return found


def test_a_line_each_thirty_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with streams.Progress() as progress:
        for done in range(0, 1_001, 10):
            progress(done, 2_000, "drawing")
            clock.now += 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "genesis: drawing: 300 of 2,000, 10.0 a second, 2 min 50 s left",
        "genesis: drawing: 600 of 2,000, 10.0 a second, 2 min 20 s left",
        "genesis: drawing: 900 of 2,000, 10.0 a second, 1 min 50 s left",
    ]


def test_each_stage_begins_anew(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with streams.Progress() as progress:
        progress(0, 10, "reading")
        clock.now += 29
        progress(0, 0, "encoding")
        clock.now += 31
        progress(62, 0, "encoding")
    assert capsys.readouterr().err == "genesis: encoding: 62, 2.0 a second\n"


def test_bytes_are_megabytes(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with streams.Progress(size=True) as progress:
        progress(0, 90_000_000, "downloading")
        clock.now += 30
        progress(60_000_000, 90_000_000, "downloading")
    said = capsys.readouterr().err
    assert said == "genesis: downloading: 60.0 MB of 90.0 MB, 2.0 MB a second, 15 s left\n"


def test_quiet_is_quiet(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with streams.Progress(quiet=True) as progress:
        progress(0, 10, "drawing")
        clock.now += 100
        progress(5, 10, "drawing")
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_that_vanishes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with streams.Progress() as progress:
        progress(3, 10, "drawing")
        progress(10, 10, "drawing")
        progress(1, 5, "measuring")
    text = screen.getvalue()
    assert "drawing" in text
    assert text.endswith("\x1b[2K"), "the bar's line is cleared at the end"


def test_json_has_no_infinity() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        streams.show_json({"value": float("inf")})

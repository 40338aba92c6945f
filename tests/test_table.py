"""Aligned text and how numbers are written in it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis.table import duration, number, plain, share, table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    text = table(("name", "n"), [("sun", "12"), ("river", "3")], right=(1,))
    assert text == "name    n\nsun    12\nriver   3"


def test_a_header_of_empty_texts_is_left_out() -> None:
    assert table(("", ""), [("a", "1")]) == "a  1"
    assert table(("a", "b"), []) == "a  b"


def test_a_cell_cannot_break_the_table() -> None:
    assert table(("word",), [("two\nlines",), ("\x1b[31mred",)]) == "word\ntwo\\nlines\n\\x1b[31mred"


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_every_row_is_one_printable_line(rows: list[tuple[str, str]]) -> None:
    lines = table(("x", "y"), rows).split("\n")
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)
    assert all(plain(plain(cell)) == plain(cell) for row in rows for cell in row)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3.0, "3"),
        (1234, "1,234"),
        (0.123456, "0.1235"),
        (-2.5, "-2.5"),
        (12345.678, "12,345.7"),
        (1e-9, "1e-09"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1, "100 %"), (0, "0 %"), (0.5, "50.0 %"), (0.9999, "99.9 %"), (1e-6, "0.1 %")]
)
def test_only_all_is_everything_and_only_none_is_nothing(value: float, text: str) -> None:
    assert share(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.25, "1.2 s"), (59.4, "59 s"), (125, "2 min 5 s"), (12_000, "3 h 20 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text

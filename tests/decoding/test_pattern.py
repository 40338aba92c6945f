"""Automata of regular expressions against Python's own ``re``, and read in tokens of several bytes."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genesis.decoding.automaton import Automaton, LazyAutomaton, automaton
from genesis.decoding.constraint import EOS
from genesis.decoding.pattern import MOST, Machine, compiled, utf8
from genesis.errors import UsageError

CPU = torch.device("cpu")
PATTERNS = [
    r"",
    r"abc",
    r"a*b+c?",
    r"(ab|ba|a)*",
    r"[a-c]{2,3}x",
    r"[^a]b",
    r".+",
    r"(?s).+",
    r"\d{1,2}(\.\d+)?",
    r"\w+@\w+\.(com|org)",
    r"é|ü[ä-ö]*",
    r"[^\x00-\x7f]",
    r"^a$",
    r"(?:a(?:b|c)){2}",
    r"\W\s\D",
    r"(?s:.)\n.",
    r"a{0}b",
]


def matches(machine: Machine, text: str) -> bool:
    state = 0
    for byte in text.encode():
        state = int(machine.after[state, byte])
        if state < 0:
            return False
    return bool(machine.accepts[state])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_automaton_matches_what_re_matches(pattern: str) -> None:
    machine = compiled(pattern)

    @settings(max_examples=200)
    @given(st.text("abcx019.@-\n éüäß€😀", max_size=8) | st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True))
    def check(text: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError:
            return  # half of a surrogate pair is no text
        assert matches(machine, text) == bool(re.fullmatch(pattern, text, re.ASCII)), text

    check()


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "not a regular expression"),
        (r"(a)\1", "groupref is not regular"),
        ("a(?=b)", "assert is not regular"),
        (r"a\b", "at is not regular"),
        ("(?i:a)", "is not regular"),
        ("[^\\x00-\U0010ffff]", "no text can match"),
        ("(a{1000}){1000}", "too large"),
        ("[ab]*a[ab]{14}", f"more than {MOST:,} states"),
    ],
)
def test_what_is_no_regular_expression_says_so(pattern: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        compiled(pattern)


@given(st.integers(0, 0x10FFFF), st.integers(0, 0x10FFFF))
def test_ranges_of_code_points_are_ranges_of_bytes(a: int, b: int) -> None:
    low, high = min(a, b), max(a, b)
    spans = list(utf8([(low, high)]))

    def inside(code: int) -> bool:
        data = chr(code).encode()
        return any(
            len(span) == len(data) and all(x <= byte <= y for (x, y), byte in zip(span, data, strict=True))
            for span in spans
        )

    for code in {low, high, (low + high) // 2, max(low - 1, 0), min(high + 1, 0x10FFFF)}:
        if not 0xD800 <= code <= 0xDFFF:
            assert inside(code) == (low <= code <= high)


def test_the_same_but_the_empty_text() -> None:
    machine = compiled("(ab)*").not_empty("x")
    assert [matches(machine, text) for text in ("", "ab", "abab", "a")] == [False, True, True, False]
    with pytest.raises(UsageError, match="only the empty text"):
        compiled("").not_empty("x")


PIECES = [b"", b"", b"", b"a", b"b", b"ab", b"bc", "é".encode()[:1], "é".encode()[1:]]


def walks(automaton: Automaton | LazyAutomaton, room: int, rows: int = 64, seed: int = 0) -> list[list[int]]:
    """Random walks that must all come to an end in their room."""
    draws = torch.Generator().manual_seed(seed)
    state, out = automaton.start(rows, CPU), [list[int]() for _ in range(rows)]
    is_open = torch.ones(rows, dtype=torch.bool)
    for step in range(room):
        allowed = automaton.allowed(state, room - step)
        assert allowed[is_open].any(1).all()
        allowed[~is_open, EOS] = True
        token = torch.multinomial(allowed.float(), 1, generator=draws)[:, 0]
        for row in torch.nonzero(is_open)[:, 0].tolist():
            if token[row] == EOS:
                is_open[row] = False
            else:
                out[row].append(int(token[row]))
        state = automaton.advance(state, token)
    assert not is_open.any()
    return out


@pytest.mark.parametrize("pattern", ["(ab|é)*c?", "a*b{3}", "(abc)+|é{2}"])
@pytest.mark.parametrize("room", [6, 9, 20])
def test_any_walk_over_tokens_ends_in_a_match(pattern: str, room: int) -> None:
    pieces = [*PIECES, b"c"]
    for tokens in walks(Automaton(compiled(pattern), pieces), room):
        text = b"".join(pieces[token] for token in tokens).decode()
        assert re.fullmatch(pattern, text)


def test_given_tokens_come_first_and_nothing_else() -> None:
    for tokens in walks(Automaton(compiled("a+"), PIECES, given=[4, 6]), 8):
        assert tokens[:2] == [4, 6]
        assert set(tokens[2:]) == {3}


def test_distances_to_the_end_count_tokens_and_not_bytes() -> None:
    assert Automaton(compiled("abab"), PIECES).need[0] == 2
    assert Automaton(compiled("abab"), PIECES, given=[3]).need[0] == 3


def test_a_table_that_would_not_fit() -> None:
    with pytest.raises(UsageError, match="do not fit in memory"):
        Automaton(compiled("a{5000}"), [b""] * 3 + [b"a"] * 60_000)


def test_states_that_lead_nowhere_are_cut() -> None:
    machine = compiled("ab|c")
    assert machine.accepts.any()
    alive = np.flatnonzero(machine.after[0] >= 0)
    assert alive.tolist() == [ord("a"), ord("c")]


EVERY = [b"", b"", b"", *(bytes((byte,)) for byte in range(256)), b"ab", b"abc", b"bc", "é".encode()]


@pytest.mark.parametrize("pattern", ["(ab|é)*c?", "a*b{3}", "(abc)+|é{2}", "(?s).+"])
@pytest.mark.parametrize("given", [(), (3 + ord("a"), 3 + ord("b"))])
def test_rows_worked_out_when_needed_are_those_of_the_table(pattern: str, given: tuple[int, ...]) -> None:
    """Where bytes are all tokens, the two differ only near the end of the room, where the lazy one counts bytes."""
    machine = compiled(pattern)
    table, lazy = Automaton(machine, EVERY, given), LazyAutomaton(machine, EVERY, given)
    draws = torch.Generator().manual_seed(0)
    state, other = table.start(16, CPU), lazy.start(16, CPU)
    for _ in range(12):
        allowed = table.allowed(state, 10_000)
        assert (allowed == lazy.allowed(other, 10_000)).all()
        token = torch.multinomial(allowed.float(), 1, generator=draws)[:, 0]
        token = torch.where(token == EOS, allowed.int().argmax(1), token)
        state, other = table.advance(state, token), lazy.advance(other, token)
        going = token != EOS
        state, other = state[going], other[going]
        if not going.any():
            break
    for tokens in walks(lazy, 9):
        text = b"".join(EVERY[token] for token in tokens)
        start = b"".join(EVERY[token] for token in given)
        assert text.startswith(start)
        assert re.fullmatch(pattern, text[len(start) :].decode())


def test_which_of_the_two_is_made() -> None:
    assert isinstance(automaton(compiled("a"), EVERY), Automaton)
    many = EVERY + [b"aa"] * 20_000
    assert isinstance(automaton(compiled("a{400}b"), many), LazyAutomaton)
    with pytest.raises(UsageError, match="does not spell every byte"):
        LazyAutomaton(compiled("é"), [b"", b"", b"", b"a"])

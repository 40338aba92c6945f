"""The automaton of the grammar: any walk is a score, what is asked is what is written, nothing real is forbidden."""

from __future__ import annotations

import pretty_midi
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genesis.domain import EOS, Asked
from genesis.errors import UsageError
from genesis_domains.music import codec
from genesis_domains.music.asked import Wish
from genesis_domains.music.automaton import ScoreGrammar
from genesis_domains.music.midi import to_pretty_midi
from genesis_domains.music.names import KEYS, METERS, PROGRAMS
from genesis_domains.music.score import Score
from genesis_domains.music.vocabulary import BAR, SIZE
from tests.music.test_frame import walks
from tests.music.test_midi import scores

CPU = torch.device("cpu")


def drawn(length: int, asked: list[dict[str, Asked]], rows: int, seed: int) -> list[Score]:
    found = [codec.decode(tokens) for tokens in walks(ScoreGrammar(length, asked), rows, length, seed)]
    assert all(score is not None for score in found)
    return [score for score in found if score is not None]


@settings(max_examples=12)
@given(st.integers(0, 2**31), st.integers(8, 120))
def test_any_walk_is_a_score_however_little_room_there_is(seed, length):
    assert all(score.check() for score in drawn(length, [], 4, seed))


WISHES: list[dict[str, Asked]] = [
    {"key": "G minor", "meter": "3/4", "bars": 5.0, "tempo": 90.0, "instrument": "violin", "tracks": 2.0},
    {"bars": (3, 4), "tempo": (88, 95), "lowest": (55, 60), "highest": (70, 72)},
    {"meter": "7/8", "bars": 9.0},
    {"tracks": (2, 3), "key": "F# major"},
    {"instrument": "drums"},
    {"lowest": 60.0, "highest": 60.0},
]


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("length", [40, 150])
def test_what_is_asked_is_what_pretty_midi_reads_in_the_file(wish, length):
    for score in drawn(length, [wish], 6, 1):
        read = to_pretty_midi(score)
        if "key" in wish:
            assert pretty_midi.key_number_to_key_name(read.key_signature_changes[0].key_number) in (
                wish["key"], "Gb Major" if wish["key"] == "F# major" else str(wish["key"]).replace("major", "Major"),
                str(wish["key"]),
            )  # fmt: skip
            assert KEYS[score.key] == wish["key"]
        if "meter" in wish:
            changes = {(c.numerator, c.denominator) for c in read.time_signature_changes}
            assert changes == {tuple(map(int, str(wish["meter"]).split("/")))}
        if "bars" in wish:
            low, high = wish["bars"] if isinstance(wish["bars"], tuple) else (wish["bars"],) * 2
            assert low <= len(score.meters) <= high
            end = max(read.time_to_tick(n.end) for i in read.instruments for n in i.notes) / 20
            assert score.starts[-2] < end <= score.starts[-1]
        if "tempo" in wish:
            low, high = wish["tempo"] if isinstance(wish["tempo"], tuple) else (wish["tempo"],) * 2
            assert low - 0.01 <= read.get_tempo_changes()[1][0] <= high + 0.01
        if "instrument" in wish:
            first = read.instruments[0]
            assert ("drums" if first.is_drum else PROGRAMS[first.program]) == wish["instrument"]
        pitches = [n.pitch for i in read.instruments for n in i.notes]
        wanted = Wish.of(wish)
        assert wanted.pitches[0] <= min(pitches)
        assert max(pitches) <= wanted.pitches[1]


def test_each_row_has_a_wish_of_its_own():
    found = drawn(60, [{"meter": "3/4", "bars": 2.0}, {"meter": "4/4", "bars": 3.0}], 6, 0)
    assert [(METERS[s.meters[0]], len(s.meters)) for s in found] == [("3/4", 2), ("4/4", 3)] * 3


@settings(max_examples=15)
@given(scores())
def test_no_real_score_is_forbidden(score):
    exact: dict[str, Asked] = {
        "key": KEYS[score.key], "bars": float(len(score.meters)), "tracks": float(len(score.tracks)),
        "instrument": PROGRAMS[score.tracks[0].program],
    }  # fmt: skip
    if score.tempo is not None:
        exact["tempo"] = float(score.tempo)
    follow(score, [{}, exact])


def test_no_score_made_by_hand_is_forbidden(hand):
    for score in hand[::6]:
        follow(score, [])


def follow(score: Score, asked: list[dict[str, Asked]]) -> None:
    rows, grammar = max(len(asked), 1), ScoreGrammar(2_048, asked)
    state = grammar.start(rows, CPU)
    for i, token in enumerate([*codec.encode(score), EOS]):
        assert grammar.allowed(state, 2_048 - i)[:, token].all(), (i, token)
        state = grammar.advance(state, torch.tensor([token] * rows))


def test_bars_are_begun_until_there_are_as_many_as_asked():
    grammar = ScoreGrammar(30, [{"bars": 8.0, "tracks": 1.0}])
    state, tokens = grammar.start(1, CPU), list[int]()
    for step in range(30):
        allowed = grammar.allowed(state, 30 - step)[0]
        token = int(torch.nonzero(allowed)[-1, 0])  # the last one: notes before bars, as long as they are allowed
        if token == EOS:
            break
        tokens.append(token)
        state = grammar.advance(state, torch.tensor([token]))
    assert sum(BAR <= token < BAR + SIZE["bar"] for token in tokens) == 8


def test_what_cannot_fit_is_refused_before_any_work():
    with pytest.raises(UsageError, match=r"200 bars take at least 205 tokens, and this model has room for 100"):
        ScoreGrammar(100, [{"bars": 200.0}])
    with pytest.raises(UsageError, match="lowest=70 and highest=60: no pitch is left"):
        Wish.of({"lowest": 70.0, "highest": 60.0})
    with pytest.raises(UsageError, match=r"bars=2.2:2.8: no whole number"):
        Wish.of({"bars": (2.2, 2.8)})

"""Scores to tokens and back, exactly; what breaks the grammar is no score."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesis.errors import EncodeError
from genesis_domains.music import DOMAIN, codec
from genesis_domains.music.names import KEYS, METERS, SHARPS, bar_ticks, program_of, signature
from genesis_domains.music.score import Harmony, Note, Score, Track, tidy, trimmed
from genesis_domains.music.vocabulary import BAR, FOR, LONGEST, MORE, VOCAB, note_token, shift
from tests.music.conftest import line
from tests.music.test_midi import scores

COMMON = METERS.index("4/4")


def words(score: Score) -> list[str]:
    return [VOCAB[token] for token in codec.encode(score)]


@settings(max_examples=150)
@given(scores())
def test_any_score_comes_back(score):
    assert codec.decode(codec.encode(score)) == score


def test_a_scale_is_said_as_plainly_as_can_be():
    score = Score((line([60, 62, 64, 65]),), (COMMON,), KEYS.index("C major"))
    assert words(score) == [
        "key:C major", "program:piano", "bar:4/4", "at:0", "note:0:60", "at:24", "note:0:62", "at:48", "note:0:64",
        "at:72", "note:0:65",
    ]  # fmt: skip


def test_a_transposition_changes_one_token():
    pitches = [60, 64, 67, 72]
    c = codec.encode(Score((line(pitches),), (COMMON,), KEYS.index("C major")))
    for key in range(12):
        up = shift(key)
        other = codec.encode(Score((line([p + up for p in pitches]),), (COMMON,), key))
        assert other[1:] == c[1:]
        assert VOCAB[other[0]] == f"key:{KEYS[key]}"


@settings(max_examples=60)
@given(scores(), st.integers(0, 11))
def test_other_tonics_say_the_same_notes(score, count):
    """At most eleven, of the score's own mode, event for event: only what is written from the tonic changes."""
    own, found = codec.encode(score), [x.tolist() for x in DOMAIN.spellings(score, count)]
    assert len(found) == count
    assert len({x[0] for x in (own, *found)}) == 1 + count
    for x in found:
        other = codec.decode(x)
        assert replace(other, key=score.key) == score
        assert other.key // 12 == score.key // 12
        kinds = [[VOCAB[t].split(":")[0] for t in y] for y in (own, x)]
        assert kinds[0] == kinds[1]
    if count == 11:
        assert {codec.decode(x).key % 12 for x in (own, *found)} == set(range(12))


def test_near_tonics_come_first():
    score = Score((line([60, 64, 67, 72]),), (COMMON,), KEYS.index("C major"))
    assert [VOCAB[int(x[0])] for x in DOMAIN.spellings(score, 4)] == [
        "key:G major", "key:F major", "key:D major", "key:Bb major",
    ]  # fmt: skip


def test_drums_are_not_transposed():
    drums = line([36, 38, 36, 42], program="drums")
    c, d = (Score((drums,), (COMMON,), KEYS.index(key)) for key in ("C major", "D major"))
    assert codec.encode(c)[1:] == codec.encode(d)[1:]


def test_a_length_is_said_only_where_it_is_not_clear():
    notes = (Note(0, 64, 24), Note(0, 60, 48), Note(24, 65, 72))
    score = Score((Track(0, notes),), (COMMON,), 0).check()
    assert words(score)[3:] == ["at:0", "note:0:64", "note:0:60", "for:48", "at:24", "note:0:65"]


def test_a_very_long_note_takes_several_tokens():
    notes = (Note(0, 72, 24), Note(0, 48, 96 * 7), Note(24, 74, 96 * 7 - 24))
    score = Score((Track(0, notes),), (COMMON,) * 7, 0).check()
    tokens = codec.encode(score)
    assert tokens.count(MORE) == 2
    assert tokens[tokens.index(MORE) + 2] == FOR + 96 * 7 - 2 * LONGEST - 1
    assert codec.decode(tokens) == score


def test_triplets_ties_and_changes_of_meter_are_exact():
    meters = tuple(METERS.index(name) for name in ("7/8", "3/4", "2/2", "5/16"))
    end = sum(map(bar_ticks, meters))
    notes = tidy([Note(o, 60 + i % 5, 8) for i, o in enumerate(range(0, end - 8, 8))])
    score = trimmed(Score((Track(program_of("flute"), notes),), meters, 7))
    assert codec.decode(codec.encode(score)) == score


def test_chords_move_with_the_key():
    pieces = []
    for key in ("C major", "Eb major"):
        up = shift(KEYS.index(key))
        track = line([60 + up, 64 + up, 67 + up, 72 + up])
        chords = Harmony(0, up % 12, 0), Harmony(48, (7 + up) % 12, 2)
        pieces.append(Score((track,), (COMMON,), KEYS.index(key), None, chords))
    assert codec.encode(pieces[0])[1:] == codec.encode(pieces[1])[1:]
    assert "chord:7:7" in words(pieces[0])
    assert [codec.decode(codec.encode(piece)) for piece in pieces] == pieces


def test_broken_sequences_are_no_scores(duet):
    tokens = codec.encode(duet)
    rng = random.Random(0)
    for _ in range(300):
        changed = list(tokens)
        at = rng.randrange(len(changed))
        changed[at] = rng.randrange(3, len(VOCAB))
        found = codec.decode(changed)
        assert found is None or found.check() is found
    assert codec.decode([]) is None
    assert codec.decode(tokens[:1]) is None
    assert codec.decode([0, *tokens]) is None
    silent = [*codec.encode(Score((line([60]),), (COMMON,), 0)), BAR]  # a silent bar at the end
    assert codec.decode(silent) is None
    assert codec.drawn(silent) is not None


def test_tracks_without_notes_stay_in_what_was_drawn(duet):
    tokens = codec.encode(duet)
    tokens.insert(5, tokens[4])
    found = codec.drawn(tokens)
    assert found is not None
    assert [len(track.notes) for track in found.tracks] == [32, 16, 0]
    score = codec.decode(tokens)
    assert score is not None
    assert len(score.tracks) == 2


@settings(max_examples=100)
@given(st.lists(st.integers(-5, len(VOCAB) + 5), max_size=40))
def test_nothing_raises(tokens):
    assert codec.decode(tokens) is None or codec.decode(tokens).notes


WRONG = [
    ((), "0 tracks; 1 to 8"),
    ((Track(0, ()),), "no notes"),
    ((line([60]), Track(0, ())), "a track without notes"),
    ((Track(0, (Note(24, 60, 24), Note(0, 60, 24))),), "notes out of order"),
    ((Track(0, (Note(0, 20, 24),)),), "pitch 20; 21 to 108"),
    ((Track(0, (Note(0, 60, 0),)),), "a note from tick 0 to 0"),
    ((Track(0, (Note(90, 60, 24),)),), "a note from tick 90 to 114 in a score that ends at 96"),
    ((Track(0, (Note(0, 60, 48), Note(24, 60, 24))),), "pitch 60 begins again at tick 24"),
    ((Track(0, (Note(0, 60, 24, 81),)),), "velocity 81 is no multiple of 8"),
]


@pytest.mark.parametrize(("tracks", "said"), WRONG)
def test_what_no_sequence_can_say_is_refused(tracks, said):
    with pytest.raises(EncodeError, match=said):
        Score(tracks, (COMMON,), 0).check()


def test_tempi_and_silent_ends_are_refused():
    with pytest.raises(EncodeError, match="a tempo of 400"):
        Score((line([60]),), (COMMON,), 0, 400).check()
    with pytest.raises(EncodeError, match="silent bars at the end"):
        Score((line([60]),), (COMMON,) * 3, 0).check()
    assert len(trimmed(Score((line([60]),), (COMMON,) * 3, 0)).meters) == 1


def test_signatures_are_those_of_the_circle_of_fifths():
    for sharps, name in enumerate(("C", "G", "D", "A", "E", "B")):
        assert signature(KEYS.index(f"{name} major")) == sharps
    for flats, name in enumerate(("A", "D", "G", "C", "F", "Bb")):
        assert signature(KEYS.index(f"{name} minor")) == -flats
    assert len(SHARPS) == 12


def test_a_note_token_is_a_step_from_the_tonic():
    assert VOCAB[note_token(0, 67, 7)] == "note:0:60"
    assert VOCAB[note_token(3, 60, 0)] == "note:3:60"


def test_equal_texts_are_equal_scores(hand):
    texts = {score.key_text() for score in hand}
    assert len(texts) == len(hand)
    other = replace(hand[0], origin=replace(hand[0].origin, style="irish"))
    assert other == hand[0]  # where a score comes from is no part of what it is

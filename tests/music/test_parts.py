"""What training sees: parts that fit, cut at bars, varied by a stable hash; and what is measured on a score."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesis_domains.music import DOMAIN, augment, codec
from genesis_domains.music.cutting import cut, excerpt
from genesis_domains.music.names import KEYS, METERS, PROGRAMS, program_of
from genesis_domains.music.profile import distributions, divergence, features, repetition, together
from genesis_domains.music.properties import PROPERTIES, measure, polyphony
from genesis_domains.music.score import Note, Origin, Score, Track
from tests.music.conftest import line

COMMON = METERS.index("4/4")


def long_score(bars: int, seed: int = 0, program: str = "violin", tempo: int | None = 100) -> Score:
    rng = random.Random(seed)
    pitches = [rng.choice([60, 62, 64, 65, 67, 69, 71, 72]) for _ in range(4 * bars)]
    return Score((line(pitches, program=program),), (COMMON,) * bars, 0, tempo, origin=Origin("irish", source="x"))


def test_a_score_that_fits_is_its_own_only_part():
    score = long_score(10)
    assert list(cut(score, 200)) == [score]


@settings(max_examples=30)
@given(st.integers(5, 90), st.integers(60, 300), st.integers(0, 9))
def test_parts_fit_follow_one_another_and_lose_no_note(bars, limit, seed):
    score = long_score(bars, seed)
    parts = list(cut(score, limit))
    assert all(len(codec.encode(part)) <= limit for part in parts)
    rebuilt = [note.pitch for part in parts for note in part.tracks[0].notes]
    pitches = [note.pitch for note in score.tracks[0].notes]
    assert rebuilt == pitches[: len(rebuilt)]
    assert len(pitches) - len(rebuilt) < 4 * 4 + 4  # less than the shortest part worth learning from
    if len(parts) > 1:
        assert [part.origin.part for part in parts][:2] == ["opening", "middle"] or len(parts) == 2


def test_a_cut_is_made_after_a_whole_number_of_phrases():
    lengths = [len(part.meters) for part in cut(long_score(64), 130)]
    assert all(length % 4 == 0 for length in lengths)


def test_an_excerpt_cuts_long_notes_and_leaves_out_what_began_before():
    score = Score((Track(0, (Note(0, 60, 150), Note(100, 64, 92), Note(192, 67, 96))),), (COMMON,) * 3, 0)
    part = excerpt(score, 1, 2)
    assert part is not None
    assert [note[:3] for note in part.tracks[0].notes] == [(4, 64, 92)]
    assert excerpt(Score((line([60]), ), (COMMON,) * 3, 0), 1, 2) is None  # fmt: skip


def test_variants_are_stable_and_change_no_note():
    score = long_score(12)
    once, again = (list(augment.training(score, 510)) for _ in range(2))
    assert once == again
    assert [t.notes for t in once[0].tracks] == [t.notes for t in score.tracks]
    assert 85 <= (once[0].tempo or 0) <= 115
    programs = {augment.varied(long_score(4, seed)).tracks[0].program for seed in range(60)}
    assert program_of("violin") in programs
    assert len(programs) > 5
    assert augment.varied(long_score(4, tempo=None)).tempo is None


def test_a_long_work_gives_its_opening_its_close_and_a_few_between():
    parts = list(augment.training(long_score(400), 200))
    assert len(parts) == augment.MOST_PARTS
    assert [part.origin.part for part in parts] == ["opening", "middle", "middle", "closing"]


def test_measures_by_hand(duet):
    found = measure(duet, list(PROPERTIES))
    assert found == {
        "style": "", "part": "whole", "key": "C major", "meter": "4/4", "bars": 8, "tempo": 100, "instrument": "piano",
        "tracks": 2, "lowest": 48, "highest": 79, "notes_per_bar": 6, "polyphony": 2,
    }  # fmt: skip
    assert DOMAIN.describe(long_score(4, tempo=None), ["tempo"]) == {"tempo": 120}


def test_polyphony_is_over_the_time_in_which_anything_sounds():
    score = Score((Track(0, (Note(0, 60, 24), Note(0, 64, 48), Note(72, 67, 24))),), (COMMON,), 0)
    assert polyphony(score) == pytest.approx((24 + 48 + 24) / (48 + 24))


def test_distributions_are_seen_from_the_tonic():
    c = Score((line([60, 64, 67, 72] * 2),), (COMMON,) * 2, 0)
    d = Score((line([62, 66, 69, 74] * 2),), (COMMON,) * 2, 2)
    assert distributions(c) == distributions(d)
    assert distributions(c)["pitch class"] == {0: 4, 4: 2, 7: 2}
    assert distributions(c)["step"] == {4: 2, 3: 2, 5: 2, -12: 1}


def test_divergence_is_a_bounded_symmetric_distance():
    a, b = {1: 3.0, 2: 1.0}, {1: 1.0, 2: 3.0}
    assert divergence(a, a) == 0
    assert divergence(a, b) == divergence(b, a)
    assert divergence(a, {3: 1.0}) == pytest.approx(1)
    p, q, m = (0.75, 0.25), (0.25, 0.75), (0.5, 0.5)
    from math import log2, sqrt

    by_hand = sqrt(sum(x * log2(x / y) / 2 + z * log2(z / y) / 2 for x, z, y in zip(p, q, m, strict=True)))
    assert divergence(a, b) == pytest.approx(by_hand)


def test_together_each_score_weighs_the_same():
    short = Score((line([60] * 4),), (COMMON,), 0)
    long = Score((line([62, 65] * 40),), (COMMON,) * 20, 0)
    found = together([distributions(short), distributions(long)])["duration"]
    assert sum(found.values()) == pytest.approx(2)


def test_repetition_counts_bars_that_come_again():
    a, b = [60, 62, 64, 65], [67, 65, 64, 62]
    assert repetition(Score((line([*a, *b, *a, *a]),), (COMMON,) * 4, 0)) == pytest.approx(0.5)
    assert repetition(Score((line([*a, *b]),), (COMMON,) * 2, 0)) == 0


def test_features_know_no_instrument_no_tempo_and_no_name():
    score = long_score(12)
    other = Score((score.tracks[0]._replace(program=program_of("flute")),), score.meters, 0, 63, origin=Origin("lied"))
    assert (features(score) == features(other)).all()
    assert len(PROGRAMS) == 129
    assert KEYS[0] == "C major"

"""Which scores share a tune, how much was copied, faults of four-part writing: by closed cases and by brute force."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from genesis_domains.music.chorale import faults
from genesis_domains.music.copying import Known, Passage, moves
from genesis_domains.music.families import families, family, intervals, melody
from genesis_domains.music.names import METERS, program_of
from genesis_domains.music.score import Note, Origin, Score, Track
from tests.music.conftest import line

COMMON = METERS.index("4/4")


def tune(pitches: list[int], source: str = "") -> Score:
    bars = -(-len(pitches) // 4)
    return Score((line(pitches),), (COMMON,) * bars, 0, origin=Origin(source=source))


def wander(rng: random.Random, notes: int) -> list[int]:
    pitches = [67]
    while len(pitches) < notes:
        pitches.append(min(max(pitches[-1] + rng.choice([-7, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 7]), 50), 90))
    return pitches


def test_the_melody_is_the_highest_note_of_each_onset_without_repetitions():
    notes = (Note(0, 72, 24), Note(0, 60, 24), Note(24, 72, 24), Note(48, 74, 24))
    score = Score((Track(0, notes),), (COMMON,), 0)
    assert melody(score) == [72, 74]
    assert intervals(score) == (2,)


def test_a_transposed_tune_is_of_the_same_family_and_another_is_not():
    rng = random.Random(1)
    a, b = wander(rng, 40), wander(rng, 40)
    names = families([intervals(tune(p)) for p in (a, [x + 3 for x in a], b)])
    assert names[0] == names[1] != names[2]
    assert family(tune(a)) == family(tune([x - 5 for x in a])) != family(tune(b))


def test_variants_that_share_a_third_of_their_melody_are_kin():
    rng = random.Random(2)
    a, other = wander(rng, 60), wander(rng, 60)
    variant = [*wander(rng, 20), *a[20:60]]
    little = [*other[:48], *a[48:60]]
    names = families([intervals(tune(p)) for p in (a, variant, other, little)])
    assert names[0] == names[1]
    assert names[2] == names[3] != names[0]


def test_families_do_not_depend_on_the_order():
    rng = random.Random(3)
    tunes = [wander(rng, 30) for _ in range(12)]
    tunes += [[p + 2 for p in t] for t in tunes[:6]]
    lines = [intervals(tune(t)) for t in tunes]
    named = dict(zip(map(str, lines), families(lines), strict=True))
    rng.shuffle(lines)
    assert families(lines) == [named[str(line)] for line in lines]


def longest_by_force(line: list[tuple[int, int]], others: list[list[tuple[int, int]]]) -> int:
    best = 0
    for other in others:
        for i in range(len(line)):
            for j in range(len(other)):
                n = 0
                while i + n < len(line) and j + n < len(other) and line[i + n] == other[j + n]:
                    n += 1
                best = max(best, n)
    return best


@pytest.mark.parametrize("seed", range(6))
def test_the_longest_passage_is_the_one_that_brute_force_finds(seed):
    rng = random.Random(seed)
    known = [tune(wander(rng, 40), f"tune {i}") for i in range(6)]
    taken = rng.randint(6, 30)
    pitches = [*wander(rng, 15), *[n.pitch + 2 for n in known[3].tracks[0].notes[5 : 5 + taken]]]
    found = Known.of(known).longest(tune(pitches))
    force = longest_by_force(moves(tune(pitches)), [moves(k) for k in known])
    assert found.notes == force + 1 >= taken
    assert found.source == "tune 3"


def test_melodies_that_were_kept_are_the_same(tmp_path):
    rng = random.Random(4)
    known = Known.of([tune(wander(rng, 30), f"tune {i}") for i in range(5)])
    known.save(tmp_path / "melodies.npz")
    back = Known.load(tmp_path / "melodies.npz")
    assert (back.codes == known.codes).all()
    assert back.longest(tune(wander(random.Random(4), 30))) == Passage(30, "tune 0")


def test_short_melodies_share_nothing():
    assert Known.of([tune([60, 62, 64, 65, 67, 69])]).longest(tune([60, 62, 64])).notes == 0


def voices(*rows: list[int]) -> Score:
    choir = tuple(line(row, program="choir") for row in rows)
    return Score(choir, (COMMON,) * -(-len(rows[0]) // 4), 0)


def test_parallel_fifths_and_octaves_are_counted():
    clean = voices([72, 71, 72, 72], [67, 67, 67, 67], [64, 62, 64, 64], [48, 55, 48, 48])
    assert sum(faults(clean).values()) == 0
    fifths = voices([72, 72, 72, 72], [65, 65, 65, 65], [55, 57, 57, 57], [48, 50, 50, 50])
    assert faults(fifths)["parallel fifths"] == 1
    octaves = voices([72, 74, 74, 74], [67, 65, 65, 65], [60, 62, 62, 62], [52, 53, 53, 53])
    assert faults(octaves)["parallel octaves"] == 1
    contrary = voices([72, 79, 79, 79], [65, 65, 65, 65], [57, 57, 57, 57], [53, 48, 48, 48])
    assert faults(contrary)["parallel fifths"] == 0


def test_crossings_and_ranges_are_counted_once_each():
    crossed = voices([64, 64, 72, 72], [67, 67, 67, 67], [60, 60, 60, 60], [48, 48, 48, 48])
    assert faults(crossed)["crossings"] == 1
    low = voices([72, 72, 72, 59], [67, 67, 67, 55], [60, 60, 60, 50], [48, 35, 35, 48])
    assert faults(low)["out of range"] == 3
    assert faults(voices([72, 72], [60, 60])) == {}


def test_voices_that_rest_move_in_no_parallel():
    soprano = Track(program_of("choir"), (Note(0, 74, 24), Note(48, 76, 24)))
    bass = Track(program_of("choir"), (Note(0, 50, 24), Note(24, 52, 24)))
    alto, tenor = (Track(program_of("choir"), (Note(0, p, 96),)) for p in (65, 57))
    assert sum(faults(Score((soprano, alto, tenor, bass), (COMMON,), 0)).values()) == 0


def test_where_a_score_comes_from_changes_no_family():
    score = tune(wander(random.Random(9), 20))
    assert family(replace(score, origin=Origin(style="irish"))) == family(score)

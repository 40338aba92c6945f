"""Key profiles against music21's own finders, and what is drawn again where a key was asked for."""

from __future__ import annotations

import music21
import numpy as np
import pytest

from genesis.drawing import Drawn, Request, obeying
from genesis_domains.music import DOMAIN, midi
from genesis_domains.music.keyfinding import OTHER_PROFILES, PROFILES, in_key, weights
from genesis_domains.music.names import KEYS
from genesis_domains.music.score import DRUMS, Note, Track
from tests.music.conftest import line


def named(read: music21.stream.Score, finder: str) -> str:
    found = read.analyze(f"key.{finder}")
    return f"{found.tonic.name.replace('-', 'b')} {found.mode}"


def test_both_finders_are_music21s(hand):
    pitched = [score for score in hand if all(track.program != DRUMS for track in score.tracks)]  # music21 counts drums
    assert len(pitched) >= 7
    for score in pitched:
        read = music21.converter.parse(midi.to_midi(score), format="midi")
        sounding = weights(score.tracks)
        for finder, profiles in (("aarden", PROFILES), ("temperley", OTHER_PROFILES)):
            found = profiles @ (sounding - sounding.mean())
            best, second = np.sort(found)[:-3:-1]
            if best - second < 0.1 * best:
                continue  # near a tie, which music21 decides by the lengths that it rounds
            ours = KEYS[int(found.argmax())]
            assert _tonic(ours) == _tonic(named(read, finder))
            assert ours.split()[1] == named(read, finder).split()[1]


def _tonic(name: str) -> int:
    return int(music21.pitch.Pitch(name.split()[0].replace("b", "-")).pitchClass)


@pytest.mark.parametrize("key", range(24))
def test_a_scale_with_its_chord_is_in_its_key_and_in_no_other(key):
    steps = (0, 2, 4, 5, 7, 9, 11) if key < 12 else (0, 2, 3, 5, 7, 8, 11)
    tonic = 60 + key % 12
    scale = [tonic + step for step in steps] + [tonic, tonic + steps[2], tonic + 7, tonic]
    assert [k for k in range(24) if in_key((line(scale),), k)] == [key]


def test_drums_alone_are_in_any_key():
    drums = (Track(DRUMS, (Note(0, 38, 24),)),)
    assert all(in_key(drums, key) for key in range(24))


def test_what_is_in_another_key_counts_as_not_drawn(engine, duet):
    """A piece in C major, asked for in C major and in G minor: index 0 and index 1."""
    drawn = [Drawn(i, duet, DOMAIN.key(duet), {}, -1.0) for i in range(2)]
    kept = list(obeying(DOMAIN, drawn, Request(strict=True), engine.targets({"key": ["C major", "G minor"]})))
    assert kept[0] is drawn[0]
    assert (kept[1].item, kept[1].key, kept[1].log_prob) == (None, None, -1.0)
    assert list(obeying(DOMAIN, drawn, Request(strict=True), engine.targets({"meter": "4/4"}))) == drawn


def test_strict_draws_are_the_raw_ones_without_those_in_another_key(engine):
    asked = engine.targets({"key": "D minor", "bars": 2, "tracks": 1})
    raw, strict = (list(engine.draw(12, Request(seed=4, strict=s), asked, workers=1)) for s in (False, True))
    for before, after in zip(raw, strict, strict=True):
        if before.item is not None and in_key(before.item.tracks, KEYS.index("D minor")):
            assert after == before
        else:
            assert after.item is None
    assert any(one.item is not None for one in raw)

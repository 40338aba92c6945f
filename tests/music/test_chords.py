"""Chord symbols as people write them."""

from __future__ import annotations

import music21
import pytest

from genesis.errors import UsageError
from genesis_domains.music.chords import chord, pitch_class, progression, spread
from genesis_domains.music.names import QUALITIES
from genesis_domains.music.score import Harmony
from genesis_domains.music.sheet import tones


@pytest.mark.parametrize("quality", QUALITIES)
def test_tones_are_those_that_music21_finds(quality):
    symbol = {"": "C", "m7b5": "Cø7", "dim": "Cdim", "dim7": "Co7"}.get(quality, "C" + quality)
    found = {pitch.pitchClass for pitch in music21.harmony.ChordSymbol(symbol).pitches}
    assert tones(Harmony(0, 0, QUALITIES.index(quality))) == found


def test_roots_and_spellings():
    assert [pitch_class(name) for name in ("C", "F#", "Bb", "Cb", "E")] == [0, 6, 10, 11, 4]
    assert chord("F#m7") == (6, QUALITIES.index("m7"))
    assert chord("Bbmin") == chord("Bbm") == chord("Bb-")
    assert chord("Cmaj") == chord("C")
    assert chord("B°7") == chord("Bdim7")


@pytest.mark.parametrize("text", ["H", "C13b9", "m", "", "7", "C G", "Cbb"])
def test_others_teach(text):
    with pytest.raises(UsageError, match=r"is no chord that is known; on any root .* C, Cm, C7"):
        chord(text)


def test_bars():
    assert progression("Dm G7 C") == [[chord("Dm")], [chord("G7")], [chord("C")]]
    assert progression("| Dm G7 | C |") == [[chord("Dm"), chord("G7")], [chord("C")]]


def test_a_progression_is_spread_over_the_bars_again_and_again():
    found = spread("Dm G7 | C", (0, 96, 192, 288))
    assert [(h.onset, h.root) for h in found] == [(0, 2), (48, 7), (96, 0), (192, 2), (240, 7)]

"""Chord symbols as people write them: ``Dm G7 C``, one a bar, or ``Dm G7 | C``, where bars are marked."""

from __future__ import annotations

import re
from itertools import pairwise

from genesis.errors import UsageError
from genesis_domains.music.names import QUALITIES
from genesis_domains.music.score import Harmony

LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ALSO = {"min": "m", "-": "m", "maj": "", "M": "", "M7": "maj7", "Δ": "maj7", "o": "dim", "°": "dim", "o7": "dim7",
         "°7": "dim7", "ø": "m7b5", "ø7": "m7b5", "+": "aug", "sus": "sus4", "min7": "m7", "-7": "m7"}  # fmt: skip
_SYMBOL = re.compile(r"([A-G])([b#]?)(.*)")


def pitch_class(name: str) -> int:
    """Of a note's name: ``F#`` is 6."""
    return (LETTERS[name[0]] + name.count("#") - name[1:].count("b")) % 12


def chord(text: str) -> tuple[int, int]:
    """Root and quality of a symbol; UsageError says what is known."""
    found = _SYMBOL.fullmatch(text)
    quality = _ALSO.get(found[3], found[3]) if found else None
    if found is None or quality not in QUALITIES:
        known = ", ".join("C" + quality for quality in QUALITIES)
        raise UsageError(f"{text!r} is no chord that is known; on any root (C, F#, Bb) known are {known}")
    return pitch_class(found[1] + found[2]), QUALITIES.index(quality)


def progression(text: str) -> list[list[tuple[int, int]]]:
    """The chords of each bar."""
    bars = text.split("|") if "|" in text else text.split()
    found = [[chord(one) for one in bar.split()] for bar in bars if bar.strip()]
    if not found:
        raise UsageError(f"no chord in {text!r}; write them as in 'Dm G7 C'")
    return found


def spread(text: str, starts: tuple[int, ...]) -> tuple[Harmony, ...]:
    """A progression over bars that begin at ``starts`` (the last is the end), over and over until the end.

    The chords of one bar share it evenly.
    """
    bars = progression(text)
    out = []
    for bar, (start, end) in enumerate(pairwise(starts)):
        own = bars[bar % len(bars)]
        out += [Harmony(start + i * (end - start) // len(own), *one) for i, one in enumerate(own)]
    return tuple(out)

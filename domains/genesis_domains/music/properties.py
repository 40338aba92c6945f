"""What can be measured on a score, and the two labels that it brings along."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from genesis.domain import Category, Label, Number
from genesis_domains.music.keyfinding import find_key
from genesis_domains.music.names import KEYS, METERS, PROGRAMS
from genesis_domains.music.score import HIGHEST, LOWEST, MAX_TRACKS, TEMPI, Score

MOST_BARS = 4_000  # the longest quartets, all movements together
UNSTATED_TEMPO = 120  # MIDI's own rule for a file that states none

PROPERTIES: dict[str, Number | Category | Label] = {
    "style": Label("where the music comes from: bach-chorale, irish, ...; the corpus says which there are"),
    "part": Label("whole, or the opening, middle or closing bars of a longer piece"),
    "key": Category(KEYS, "the key that the notes are in, found by correlation with key profiles"),
    "meter": Category(METERS, "the meter of most bars"),
    "bars": Number("", 1, MOST_BARS, "bars from the first to the last that sounds", integer=True),
    "tempo": Number("bpm", *TEMPI, "quarter notes a minute; 120 where the score states none", integer=True),
    "instrument": Category(PROGRAMS, "the instrument of the first track"),
    "tracks": Number("", 1, MAX_TRACKS, "instruments or voices", integer=True),
    "lowest": Number("", LOWEST, HIGHEST, "MIDI pitch of the lowest note; asked for, no note is lower", integer=True),
    "highest": Number(
        "", LOWEST, HIGHEST, "MIDI pitch of the highest note; asked for, no note is higher", integer=True
    ),
    "notes_per_bar": Number("", 0, 1_000, "notes in a bar, mean"),
    "polyphony": Number("", 1, 1_000, "notes that sound together, mean over the time in which any does"),
}


def measure(score: Score, names: Sequence[str]) -> dict[str, float | str]:
    """The named properties of a score."""
    return {name: _MEASURES[name](score) for name in names}


def _pitches(score: Score) -> list[int]:
    return [note.pitch for track in score.tracks for note in track.notes]


def polyphony(score: Score) -> float:
    """Sum of durations over the time in which at least one note sounds."""
    change = np.zeros(score.end + 1, np.int64)
    for track in score.tracks:
        for note in track.notes:
            change[note.onset] += 1
            change[note.end] -= 1
    sounding = change.cumsum()
    return float(sounding.sum() / np.count_nonzero(sounding))


_MEASURES: dict[str, Callable[[Score], float | str]] = {
    "style": lambda score: score.origin.style,
    "part": lambda score: score.origin.part,
    "key": lambda score: KEYS[find_key(score.tracks)],
    "meter": lambda score: METERS[Counter(score.meters).most_common(1)[0][0]],
    "bars": lambda score: float(len(score.meters)),
    "tempo": lambda score: float(score.tempo or UNSTATED_TEMPO),
    "instrument": lambda score: PROGRAMS[score.tracks[0].program],
    "tracks": lambda score: float(len(score.tracks)),
    "lowest": lambda score: float(min(_pitches(score))),
    "highest": lambda score: float(max(_pitches(score))),
    "notes_per_bar": lambda score: score.notes / len(score.meters),
    "polyphony": polyphony,
}

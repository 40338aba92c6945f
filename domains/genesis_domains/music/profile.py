"""What a set of scores is like: the counts that two sets are compared by, and the features that a style shows in.

N  scores    F  features
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from genesis_domains.music.families import melody
from genesis_domains.music.keyfinding import find_key
from genesis_domains.music.names import METERS, bar_ticks
from genesis_domains.music.properties import polyphony
from genesis_domains.music.score import DRUMS, Score

STEP_LIMIT = 12  # melodic steps beyond an octave are counted as one
LENGTHS = (3, 4, 6, 8, 9, 12, 16, 18, 24, 36, 48, 72, 96)  # ticks: durations are counted by the nearest below
Bag = Counter[Hashable]


def distributions(score: Score) -> dict[str, Bag]:
    """Counts by kind: pitch class from the tonic, duration, melodic step, onset in the bar, notes that sound."""
    tonic = find_key(score.tracks) % 12
    out: dict[str, Bag] = {name: Counter() for name in ("pitch class", "duration", "step", "onset", "polyphony")}
    starts = np.array(score.starts)
    for track in score.tracks:
        notes = track.notes
        if track.program != DRUMS:
            out["pitch class"].update((note.pitch - tonic) % 12 for note in notes)
            steps = (
                max(-STEP_LIMIT, min(STEP_LIMIT, b.pitch - a.pitch)) for a, b in pairwise(notes) if b.onset > a.onset
            )
            out["step"].update(steps)
        out["duration"].update(_length(note.duration) for note in notes)
        bars = np.searchsorted(starts, [note.onset for note in notes], "right") - 1
        out["onset"].update(note.onset - int(starts[bar]) for note, bar in zip(notes, bars, strict=True))
    out["polyphony"][round(polyphony(score))] += 1
    return out


def together(bags: Sequence[Mapping[str, Bag]]) -> dict[str, Bag]:
    """The counts of a set of scores; each score weighs the same, whatever its length."""
    out: dict[str, Bag] = {}
    for bag in bags:
        for name, counts in bag.items():
            total = sum(counts.values()) or 1
            own = out.setdefault(name, Counter())
            for value, count in counts.items():
                own[value] += count / total  # type: ignore[assignment]  # shares, in a table of counts
    return out


def divergence(a: Mapping[Hashable, float], b: Mapping[Hashable, float]) -> float:
    """Jensen-Shannon distance of two tables of counts (Lin 1991), base 2: 0 alike, 1 nothing in common."""
    names = [*{*a, *b}]
    p, q = (np.array([table.get(name, 0.0) for name in names], np.float64) for table in (a, b))
    if not (p.sum() and q.sum()):
        return 1.0
    p, q = p / p.sum(), q / q.sum()
    m = (p + q) / 2

    def to_middle(x: NDArray[np.float64]) -> float:
        seen = x > 0
        return float((x[seen] * np.log2(x[seen] / m[seen])).sum())

    return float(np.sqrt(max((to_middle(p) + to_middle(q)) / 2, 0.0)))


def repetition(score: Score) -> float:
    """The share of bars whose first track repeats an earlier bar's rhythm and pitches."""
    seen: set[tuple[tuple[int, int], ...]] = set()
    again = sounding = 0
    for start, end in pairwise(score.starts):
        bar = tuple((note.onset - start, note.pitch) for note in score.tracks[0].notes if start <= note.onset < end)
        if bar:
            sounding += 1
            again += bar in seen
            seen.add(bar)
    return again / sounding if sounding else 0.0


def features(score: Score, hashed: int = 512) -> NDArray[np.float64]:
    """``[F]``: what a style shows in, from the notes and bars alone; no instrument, no tempo, no name.

    Shares of pitch classes, durations, steps and onsets, the meter, and the n-grams of (step, duration ratio) of the
    melody, folded into ``hashed`` places.
    """
    bags = distributions(score)
    parts = [
        _shares(bags["pitch class"], range(12)),
        _shares(bags["duration"], range(len(LENGTHS) + 1)),
        _shares(bags["step"], range(-STEP_LIMIT, STEP_LIMIT + 1)),
        _shares(bags["onset"], range(0, 96, 6)),
    ]
    meters = Counter[Hashable](METERS[meter] for meter in score.meters)
    parts.append(_shares(meters, ("4/4", "3/4", "2/4", "6/8", "2/2", "9/8", "3/8", "12/8")))
    density = score.notes / (score.end / bar_ticks(score.meters[0]))
    line = melody(score)
    parts.append(
        np.array(
            [
                np.log1p(density),
                polyphony(score),
                len(score.tracks),
                repetition(score),
                np.mean(line) / 12,
                np.std(line) / 12,
                find_key(score.tracks) // 12,
            ]
        )
    )
    return np.concatenate([*parts, _grams(score, hashed)])


def _grams(score: Score, places: int) -> NDArray[np.float64]:
    out = np.zeros(places)
    notes = [
        note
        for i, note in enumerate(score.tracks[0].notes)
        if i == 0 or note.onset > score.tracks[0].notes[i - 1].onset
    ]
    moves = [(b.pitch - a.pitch, _length(a.duration), _length(b.duration)) for a, b in pairwise(notes)]
    for n in (1, 2, 3):
        for i in range(len(moves) - n + 1):
            value = 0
            for step, first, second in moves[i : i + n]:  # an integer hash: Python's own differs from run to run
                value = (value * 1_000_003 + (step + 64) * 1_024 + first * 32 + second) % (1 << 61)
            out[value * 2_654_435_761 % (1 << 32) % places] += 1
    out /= max(out.sum(), 1)
    return out


def _length(ticks: int) -> int:
    return int(np.searchsorted(LENGTHS, ticks, "right"))


def _shares(counts: Mapping[Hashable, float], names: Sequence[Hashable]) -> NDArray[np.float64]:
    total = sum(counts.values()) or 1
    return np.array([counts.get(name, 0) / total for name in names])

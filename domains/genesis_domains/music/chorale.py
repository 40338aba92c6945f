"""Faults of four-part writing, as textbooks count them; Bach has some too, so his own rate is the measure.

Parallel fifths and octaves: two voices move, in the same direction, from one perfect fifth (octave, unison) to another.
Crossing: a voice sounds above the one over it. Range: a note outside what the voice is written for.
"""

from __future__ import annotations

from itertools import combinations, pairwise

from genesis_domains.music.score import Score

FOUR_PART = ("bach-chorale",)  # the styles that are written so
VOICES = 4
RANGES = ((60, 81), (53, 74), (47, 69), (36, 64))  # soprano, alto, tenor, bass, as wide as Bach's go


def faults(score: Score) -> dict[str, int]:
    """Counts by kind; empty when the score is not in four parts."""
    if len(score.tracks) != VOICES:
        return {}
    moments = sorted({note.onset for track in score.tracks for note in track.notes})
    columns = _columns(score, moments)
    out = {"parallel fifths": 0, "parallel octaves": 0, "crossings": 0, "out of range": 0}
    for before, after in pairwise(columns):
        for upper, lower in combinations(range(VOICES), 2):
            a, b, c, d = before[upper], before[lower], after[upper], after[lower]
            if a is None or b is None or c is None or d is None or a == c or (c > a) != (d > b) or b == d:
                continue
            if (a - b) % 12 == (c - d) % 12 == 7:
                out["parallel fifths"] += 1
            if (a - b) % 12 == (c - d) % 12 == 0:
                out["parallel octaves"] += 1
    crossed = False
    for column in columns:
        now = any(a is not None and b is not None and a < b for a, b in pairwise(column))
        out["crossings"] += now and not crossed  # one that lasts is one
        crossed = now
    for track, (low, high) in zip(score.tracks, RANGES, strict=True):
        out["out of range"] += sum(not low <= note.pitch <= high for note in track.notes)
    return out


def _columns(score: Score, moments: list[int]) -> list[tuple[int | None, ...]]:
    """What each voice sounds at each moment; None is silence."""
    lines: list[list[int | None]] = []
    for track in score.tracks:
        line: list[int | None] = []
        at, notes = -1, track.notes
        for moment in moments:
            while at + 1 < len(notes) and notes[at + 1].onset <= moment:
                at += 1
            line.append(notes[at].pitch if at >= 0 and notes[at].end > moment else None)
        lines.append(line)
    return list(zip(*lines, strict=True))

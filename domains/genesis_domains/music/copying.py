"""How much of a melody was taken over: the longest passage it shares with any training melody, in any key.

A passage is a run of (step, duration) pairs of the first track. What is natural, held-out real melodies tell: they
share passages with the training melodies too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from genesis_domains.music.score import Score

FIRST = 4  # notes of the shortest passage that is looked for

Move = tuple[int, int]


def moves(score: Score) -> list[Move]:
    """Step to the next note of the first track and time until it, by the highest note of each onset."""
    notes = [n for i, n in enumerate(score.tracks[0].notes) if i == 0 or n.onset > score.tracks[0].notes[i - 1].onset]
    return [(b.pitch - a.pitch, b.onset - a.onset) for a, b in pairwise(notes)]


@dataclass(frozen=True, slots=True)
class Passage:
    """The longest shared passage in notes, and the training score that has it too."""

    notes: int
    source: str


class Known:
    """Training melodies, looked up by the first ``FIRST`` moves of a passage."""

    def __init__(self, scores: Iterable[Score]) -> None:
        self.lines: list[list[Move]] = []
        self.sources: list[str] = []
        self.places: dict[tuple[Move, ...], list[tuple[int, int]]] = {}
        for score in scores:
            line = moves(score)
            for i in range(len(line) - FIRST + 1):
                self.places.setdefault(tuple(line[i : i + FIRST]), []).append((len(self.lines), i))
            self.lines.append(line)
            self.sources.append(score.origin.source)

    def longest(self, score: Score) -> Passage:
        """The longest passage that the score shares; 0 notes when it is shorter than ``FIRST`` moves."""
        line = moves(score)
        best, source = 0, ""
        for i in range(len(line) - FIRST + 1):
            if best and i + best > len(line):
                break
            for which, j in self.places.get(tuple(line[i : i + FIRST]), ()):
                length = _run(line, i, self.lines[which], j)
                if length > best:
                    best, source = length, self.sources[which]
        return Passage(best + 1 if best else 0, source)


def _run(a: Sequence[Move], i: int, b: Sequence[Move], j: int) -> int:
    n = 0
    while i + n < len(a) and j + n < len(b) and a[i + n] == b[j + n]:
        n += 1
    return n

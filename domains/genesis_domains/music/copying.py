"""How much of a melody was taken over: the longest passage it shares with any training melody, in any key.

A passage is a run of (step, duration) pairs of the first track. What is natural, held-out real melodies tell: they
share passages with the training melodies too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genesis_domains.music.score import Score

FIRST = 4  # moves of the shortest passage that is looked for
END = -1  # after each melody: the move of no score

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
    """Training melodies, a number a move, one after the other; found by the first ``FIRST`` moves of a passage.

    M  moves of all melodies, ``END`` after each
    """

    def __init__(self, codes: NDArray[np.int64], sources: Sequence[str]) -> None:
        self.codes, self.sources = codes, tuple(sources)
        self.ends = np.flatnonzero(codes == END)
        hashed = _hash(codes)
        self.order = np.argsort(hashed, kind="stable")
        self.hashed = hashed[self.order]

    @classmethod
    def of(cls, scores: Iterable[Score]) -> Known:
        """The melodies of scores."""
        codes: list[int] = []
        sources = []
        for score in scores:
            codes += [*map(_code, moves(score)), END]
            sources.append(score.origin.source)
        return cls(np.array(codes, np.int64), sources)

    def longest(self, score: Score) -> Passage:
        """The longest passage that the score shares; 0 notes when it is shorter than ``FIRST`` moves."""
        line = np.array([*map(_code, moves(score))], np.int64)
        wanted = _hash(line)
        first, last = np.searchsorted(self.hashed, wanted, "left"), np.searchsorted(self.hashed, wanted, "right")
        best, where = 0, -1
        for i in range(len(wanted)):
            if i + best >= len(line):
                break
            places = self.order[first[i] : last[i]]
            places = places[places + best < len(self.codes)]
            # only where the passage would be longer than the best one
            for j in places[self.codes[places + best] == line[i + best]].tolist():
                length = _run(line, i, self.codes, j)
                if length > max(best, FIRST - 1):
                    best, where = length, j
        source = self.sources[int(np.searchsorted(self.ends, where))] if best else ""
        return Passage(best + 1 if best else 0, source)

    def save(self, path: Path) -> None:
        """As an .npz without objects."""
        np.savez_compressed(path, codes=self.codes, sources=np.array(self.sources))

    @classmethod
    def load(cls, path: Path) -> Known:
        with np.load(path, allow_pickle=False) as found:
            return cls(found["codes"], found["sources"].tolist())


def _code(move: Move) -> int:
    return (move[0] + 128) << 24 | min(move[1], (1 << 24) - 1)


def _hash(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each ``FIRST`` moves in a row; equal ones are compared again."""
    count = max(len(codes) - FIRST + 1, 0)
    out = np.zeros(count, np.int64)
    for i in range(FIRST):
        out = out * np.int64(6_364_136_223_846_793_005) + codes[i : i + count]
    return out


def _run(a: NDArray[np.int64], i: int, b: NDArray[np.int64], j: int) -> int:
    n = min(len(a) - i, len(b) - j)
    different = np.flatnonzero(a[i : i + n] != b[j : j + n])
    return int(different[0]) if len(different) else n

"""Which scores share a tune: those on whose opening, or on much of whose melody, they agree.

A family stands on one side of the split, so that no melody is learned and then tested.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

from genesis_domains.music.score import Score

INTERVALS = 10  # of a melodic n-gram: a random pair of folk tunes rarely shares one that is not a scale
SHARED = 0.3  # of the n-grams of the shorter melody, from which two scores are kin
COMMON = 20  # an n-gram in more melodies than this is a figure, not a tune
OPENING = 12  # intervals by which a score that stands alone is known


def melody(score: Score) -> list[int]:
    """Pitches of the highest note at each onset of the first track, repetitions left out."""
    tops: dict[int, int] = {}
    for note in score.tracks[0].notes:
        tops[note.onset] = max(tops.get(note.onset, 0), note.pitch)
    pitches = [tops[onset] for onset in sorted(tops)]
    return [pitch for i, pitch in enumerate(pitches) if i == 0 or pitches[i - 1] != pitch]


def intervals(score: Score) -> tuple[int, ...]:
    """Steps of the melody in semitones: the same in every transposition."""
    line = melody(score)
    return tuple(b - a for a, b in pairwise(line))


def family(score: Score) -> str:
    """The family of a score on its own: the opening of its melody."""
    return _digest(intervals(score)[:OPENING])


def families(lines: Sequence[tuple[int, ...]]) -> list[str]:
    """A family for each melody (as intervals) of a corpus: chains of kin, named after their first digest.

    Kin begin with the same ``OPENING`` steps or share ``SHARED`` of the shorter one's n-grams.
    """
    parent = list(range(len(lines)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    grams = [{line[i : i + INTERVALS] for i in range(len(line) - INTERVALS + 1)} for line in lines]
    holders: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for i, own in enumerate(grams):
        for gram in own:
            holders[gram].append(i)
    shared: Counter[tuple[int, int]] = Counter()
    for where in holders.values():
        if len(where) <= COMMON:
            shared.update((a, b) for n, a in enumerate(where) for b in where[n + 1 :])
    pairs = [pair for pair, count in shared.items() if count >= SHARED * min(len(grams[i]) for i in pair)]
    opened: dict[tuple[int, ...], int] = {}
    for i, line in enumerate(lines):
        pairs.append((opened.setdefault(line[:OPENING], i), i))
    for a, b in pairs:
        parent[root(a)] = root(b)
    names: dict[int, str] = {}
    for i, line in enumerate(lines):
        digest = _digest(line)
        names[root(i)] = min(names.get(root(i), digest), digest)
    return [names[root(i)] for i in range(len(lines))]


def _digest(line: tuple[int, ...]) -> str:
    return hashlib.blake2b(repr(line).encode(), digest_size=8).hexdigest()

"""What is given of a score, bar by bar and track by track, and how what was drawn is put to it.

A cell is one bar of one track. A given cell keeps its notes; a free one is the model's. The last note of a free run of
cells ends with the run at the latest.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from genesis_domains.music.names import QUALITIES, bar_ticks
from genesis_domains.music.score import VELOCITY, Harmony, Note, Origin, Score, Track, tidy, trimmed

# semitones above the root of a chord symbol's notes, in the order of ``names.QUALITIES``
CHORD_TONES = {
    "": (0, 4, 7), "m": (0, 3, 7), "7": (0, 4, 7, 10), "m7": (0, 3, 7, 10), "maj7": (0, 4, 7, 11), "dim": (0, 3, 6),
    "dim7": (0, 3, 6, 9), "m7b5": (0, 3, 6, 10), "aug": (0, 4, 8), "sus4": (0, 5, 7), "6": (0, 4, 7, 9),
    "m6": (0, 3, 7, 9),
}  # fmt: skip
ANY = -1  # a program or a tempo that the model chooses


def tones(harmony: Harmony) -> frozenset[int]:
    """The pitch classes of a chord."""
    return frozenset((harmony.root + step) % 12 for step in CHORD_TONES[QUALITIES[harmony.quality]])


@dataclass(frozen=True)
class Sheet:
    """Bars of known meters, in part written."""

    key: int
    meters: tuple[int, ...]
    programs: tuple[int, ...]  # of each track; ``ANY``: the model's choice
    notes: tuple[tuple[Note, ...], ...]  # of each track; those in free cells are ignored
    free: NDArray[np.bool_]  # [tracks, bars]
    tempo: int | None = None  # ``ANY``: the model's choice; None: none is stated
    harmonies: tuple[Harmony, ...] = ()
    origin: Origin = field(default=Origin())

    def __post_init__(self) -> None:
        assert self.free.shape == (len(self.programs), len(self.meters))
        assert len(self.notes) == len(self.programs)

    @classmethod
    def of(cls, score: Score, free: NDArray[np.bool_]) -> Sheet:
        """A score some of whose cells ``[tracks, bars]`` are to be written anew."""
        return cls(
            score.key, score.meters, tuple(track.program for track in score.tracks),
            tuple(track.notes for track in score.tracks), free, score.tempo, score.harmonies, score.origin,
        )  # fmt: skip

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The tick at which each bar begins, and the end of the last."""
        return tuple(accumulate(map(bar_ticks, self.meters), initial=0))

    def bar(self, tick: int) -> int:
        """The bar in which a tick lies."""
        return bisect.bisect_right(self.starts, tick) - 1

    @cached_property
    def given(self) -> tuple[tuple[Note, ...], ...]:
        """The notes that stay, of each track."""
        return tuple(
            tuple(note for note in notes if not self.free[track, self.bar(note.onset)])
            for track, notes in enumerate(self.notes)
        )

    @cached_property
    def until(self) -> NDArray[np.int64]:
        """``[tracks, bars]``: the tick by which a note of a free cell ends: the next given bar, or the end."""
        out = np.full(self.free.shape, self.starts[-1], np.int64)
        for bar in reversed(range(len(self.meters) - 1)):
            out[:, bar] = np.where(self.free[:, bar + 1], out[:, bar + 1], self.starts[bar + 1])
        return out

    def chord_at(self, tick: int) -> Harmony | None:
        """The chord in force, as far as the symbols say."""
        at = bisect.bisect_right([harmony.onset for harmony in self.harmonies], tick) - 1
        return self.harmonies[at] if at >= 0 else None

    def window(self, first: int, last: int) -> Sheet:
        """Bars ``first`` to ``last`` (not included). Notes that began before are left out, longer ones cut short."""
        start, end = self.starts[first], self.starts[last]
        notes = tuple(
            tuple(
                note._replace(onset=note.onset - start, duration=min(note.duration, end - note.onset))
                for note in track
                if start <= note.onset < end
            )
            for track in self.notes
        )
        held = self.chord_at(start)
        chords = [h._replace(onset=h.onset - start) for h in self.harmonies if start <= h.onset < end]
        if held is not None and (not chords or chords[0].onset > 0):
            chords.insert(0, held._replace(onset=0))
        return replace(self, meters=self.meters[first:last], notes=notes, free=self.free[:, first:last],
                       harmonies=tuple(chords))  # fmt: skip

    def filled(self, drawn: Sequence[Track], tempo: int | None, first: int, last: int) -> Sheet:
        """The sheet with what was drawn for the free cells of bars ``first`` to ``last``, which are then given.

        What was given is taken from the sheet itself, so it stays note for note.
        """
        start, end = self.starts[first], self.starts[last]
        tracks = []
        for track, found in enumerate(drawn):
            own = [n for n in self.notes[track] if not (start <= n.onset < end and self.free[track, self.bar(n.onset)])]
            velocity = self._velocity(track)
            for note in found.notes:
                if start <= note.onset < end and self.free[track, bar := self.bar(note.onset)]:
                    stop = min(note.end, int(self.until[track, bar]), end)
                    own.append(Note(note.onset, note.pitch, stop - note.onset, velocity))
            tracks.append(tidy(own))
        programs = tuple(mine if mine != ANY else its.program for mine, its in zip(self.programs, drawn, strict=True))
        free = self.free.copy()
        free[:, first:last] = False
        stated = tempo if self.tempo == ANY else self.tempo
        return replace(self, programs=programs, notes=tuple(tracks), free=free, tempo=stated)

    def repeated(self, first: int, last: int, place: int) -> Sheet:
        """Bars ``first`` to ``last`` once more from bar ``place``, in place of what stands there."""
        start, end, shift = self.starts[first], self.starts[last], self.starts[place] - self.starts[first]
        tracks = []
        for notes in self.notes:
            kept = [n for n in notes if not start + shift <= n.onset < end + shift]
            again = [n._replace(onset=n.onset + shift, duration=min(n.duration, end - n.onset))
                     for n in notes if start <= n.onset < end]  # fmt: skip
            tracks.append(tidy([*kept, *again]))
        free = self.free.copy()
        free[:, place : place + last - first] = False
        return replace(self, notes=tuple(tracks), free=free)

    def score(self) -> Score:
        """The score of a sheet that is filled; tracks without notes are left out."""
        tracks = tuple(Track(p, notes) for p, notes in zip(self.programs, self.notes, strict=True) if notes)
        return trimmed(Score(tracks, self.meters, self.key, self.tempo, self.harmonies, self.origin)).check()

    def _velocity(self, track: int) -> int:
        """How loud what is added to a track is: as its given notes are for the most part."""
        heard = sorted(note.velocity for note in self.given[track])
        return heard[len(heard) // 2] if heard else VELOCITY

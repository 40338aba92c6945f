"""The item: a score of notes on a grid of 24 ticks a quarter note, in bars that add up.

A tick is a 24th of a quarter: sixteenths, thirty-seconds and every triplet of them are whole numbers of ticks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, groupby, pairwise
from typing import NamedTuple

from genesis.errors import EncodeError
from genesis_domains.music.names import KEYS, METERS, PROGRAMS, bar_ticks

TICKS = 24  # a quarter note
MAX_TRACKS = 8
LOWEST, HIGHEST = 21, 108  # the piano's keys: MIDI pitches that are modelled
TEMPI = (20, 309)  # beats (quarter notes) a minute
VELOCITY = 80  # of a note whose velocity nobody stated
VELOCITY_STEP = 8
DRUMS = PROGRAMS.index("drums")


class Note(NamedTuple):
    """One note; times are in ticks from the beginning."""

    onset: int
    pitch: int
    duration: int
    velocity: int = VELOCITY

    @property
    def end(self) -> int:
        return self.onset + self.duration


class Track(NamedTuple):
    """One instrument's notes, by onset, then from the highest to the lowest."""

    program: int
    notes: tuple[Note, ...]


class Harmony(NamedTuple):
    """A chord symbol: its root's pitch class and its quality, an index into ``names.QUALITIES``."""

    onset: int
    root: int
    quality: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a score comes from: what a licence, a split and a report need to know. No part of what makes it equal."""

    style: str = ""
    composer: str = ""
    source: str = ""
    tier: str = ""
    family: str = ""  # scores with the same tune; empty: the opening of the melody tells
    part: str = "whole"  # or the opening, middle or closing part of a longer one


@dataclass(frozen=True)
class Score:
    """Tracks under a sequence of bars. ``meters`` holds an index into ``names.METERS`` for each bar."""

    tracks: tuple[Track, ...]
    meters: tuple[int, ...]
    key: int  # the notated one, an index into ``names.KEYS``
    tempo: int | None = None  # quarter notes a minute
    harmonies: tuple[Harmony, ...] = ()
    origin: Origin = field(default=Origin(), compare=False)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The tick at which each bar begins, and the end of the last."""
        return tuple(accumulate((bar_ticks(meter) for meter in self.meters), initial=0))

    @property
    def end(self) -> int:
        return self.starts[-1]

    @cached_property
    def notes(self) -> int:
        return sum(len(track.notes) for track in self.tracks)

    def check(self) -> Score:
        """The score itself, or EncodeError with the first thing that no sequence can say."""
        if not 1 <= len(self.tracks) <= MAX_TRACKS:
            raise EncodeError(f"{len(self.tracks)} tracks; 1 to {MAX_TRACKS} are modelled")
        if not self.notes:
            raise EncodeError("no notes")
        if not all(track.notes for track in self.tracks):
            raise EncodeError("a track without notes")
        if self.tempo is not None and not TEMPI[0] <= self.tempo <= TEMPI[1]:
            raise EncodeError(f"a tempo of {self.tempo} beats a minute; {TEMPI[0]} to {TEMPI[1]} are modelled")
        last = 0
        for track in self.tracks:
            if list(track.notes) != sorted(set(track.notes), key=_order):
                raise EncodeError("notes out of order")
            sounding: dict[int, int] = {}
            for note in track.notes:
                if not LOWEST <= note.pitch <= HIGHEST:
                    raise EncodeError(f"pitch {note.pitch}; {LOWEST} to {HIGHEST} are modelled")
                if note.duration < 1 or note.onset < 0 or note.end > self.end:
                    raise EncodeError(f"a note from tick {note.onset} to {note.end} in a score that ends at {self.end}")
                if sounding.get(note.pitch, 0) > note.onset:
                    raise EncodeError(f"pitch {note.pitch} begins again at tick {note.onset} while it sounds")
                if note.velocity != level(note.velocity):
                    raise EncodeError(f"velocity {note.velocity} is no multiple of {VELOCITY_STEP}")
                sounding[note.pitch] = note.end
                last = max(last, note.end)
        if last <= self.starts[-2]:
            raise EncodeError("silent bars at the end")
        return self

    def key_text(self) -> str:
        """The canonical text: equal exactly when two scores are."""
        meters = " ".join(f"{METERS[m]}x{len(list(group))}" for m, group in groupby(self.meters))
        head = f"{KEYS[self.key]} {meters}" + (f" tempo {self.tempo}" if self.tempo else "")
        parts = [f"{PROGRAMS[t.program]} {' '.join('.'.join(map(str, note)) for note in t.notes)}" for t in self.tracks]
        chords = [" ".join(".".join(map(str, chord)) for chord in self.harmonies)] if self.harmonies else []
        return " | ".join((head, *parts, *chords))


def _order(note: Note) -> tuple[int, int]:
    return note.onset, -note.pitch


def level(velocity: int) -> int:
    """The nearest of the modelled velocities 8, 16, ..., 120."""
    return min(max((velocity + VELOCITY_STEP // 2) // VELOCITY_STEP, 1), 15) * VELOCITY_STEP


def tidy(notes: list[Note]) -> tuple[Note, ...]:
    """Notes in order, one for each onset and pitch (the longest), none begun again while it sounds."""
    longest: dict[tuple[int, int], Note] = {}
    for note in notes:
        at = (note.onset, note.pitch)
        if note.duration > 0 and (at not in longest or longest[at].duration < note.duration):
            longest[at] = note
    out: list[Note] = []
    for _, alike in groupby(sorted(longest.values(), key=lambda n: (n.pitch, n.onset)), key=lambda n: n.pitch):
        same = list(alike)
        out += [one._replace(duration=min(one.duration, after.onset - one.onset)) for one, after in pairwise(same)]
        out.append(same[-1])
    return tuple(sorted(out, key=_order))


def trimmed(score: Score) -> Score:
    """Without silent bars at the end, which a file of notes cannot hold."""
    last = max((note.end for track in score.tracks for note in track.notes), default=0)
    count = next((i for i, start in enumerate(score.starts) if start >= last), len(score.meters))
    return replace(score, meters=score.meters[: max(count, 1)])

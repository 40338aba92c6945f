"""Scores to tokens and back, exactly. The grammar is in ``vocabulary.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise

from genesis.errors import EncodeError
from genesis_domains.music.names import QUALITIES, bar_ticks
from genesis_domains.music.score import DRUMS, HIGHEST, LOWEST, VELOCITY, VELOCITY_STEP, Harmony, Note, Score, Track
from genesis_domains.music.vocabulary import (
    AT,
    BAR,
    CHORD,
    FIRST_STEP,
    FOR,
    KEY,
    LONGEST,
    MORE,
    NOTE,
    PROGRAM,
    SIZE,
    STEPS,
    TENS,
    UNITS,
    VELOCITY_TOKEN,
    VOCAB,
    note_token,
    shift,
)


def encode(score: Score) -> list[int]:
    """The tokens of a checked score."""
    above = [0 if track.program == DRUMS else shift(score.key) for track in score.tracks]
    out = [KEY + score.key]
    if score.tempo is not None:
        out += [TENS + score.tempo // 10 - 2, UNITS + score.tempo % 10]
    out += [PROGRAM + track.program for track in score.tracks]
    events = [
        (note.onset, t, -note.pitch, note, until)
        for t, track in enumerate(score.tracks)
        for note, until in zip(track.notes, _implied(track.notes, score.end), strict=True)
    ]
    moments = {onset: list(alike) for onset, alike in groupby(sorted(events), key=lambda event: event[0])}
    chords = {harmony.onset: harmony for harmony in score.harmonies}
    velocity = [VELOCITY] * len(score.tracks)
    times = iter([*sorted(moments | chords), score.end])
    time = next(times)
    meter = None
    for start, end, own in zip(score.starts, score.starts[1:], score.meters, strict=False):
        out.append(BAR if own == meter else BAR + 1 + own)
        meter = own
        while time < end:
            out.append(AT + time - start)
            if time in chords:
                root, quality = (chords[time].root - shift(score.key)) % 12, chords[time].quality
                out.append(CHORD + root * len(QUALITIES) + quality)
            for _, t, _, note, until in moments.get(time, ()):
                if note.velocity != velocity[t]:
                    velocity[t] = note.velocity
                    out.append(VELOCITY_TOKEN + note.velocity // VELOCITY_STEP - 1)
                out.append(note_token(t, note.pitch, above[t]))
                if note.end != until:
                    more, rest = divmod(note.duration - 1, LONGEST)
                    out += [MORE] * more + [FOR + rest]
            time = next(times)
    return out


def _implied(notes: Sequence[Note], end: int) -> list[int]:
    """When each note ends that says nothing: at the next onset of its track, the last ones at the end."""
    onsets = sorted({note.onset for note in notes})
    following = dict(pairwise([*onsets, end]))
    return [following[note.onset] for note in notes]


def decode(tokens: Sequence[int]) -> Score | None:
    """The score of a sequence, or None when it breaks the grammar."""
    try:
        found = _Reader(tokens).score()
        return replace(found, tracks=tuple(track for track in found.tracks if track.notes)).check()
    except (_Broken, EncodeError):
        return None


def drawn(tokens: Sequence[int]) -> Score | None:
    """What a sequence says, tracks without notes among it and nothing checked; None when it breaks the grammar."""
    try:
        return _Reader(tokens).score()
    except _Broken:
        return None


class _Broken(Exception):
    """A token stands where it cannot."""


class _Reader:
    """Reads one sequence from left to right."""

    def __init__(self, tokens: Sequence[int]) -> None:
        if not all(KEY <= token < len(VOCAB) for token in tokens):
            raise _Broken
        self.tokens, self.at = tokens, 0

    def score(self) -> Score:
        key = self._take("key", KEY)
        tempo = None
        if self._sees("tens", TENS):
            tempo = 10 * (self._take("tens", TENS) + 2) + self._take("units", UNITS)
        programs = [self._take("program", PROGRAM)]
        while self._sees("program", PROGRAM):
            programs.append(self._take("program", PROGRAM))
        above = [0 if program == DRUMS else shift(key) for program in programs]
        notes: list[list[tuple[int, int, int, int]]] = [[] for _ in programs]  # duration 0: implied
        velocity = [VELOCITY] * len(programs)
        meters: list[int] = []
        harmonies: list[Harmony] = []
        start = end = 0
        while self.at < len(self.tokens):
            bar = self._take("bar", BAR)
            if bar == 0 and not meters:
                raise _Broken
            meters.append(bar - 1 if bar else meters[-1])
            start, end = end, end + bar_ticks(meters[-1])
            before = -1
            while self._sees("at", AT):
                time = start + self._take("at", AT)
                if not before < time < end:
                    raise _Broken
                before = time
                said = 0
                if self._sees("chord", CHORD):
                    root, quality = divmod(self._take("chord", CHORD), len(QUALITIES))
                    harmonies.append(Harmony(time, (root + shift(key)) % 12, quality))
                    said = 1
                last = -1
                while (loud := self._sees("velocity", VELOCITY_TOKEN)) or self._sees("note", NOTE):
                    level = self._take("velocity", VELOCITY_TOKEN) + 1 if loud else 0
                    token = self._take("note", NOTE)
                    track, step = divmod(token, STEPS)
                    place = track * STEPS + STEPS - 1 - step  # ascending: by track, then from high to low
                    if track >= len(programs) or place <= last:
                        raise _Broken
                    last = place
                    velocity[track] = level * VELOCITY_STEP or velocity[track]
                    pitch = note_pitch(step, above[track])
                    notes[track].append((time, pitch, self._duration(), velocity[track]))
                    said = 1
                if not said:
                    raise _Broken
        if not meters:
            raise _Broken
        tracks = tuple(Track(p, _timed(n, end)) for p, n in zip(programs, notes, strict=True))
        return Score(tracks, tuple(meters), key, tempo, tuple(harmonies))

    def _duration(self) -> int:
        ticks = 0
        while self._sees("more", MORE):
            self.at += 1
            ticks += LONGEST
        if ticks or self._sees("for", FOR):
            ticks += self._take("for", FOR) + 1
        return ticks

    def _sees(self, kind: str, base: int) -> bool:
        return self.at < len(self.tokens) and base <= self.tokens[self.at] < base + SIZE[kind]

    def _take(self, kind: str, base: int) -> int:
        if not self._sees(kind, base):
            raise _Broken
        self.at += 1
        return self.tokens[self.at - 1] - base


def note_pitch(step: int, above: int) -> int:
    """The MIDI pitch of a step; one that is not modelled breaks the sequence."""

    pitch = FIRST_STEP + step + above
    if not LOWEST <= pitch <= HIGHEST:
        raise _Broken
    return pitch


def _timed(notes: Sequence[tuple[int, int, int, int]], end: int) -> tuple[Note, ...]:
    onsets = sorted({onset for onset, *_ in notes})
    following = dict(pairwise([*onsets, end]))
    return tuple(
        Note(onset, pitch, duration or following[onset] - onset, velocity) for onset, pitch, duration, velocity in notes
    )

"""The JSB chorales as published: frames of four pitches on a sixteenth grid, in three splits.

A pitch that goes on is one note: the frames do not tell a held note from a repeated one. The meter is not in the data;
bars of 4/4 from the first frame are a frame of reference and no claim. A last bar is completed by silence.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, groupby
from pathlib import Path

from genesis_domains.music.chorale import RANGES
from genesis_domains.music.families import family
from genesis_domains.music.keyfinding import find_key
from genesis_domains.music.names import meter_of, program_of
from genesis_domains.music.score import Note, Origin, Score, Track, trimmed

FRAME = 6  # ticks of a sixteenth
FRAMES = 16  # of a bar
REST = -1
VOICES = 4


def chorales(path: Path) -> dict[str, list[Score]]:
    """Scores of each split of ``jsb-chorales-16th.json``."""
    splits = json.loads(path.read_text(encoding="utf-8"))
    return {
        split: [chorale(voiced(frames), f"jsb {split} {number}") for number, frames in enumerate(splits[split])]
        for split in ("train", "valid", "test")
    }


def voiced(frames: Sequence[Sequence[float]]) -> list[list[int]]:
    """Frames ``[T][4]`` with ``REST`` where a voice is silent.

    A published frame of fewer than four pitches (.4 % of them) does not say which voices rest: those that sing are the
    ones for which the steps from their last pitches are the smallest together.
    """
    last = [sum(ends) // 2 for ends in RANGES]
    out = []
    for frame in frames:
        pitches = list(map(int, frame))
        singing = min(
            combinations(range(VOICES), len(pitches)),
            key=lambda voices: sum(abs(last[v] - p) for v, p in zip(voices, pitches, strict=True)),
        )
        row = [REST] * VOICES
        for voice, pitch in zip(singing, pitches, strict=True):
            row[voice] = last[voice] = pitch
        out.append(row)
    return out


def chorale(frames: list[list[int]], source: str = "") -> Score:
    """The score of one chorale's frames ``[T][4]``."""
    tracks = []
    for voice in range(VOICES):
        notes, at = [], 0
        for pitch, alike in groupby(int(frame[voice]) for frame in frames):
            length = len(list(alike))
            if pitch != REST:
                notes.append(Note(at * FRAME, pitch, length * FRAME))
            at += length
        tracks.append(Track(program_of("choir"), tuple(notes)))
    bars = -(-len(frames) // FRAMES)
    meter = meter_of(4, 4)
    assert meter is not None
    kept = tuple(track for track in tracks if track.notes)
    origin = Origin("bach-chorale", "Bach, Johann Sebastian", source, "free")
    score = trimmed(Score(kept, (meter,) * bars, find_key(kept), origin=origin)).check()
    return replace(score, origin=replace(origin, family=family(score)))

"""The state of the score automaton: one row of int32 words a score.

First what was asked of the row, then where it stands, then for each track its latest onset, how many notes begun there
have no stated length, its latest note and the one before that onset, and last the tick at which each key of each track
falls silent.

    B  batch    S  state words
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from genesis_domains.music.names import METERS, bar_ticks
from genesis_domains.music.score import HIGHEST, LOWEST, MAX_TRACKS
from genesis_domains.music.vocabulary import DOWN, LONGEST

KEYS_OF_PIANO = HIGHEST - LOWEST + 1
SHORTEST = min(map(bar_ticks, range(len(METERS))))


@dataclass(frozen=True, slots=True)
class State:
    """The first words of a row, ``[B]`` int64 each; the wish (``asked.Wish``) comes first."""

    key_asked: Tensor  # -1: any
    meter_asked: Tensor
    program: Tensor  # of the first track
    bars_low: Tensor
    bars_high: Tensor
    tempo_low: Tensor  # 0: any, or none
    tempo_high: Tensor
    tracks_low: Tensor
    tracks_high: Tensor
    floor: Tensor  # the lowest and highest MIDI pitch
    ceiling: Tensor
    parts: Tensor  # 1: four voices are written by rule, see ``partwriting.py``
    mode: Tensor  # what was just written, see ``automaton.py``
    above: Tensor  # the tonic: semitones above the lowest one, 0 to 11
    tens: Tensor  # of the tempo
    drums: Tensor  # a bit for each track that is drums
    tracks: Tensor
    length: Tensor  # of the bar, in ticks
    bars: Tensor  # begun so far
    start: Tensor  # of the bar
    position: Tensor  # in the bar; -1: none yet
    place: Tensor  # of the last note within its moment
    more: Tensor  # ticks of the length being written
    note: Tensor  # the last one: track and piano key
    reach: Tensor  # when the last note with a stated length ends
    implied_notes: Tensor  # [B, tracks]: notes of the latest onset without a stated length

    @classmethod
    def of(cls, state: Tensor) -> State:
        words = state[:, : len(FIELDS)].T.long().contiguous().unbind(0)
        named = dict(zip(FIELDS, words, strict=True))
        return cls(**named, implied_notes=state[:, IMPLIED : IMPLIED + MAX_TRACKS].long())

    @property
    def end(self) -> Tensor:
        """Of the bar."""
        return self.start + self.length

    @property
    def implied(self) -> Tensor:
        """Whether some note sounds to the end, whatever the end will be."""
        return self.implied_notes.any(1)

    def implied_besides(self) -> Tensor:
        """The same without the last note."""
        track = torch.arange(MAX_TRACKS, device=self.note.device) == (self.note // KEYS_OF_PIANO)[:, None]
        return (self.implied_notes - track.long() > 0).any(1)

    @property
    def longest(self) -> Tensor:
        """Ticks of the longest bar that may follow."""
        return torch.where(self.meter_asked < 0, LONGEST, self.length)

    @property
    def shortest(self) -> Tensor:
        """Ticks of the shortest one."""
        return torch.where(self.meter_asked < 0, SHORTEST, self.length)

    def more_bars(self) -> Tensor:
        """Bars that must still be begun: those asked for, and those into which notes already last."""
        held = -(-(self.reach - self.end).clamp(min=0) // self.longest.clamp(min=1))
        return torch.maximum(held, (self.bars_low - self.bars).clamp(min=0))

    def sounds(self, more: Tensor) -> Tensor:
        """Whether ``more`` bars without a new note can follow so that the last one is not silent."""
        last = torch.where(more == 0, self.start, self.end + (more - 1) * self.shortest)
        return self.implied | (self.reach > last)

    def above_of_tracks(self) -> Tensor:
        """``[B, tracks]``: the tonic of each track; drums are not transposed."""
        drums = (self.drums[:, None] >> torch.arange(MAX_TRACKS, device=self.drums.device)) & 1 > 0
        return torch.where(drums, DOWN, self.above[:, None])


FIELDS = {field.name: place for place, field in enumerate(fields(State)[:-1])}
ONSET = len(FIELDS)
IMPLIED = ONSET + MAX_TRACKS
PITCH = IMPLIED + MAX_TRACKS  # piano keys; -1: none yet
BEFORE = PITCH + MAX_TRACKS
ENDS = BEFORE + MAX_TRACKS
WORDS = ENDS + MAX_TRACKS * KEYS_OF_PIANO

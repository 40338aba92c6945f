"""Part-writing by rule: of the notes that are free, those that make none of the faults that ``chorale.py`` counts.

The rule holds for four tracks where it was asked for. Voices of a moment are written from the top down, so that a note
is judged against the voices above as they are and against those below as they were: it stays within its voice's range,
not above the voice over it, not below where the voice under it still is, and moves in no parallel fifth, octave or
unison with a voice above that moved too. A voice sings one note at a time. Where no note at all would be left at a
moment that must have one, all that is free stays free.

    B  batch    S  state words    V  voices    6 pairs of them
"""

from __future__ import annotations

from functools import cache
from itertools import combinations

import torch
from torch import Tensor

from genesis_domains.music.chorale import RANGES, VOICES
from genesis_domains.music.score import LOWEST
from genesis_domains.music.state import BEFORE, KEYS_OF_PIANO, ONSET, PITCH, State

PERFECT = (0, 7)  # semitones, octaves taken off


@cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``[V]`` the lowest and highest piano key of each voice, ``[6]`` the upper and the lower voice of each pair."""
    ranges = torch.tensor(RANGES, device=device) - LOWEST
    pairs = torch.tensor(list(combinations(range(VOICES), 2)), device=device)
    return ranges[:, 0], ranges[:, 1], pairs[:, 0], pairs[:, 1]


def faultless(s: State, state: Tensor, free: Tensor) -> Tensor:
    """``[B, tracks, piano keys]``: the free notes that are no fault; where the rule does not hold, all of them."""
    held = (s.parts > 0) & (s.tracks == VOICES)
    if free.shape[1] < VOICES or (free.device.type == "cpu" and not bool(held.any())):
        return free
    lowest, highest, over, under = _tables(free.device)
    keys = torch.arange(KEYS_OF_PIANO, device=free.device)
    pitch, before = (state[:, at : at + VOICES].long() for at in (PITCH, BEFORE))  # [B, V] piano keys, -1: none yet
    moved = state[:, ONSET : ONSET + VOICES].long() == (s.start + s.position)[:, None]
    above = torch.where(pitch < 0, KEYS_OF_PIANO, pitch)[:, :-1]
    floor = torch.maximum(lowest, torch.nn.functional.pad(pitch[:, 1:], (0, 1), value=0))[..., None]
    ceiling = torch.minimum(highest, torch.nn.functional.pad(above, (1, 0), value=KEYS_OF_PIANO))[..., None]
    allowed = free[:, :VOICES] & ~moved[..., None] & (keys >= floor) & (keys <= ceiling)
    # pairs of voices, the upper one of which has moved already
    was, is_, own = before[:, over], pitch[:, over], pitch[:, under]
    gap = (was - own) % 12
    both = moved[:, over] & (was >= 0) & (own >= 0) & (was != is_) & ((gap == PERFECT[0]) | (gap == PERFECT[1]))
    own = own[..., None]
    alike = (is_ > was)[..., None] == (keys > own)
    fault = both[..., None] & alike & (keys != own) & ((is_[..., None] - keys) % 12 == gap[..., None])
    faults = torch.zeros(allowed.shape, dtype=torch.int32, device=free.device).index_add_(1, under, fault.int())
    allowed &= faults == 0
    must = ~allowed.flatten(1).any(1) | ~held
    return torch.where(must[:, None, None], free, torch.nn.functional.pad(allowed, (0, 0, 0, free.shape[1] - VOICES)))

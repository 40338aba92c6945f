"""Part-writing by rule: of the notes that are free, those that make none of the faults that ``chorale.py`` counts.

The rule holds for four tracks where it was asked for. Voices of a moment are written from the top down, so that a note
is judged against the voices above as they are and against those below as they were: it stays within its voice's range,
not above the voice over it, not below where the voice under it still is, and moves in no parallel fifth, octave or
unison with a voice above that moved too. A voice sings one note at a time. Where no note at all would be left at a
moment that must have one, all that is free stays free.

    B  batch    S  state words    V  voices
"""

from __future__ import annotations

import torch
from torch import Tensor

from genesis_domains.music.chorale import RANGES, VOICES
from genesis_domains.music.score import LOWEST
from genesis_domains.music.state import BEFORE, KEYS_OF_PIANO, ONSET, PITCH, State

PERFECT = (0, 7)  # semitones, octaves taken off


def faultless(s: State, state: Tensor, free: Tensor) -> Tensor:
    """``[B, tracks, piano keys]``: the free notes that are no fault; where the rule does not hold, all of them."""
    held = (s.parts > 0) & (s.tracks == VOICES)
    if free.shape[1] < VOICES or (free.device.type == "cpu" and not bool(held.any())):
        return free
    keys = torch.arange(KEYS_OF_PIANO, device=free.device)
    pitch, before = (state[:, at : at + VOICES].long() for at in (PITCH, BEFORE))  # [B, V] piano keys, -1: none yet
    moved = state[:, ONSET : ONSET + VOICES].long() == (s.start + s.position)[:, None]
    allowed = free[:, :VOICES] & ~moved[..., None]
    for voice, (lowest, highest) in enumerate(RANGES):
        fits = (keys >= lowest - LOWEST) & (keys <= highest - LOWEST)
        own = pitch[:, voice, None]
        if voice > 0:
            above = pitch[:, voice - 1, None]
            fits = fits & ((above < 0) | (keys <= above))
        if voice < VOICES - 1:
            fits = fits & (keys >= pitch[:, voice + 1, None])
        for over in range(voice):
            was, is_ = before[:, over, None], pitch[:, over, None]
            both = moved[:, over, None] & (was >= 0) & (own >= 0) & (was != is_) & (keys != own)
            alike = (is_ > was) == (keys > own)
            gap, new = (was - own) % 12, (is_ - keys) % 12
            perfect = (gap == PERFECT[0]) | (gap == PERFECT[1])
            fits = fits & ~(both & alike & perfect & (gap == new))
        allowed[:, voice] &= fits
    must = ~allowed.flatten(1).any(1) | ~held
    return torch.where(must[:, None, None], free, torch.nn.functional.pad(allowed, (0, 0, 0, free.shape[1] - VOICES)))

"""The automaton of scores of which a part is given: given events are forced, free cells are left to the model.

The given events stand in a list by time and place; a pointer says which comes next. A token is allowed when the grammar
allows it in a free cell and it does not pass the next given event, or when it is that event. Room is kept for all given
events that are still to come. Where chord symbols are given, notes of free cells that begin on a beat (a quarter note)
are notes of the chord.

    B  batch    S  state words    E  given events
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from genesis.domain import EOS
from genesis.errors import UsageError
from genesis_domains.music.asked import Wish
from genesis_domains.music.automaton import (
    AFTER_AT,
    AFTER_MORE,
    AFTER_NOTE,
    AFTER_PROGRAM,
    CHORDS,
    ScoreGrammar,
    Tables,
)
from genesis_domains.music.names import QUALITIES
from genesis_domains.music.score import DRUMS, LOWEST, MAX_TRACKS, TICKS
from genesis_domains.music.sheet import ANY, Sheet, tones
from genesis_domains.music.state import KEYS_OF_PIANO, WORDS, State
from genesis_domains.music.vocabulary import (
    AT,
    BAR,
    CHORD,
    FOR,
    LONGEST,
    MORE,
    NOTE,
    PROGRAM,
    SIZE,
    STEPS,
    TENS,
    VELOCITY_TOKEN,
    note_token,
    shift,
)

ROW, NEXT, OWED = WORDS, WORDS + 1, WORDS + 2  # which sheet; its next event; ticks to say of the note just given
IMPLIED = -1  # owed by a given note that says no length
NEVER = 1 << 24  # a tick after every end
SPARE = 6  # tokens that must be left for what is free, besides its bars


@dataclass(frozen=True, slots=True)
class _Tables:
    """The sheets as tensors, a row each, padded."""

    time: Tensor  # [rows, E + 1] the tick of each event, then ``NEVER``
    place: Tensor  # within its moment: -1 a chord, else as ``State.place``
    token: Tensor
    ticks: Tensor  # the length that must be said, or ``IMPLIED``; 0 for chords
    cost: Tensor  # tokens of this event and all later ones
    bar: Tensor  # [rows, bars] the token of each bar
    free: Tensor  # [rows, tracks, bars] bool
    until: Tensor  # [rows, tracks, bars]
    programs: Tensor  # [rows, tracks]
    untimed: Tensor  # [rows] bool: no tempo is stated
    last: Tensor  # [rows] the tick after which something must sound: where the last bar begins
    sounding: Tensor  # [rows] the last event that sounds in the last bar; -1: none
    chord: Tensor  # [rows, beats, 12] bool

    def to(self, device: torch.device) -> _Tables:
        return _Tables(*(getattr(self, field.name).to(device) for field in fields(self)))


class Frame(ScoreGrammar):
    """A ``Constraint``: see the module's text. Row ``i`` of a batch gets ``sheets[i % len(sheets)]``."""

    def __init__(
        self, max_length: int, sheets: Sequence[Sheet], pitches: tuple[int, int] | None = None, parts: bool = False
    ) -> None:
        super().__init__(max_length)
        self.wishes = [_wish(sheet, pitches, parts) for sheet in sheets]
        self.tables = _tables(sheets)
        for sheet, cost in zip(sheets, self.tables.cost[:, 0].tolist(), strict=True):
            least = cost + needed(sheet)
            if least > max_length:
                raise UsageError(
                    f"{len(sheet.meters)} bars with what is given in them take {least} tokens, and this model has room "
                    f"for {max_length}; ask for fewer bars"
                )
        self._placed: dict[torch.device, _Tables] = {}

    def start(self, rows: int, device: torch.device) -> Tensor:
        state = super().start(rows, device)
        own = torch.zeros(rows, 3, dtype=torch.int32, device=device)
        own[:, 0] = torch.arange(rows, device=device) % len(self.wishes)
        return torch.cat((state, own), 1)

    def allowed(self, state: Tensor, remaining: int | Tensor) -> Tensor:
        s, f = State.of(state), self._on(state.device)
        row, following, owed = state[:, ROW].long(), state[:, NEXT].long(), state[:, OWED].long()
        out = super().allowed(state, remaining)
        out[:, VELOCITY_TOKEN : VELOCITY_TOKEN + SIZE["velocity"]] = False
        out[:, CHORD : CHORD + CHORDS] = False
        if not bool((s.mode >= AFTER_PROGRAM).any()):
            return out
        time, place, token = f.time[row, following], f.place[row, following], f.token[row, following]
        now = s.start + s.position
        writes = s.mode >= AFTER_PROGRAM
        due = writes & (s.position >= 0) & (time == now)
        ahead = writes & (s.bars > 0) & (time < s.end)  # in this bar
        out[:, EOS] &= time == NEVER
        # positions: not past the next event, and not while this moment lacks one
        t = self.tables_on(state.device)
        ticks = t.ticks[:LONGEST]
        at = out[:, AT : AT + LONGEST]
        at &= ~due[:, None] & (s.start[:, None] + ticks <= time[:, None])
        can_move = ahead & ~due & (s.mode != AFTER_AT) & (owed <= 0)
        at |= can_move[:, None] & (s.start[:, None] + ticks == time[:, None])
        # notes: not past the next event of the moment
        notes = out[:, NOTE : NOTE + MAX_TRACKS * STEPS]
        notes &= ~due[:, None] | (t.place < place[:, None])
        # the event itself
        ready = due & (owed <= 0)
        rows = torch.arange(len(state), device=state.device)
        out[rows, token] |= ready
        # the length of a given note
        forced = owed > 0
        out &= ~forced[:, None]
        said = torch.where(owed > LONGEST, MORE, FOR + owed.clamp(1, LONGEST) - 1)
        out[rows, said] |= forced
        silent = owed == IMPLIED
        out[:, MORE] &= ~silent
        out[:, FOR : FOR + LONGEST] &= ~silent[:, None]
        return out

    def advance(self, state: Tensor, token: Tensor) -> Tensor:
        f = self._on(state.device)
        row, following, owed = state[:, ROW].long(), state[:, NEXT].long(), state[:, OWED].long()
        s = State.of(state)
        new = super().advance(state, token)
        due = (s.position >= 0) & (f.time[row, following] == s.start + s.position)
        given = due & (owed <= 0) & (token == f.token[row, following])
        more = (token == MORE) & (owed > 0)
        owes = torch.where(given, f.ticks[row, following], torch.where(more, owed - LONGEST, 0))
        new[:, NEXT] = (following + given.long()).int()
        new[:, OWED] = owes.int()
        return new

    def room(self, state: Tensor, remaining: int | Tensor) -> Tensor:
        f = self._on(state.device)
        owed = state[:, OWED].long().clamp(min=0)
        return remaining - f.cost[state[:, ROW].long(), state[:, NEXT].long()] - -(-owed // LONGEST)

    def writable(self, s: State, state: Tensor, used: int) -> Tensor:
        f = self._on(state.device)
        bar = (s.bars - 1).clamp(0, f.free.shape[2] - 1)
        return f.free[state[:, ROW].long(), :used, bar] & super().writable(s, state, used)

    def sounds(self, s: State, state: Tensor, more: Tensor) -> Tensor:
        f = self._on(state.device)
        row, following = state[:, ROW].long(), state[:, NEXT].long()
        return s.implied | (s.reach > f.last[row]) | self._to_come(f, row, following)

    def in_harmony(self, s: State, state: Tensor, free: Tensor) -> Tensor:
        f = self._on(state.device)
        now = (s.start + s.position).clamp(min=0)
        beat = (now // TICKS).clamp(max=f.chord.shape[1] - 1)
        of_chord = f.chord[state[:, ROW].long(), beat]  # [B, 12]
        pitches = (torch.arange(KEYS_OF_PIANO, device=state.device) + LOWEST) % 12
        drums = (s.drums[:, None] >> torch.arange(free.shape[1], device=state.device)) & 1 > 0
        fitting = free & (of_chord[:, pitches][:, None] | drums[..., None])
        # where all of the chord's notes sound already, any free note will do
        strict = (now % TICKS == 0) & fitting.flatten(1).any(1)
        return torch.where(strict[:, None, None], fitting, free)

    def _header(self, s: State, state: Tensor, room: Tensor, out: Tensor) -> None:
        super()._header(s, state, room, out)
        programs = self._on(out.device).programs
        asked = programs[state[:, ROW].long(), s.tracks.clamp(max=programs.shape[1] - 1)]
        out[:, TENS : TENS + SIZE["tens"]] &= ~self._on(out.device).untimed[state[:, ROW].long()][:, None]
        every = torch.arange(SIZE["program"], device=out.device)
        any_but_drums = (asked == ANY)[:, None] & (every != DRUMS)
        out[:, PROGRAM : PROGRAM + SIZE["program"]] &= any_but_drums | (every == asked[:, None])

    def _bars(self, s: State, state: Tensor, room: Tensor, t: Tables, leaves: Tensor, out: Tensor) -> None:
        f = self._on(state.device)
        row = state[:, ROW].long()
        begins = leaves & (s.bars > 0) | (s.mode == AFTER_PROGRAM) & (s.tracks >= s.tracks_low)
        begins &= (s.bars < s.bars_high) & (state[:, OWED] <= 0)
        begins &= (s.bars == 0) | (f.time[row, state[:, NEXT].long()] >= s.end)
        out[torch.arange(len(state), device=state.device), f.bar[row, s.bars.clamp(max=f.bar.shape[1] - 1)]] |= begins

    def _lengths(self, s: State, state: Tensor, room: Tensor, out: Tensor) -> None:
        f = self._on(out.device)
        row, following = state[:, ROW].long(), state[:, NEXT].long()
        bar = (s.bars - 1).clamp(0, f.until.shape[2] - 1)
        limit = f.until[row, (s.note // KEYS_OF_PIANO).clamp(max=f.until.shape[1] - 1), bar]
        speaks = (s.mode == AFTER_NOTE) | (s.mode == AFTER_MORE)
        left = (s.bars_high - s.bars).clamp(min=0)[:, None]
        certain = s.implied_besides() | self._to_come(f, row, following)
        end = (s.start + s.position + s.more + 1)[:, None] + self.tables_on(out.device).ticks
        sound = certain[:, None] | (torch.maximum(s.reach[:, None], end) > f.last[row][:, None])
        fits = (end <= limit[:, None]) & speaks[:, None]
        self.put_lengths(fits, left + torch.where(sound, 0, 2) + 1, room, out)

    def _to_come(self, f: _Tables, row: Tensor, following: Tensor) -> Tensor:
        """Whether a note that is given in the last bar is still to be written."""
        return f.sounding[row] >= following

    def _on(self, device: torch.device) -> _Tables:
        if device not in self._placed:
            self._placed[device] = self.tables.to(device)
        return self._placed[device]


def needed(sheet: Sheet) -> int:
    """Tokens of a sheet's header and bars, and the least that is left for what is free."""
    return 3 + len(sheet.programs) + len(sheet.meters) + SPARE


def cost(sheet: Sheet) -> int:
    """Tokens of all that is given in a sheet."""
    return sum(event.cost for event in _events(sheet))


def _wish(sheet: Sheet, pitches: tuple[int, int] | None, parts: bool) -> Wish:
    count, bars = len(sheet.programs), len(sheet.meters)
    wish = Wish(key=sheet.key, bars=(bars, bars), tracks=(count, count), parts=parts)
    if sheet.tempo is not None and sheet.tempo != ANY:
        wish = replace(wish, tempo=(sheet.tempo, sheet.tempo))
    return replace(wish, pitches=pitches) if pitches is not None else wish


class _Event(NamedTuple):
    time: int
    place: int
    token: int
    ticks: int
    cost: int


def _events(sheet: Sheet) -> list[_Event]:
    """Given chords and notes by time and place; the first of each moment pays for its position."""
    found: list[_Event] = []
    above = shift(sheet.key)
    for harmony in sheet.harmonies:
        step = (harmony.root - above) % 12
        found.append(_Event(harmony.onset, -1, CHORD + step * len(QUALITIES) + harmony.quality, 0, 1))
    for track, notes in enumerate(sheet.given):
        onsets = sorted({note.onset for note in notes})
        following = dict(pairwise([*onsets, sheet.starts[-1]]))
        for note in notes:
            token = note_token(track, note.pitch, 0 if sheet.programs[track] == DRUMS else above)
            place = track * STEPS + STEPS - 1 - (token - NOTE) % STEPS
            within = slice(sheet.bar(note.onset), sheet.bar(note.end - 1) + 1)
            implied = note.end == following[note.onset] and not sheet.free[track, within].any()
            said = 0 if implied else -(-note.duration // LONGEST)
            found.append(_Event(note.onset, place, token, IMPLIED if implied else note.duration, 1 + said))
    found.sort()
    return [
        event._replace(cost=event.cost + (i == 0 or found[i - 1].time != event.time)) for i, event in enumerate(found)
    ]


def _tables(sheets: Sequence[Sheet]) -> _Tables:
    events = [_events(sheet) for sheet in sheets]
    rows, longest = len(sheets), max(map(len, events)) + 1
    bars, tracks = max(len(s.meters) for s in sheets), max(len(s.programs) for s in sheets)
    beats = max(-(-s.starts[-1] // TICKS) for s in sheets)
    time = np.full((rows, longest), NEVER, np.int64)
    place, token, ticks, left = (np.zeros((rows, longest), np.int64) for _ in range(4))
    bar = np.zeros((rows, bars), np.int64)
    free, until = np.zeros((rows, MAX_TRACKS, bars), np.bool_), np.zeros((rows, MAX_TRACKS, bars), np.int64)
    programs = np.full((rows, tracks), ANY, np.int64)
    untimed = np.array([sheet.tempo is None for sheet in sheets])
    last, sounding = np.zeros(rows, np.int64), np.full(rows, -1, np.int64)
    chord = np.ones((rows, beats, 12), np.bool_)
    for i, (sheet, own) in enumerate(zip(sheets, events, strict=True)):
        for name, table in (("time", time), ("place", place), ("token", token), ("ticks", ticks)):
            table[i, : len(own)] = [getattr(event, name) for event in own]
        left[i, : len(own)] = np.cumsum([event.cost for event in reversed(own)])[::-1]
        n = len(sheet.meters)
        bar[i, :n] = [
            BAR if b and sheet.meters[b - 1] == meter else BAR + 1 + meter for b, meter in enumerate(sheet.meters)
        ]
        free[i, : len(sheet.programs), :n], until[i, : len(sheet.programs), :n] = sheet.free, sheet.until
        programs[i, : len(sheet.programs)] = sheet.programs
        last[i] = sheet.starts[-2]
        sounding[i] = max((e for e, event in enumerate(own) if event.place >= 0 and _ends(event) > last[i]), default=-1)
        if sounding[i] < 0 and not sheet.free[:, -1].any():
            last[i] = -1  # nothing can sound there: silence at the end is allowed
        for beat in range(-(-sheet.starts[-1] // TICKS)):
            if (harmony := sheet.chord_at(beat * TICKS)) is not None:
                chord[i, beat] = [pitch in tones(harmony) for pitch in range(12)]
    arrays = (time, place, token, ticks, left, bar, free, until, programs, untimed, last, sounding, chord)
    return _Tables(*map(torch.from_numpy, arrays))


def _ends(event: _Event) -> int:
    """The tick until which a given note sounds at least."""
    return event.time + max(event.ticks, 1)

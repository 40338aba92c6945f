"""The automaton of the score grammar: bars add up, notes do not collide, and what was asked for is what is written.

It obeys ``key`` (as notated), ``meter``, ``bars``, ``tempo``, ``instrument`` (of the first track), ``tracks``,
``lowest`` and ``highest`` exactly, and keeps four voices to the rules of their style (``partwriting.py``). A token is
allowed when the shortest way from there to an end still has room:

    need = bars to write + (0 if a note sounds to the end else 2) + <eos>

A bar takes a token. Bars have to be written up to the number asked for, and until every note with a stated length has
ended; the last one must not be silent. A note without a stated length lasts until its track's next onset, or to the
end, and so it sounds to the end as long as it is its track's last.

    B  batch    S  state words    V  vocabulary
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genesis.domain import EOS, Asked
from genesis.errors import UsageError
from genesis_domains.music.asked import Wish
from genesis_domains.music.names import METERS, QUALITIES, bar_ticks
from genesis_domains.music.partwriting import faultless
from genesis_domains.music.score import DRUMS, HIGHEST, LOWEST, MAX_TRACKS
from genesis_domains.music.state import (
    BEFORE,
    ENDS,
    FIELDS,
    IMPLIED,
    KEYS_OF_PIANO,
    ONSET,
    PITCH,
    SHORTEST,
    WORDS,
    State,
)
from genesis_domains.music.vocabulary import (
    AT,
    BAR,
    BASE,
    CHORD,
    DOWN,
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
    UP,
    VELOCITY_TOKEN,
    VOCAB,
)

# what was just written
(
    STARTED,
    AFTER_KEY,
    AFTER_TENS,
    AFTER_UNITS,
    AFTER_PROGRAM,
    AFTER_BAR,
    AFTER_AT,
    AFTER_CHORD,
    AFTER_VELOCITY,
    AFTER_NOTE,
    AFTER_MORE,
    AFTER_FOR,
) = range(12)
CHORDS = 12 * len(QUALITIES)
HEADER = {STARTED, AFTER_KEY, AFTER_TENS, AFTER_UNITS, AFTER_PROGRAM}
LEAVING = {AFTER_BAR, AFTER_CHORD, AFTER_NOTE, AFTER_FOR}  # a moment may be over
SINGING = {AFTER_AT, AFTER_CHORD, AFTER_VELOCITY, AFTER_NOTE, AFTER_FOR}  # a note may come
MOVING = tuple(FIELDS)[FIELDS["mode"] :]  # what tokens change, besides what is kept of each track
KINDS = ("key", "tens", "units", "program", "bar", "at", "chord", "velocity", "note", "more", "for")  # by mode


@dataclass(frozen=True, slots=True)
class Tables:
    """What never changes, on one device."""

    bars: Tensor  # [meters] ticks of a bar
    pitches: Tensor  # [12, steps] the piano key of a step under each tonic; one too many where there is none
    mode: Tensor  # [V] what was just written, after each token; -1: as before
    offset: Tensor  # [V] the token's place within its kind
    leaving: Tensor  # [modes] bool: those of LEAVING
    singing: Tensor  # [modes] bool: those of SINGING
    ticks: Tensor  # [LONGEST + 1]
    meters: Tensor  # -1 (the same), 0, 1, ...
    keys: Tensor  # MIDI pitches of the piano keys
    place: Tensor  # [tracks * steps] within a moment, tracks and then pitches downwards
    lines: Tensor  # words of the first track: its latest onset, notes there without a length, pitch, the one before

    @classmethod
    def on(cls, device: torch.device) -> Tables:
        pitches = torch.arange(STEPS) + FIRST_STEP + torch.arange(-DOWN, UP + 1)[:, None] - LOWEST
        mode, offset = torch.full((len(VOCAB),), -1), torch.zeros(len(VOCAB), dtype=torch.int64)
        for after, kind in enumerate(KINDS, AFTER_KEY):
            within = slice(BASE[kind], BASE[kind] + SIZE[kind])
            mode[within], offset[within] = after, torch.arange(SIZE[kind])
        tail = torch.arange(MAX_TRACKS * STEPS)
        tables = (
            torch.tensor([bar_ticks(meter) for meter in range(len(METERS))]),
            pitches.masked_fill((pitches < 0) | (pitches >= KEYS_OF_PIANO), KEYS_OF_PIANO),
            mode,
            offset,
            torch.tensor([mode in LEAVING for mode in range(AFTER_FOR + 1)]),
            torch.tensor([mode in SINGING for mode in range(AFTER_FOR + 1)]),
            torch.arange(LONGEST + 1),
            torch.arange(-1, len(METERS)),
            torch.arange(LOWEST, HIGHEST + 1),
            tail // STEPS * STEPS + STEPS - 1 - tail % STEPS,
            torch.tensor((ONSET, IMPLIED, PITCH, BEFORE)),
        )
        return cls(*(table.to(device) for table in tables))


class ScoreGrammar:
    """A ``Constraint``: see the module's text."""

    def __init__(self, max_length: int, asked: Sequence[Mapping[str, Asked]] = ()) -> None:
        self.wishes = [Wish.of(targets) for targets in asked] or [Wish()]
        for wish in self.wishes:
            least = wish.shortest() + 1
            if asked and least > max_length:
                raise UsageError(
                    f"{wish.bars[0]} bars take at least {least} tokens, and this model has room for {max_length}; "
                    "ask for fewer"
                )
        self._tables: dict[torch.device, Tables] = {}

    def __eq__(self, other: object) -> bool:
        """All of them read tokens alike; what differs is the state they start in."""
        return isinstance(other, ScoreGrammar)

    def __hash__(self) -> int:
        return hash(ScoreGrammar)

    def start(self, rows: int, device: torch.device) -> Tensor:
        words = torch.zeros(rows, WORDS, dtype=torch.int32, device=device)
        wishes = torch.tensor([wish.words() for wish in self.wishes], dtype=torch.int32, device=device)
        words[:, FIELDS["key_asked"] : FIELDS["key_asked"] + wishes.shape[1]] = wishes[
            torch.arange(rows, device=device) % len(wishes)
        ]
        words[:, [FIELDS["position"], FIELDS["place"]]] = -1
        words[:, ONSET : ONSET + MAX_TRACKS] = -1
        words[:, PITCH:ENDS] = -1
        return words

    def allowed(self, state: Tensor, remaining: int | Tensor) -> Tensor:
        s, t = State.of(state), self.tables_on(state.device)
        seen = modes(s)
        room = self.room(state, remaining)
        out = torch.zeros(len(state), len(VOCAB), dtype=torch.bool, device=state.device)
        if seen & HEADER:
            self._header(s, state, room, out)
        if not seen - HEADER | seen & {AFTER_PROGRAM}:
            return out
        more = s.more_bars()
        sound = self.sounds(s, state, more)
        # a moment of a chord alone leaves no room for a note at the last tick of the last bar
        stuck = (s.mode == AFTER_CHORD) & ~sound & (s.position >= s.length - 1) & (s.bars >= s.bars_high)
        leaves = t.leaving[s.mode] & ~stuck
        if seen & LEAVING:
            out[:, EOS] = leaves & (more == 0) & sound & (s.bars > 0) & (room >= 1)
        if seen & (LEAVING | {AFTER_PROGRAM}):
            self._bars(s, state, room, t, leaves, out)
        used = max(1, int(s.tracks.max())) if state.device.type == "cpu" else MAX_TRACKS
        silent_from = state[:, ENDS : ENDS + used * KEYS_OF_PIANO].view(-1, used, KEYS_OF_PIANO)
        inside = (t.keys >= s.floor[:, None]) & (t.keys <= s.ceiling[:, None])
        playable = inside[:, None] & self.writable(s, state, used)[..., None]  # [B, tracks, piano keys]
        if seen & LEAVING:  # a position, where some note is free by then
            ends = silent_from.masked_fill(~playable, 1 << 30).amin((1, 2))
            after = torch.maximum(s.position + 1, ends - s.start)[:, None]
            can = leaves & (s.bars > 0) & (more + 3 <= room)
            ticks = t.ticks[:LONGEST]
            out[:, AT : AT + LONGEST] = (ticks >= after) & (ticks < torch.where(can, s.length, 0)[:, None])
        if AFTER_AT in seen:
            chord_need = more + torch.where(sound, 1, 2) + 1
            out[:, CHORD : CHORD + CHORDS] = ((s.mode == AFTER_AT) & (chord_need <= room))[:, None]
        if seen & SINGING:
            free = playable & (silent_from <= (s.start + s.position)[:, None, None])
            sings = t.singing[s.mode]
            index = t.pitches[s.above_of_tracks()[:, :used]]  # [B, tracks, steps]
            fitting = torch.nn.functional.pad(faultless(s, state, self.in_harmony(s, state, free)), (0, 1))
            notes = fitting.gather(2, index).flatten(1)
            notes &= (t.place[: used * STEPS] > s.place[:, None]) & sings[:, None]
            out[:, NOTE : NOTE + used * STEPS] = notes & (more + 2 <= room)[:, None]  # a note and <eos> after the bars
            louder = sings & (s.mode != AFTER_VELOCITY) & notes.any(1) & (more + 3 <= room)
            out[:, VELOCITY_TOKEN : VELOCITY_TOKEN + SIZE["velocity"]] = louder[:, None]
        if seen & {AFTER_NOTE, AFTER_MORE}:
            self._lengths(s, state, room, out)
        return out

    def room(self, state: Tensor, remaining: int | Tensor) -> Tensor:
        """``[B]``: how many of the remaining tokens are at the disposal of what is not given."""
        return torch.as_tensor(remaining, device=state.device).expand(len(state))

    def writable(self, s: State, state: Tensor, used: int) -> Tensor:
        """``[B, used]``: the tracks that may get a note of the model's choice in this bar."""
        return torch.arange(used, device=state.device) < s.tracks[:, None]

    def sounds(self, s: State, state: Tensor, more: Tensor) -> Tensor:
        """Whether ``more`` bars without a new note can follow so that the last one is not silent."""
        return s.sounds(more)

    def in_harmony(self, s: State, state: Tensor, free: Tensor) -> Tensor:
        """``[B, tracks, piano keys]``: those of the free notes that go with the chord of the moment."""
        return free

    def _header(self, s: State, state: Tensor, room: Tensor, out: Tensor) -> None:
        """Key, tempo and instruments."""
        device = out.device
        bars = torch.where(s.bars_low > 1, s.bars_low, 1)
        rest = bars + 3  # bars, a position, a note, <eos>
        tempo = torch.where(s.tempo_low > 0, 2, 0)
        keys = torch.arange(SIZE["key"], device=device)
        fits = tempo + s.tracks_low + rest + 1 <= room
        out[:, KEY : KEY + SIZE["key"]] = ((s.key_asked < 0)[:, None] | (keys == s.key_asked[:, None])) & (
            (s.mode == STARTED) & fits
        )[:, None]
        tens = torch.arange(2, 31, device=device) * 10
        low, high = s.tempo_low[:, None], s.tempo_high[:, None]
        any_tempo = low == 0
        out[:, TENS : TENS + SIZE["tens"]] = (any_tempo | ((tens + 9 >= low) & (tens <= high))) & (
            (s.mode == AFTER_KEY) & (1 + 1 + s.tracks_low + rest <= room)
        )[:, None]
        tempi = s.tens[:, None] * 10 + torch.arange(10, device=device)
        out[:, UNITS : UNITS + 10] = (any_tempo | ((tempi >= low) & (tempi <= high))) & (
            (s.mode == AFTER_TENS) & (1 + s.tracks_low + rest <= room)
        )[:, None]
        first = ((s.mode == AFTER_KEY) & (s.tempo_low == 0)) | (s.mode == AFTER_UNITS)
        more = (s.mode == AFTER_PROGRAM) & (s.tracks < s.tracks_high)
        left = (s.tracks_low - s.tracks - 1).clamp(min=0)
        programs = torch.arange(SIZE["program"], device=device)
        wanted = (s.program[:, None] < 0) | (programs == s.program[:, None]) | ~first[:, None]
        out[:, PROGRAM : PROGRAM + SIZE["program"]] = wanted & ((first | more) & (1 + left + rest <= room))[:, None]

    def _bars(self, s: State, state: Tensor, room: Tensor, t: Tables, leaves: Tensor, out: Tensor) -> None:
        """The same meter, then each meter: ``[B, 1 + meters]``."""
        length = torch.cat((s.length[:, None], t.bars[None].expand(len(s.length), -1)), 1)  # [B, 1 + meters]
        begins = leaves & (s.bars > 0) | (s.mode == AFTER_PROGRAM) & (s.tracks >= s.tracks_low)
        fitting = (s.meter_asked[:, None] < 0) | (t.meters == s.meter_asked[:, None])
        fitting[:, 0] = s.bars > 0
        end = s.end[:, None]
        # a first bar is followed by bars of any meter, or by its own where one was asked for
        own = s.meter_asked[:, None] >= 0
        beyond = (s.reach[:, None] - end - length).clamp(min=0)
        left = -(-beyond // torch.where(own, length.clamp(min=1), LONGEST))
        in_reach = 1 + left <= (s.bars_high - s.bars)[:, None]
        left = torch.maximum(left, (s.bars_low - s.bars - 1)[:, None])
        last = end + length + (left - 1) * torch.where(own, length, SHORTEST)  # where the last bar may begin
        sound = s.implied[:, None] | (s.reach[:, None] > torch.where(left == 0, end, last))
        need = left + torch.where(sound, 0, 2) + 1
        found = fitting & in_reach & begins[:, None] & (need <= room[:, None] - 1)
        out[:, BAR : BAR + SIZE["bar"]] = found

    def _lengths(self, s: State, state: Tensor, room: Tensor, out: Tensor) -> None:
        """``for`` and ``more``: a length whose end the bars to come can hold."""
        t = self.tables_on(out.device)
        speaks = (s.mode == AFTER_NOTE) | (s.mode == AFTER_MORE)
        end = s.end[:, None]
        reach = torch.maximum(s.reach[:, None], (s.start + s.position + s.more + 1)[:, None] + t.ticks)
        held = -(-(reach - end).clamp(min=0) // s.longest.clamp(min=1)[:, None])
        inside = held <= (s.bars_high - s.bars)[:, None]
        left = torch.maximum(held, (s.bars_low - s.bars).clamp(min=0)[:, None])
        last = torch.where(left == 0, s.start[:, None], end + (left - 1) * s.shortest[:, None])
        sound = s.implied_besides()[:, None] | (reach > last)
        self.put_lengths(inside & speaks[:, None], left + torch.where(sound, 0, 2) + 1, room, out)

    @staticmethod
    def put_lengths(fits: Tensor, need: Tensor, room: Tensor, out: Tensor) -> None:
        """``for`` and, one tick beyond the longest of them, ``more``, after which a token follows; ``[B, ticks]``."""
        left = room[:, None] - 1 - need
        out[:, FOR : FOR + LONGEST] = fits[:, :-1] & (left[:, :-1] >= 0)
        out[:, MORE] = fits[:, -1] & (left[:, -1] >= 1)

    def advance(self, state: Tensor, token: Tensor) -> Tensor:
        s, t = State.of(state), self.tables_on(state.device)
        mode, offset = t.mode[token], t.offset[token]
        is_key, is_tens, is_program, is_bar, is_at, is_note, is_more, is_for = (
            mode == kind
            for kind in (
                AFTER_KEY, AFTER_TENS, AFTER_PROGRAM, AFTER_BAR, AFTER_AT, AFTER_NOTE, AFTER_MORE, AFTER_FOR
            )
        )  # fmt: skip
        new = state.clone()
        meter = offset - 1
        track, step = offset // STEPS, offset % STEPS  # of a note
        track = torch.where(is_note, track, 0)
        above = s.above_of_tracks().gather(1, track[:, None])[:, 0]
        pitch = (FIRST_STEP + step + above - DOWN - LOWEST).clamp(0, KEYS_OF_PIANO - 1)
        now = s.start + s.position
        until = now + s.more + offset + 1  # of a length
        moment = is_bar | is_at
        after = {
            "mode": torch.where(mode >= 0, mode, s.mode),
            "above": torch.where(is_key, (offset % 12 + DOWN) % 12, s.above),
            "tens": torch.where(is_tens, offset + 2, s.tens),
            "drums": torch.where(is_program & (offset == DRUMS), s.drums | (1 << s.tracks), s.drums),
            "tracks": (s.tracks + is_program).clamp(max=MAX_TRACKS),  # a closed row may be fed anything
            "length": torch.where(is_bar & (meter >= 0), t.bars[meter.clamp(0, len(METERS) - 1)], s.length),
            "bars": s.bars + is_bar,
            "start": torch.where(is_bar, s.end, s.start),
            "position": torch.where(is_at, offset, s.position.masked_fill(is_bar, -1)),
            "place": torch.where(is_note, track * STEPS + STEPS - 1 - step, s.place.masked_fill(moment, -1)),
            "more": torch.where(is_more, s.more + LONGEST, s.more.masked_fill(is_note, 0)),
            "note": torch.where(is_note, track * KEYS_OF_PIANO + pitch, s.note),
            "reach": torch.where(is_for, torch.maximum(s.reach, until), s.reach),
        }
        new[:, FIELDS["mode"] : ONSET] = torch.stack([after[name] for name in MOVING], 1).int()
        columns = track[:, None] + t.lines
        onset, implied, sung, before = state.gather(1, columns).long().unbind(1)
        lines = (
            torch.where(is_note, now, onset),
            torch.where(is_note, torch.where(onset == now, implied, 0) + 1, implied),
            torch.where(is_note, pitch, sung),
            torch.where(is_note & (onset < now), sung, before),
        )
        new.scatter_(1, columns, torch.stack(lines, 1).int())
        # lengths
        note = ENDS + s.note[:, None]
        new.scatter_(1, note, torch.where(is_for[:, None], until[:, None].int(), state.gather(1, note)))
        held = IMPLIED + s.note[:, None] // KEYS_OF_PIANO
        new.scatter_add_(1, held, -is_for[:, None].int())
        return new

    def tables_on(self, device: torch.device) -> Tables:
        """What never changes, on the device."""
        if device not in self._tables:
            self._tables[device] = Tables.on(device)
        return self._tables[device]


def modes(s: State) -> set[int]:
    """What some row has just written; on a GPU anything, since asking would wait for it."""
    return set(s.mode.tolist()) if s.mode.device.type == "cpu" else set(range(AFTER_FOR + 1))

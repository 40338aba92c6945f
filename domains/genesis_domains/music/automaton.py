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
        self._tables: dict[torch.device, tuple[Tensor, Tensor]] = {}

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
        s = State.of(state)
        room = self.room(state, remaining)
        bars, pitches = self._tables_on(state.device)
        out = torch.zeros(len(state), len(VOCAB), dtype=torch.bool, device=state.device)
        if bool((s.mode <= AFTER_PROGRAM).any()):
            self._header(s, state, room, out)
        in_body = s.mode >= AFTER_PROGRAM
        if state.device.type == "cpu" and not bool(in_body.any()):
            return out
        open_ = (s.mode == AFTER_BAR) | (s.mode == AFTER_FOR) | (s.mode == AFTER_NOTE) | (s.mode == AFTER_CHORD)
        more = s.more_bars()
        sound = self.sounds(s, state, more)
        # a moment of a chord alone leaves no room for a note at the last tick of the last bar
        stuck = (s.mode == AFTER_CHORD) & ~sound & (s.position >= s.length - 1) & (s.bars >= s.bars_high)
        leaves = open_ & ~stuck
        out[:, EOS] = leaves & (more == 0) & sound & (s.bars > 0) & (room >= 1)
        self._bars(s, state, room, bars, leaves, out)
        note_room = more + 2 <= room  # a note and <eos> after the bars
        used = max(1, int(s.tracks.max())) if state.device.type == "cpu" else MAX_TRACKS
        silent_from = state[:, ENDS : ENDS + used * KEYS_OF_PIANO].view(-1, used, KEYS_OF_PIANO)
        keys = torch.arange(LOWEST, HIGHEST + 1, device=state.device)
        inside = (keys >= s.floor[:, None]) & (keys <= s.ceiling[:, None])
        playable = inside[:, None] & self.writable(s, state, used)[..., None]  # [B, tracks, piano keys]
        free = playable & (silent_from <= (s.start + s.position)[:, None, None])
        # a position, where some note is free by then
        ends = silent_from.masked_fill(~playable, 1 << 30).amin((1, 2))
        ticks = torch.arange(LONGEST, device=state.device)
        at = (ticks > s.position[:, None]) & (ticks < s.length[:, None]) & (s.start[:, None] + ticks >= ends[:, None])
        out[:, AT : AT + LONGEST] = at & (leaves & (s.bars > 0) & (more + 3 <= room))[:, None]
        # chords
        chord_need = more + torch.where(sound, 1, 2) + 1
        out[:, CHORD : CHORD + CHORDS] = ((s.mode == AFTER_AT) & (chord_need <= room))[:, None]
        # notes and velocities
        sings = (s.mode >= AFTER_AT) & (s.mode != AFTER_MORE)
        index = pitches[s.above_of_tracks()[:, :used]]  # [B, tracks, steps]
        notes = (
            torch.nn.functional.pad(faultless(s, state, self.in_harmony(s, state, free)), (0, 1))
            .gather(2, index)
            .flatten(1)
        )
        tail = torch.arange(used * STEPS, device=state.device)
        place = tail // STEPS * STEPS + STEPS - 1 - tail % STEPS
        notes &= (place > s.place[:, None]) & sings[:, None]
        out[:, NOTE : NOTE + used * STEPS] = notes & note_room[:, None]
        louder = sings & (s.mode != AFTER_VELOCITY) & notes.any(1) & (more + 3 <= room)
        out[:, VELOCITY_TOKEN : VELOCITY_TOKEN + SIZE["velocity"]] = louder[:, None]
        if bool(((s.mode == AFTER_NOTE) | (s.mode == AFTER_MORE)).any()):
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

    def _bars(self, s: State, state: Tensor, room: Tensor, lengths: Tensor, leaves: Tensor, out: Tensor) -> None:
        """The same meter, then each meter: ``[B, 1 + meters]``."""
        device = lengths.device
        length = torch.cat((s.length[:, None], lengths[None].expand(len(s.length), -1)), 1)  # [B, 1 + meters]
        begins = leaves & (s.bars > 0) | (s.mode == AFTER_PROGRAM) & (s.tracks >= s.tracks_low)
        meters = torch.arange(-1, len(METERS), device=device)
        fitting = (s.meter_asked[:, None] < 0) | (meters == s.meter_asked[:, None])
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
        ticks = torch.arange(1, LONGEST + 1, device=out.device)
        speaks = (s.mode == AFTER_NOTE) | (s.mode == AFTER_MORE)
        others = s.implied_besides()

        def fits(added: Tensor, after: int) -> Tensor:
            reach = torch.maximum(s.reach[:, None], (s.start + s.position + s.more)[:, None] + added)
            end = s.end[:, None]
            held = -(-(reach - end).clamp(min=0) // s.longest.clamp(min=1)[:, None])
            inside = held <= (s.bars_high - s.bars)[:, None]
            left = torch.maximum(held, (s.bars_low - s.bars).clamp(min=0)[:, None])
            last = torch.where(left == 0, s.start[:, None], end + (left - 1) * s.shortest[:, None])
            sound = others[:, None] | (reach > last)
            return inside & (left + torch.where(sound, 0, 2) + 1 + after <= room[:, None] - 1) & speaks[:, None]

        out[:, FOR : FOR + LONGEST] = fits(ticks, 0)
        out[:, MORE] = fits(ticks[:1] + LONGEST, 1)[:, 0]

    def advance(self, state: Tensor, token: Tensor) -> Tensor:
        new = state.clone()
        s = State.of(state)
        rows = torch.arange(len(state), device=state.device)
        bars, _ = self._tables_on(state.device)

        def put(name: str, where: Tensor, value: Tensor | int) -> None:
            column = FIELDS[name]
            new[:, column] = torch.where(where, value, new[:, column]).int()

        def kind(name: str, base: int) -> Tensor:
            return (token >= base) & (token < base + SIZE[name])

        is_key, is_tens, is_units = kind("key", KEY), kind("tens", TENS), kind("units", UNITS)
        is_program, is_bar, is_at = kind("program", PROGRAM), kind("bar", BAR), kind("at", AT)
        is_chord, is_velocity = kind("chord", CHORD), kind("velocity", VELOCITY_TOKEN)
        is_more, is_for, is_note = kind("more", MORE), kind("for", FOR), kind("note", NOTE)
        for mode, seen in enumerate(
            (is_key, is_tens, is_units, is_program, is_bar, is_at, is_chord, is_velocity, is_note, is_more, is_for),
            AFTER_KEY,
        ):
            put("mode", seen, mode)
        put("above", is_key, ((token - KEY) % 12 + DOWN) % 12)
        put("tens", is_tens, token - TENS + 2)
        put("drums", is_program & (token == PROGRAM + DRUMS), s.drums | (1 << s.tracks))
        put("tracks", is_program, (s.tracks + 1).clamp(max=MAX_TRACKS))  # a closed row may be fed anything
        # bars
        meter = token - BAR - 1
        length = torch.where(meter < 0, s.length, bars[meter.clamp(0, len(METERS) - 1)])
        put("start", is_bar, s.end)
        put("length", is_bar, length)
        put("bars", is_bar, s.bars + 1)
        put("position", is_bar, -1)
        put("position", is_at, token - AT)
        put("place", is_bar | is_at, -1)
        # notes
        step = (token - NOTE).clamp(0, MAX_TRACKS * STEPS - 1)
        track = step // STEPS
        above = s.above_of_tracks().gather(1, track[:, None])[:, 0]
        pitch = (FIRST_STEP + step % STEPS + above - DOWN - LOWEST).clamp(0, KEYS_OF_PIANO - 1)
        put("place", is_note, track * STEPS + STEPS - 1 - step % STEPS)
        put("note", is_note, track * KEYS_OF_PIANO + pitch)
        now = s.start + s.position
        implied, onset = state[rows, IMPLIED + track], state[rows, ONSET + track]
        new[rows, IMPLIED + track] = torch.where(is_note, torch.where(onset == now, implied, 0) + 1, implied).int()
        new[rows, ONSET + track] = torch.where(is_note, now, onset).int()
        sung = state[rows, PITCH + track]
        new[rows, BEFORE + track] = torch.where(is_note & (onset < now), sung, state[rows, BEFORE + track]).int()
        new[rows, PITCH + track] = torch.where(is_note, pitch, sung).int()
        # lengths
        put("more", is_more, s.more + LONGEST)
        put("more", is_note, 0)
        until = now + s.more + token - FOR + 1
        put("reach", is_for, torch.maximum(s.reach, until))
        note = s.note
        held = note // KEYS_OF_PIANO
        new[rows, ENDS + note] = torch.where(is_for, until, new[rows, ENDS + note].long()).int()
        new[rows, IMPLIED + held] -= is_for.int()
        return new

    def _tables_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """``[meters]`` ticks of a bar, and ``[12, steps]`` the piano key of a step under each tonic."""
        if device not in self._tables:
            bars = torch.tensor([bar_ticks(meter) for meter in range(len(METERS))], device=device)
            steps = torch.arange(STEPS, device=device) + FIRST_STEP
            pitches = steps + torch.arange(-DOWN, UP + 1, device=device)[:, None] - LOWEST
            outside = (pitches < 0) | (pitches >= KEYS_OF_PIANO)
            self._tables[device] = bars, pitches.masked_fill(outside, KEYS_OF_PIANO)
        return self._tables[device]


def _column(remaining: int | Tensor) -> int | Tensor:
    """Beside ``[B, n]``: rows may stand at different places."""
    return remaining if isinstance(remaining, int) else remaining[:, None]

"""Bars that add up out of printed measures that may not.

In print a pickup is a short first measure, and a repeat sign may cut a bar in two. Here a pickup is moved to the end of
a whole bar, short measures that together make one bar become one, any other short measure is filled with silence, and
a measure that is too long becomes a bar of its own meter, or as many bars as hold it.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from genesis.errors import EncodeError
from genesis_domains.music.names import bar_ticks, meter_of, meter_of_ticks, whole_ticks
from genesis_domains.music.properties import MOST_BARS
from genesis_domains.music.score import Note


class Measure(NamedTuple):
    """A printed measure: when it begins and how long it is in quarter notes, and its meter where one is printed."""

    start: Fraction
    length: Fraction
    meter: tuple[int, int] | None


class Written(NamedTuple):
    """A printed note in quarter notes; ``stops`` a tie from the one before, ``starts`` one to the next."""

    onset: Fraction
    length: Fraction
    pitch: int
    stops: bool = False
    starts: bool = False


class Bars:
    """The meters of the bars, and the tick of any moment of the printed score."""

    def __init__(self, measures: Sequence[Measure]) -> None:
        if not measures:
            raise EncodeError("no measures")
        self.starts = [measure.start for measure in measures]
        self.ticks: list[int] = []  # where each measure begins
        self.meters: list[int] = []
        room = clock = 0  # ticks still free in a bar that a short measure left open, and where they begin
        nominal = meter_of(4, 4)
        assert nominal is not None
        for number, measure in enumerate(measures):
            if measure.meter is not None:
                found = meter_of(*measure.meter)
                if found is None:
                    raise EncodeError(f"the meter {measure.meter[0]}/{measure.meter[1]} is not modelled")
                nominal = found
            length, whole = whole_ticks(measure.length), bar_ticks(nominal)
            if length <= room:  # the rest of a bar that a repeat sign cut
                self.ticks.append(clock)
                clock, room = clock + length, room - length
                continue
            clock, room = clock + room, 0
            if length > MOST_BARS * whole or len(self.meters) >= MOST_BARS:
                raise EncodeError(f"more than {MOST_BARS:,} bars")
            if length > whole:
                self.ticks.append(clock)
                own = meter_of_ticks(length)
                bars = [own] if own is not None else [nominal] * -(-length // whole)
                self.meters += bars
                clock += sum(map(bar_ticks, bars))
                continue
            self.meters.append(nominal)
            pickup = whole - length if number == 0 else 0
            self.ticks.append(clock + pickup)
            clock, room = clock + pickup + length, whole - length - pickup

    def tick(self, moment: Fraction) -> int:
        """The tick of a moment in quarter notes from the beginning."""
        at = max(bisect.bisect_right(self.starts, moment) - 1, 0)
        return self.ticks[at] + whole_ticks(moment - self.starts[at])

    def notes(self, written: Iterable[Written]) -> list[Note]:
        """Notes on the grid, tied ones as one."""
        out = []
        for onset, end, pitch in _tied(written):
            start = self.tick(onset)
            out.append(Note(start, pitch, self.tick(end) - start))
        return out


def _tied(written: Iterable[Written]) -> Iterator[tuple[Fraction, Fraction, int]]:
    """Onset, end and pitch; the notes come in the order of their onsets."""
    waiting: dict[int, tuple[Fraction, Fraction]] = {}  # pitch -> begin and end of a note that is tied to a next one
    for note in written:
        begin, end = note.onset, note.onset + note.length
        held = waiting.get(note.pitch)
        if note.stops and held is not None and held[1] == note.onset:
            begin = held[0]
            del waiting[note.pitch]
        if not note.starts:
            yield begin, end, note.pitch
            continue
        if (lost := waiting.get(note.pitch)) is not None:
            yield *lost, note.pitch
        waiting[note.pitch] = begin, end
    for pitch, (begin, end) in waiting.items():  # ties to nothing
        yield begin, end, pitch

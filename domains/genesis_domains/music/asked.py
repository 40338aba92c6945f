"""What a user asked for, as the automaton obeys it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from genesis.domain import Asked
from genesis.errors import UsageError
from genesis_domains.music.chorale import FOUR_PART
from genesis_domains.music.names import KEYS, METERS, PROGRAMS
from genesis_domains.music.properties import MOST_BARS
from genesis_domains.music.score import HIGHEST, LOWEST, MAX_TRACKS, TEMPI


@dataclass(frozen=True, slots=True)
class Wish:
    """Indices and ranges, both ends included; -1 and (0, 0) mean that nothing was asked."""

    key: int = -1
    meter: int = -1
    program: int = -1
    bars: tuple[int, int] = (1, MOST_BARS)
    tempo: tuple[int, int] = (0, 0)
    tracks: tuple[int, int] = (1, MAX_TRACKS)
    pitches: tuple[int, int] = (LOWEST, HIGHEST)
    parts: bool = False  # four voices by the rules of part-writing

    @classmethod
    def of(cls, asked: Mapping[str, Asked]) -> Wish:
        """The targets of one item; UsageError when a range holds no whole number."""
        low = whole("lowest", asked["lowest"], LOWEST, HIGHEST)[0] if "lowest" in asked else LOWEST
        high = whole("highest", asked["highest"], LOWEST, HIGHEST)[1] if "highest" in asked else HIGHEST
        if low > high:
            raise UsageError(f"lowest={low} and highest={high}: no pitch is left between them")
        return cls(
            key=KEYS.index(str(asked["key"])) if "key" in asked else -1,
            meter=METERS.index(str(asked["meter"])) if "meter" in asked else -1,
            program=PROGRAMS.index(str(asked["instrument"])) if "instrument" in asked else -1,
            bars=whole("bars", asked["bars"], 1, MOST_BARS) if "bars" in asked else (1, MOST_BARS),
            tempo=whole("tempo", asked["tempo"], *TEMPI) if "tempo" in asked else (0, 0),
            tracks=whole("tracks", asked["tracks"], 1, MAX_TRACKS) if "tracks" in asked else (1, MAX_TRACKS),
            pitches=(low, high),
            parts=asked.get("style") in FOUR_PART,
        )

    def words(self) -> tuple[int, ...]:
        """In the order of ``state.State``."""
        return (self.key, self.meter, self.program, *self.bars, *self.tempo, *self.tracks, *self.pitches, self.parts)

    def shortest(self) -> int:
        """Tokens of the shortest score that obeys, without ``<eos>``: one note that lasts to the end."""
        return 1 + 2 * (self.tempo[0] > 0) + self.tracks[0] + self.bars[0] + 2


def whole(name: str, value: Asked, low: int, high: int) -> tuple[int, int]:
    """The whole numbers of a target: a number is rounded, a range keeps those inside it."""
    if isinstance(value, tuple):
        first, last = max(value[0], low), min(value[1], high)
        ends = math.ceil(first), math.floor(last)
        if ends[0] > ends[1]:
            raise UsageError(f"{name}={value[0]:g}:{value[1]:g}: no whole number lies in it")
        return ends
    number = round(float(value))
    return number, number

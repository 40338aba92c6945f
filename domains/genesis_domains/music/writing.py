"""Finishing what is given: which bars are written in which pass, and what each pass sees.

A pass writes a run of bars from left to right. It is shown the bars before the run, as many as there is room for, and
the given notes of the run itself as they come; what comes after the run it does not see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genesis.domain import Constraint
from genesis_domains.music import codec
from genesis_domains.music.chorale import FOUR_PART
from genesis_domains.music.score import Score, Track
from genesis_domains.music.sheet import Sheet

CELLS = 48  # bars times tracks of a run: about four hundred tokens of four voices
CONTEXT = 0.45  # of a model's room, at most, for what is given before a run


@dataclass(frozen=True, slots=True)
class Run:
    """Bars ``first`` to ``last`` (not included), and the bars from which they are repeated."""

    first: int
    last: int
    again: tuple[int, ...] = ()


@dataclass(frozen=True)
class Writing:
    """A ``genesis.domain.Task``: a sheet that is filled run by run. ``strength`` 1 frees whole runs."""

    sheet: Sheet
    runs: tuple[Run, ...]
    target: Mapping[str, Any]
    pitches: tuple[int, int] | None = None
    strength: float = 1.0
    protected: frozenset[int] = field(default=frozenset())  # tracks that ``strength`` never frees
    candidates: int = 1

    @property
    def passes(self) -> int:
        return len(self.runs)

    def begin(self, index: int, seed: int, candidate: int = 0) -> Sheet:
        """The sheet of one item: with ``strength`` below 1 each cell is free with that probability."""
        if self.strength >= 1:
            return self.sheet
        rng = np.random.Generator(np.random.Philox(key=[seed, index], counter=candidate << 32))
        free = rng.random(self.sheet.free.shape) < self.strength
        free &= self.sheet.free
        if not free.any():  # something changes always
            places = np.argwhere(self.sheet.free)
            free[tuple(places[rng.integers(len(places))])] = True
        return replace(self.sheet, free=free)

    def constraint(self, turn: int, drafts: Sequence[Sheet], max_length: int) -> Constraint:
        from genesis_domains.music.frame import Frame

        windows = [self._window(turn, draft, max_length) for draft in drafts]
        return Frame(max_length, windows, self.pitches, self.target.get("style") in FOUR_PART)

    def join(self, turn: int, draft: Sheet, tokens: Sequence[int], max_length: int) -> Sheet | None:
        found = codec.drawn(tokens)
        if found is None:
            return None
        run, first = self.runs[turn], self._from(turn, draft, max_length)
        shift = draft.starts[first]
        tracks = [
            Track(track.program, tuple(note._replace(onset=note.onset + shift) for note in track.notes))
            for track in found.tracks
        ]
        out = draft.filled(tracks, found.tempo, run.first, run.last)
        for place in run.again:
            out = out.repeated(run.first, run.last, place)
        return out

    def finish(self, draft: Sheet) -> Score | None:
        return draft.score()

    def _window(self, turn: int, draft: Sheet, max_length: int) -> Sheet:
        """What a pass sees: the context, all of it given, and the run."""
        run = self.runs[turn]
        only = draft.free.copy()
        only[:, : run.first] = False
        return replace(draft, free=only).window(self._from(turn, draft, max_length), run.last)

    def _from(self, turn: int, draft: Sheet, max_length: int) -> int:
        """The first bar of the context: the earliest from which everything given fits."""
        from genesis_domains.music.frame import cost

        run = self.runs[turn]
        given = replace(draft, free=np.zeros_like(draft.free))
        first = run.first
        while first > 0 and cost(given.window(first - 1, run.first)) + run.first - first < CONTEXT * max_length:
            first -= 1
        return first


def runs(free: NDArray[np.bool_], tracks: int) -> tuple[Run, ...]:
    """The bars with a free cell ``[bars]``, in runs of at most ``CELLS / tracks`` bars."""
    longest = max(CELLS // tracks // 4 * 4, 4)
    out: list[Run] = []
    edges = np.flatnonzero(np.diff(np.r_[False, free, False].astype(int)))
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        out += [Run(at, min(at + longest, last)) for at in range(first, last, longest)]
    return tuple(out)

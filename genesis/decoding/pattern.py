"""Regular expressions as automata over the bytes of UTF-8: ``re`` parses, Thompson (1968) builds, subsets decide.

What is understood is the regular part of Python's syntax: literals, sets, groups, ``|``, repeats and ``.``; ``\\d \\w
\\s`` are those of ASCII. A pattern matches a whole text.

    S  states
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genesis.errors import UsageError

MOST = 8_192  # states of an automaton
FAR = 1 << 30  # steps to an end that is never reached
LAST = sys.maxunicode
BLOCKS = (
    (0, 0x7F),
    (0x80, 0x7FF),
    (0x800, 0xD7FF),
    (0xE000, 0xFFFF),
    (0x10000, LAST),
)  # as long in UTF-8
DIGITS, SPACES = ((48, 57),), ((9, 13), (32, 32))
WORDS = ((48, 57), (65, 90), (95, 95), (97, 122))
CLASSES = {"DIGIT": DIGITS, "SPACE": SPACES, "WORD": WORDS}
NEWLINE = 10
Ranges = Sequence[tuple[int, int]]  # of code points, both ends included


@dataclass(frozen=True, slots=True)
class Machine:
    """A deterministic automaton that begins in state 0; every state reaches an accepting one."""

    after: NDArray[np.int32]  # [S, 256], -1 where no text goes on so
    accepts: NDArray[np.bool_]  # [S]

    def not_empty(self, name: str) -> Machine:
        """The same texts but the empty one."""
        if not self.accepts[0]:
            return self
        if not (self.after[0] >= 0).any():
            raise UsageError(f"{name}: only the empty text can match it")
        after = np.vstack((self.after[:1], self.after))
        return Machine(np.where(after >= 0, after + 1, -1).astype(np.int32), np.append(False, self.accepts))


def compiled(pattern: str, said: str = "") -> Machine:
    """The automaton of a pattern; UsageError says what is wrong with it, and ``said`` what the user gave instead."""
    name = said or f"pattern {pattern!r:.80}"
    try:
        tree = _parser.parse(pattern, re.ASCII)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"{name}: not a regular expression ({error})") from None
    nfa = _Nfa(name)
    end = nfa.sequence(tree, nfa.state(), bool(tree.state.flags & re.DOTALL), outer=True)
    return _determined(nfa, end)


def utf8(ranges: Ranges) -> Iterator[list[tuple[int, int]]]:
    """The code points of some ranges as sequences of ranges of bytes."""
    for low, high in ranges:
        for first, last in BLOCKS:
            if low <= last and high >= first:
                yield from _aligned(max(low, first), min(high, last))


def _aligned(low: int, high: int) -> Iterator[list[tuple[int, int]]]:
    """One sequence where every byte's range goes with every other's, else the parts for which it does."""
    for bits in (6, 12, 18) if high > 0x7F else ():
        mask = (1 << bits) - 1
        if low | mask < high:
            cut = (low | mask) + 1 if low & mask else high & ~mask if high & mask != mask else 0
            if cut:
                yield from _aligned(low, cut - 1)
                yield from _aligned(cut, high)
                return
    yield list(zip(chr(low).encode(), chr(high).encode(), strict=True))


def _complement(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    out, at = [], 0
    for low, high in sorted(ranges):
        if at < low:
            out.append((at, low - 1))
        at = max(at, high + 1)
    return [*out, (at, LAST)] if at <= LAST else out


class _Nfa:
    def __init__(self, name: str) -> None:
        self.name = name
        self.free: list[list[int]] = []  # of each state, where it goes without a byte
        self.arcs: list[list[tuple[int, int, int]]] = []  # first and last byte, and the state after it

    def state(self) -> int:
        if len(self.free) >= 16 * MOST:
            raise UsageError(f"{self.name}: too large; shorten its repeats")
        self.free.append([])
        self.arcs.append([])
        return len(self.free) - 1

    def sequence(self, tree: Any, at: int, dot_all: bool, outer: bool = False) -> int:
        last = len(tree) - 1
        for place, (op, argument) in enumerate(tree):
            if op is c.AT and outer:
                if place == 0 and argument in (c.AT_BEGINNING, c.AT_BEGINNING_STRING):
                    continue
                if place == last and argument in (c.AT_END, c.AT_END_STRING):
                    continue
            at = self._item(op, argument, at, dot_all)
        return at

    def _item(self, op: Any, argument: Any, at: int, dot_all: bool) -> int:
        if op in (c.LITERAL, c.NOT_LITERAL, c.ANY, c.IN):
            end = self.state()
            for spans in utf8(self._ranges(op, argument, dot_all)):
                here = at
                for low, high in spans[:-1]:
                    self.arcs[here].append((low, high, self.state()))
                    here = len(self.free) - 1
                self.arcs[here].append((*spans[-1], end))
            return end
        if op is c.SUBPATTERN and not (argument[1] | argument[2]) & ~re.DOTALL:
            _, adds, drops, tree = argument
            return self.sequence(tree, at, bool(adds & re.DOTALL) or (dot_all and not drops))
        if op is c.BRANCH:
            end = self.state()
            for tree in argument[1]:
                begin = self.state()
                self.free[at].append(begin)
                self.free[self.sequence(tree, begin, dot_all)].append(end)
            return end
        if op in (c.MAX_REPEAT, c.MIN_REPEAT):
            least, most, tree = argument
            return self._repeat(least, most, tree, at, dot_all)
        what = str(op).lower().replace("_", " ")
        raise UsageError(f"{self.name}: {what} is not regular; use literals, sets, groups, | and repeats")

    def _repeat(self, least: int, most: Any, tree: Any, at: int, dot_all: bool) -> int:
        for _ in range(least):
            at = self.sequence(tree, at, dot_all)
        end = self.state()
        if most is c.MAXREPEAT:
            loop = self.state()
            self.free[at].append(loop)
            self.free[loop].append(end)
            self.free[self.sequence(tree, loop, dot_all)].append(loop)
            return end
        self.free[at].append(end)
        for _ in range(most - least):
            at = self.sequence(tree, at, dot_all)
            self.free[at].append(end)
        return end

    def _ranges(self, op: Any, argument: Any, dot_all: bool) -> Ranges:
        if op is c.ANY:
            return ((0, LAST),) if dot_all else ((0, NEWLINE - 1), (NEWLINE + 1, LAST))
        if op is not c.IN:
            return _complement([(argument, argument)]) if op is c.NOT_LITERAL else ((argument, argument),)
        found: list[tuple[int, int]] = []
        for kind, value in argument:
            if kind is c.RANGE:
                found.append(value)
            elif kind is c.LITERAL:
                found.append((value, value))
            elif kind is c.CATEGORY:
                ranges = CLASSES[str(value).rsplit("_", 1)[1]]
                found += _complement(ranges) if "NOT" in str(value) else ranges
        return _complement(found) if argument[0][0] is c.NEGATE else found

    def closure(self, states: Iterable[int]) -> frozenset[int]:
        seen, open_ = set[int](), list(states)
        while open_:
            state = open_.pop()
            if state not in seen:
                seen.add(state)
                open_ += self.free[state]
        return frozenset(seen)


def _determined(nfa: _Nfa, end: int) -> Machine:
    start = nfa.closure([0])
    ids, order, rows = {start: 0}, [start], []
    for states in order:  # grows
        arcs = [arc for state in states for arc in nfa.arcs[state]]
        row = np.full(256, -1, np.int32)
        edges = sorted({low for low, _, _ in arcs} | {high + 1 for _, high, _ in arcs})
        for low, high in pairwise(edges):
            into = {target for first, last, target in arcs if first <= low <= last}
            if into:
                found = nfa.closure(into)
                if found not in ids:
                    if len(ids) >= MOST:
                        raise UsageError(f"{nfa.name}: more than {MOST:,} states; shorten its repeats")
                    ids[found] = len(ids)
                    order.append(found)
                row[low:high] = ids[found]
        rows.append(row)
    after, accepts = np.stack(rows), np.array([end in states for states in order])
    alive = distance(after, accepts) < FAR
    if not alive[0]:
        raise UsageError(f"{nfa.name}: no text can match it")
    return Machine(np.where((after >= 0) & alive[after], after, -1).astype(np.int32), accepts)


def distance(after: NDArray[np.int32], accepts: NDArray[np.bool_]) -> NDArray[np.int64]:
    """``[S]``: the fewest steps to an accepting state, by breadth-first search from those backwards."""
    leads = np.zeros((len(after), len(after) + 1), np.bool_)  # whether a step leads from one to the other; -1 is apart
    np.put_along_axis(leads, after.astype(np.int64) % (len(after) + 1), True, 1)
    out = np.full(len(after), FAR)
    front, steps = np.flatnonzero(accepts), 0
    while len(front):
        out[front] = steps
        front, steps = np.flatnonzero(leads[:, front].any(1) & (out == FAR)), steps + 1
    return out

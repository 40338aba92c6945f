"""A byte automaton read in tokens: integer tables on the device, a word of state a row.

``pieces[v]`` are the bytes of token v, none of ``<pad> <bos> <eos>``.

    after[s, v]  the state after token v in state s            need[s]  tokens to the nearest accepting state

A token is allowed where ``1 + need[after] + 1`` (the token, the way to the end, ``<eos>``) are no more than remain.
Given tokens come first, as a chain of states with one way on.

    B  batch    S  states    V  vocabulary
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genesis.decoding.constraint import EOS
from genesis.decoding.pattern import FAR, Machine, distance
from genesis.errors import UsageError

MOST = 1 << 27  # entries of a table
MANY = 16_384  # tokens beyond which rows are worked out when they are needed: no model of ours has as many


def automaton(
    machine: Machine, pieces: Sequence[bytes], given: Sequence[int] = (), name: str = "pattern"
) -> Automaton | LazyAutomaton:
    """What suits the number of tokens."""
    return (LazyAutomaton if len(pieces) > MANY else Automaton)(machine, pieces, given, name)


class Automaton:
    """A ``Constraint``: texts that begin with the tokens ``given`` and go on as the machine says."""

    def __init__(
        self, machine: Machine, pieces: Sequence[bytes], given: Sequence[int] = (), name: str = "pattern"
    ) -> None:
        states, vocab = len(given) + len(machine.after) + 1, len(pieces)
        if states * vocab > MOST:
            raise UsageError(f"{name}: {states:,} states of {vocab:,} tokens do not fit in memory; shorten its repeats")
        inner = len(given) + lifted(machine, pieces)
        dead = states - 1
        after = np.full((states, vocab), dead, np.int32)
        after[np.arange(len(given)), list(given)] = np.arange(1, len(given) + 1)
        after[len(given) : -1] = inner
        accepts = np.zeros(states, np.bool_)
        accepts[len(given) : -1] = machine.accepts
        reach = distance(np.vstack((inner, np.full((1, vocab), dead))) - len(given), accepts[len(given) :])
        self.need = np.concatenate((np.arange(len(given), 0, -1) + reach[0], reach))  # the chain leads to the first
        cost = (self.need[after] + 2).astype(np.int32)
        cost[:, EOS] = np.where(accepts, 1, FAR)
        cost[:, :EOS] = FAR
        self._tables = {torch.device("cpu"): (torch.from_numpy(after), torch.from_numpy(cost))}

    def start(self, rows: int, device: torch.device) -> Tensor:
        return torch.zeros(rows, 1, dtype=torch.int32, device=device)

    def allowed(self, state: Tensor, remaining: int | Tensor) -> Tensor:
        _, cost = self._on(state.device)
        return cost[state[:, 0].long()] <= torch.as_tensor(remaining, device=state.device).view(-1, 1)

    def advance(self, state: Tensor, token: Tensor) -> Tensor:
        after, _ = self._on(state.device)
        return after[state[:, 0].long(), token.clamp(max=after.shape[1] - 1)][:, None]

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._tables:
            after, cost = self._tables[torch.device("cpu")]
            self._tables[device] = after.to(device), cost.to(device)
        return self._tables[device]


class LazyAutomaton:
    """The same for tens of thousands of tokens: the row of a state is worked out when a text first comes to it.

    ``need`` counts bytes: each is a token too, so a text that may end in so many bytes may end in so many tokens.
    """

    def __init__(
        self, machine: Machine, pieces: Sequence[bytes], given: Sequence[int] = (), name: str = "pattern"
    ) -> None:
        alone = {piece[0] for piece in pieces if len(piece) == 1}
        used = np.flatnonzero((machine.after >= 0).any(0))
        if not alone.issuperset(used.tolist()):
            raise UsageError(f"{name}: this vocabulary does not spell every byte that may be needed")
        self.given, self.accepts = list(given), machine.accepts
        self._dead = len(machine.after)
        self._table = np.vstack((np.where(machine.after < 0, self._dead, machine.after), np.full((1, 256), self._dead)))
        self._places = _places(pieces)
        self._empty = np.array([not piece for piece in pieces])
        reach = np.append(distance(machine.after, machine.accepts), FAR)
        self.need = np.concatenate((np.arange(len(given), 0, -1) + reach[0], reach))
        self._rows: dict[int, tuple[NDArray[np.int64], Tensor]] = {}

    def start(self, rows: int, device: torch.device) -> Tensor:
        return torch.zeros(rows, 1, dtype=torch.int32, device=device)

    def allowed(self, state: Tensor, remaining: int | Tensor) -> Tensor:
        cost = torch.stack([self._row(s)[1] for s in state[:, 0].tolist()]).to(state.device)
        return cost <= torch.as_tensor(remaining, device=state.device).view(-1, 1)

    def advance(self, state: Tensor, token: Tensor) -> Tensor:
        pairs = zip(state[:, 0].tolist(), token.tolist(), strict=True)
        after = [int(self._row(s)[0][min(t, len(self._empty) - 1)]) for s, t in pairs]
        return torch.tensor(after, dtype=torch.int32, device=state.device)[:, None]

    def _row(self, state: int) -> tuple[NDArray[np.int64], Tensor]:
        """``[V]`` the state after each token, and what it costs to end from there."""
        if state not in self._rows:
            first, inner = len(self.given), state - len(self.given)
            if inner < 0:
                after = np.full(len(self._empty), self._dead)
                after[self.given[state]] = state + 1 - first
            else:
                after = np.full(len(self._empty), inner)
                for here, byte in self._places:
                    after[here] = self._table[after[here], byte]
                after[self._empty] = self._dead
            # a negative state is one of the chain of given tokens, which need[] holds first
            cost = torch.from_numpy((self.need[after + first] + 2).astype(np.int32))
            cost[EOS] = 1 if 0 <= inner < self._dead and self.accepts[inner] else FAR
            cost[:EOS] = FAR
            self._rows[state] = after + first, cost
        return self._rows[state]


def _places(pieces: Sequence[bytes]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """For each place: the tokens that are longer, and their bytes there."""
    lengths = np.array([len(piece) for piece in pieces])
    out = []
    for place in range(int(lengths.max())):
        here = np.flatnonzero(lengths > place)
        out.append((here, np.array([pieces[token][place] for token in here.tolist()])))
    return out


def lifted(machine: Machine, pieces: Sequence[bytes]) -> NDArray[np.int32]:
    """``[S, V]``: the state after all bytes of a token; S where there is none."""
    dead = len(machine.after)
    table = np.vstack((np.where(machine.after < 0, dead, machine.after), np.full((1, 256), dead))).astype(np.int32)
    out = np.repeat(np.arange(dead, dtype=np.int32)[:, None], len(pieces), 1)
    for here, byte in _places(pieces):
        out[:, here] = table[out[:, here], byte]
    out[:, [not piece for piece in pieces]] = dead
    return out

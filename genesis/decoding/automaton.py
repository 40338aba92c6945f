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


def lifted(machine: Machine, pieces: Sequence[bytes]) -> NDArray[np.int32]:
    """``[S, V]``: the state after all bytes of a token; S where there is none."""
    dead = len(machine.after)
    table = np.vstack((np.where(machine.after < 0, dead, machine.after), np.full((1, 256), dead))).astype(np.int32)
    lengths = np.array([len(piece) for piece in pieces])
    out = np.repeat(np.arange(dead, dtype=np.int32)[:, None], len(lengths), 1)
    for place in range(int(lengths.max())):
        here = np.flatnonzero(lengths > place)
        byte = np.array([pieces[token][place] for token in here.tolist()])
        out[:, here] = table[out[:, here], byte]
    out[:, lengths == 0] = dead
    return out

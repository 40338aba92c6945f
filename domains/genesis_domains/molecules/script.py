"""The grammar with given tokens: what stands in a script is forced, and the grammar fills its gaps.

A gap holds a substituent or a linker: it begins with an atom on a single bond, closes the rings it opens and none of
the script's, and ends where the script goes on. One followed by ``)`` or ``<eos>`` ends when that is written; one
followed by an atom (a linker) when it has as many tokens as were drawn for it and its last atom can take a bond.

    B  batch    S  state words of the grammar    N  scripts    M  places    V  vocabulary
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genesis.domain import EOS
from genesis_domains.molecules import state as st
from genesis_domains.molecules import syntax as sx
from genesis_domains.molecules.grammar import SmilesGrammar
from genesis_domains.molecules.smiles import IDS, ORGANIC, VOCAB

GAP = -1
POINT = IDS["*"]
OPEN, CLOSE = IDS["("], IDS[")"]
LATER = 4  # tokens kept for each gap that is still to come
LONGEST_LINKER = 10  # tokens after which a linker ends at the next chance
WORDS = 4  # of the state: script, place, tokens in this gap, tokens a linker has at least


class Script:
    """Tables of ``N`` scripts: each is tokens with ``*`` where something is to be written."""

    def __init__(self, texts: Sequence[Sequence[int]]) -> None:
        longest = max(map(len, texts)) + 1
        shape = (len(texts), longest)
        self.tokens = torch.full(shape, EOS)  # [N, M], GAP where the grammar writes
        self.depth = torch.zeros(shape, dtype=torch.int64)  # [N, M] branches of the script that are open
        self.due = torch.zeros(shape, dtype=torch.int64)  # [N, M] tokens kept for what follows a gap
        self.links = torch.zeros(shape, dtype=torch.bool)  # [N, M] a gap that an atom follows
        self.free = torch.ones((*shape, len(VOCAB)), dtype=torch.bool)  # [N, M, V] what a gap may hold
        self.free[..., IDS["."]] = False
        for row, text in enumerate(texts):
            self._fill(row, text)
        first = torch.zeros(len(VOCAB), dtype=torch.bool)
        first[[IDS[token] for token in ("[", *ORGANIC) if token != "*"]] = True
        self.first = first
        self.free[..., POINT] = False

    def _fill(self, row: int, text: Sequence[int]) -> None:
        depth, rings = 0, set[int]()
        bracket = False
        for place, token in enumerate(text):
            self.tokens[row, place] = GAP if token == POINT else token
            self.depth[row, place] = depth
            spelled = VOCAB[token]
            if token == POINT:
                after = text[place + 1] if place + 1 < len(text) else EOS
                self.links[row, place] = after not in (CLOSE, EOS)
                rest = text[place + 1 :]
                # the grammar itself keeps room for what is open here: its branches, its rings and <eos>
                self.due[row, place] = len(rest) + (LATER - 1) * rest.count(POINT) - depth - len(rings)
                self.free[row, place, list(rings)] = False
                if after != EOS:
                    self.free[row, place, EOS] = False
            depth += (token == OPEN) - (token == CLOSE)
            bracket = spelled == "[" or (bracket and spelled != "]")
            if not bracket and (spelled.isdigit() or spelled.startswith("%")):
                rings ^= {token}


class Scripted:
    """``genesis.decoding.constraint.Constraint``: the grammar, kept to a script in each row."""

    def __init__(self, grammar: SmilesGrammar, script: Script, which: Tensor, least: Tensor) -> None:
        """``which [n]``: the script of each row of a batch, in turn; ``least [n]``: tokens of its linker."""
        self.grammar, self.script = grammar, script
        self.which, self.least = which, least

    def start(self, rows: int, device: torch.device) -> Tensor:
        turn = torch.arange(rows) % len(self.which)
        zero = torch.zeros_like(turn)
        own = torch.stack((self.which[turn], zero, zero, self.least[turn]), 1).int()
        return torch.cat((own.to(device), self.grammar.start(rows, device)), 1)

    def allowed(self, state: Tensor, remaining: int) -> Tensor:
        script, at = self.script, _At(state, self.script)
        forced = torch.zeros(len(state), len(VOCAB), dtype=torch.bool, device=state.device)
        forced.scatter_(1, at.token.clamp(min=0)[:, None], True)
        if not bool(at.gap.any()):
            return forced
        room = remaining - script.due[at.row, at.place].to(state.device) * at.gap
        mask = self.grammar.allowed(state[:, WORDS:], room) & script.free[at.row, at.place].to(state.device)
        mask &= script.first.to(state.device) | (at.written > 0)[:, None]
        mask = torch.where(at.gap[:, None], mask, forced)
        mask[:, EOS] |= ~mask.any(1)  # no room is left: the row ends, and is no valid item
        return mask

    def advance(self, state: Tensor, token: Tensor) -> Tensor:
        script, at = self.script, _At(state, self.script)
        before = st.Head.of(state[:, WORDS:])
        inner = self.grammar.advance(state[:, WORDS:], token)
        base, links = script.depth[at.row, at.place].to(state.device), script.links[at.row, at.place].to(state.device)
        ends = at.gap & ~links & (token == at.after) & (before.depth == base)
        jumps = at.gap & links & (at.written + 1 >= at.least) & _closable(inner, base)
        place = at.place.to(state.device) + torch.where(at.gap, 2 * ends + jumps, 1)
        written = torch.where(at.gap & ~ends & ~jumps, at.written + 1, 0)
        own = torch.stack((state[:, 0].long(), place, written, at.least), 1).int()
        return torch.cat((own, inner), 1)


class _At:
    """Where each row stands, ``[B]`` each."""

    def __init__(self, state: Tensor, script: Script) -> None:
        own = state[:, :WORDS].long()
        self.row, place = own[:, 0].cpu(), own[:, 1].cpu()
        last = script.tokens.shape[1] - 1
        self.place = place.clamp(max=last)
        self.token = script.tokens[self.row, self.place].to(state.device)
        self.after = script.tokens[self.row, (self.place + 1).clamp(max=last)].to(state.device)
        self.gap = self.token == GAP
        self.written, self.least = own[:, 2], own[:, 3]


def _closable(inner: Tensor, depth: Tensor) -> Tensor:
    """``[B]``: whether a chain could go on elsewhere: no branch or ring of the gap is open, and a bond is free."""
    head = st.Head.of(inner)
    open_rings = ((st.slots(inner, head.high + 1) >> 1) & st.ATOM) > 0
    settled = (head.mode == sx.CHAIN) | (head.mode == sx.AFTER)
    return settled & (head.depth == depth) & (head.free >= 1) & (head.nature != st.PROTON) & ~open_rings.any(1)

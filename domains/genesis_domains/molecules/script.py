"""The grammar with given tokens: what stands in a script is forced, and the grammar fills its gaps.

A gap holds a substituent or a linker, which the grammar reads as a molecule of its own, begun by an atom that stands
for what is given: fluorine, whose one bond the substituent takes, or the oxygen of an open ring, which the last atom of
a linker could close. Where the grammar would allow ``<eos>``, the script may go on; in a linker it goes on when as many
tokens as were drawn for it are written and its last atom can take a bond; if that is in a branch, ``)`` is owed at the
end. Ring numbers that are open in the script are
skipped: number j of the gap is written as the j-th that is free.

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
NONE = -1  # a token of the grammar that cannot be written in this gap
POINT = IDS["*"]
OPEN, CLOSE = IDS["("], IDS[")"]
LATER = 4  # tokens kept for each gap that is still to come
LONGEST_LINKER = 10  # tokens after which a linker ends at the next chance
WORDS = 4  # of the state: script, place, tokens in this gap, tokens a linker has at least (then: branches owed)
STEM, BRIDGE = ("F",), ("O", "1")  # what a gap is attached to, as the grammar is told


class Script:
    """Tables of ``N`` scripts: each is tokens with ``*`` where something is to be written."""

    def __init__(self, texts: Sequence[Sequence[int]]) -> None:
        longest = max(map(len, texts)) + 1
        shape = (len(texts), longest)
        self.tokens = torch.full(shape, EOS)  # [N, M], GAP where the grammar writes
        self.due = torch.zeros(shape, dtype=torch.int64)  # [N, M] tokens kept for what follows a gap
        self.links = torch.zeros(shape, dtype=torch.bool)  # [N, M] a gap that an atom follows
        self.written = torch.full((*shape, len(VOCAB)), NONE)  # [N, M, V] the token that the grammar's is written as
        for row, text in enumerate(texts):
            self._fill(row, text)
        self.first = torch.zeros(len(VOCAB), dtype=torch.bool)  # a gap begins with an atom on a single bond
        self.first[[IDS[token] for token in ("[", *ORGANIC) if token != "*"]] = True

    def _fill(self, row: int, text: Sequence[int]) -> None:
        rings = set[int]()
        bracket = False
        for place, token in enumerate(text):
            self.tokens[row, place] = GAP if token == POINT else token
            spelled = VOCAB[token]
            if token == POINT:
                rest = text[place + 1 :]
                after = rest[0] if rest else EOS
                links = after not in (CLOSE, EOS)
                self.links[row, place] = links
                self.due[row, place] = len(rest) + (LATER - 1) * rest.count(POINT) - links
                self.written[row, place] = _written(rings, NONE if links else after, links)
            bracket = spelled == "[" or (bracket and spelled != "]")
            if not bracket and (spelled.isdigit() or spelled.startswith("%")):
                rings ^= {token}


def _written(rings: set[int], after: int, links: bool) -> Tensor:
    """``[V]``: how the grammar's tokens are written where the script has ``rings`` open and goes on with ``after``."""
    out = torch.arange(len(VOCAB))
    out[[POINT, IDS["."]]] = NONE
    out[EOS] = after
    numbers = [sx.ring_token(slot) for slot in range(1, st.RINGS + 1)]
    free = [number for number in numbers if number not in rings]
    told = numbers[len(BRIDGE) - 1 :] if links else numbers  # the bridge has the first
    if links:
        out[numbers[0]] = NONE
    for at, number in enumerate(told):
        out[number] = free[at] if at < len(free) else NONE
    return out


class Scripted:
    """``genesis.decoding.constraint.Constraint``: the grammar, kept to a script in each row."""

    def __init__(self, grammar: SmilesGrammar, script: Script, which: Tensor, least: Tensor) -> None:
        """``which [n]``: the script of each row of a batch, in turn; ``least [n]``: tokens of its linker."""
        self.grammar, self.script = grammar, script
        self.which, self.least = which, least

    def start(self, rows: int, device: torch.device) -> Tensor:
        turn = torch.arange(rows) % len(self.which)
        zero, which = torch.zeros_like(turn), self.which[turn]
        own = torch.stack((which, zero, zero, self.least[turn] * self.script.links.any(1)[which]), 1).int()
        return torch.cat((own.to(device), self.grammar.start(rows, device)), 1)

    def allowed(self, state: Tensor, remaining: int | Tensor) -> Tensor:
        at = _At(state, self.script)
        mask = torch.zeros(len(state), len(VOCAB), dtype=torch.bool, device=state.device)
        mask.scatter_(1, at.token.clamp(min=0)[:, None], True)
        rows = at.gap.nonzero()[:, 0]
        if len(rows):
            told = self.grammar.allowed(state[rows, WORDS:], (remaining - at.due)[rows])
            written = at.written[rows]
            told &= written != NONE
            inside = torch.zeros_like(told).scatter_reduce_(1, written.clamp(min=0), told, "amax")
            inside &= self.script.first.to(state.device) | (at.count[rows] > 0)[:, None]
            inside[:, EOS] |= ~inside.any(1)  # no room is left: the row ends, and is no valid item
            mask[rows] = inside
        return mask

    def advance(self, state: Tensor, token: Tensor) -> Tensor:
        at, inner = _At(state, self.script), state[:, WORDS:].clone()
        rows = at.gap.nonzero()[:, 0]
        ends = at.gap & ~at.links & (token == at.written[:, EOS]) & (st.Head.of(inner).depth == 0)
        jumps, more = torch.zeros_like(ends), at.least - at.owes.long()
        if len(rows):
            told = at.written[rows].index_fill(1, torch.tensor([EOS], device=state.device), NONE)
            said = (told == token[rows, None]).long().argmax(1)  # the token as the grammar knows it
            inner[rows] = self.grammar.advance(inner[rows], said)
            jumps[rows] = at.links[rows] & (at.count[rows] + 1 >= at.least[rows]) & _closable(inner[rows])
            more = torch.where(jumps, st.Head.of(inner).depth, more)
        place = at.place + torch.where(at.gap, 2 * ends + jumps, (~at.owes).long())
        count = torch.where(at.gap & ~ends & ~jumps, at.count + 1, 0)
        own = torch.stack((state[:, 0].long(), place, count, more), 1).int()
        new = torch.cat((own, inner), 1)
        following = _At(new, self.script)
        begins = following.gap & (~at.gap | ends | jumps)
        for kind, links in ((STEM, False), (BRIDGE, True)):
            chosen = begins & (following.links == links)
            if bool(chosen.any()):
                new[chosen, WORDS:] = self._begun(kind, state.device)
        return new

    def _begun(self, kind: Sequence[str], device: torch.device) -> Tensor:
        state = self.grammar.start(1, device)
        for token in kind:
            state = self.grammar.advance(state, torch.tensor([IDS[token]], device=device))
        return state


class _At:
    """Where each row stands, ``[B]`` each."""

    def __init__(self, state: Tensor, script: Script) -> None:
        own = state[:, :WORDS].long()
        where = (own[:, 0].cpu(), own[:, 1].cpu().clamp(max=script.tokens.shape[1] - 1))
        self.place = where[1].to(state.device)
        self.token, self.due, self.links, self.written = (
            table[where].to(state.device) for table in (script.tokens, script.due, script.links, script.written)
        )
        self.gap = self.token == GAP
        self.count, self.least = own[:, 2], own[:, 3]
        self.owes = (self.token == EOS) & (self.least > 0)
        self.token = torch.where(self.owes, CLOSE, self.token)
        # digits in a bracket are no ring numbers
        bracket = st.Head.of(state[:, WORDS:]).mode >= sx.LEFT
        self.written = torch.where(bracket[:, None], torch.arange(len(VOCAB), device=state.device), self.written)


def _closable(inner: Tensor) -> Tensor:
    """``[B]``: whether a linker may end here: none of its rings is open, and a bond is free."""
    head = st.Head.of(inner)
    open_rings = (((st.slots(inner, head.high + 1) >> 1) & st.ATOM) > 0)[:, 1:]  # the first is the bridge's
    settled = (head.mode == sx.CHAIN) | (head.mode == sx.AFTER)
    return settled & (head.branch == 0) & (head.free >= 1) & (head.nature != st.PROTON) & ~open_rings.any(1)

"""What it takes to end a SMILES from here: the tokens still due, by what is written next.

    dues = 1 (<eos>) + ")" for each open branch + a digit for each open ring + an arrow for each broken reserve
           + the fewest carbon atoms on which those rings can be closed

A ring cannot be closed on the atom that opened it, nor on that atom's child, nor can one atom close two rings of the
same opener. Rings are therefore counted in groups, one group an opener. A carbon in a chain closes two rings, the last
one three, so j rings need max(1, j // 2) atoms; g rings of one group need g atoms, and one more if the chain starts at
the atom that opened them. This packing is exact up to five open rings; from six on it may ask for an atom too many
where several branches could share them. Planning with carbon keeps what is written near the limit ordinary: a ``*``
could close everything at once.

The batch comes last here: most tensors are small, and sums over rings then run along whole rows.

    B  batch    W  ring numbers in use    C  cases of a new atom    K  kinds of bonds
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from genesis_domains.molecules import state as st
from genesis_domains.molecules import syntax as sx

UNREACHABLE = 1 << 20
# what one token, and the two that may have to follow it, add to the dues at most: "[", an element and "]"; a branch; a
# ring; four reserves broken; and for ``_atoms`` two rings more, the atom after a group's opener, an arrow
NEXT_TOKEN = 3 + 1 + 1 + 4 + 4
# the cases of a new atom: 0 ... 6 or more free valences; a donor with none; the tokens that hold a bond and an atom;
# "(" and each bond, taken to be followed by a carbon, or "$" by a sulfur
MANY = 7
DONOR_CASE, MERGED_CASE = MANY + 1, MANY + 2
OPEN_CASE = MERGED_CASE + len(sx.MERGED)
KIND_CASE = OPEN_CASE + 1
PENDING = -1


@dataclass(frozen=True, slots=True)
class _Cases:
    """The constants of the cases of a new atom, and of the bonds that close a ring, on one device."""

    near: Tensor  # [C, 1] valence taken from the current atom; PENDING: what the state says
    pending: Tensor  # [C, 1] bool
    free: Tensor  # [C, 1] valence left on the new atom
    donor: Tensor  # [C, 1] bool
    branch: Tensor  # [C, 1] 1 for "("
    kinds: Tensor  # [2, K, 1]


@cache
def _cases(device: torch.device) -> _Cases:
    merged = list(sx.MERGED.items())
    near = [PENDING] * MERGED_CASE + [order for _, order in merged] + [1] + [near for near, _ in sx.KINDS]
    free = [*range(MANY + 1), 0, *(sx.NEUTRAL[token[1]] - order for token, order in merged)]
    free += [sx.NEUTRAL["S" if far == 4 else "C"] - far for far in (1, *(far for _, far in sx.KINDS))]

    def words(values: object) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=device).unsqueeze(-1)

    places = range(len(near))
    return _Cases(
        near=words(near),
        pending=words(near) == PENDING,
        free=words(free),
        donor=words([i == DONOR_CASE for i in places]).bool(),
        branch=words([i == OPEN_CASE for i in places]),
        kinds=words(list(zip(*sx.RING_KINDS, strict=True))),
    )


@dataclass(frozen=True, slots=True)
class _Site:
    """The topmost open branch below a depth whose atom can take another bond: where rings can be closed after ")"."""

    index: Tensor  # [B] its depth; -1: there is none
    atom: Tensor  # [B]
    free: Tensor  # [B]
    donor: Tensor  # [B] bool

    @classmethod
    def below(cls, stack: Tensor, depth: Tensor) -> _Site:
        ranks = torch.arange(1, len(stack) + 1, dtype=torch.int64, device=stack.device)[:, None]
        donor = (stack & (3 << st.NATURE)) == (st.DONOR << st.NATURE)
        usable = ((stack >= (st.BIAS + 1) << st.BRANCH_FREE) | donor) & (ranks <= depth)
        rank = (ranks * usable).amax(0)
        at = (rank - 1).clamp_min_(0)[None]
        word = stack.gather(0, at)[0]
        return cls(rank - 1, word & st.ATOM, (word >> st.BRANCH_FREE) - st.BIAS, donor.gather(0, at)[0])


@dataclass(frozen=True, slots=True)
class _Rings:
    """The open rings and their groups."""

    open: Tensor  # [W, B] bool
    opener: Tensor  # [W, B] atom, 0 if free
    level: Tensor  # [W, B] branch depth of the opener
    slack: Tensor  # [W, B] free valence of the opener beyond its reserves
    touched: Tensor  # [W, B] bool: the current atom has just closed this number, or another ring of the group
    size: Tensor  # [W, B] rings in the group
    first: Tensor  # [W, B] bool: one ring a group
    closable: Tensor  # [W, B] bool: the current atom may close it

    @classmethod
    def of(cls, words: Tensor, head: st.Head) -> _Rings:
        opener = (words >> 1) & st.ATOM
        touched = (words & 1).bool()
        taken = opener > 0
        same = (opener[:, None] == opener) & taken
        earlier = torch.ones(len(words), len(words), dtype=torch.bool, device=words.device).tril_(-1)[:, :, None]
        ready = (head.mode == sx.CHAIN) | (head.mode == sx.BOND)
        near = (opener == head.atom) | (opener == head.parent)
        return cls(
            open=taken,
            opener=opener,
            level=(words >> st.LEVEL) & 63,
            slack=(words >> st.RING_FREE) - st.BIAS,
            touched=touched,
            size=_count(same),
            first=taken & ~(same & earlier).any(1),
            closable=taken & ready & ~(near | touched),
        )


class Dues:
    """The tokens due after each thing that may be written next, ``<eos>`` among them; UNREACHABLE if there is no end.

    Where what remains is *ample* for all that could be due in any row, 0 stands for the dues: only whether there is an
    end is then worked out, which is most of the time and takes half the time."""

    def __init__(self, state: Tensor, head: st.Head, remaining: int | Tensor) -> None:
        self.head = head
        self.rings = rings = _Rings.of(st.slots(state, head.high + 1).T.long().contiguous(), head)
        self.stack = st.branches(state, head.depth).T.long().contiguous()
        self.site = site = _Site.below(self.stack, head.depth)
        self.donor = head.nature == st.DONOR
        self.most = rings.size.amax(0)  # rings in the largest group
        self.largest = (rings.size == self.most) & rings.open
        self.heads = rings.closable & rings.first  # one a closable group
        self.beyond = rings.open & (rings.level > site.index)  # cannot wait for the site: their branch ends before
        self.of_site = rings.open & (rings.opener == site.atom)
        own = rings.open & (rings.opener == head.atom)
        counted = (
            *(rings.open, rings.first, self.heads, rings.first & self.largest, self.heads & self.largest),
            *(own, self.of_site, self.of_site & rings.closable),
            *(self.beyond, self.beyond & rings.first, self.beyond & self.heads),
        )
        counts = torch.stack(counted, 1).sum(0)
        self.count, self.groups, self.closable, self.most_groups, self.most_heads = counts[:5]
        self.own, self.site_own, self.site_heads = counts[5:8]
        self.outside, self.outside_groups, self.outside_heads = counts[8:]
        self.free = head.free + self.donor * self.own  # what a bond may take
        self.site_cost = (site.free < 1).long()
        broken = ((-rings.slack).clamp_min_(0) * rings.first).sum(0)
        self.whole = broken == 0
        # what the current atom has broken is counted again with what it breaks next
        self.due = 1 + head.depth + self.count + broken - (-head.free).clamp_min_(0)
        self.returns = (site.index >= 0) & (self.outside == 0)
        self.ample = False
        if st.at_hand(state):
            most = self.due + (-head.free).clamp_min_(0) + torch.maximum(self.count >> 1, self.most) + NEXT_TOKEN
            self.ample = bool((most <= remaining).all())

    def attached(self) -> Tensor:
        """``[C, B]``: dues after a new atom, for each of the cases."""
        case, head = _cases(self.head.mode.device), self.head
        left = head.free - torch.where(case.pending, head.near, case.near)
        branch = head.branch | case.branch
        onto = (branch > 0) & (self.donor | (left >= 1))  # the current atom becomes the site
        free = case.free
        if self.ample:
            reach = onto | (self.count == 0) | self.returns | (free >= 1) | case.donor
            return torch.where(reach, 0, UNREACHABLE)
        opened = (self.own > 0).long()
        groups, outside_groups = self.groups - opened, self.outside_groups - opened
        unlike = (self.own != self.most) | (self.own == 0)
        now = torch.minimum(groups, (free - 1).clamp_min_(0))
        chain = _atoms(self.count - now, self.most - (unlike & (self.most_groups <= now)).long(), free < 1)
        chain.masked_fill_(~(case.donor | (free >= 1)), UNREACHABLE)
        now = torch.minimum(groups, free)
        every = now == groups
        waits = onto | (self.outside == 0)
        most = self.most - (unlike & (every | (waits & (self.most_groups <= now)))).long()
        own = torch.where(onto, self.own, self.site_own - (every & (self.site_own > 0)).long())
        cost = torch.where(onto, left < 1, self.site_cost)
        later = _atoms(self.count - now, torch.maximum(most, own + (own > 0)), cost)
        fits = waits | ((self.outside == outside_groups) & (self.outside <= free))
        later.masked_fill_(~(fits & (onto | (self.site.index >= 0))), UNREACHABLE)
        atoms = torch.minimum(chain, later)
        giving = case.donor & (left >= 0) & self.whole
        atoms = torch.where(self.count == groups, torch.minimum(atoms, _arrows(self.count, free, giving)), atoms)
        return atoms.add_(self.due + branch).add_((-left).clamp_min_(0))

    def closed(self, kinds: int) -> Tensor:
        """``[K, W, B]``: dues after closing each ring, with the pending bond and the other ``RING_KINDS``."""
        rings, head, site = self.rings, self.head, self.site
        near, far = _cases(head.mode.device).kinds[:, :kinds].expand(-1, -1, len(head.mode)).clone()
        near[0], far[0] = head.near, head.far
        able, left, far = (near <= self.free)[:, None], (head.free - near)[:, None], far[:, None]
        able = able & rings.closable
        able &= (far == 0) | (rings.slack >= far - 1) | ((far == 1) & (-rings.slack < rings.size))
        chains = self.donor | (left >= 1)
        returns = (site.index >= 0) & ~(self.of_site & (far > 1) & (site.free - far < 0))
        outside = self.outside - self.beyond.long()
        if self.ample:
            reach = chains | (self.count == 1) | (returns & (outside == 0))
            return torch.where(able & reach, 0, UNREACHABLE)
        alone = self.largest & (self.most_groups == 1)
        second = (rings.size == self.most - 1) & rings.first
        groups = torch.where(alone, _count(second) + (self.most > 1), self.most_groups - self.largest.long())
        heads = torch.where(alone, _count(second & self.heads), self.most_heads - self.largest.long())
        count, closable, most = self.count - 1, self.closable - 1, self.most - alone.long()
        outside_heads = self.outside_heads - self.beyond.long()
        site_own = self.site_own - self.of_site.long()
        site_heads = (self.site_heads > 0) & ~self.of_site

        spare = left.clamp_min(0)
        now = torch.minimum(closable, (spare - 1).clamp_min_(0))
        all_heads = groups == heads
        least = torch.maximum(most - (all_heads & (groups <= now)).long(), self.own + (self.own > 0))
        chain = _atoms(count - now, least, left < 1).masked_fill_(~chains, UNREACHABLE)
        now = torch.minimum(closable, spare)
        every = now == closable
        least = most - (all_heads & (every | ((outside == 0) & (groups <= now)))).long()
        own = site_own - (site_heads & every).long()
        later = _atoms(count - now, torch.maximum(least, own + (own > 0)), self.site_cost)
        later.masked_fill_(~(returns & (outside == outside_heads) & (outside <= spare)), UNREACHABLE)
        atoms = torch.minimum(chain, later)
        arrows = _arrows(count, spare, self.donor & self.whole)
        atoms = torch.where(count == closable, torch.minimum(atoms, arrows), atoms)
        mended = (far == 0) & (rings.slack < 0)
        dues = atoms.add_(self.due - 1).add_((-left).clamp_min_(0)).sub_(mended.long())
        return dues.masked_fill_(~able, UNREACHABLE)

    def opened(self) -> Tensor:
        """``[B]``: dues after opening a ring, which must be closed further on in the same branch."""
        left = self.head.free - 1
        able = (left >= 1) | ((left == 0) & self.donor)
        if self.ample:
            return torch.where(able, 0, UNREACHABLE)
        now = torch.minimum(self.closable, (left - 1).clamp_min_(0))
        most = self.most - ((self.most_groups == self.most_heads) & (self.most_groups <= now)).long()
        atoms = _atoms(self.count + 1 - now, torch.maximum(most, self.own + 2), left < 1)
        due: Tensor = (self.due + 1 + atoms).masked_fill_(~able, UNREACHABLE)
        return due

    def returned(self) -> Tensor:
        """``[B]``: dues after ``)``, which no ring opened in the branch may outlive."""
        rings, depth = self.rings, self.head.depth
        word = self.stack.gather(0, (depth - 1).clamp_min_(0)[None])[0]
        free = (word >> st.BRANCH_FREE) - st.BIAS
        site = (free >= 1) | (((word >> st.NATURE) & 3) == st.DONOR)
        below = _Site.below(self.stack, depth - 1)
        lasting = rings.open & (rings.level > below.index)
        able = (depth > 0) & ~(rings.open & (rings.level >= depth)).any(0)
        if self.ample:
            reach = site | (self.count == 0) | ((below.index >= 0) & ~lasting.any(0))
            return torch.where(able & reach, 0, UNREACHABLE)
        openers = torch.stack([rings.opener == (word & st.ATOM), rings.opener == below.atom, lasting], 1)
        own, below_own, outside = (openers & rings.open[:, None]).sum(0)
        chain = _atoms(self.count, torch.maximum(self.most, own + (own > 0)), free < 1)
        later = _atoms(self.count, torch.maximum(self.most, below_own + (below_own > 0)), below.free < 1)
        later.masked_fill_((below.index < 0) | (outside > 0), UNREACHABLE)
        atoms = torch.minimum(chain.masked_fill_(~site, UNREACHABLE), later).masked_fill_(self.count == 0, 0)
        due: Tensor = (self.due - 1 + atoms).masked_fill_(~able, UNREACHABLE)
        return due


def _atoms(rings: Tensor, least: Tensor, cost: Tensor) -> Tensor:
    """Atoms of a chain on which so many rings are closed, one an atom of the largest group; ``cost`` is an arrow."""
    return torch.maximum(rings >> 1, least).clamp_min_(1) + cost


def _arrows(rings: Tensor, free: Tensor, donor: Tensor) -> Tensor:
    """Arrows with which an atom closes so many rings itself; only a donor can where its free valence is too small.

    No reserve may be broken: two donors cannot both give.
    """
    short = (rings - free).clamp_min_(0)
    return torch.where(donor | (short == 0), short, UNREACHABLE)


def _count(mask: Tensor) -> Tensor:
    return mask.sum(0)

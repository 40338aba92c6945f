"""The automaton that keeps generated SMILES valid: which tokens leave a molecule that RDKit accepts within reach.

``syntax.py`` spells, ``valence.py`` counts bonds, ``closure.py`` counts the tokens that are due, ``state.py`` says what
is remembered. An open ring reserves one valence of the atom that opened it; a token is allowed if the spelling and the
valences permit it and the dues of the state after it fit in the tokens that remain.

What is allowed is the Kekulé form as RDKit writes it (``Molecule.kekule``): ring bonds lead back along the chain, so a
branch closes the rings it opened, and a ring takes the lowest free number that its atom has not just closed. Left out
are aromatic atoms, more than 99 rings or ``MAX_DEPTH`` branches open at once, charges beyond 15, any-bonds where a ring
is open, rings closed by a fourfold bond, and a charged atom that gives a dative bond beyond its valence where an open
ring depends on it.

    B  batch    S  state words    V  vocabulary    W  ring numbers in use    C  cases of a new atom
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genesis.errors import UsageError
from genesis_domains.molecules import state as st
from genesis_domains.molecules import syntax as sx
from genesis_domains.molecules.closure import DONOR_CASE, KIND_CASE, MANY, MERGED_CASE, OPEN_CASE, Dues
from genesis_domains.molecules.smiles import IDS, ORGANIC, VOCAB
from genesis_domains.molecules.valence import ATOMS, MAX_CHARGE, NEVER, capacities

CHARGES = 2 * MAX_CHARGE + 1
FIRST_RING = sx.ring_token(1)


@dataclass(frozen=True, slots=True)
class _Token:
    """What a token means, ``[V]`` each in the tables and ``[B]`` for a row of tokens."""

    slot: Tensor  # ring number, 0 if none
    merged: Tensor  # bond order inside the token, 0 if none
    capacity: Tensor  # of an atom without brackets
    near: Tensor  # valence that a bond takes from the atom before it
    far: Tensor  # and from the atom after it
    digit: Tensor
    element: Tensor  # row of the capacities


@dataclass(frozen=True, slots=True)
class _Tables:
    """The integers of the automaton on one device."""

    next: Tensor  # [modes * V]
    question: Tensor  # [modes, V]
    token: Tensor  # [V, fields of _Token]
    capacity: Tensor  # [atoms * charges]
    highest: Tensor  # [atoms * 2] the best capacity at a charge from -9 to -2, and from 2 to 9
    nature: Tensor  # [atoms]
    free: Tensor  # [organic capacities]
    merged: Tensor  # [merged] bond orders
    kinds: Tensor  # [2, kinds] valence taken from the current atom and from the next
    classes: Tensor  # [4, classes] capacity, capacity when charged, donor, hydrogen
    digits: Tensor  # [10]
    powers: Tensor  # [31]


def _tables(device: torch.device) -> _Tables:
    def words(values: object) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=device)

    spelling = sx.syntax()
    atoms = {atom: i for i, atom in enumerate(ATOMS)}
    slots = {sx.ring_token(slot): slot for slot in range(1, st.RINGS + 1)}
    single = {atom: sx.NEUTRAL[atom] for atom in ORGANIC} | {token: sx.NEUTRAL[token[1]] for token in sx.MERGED}
    meanings = [
        (
            slots.get(i, 0),
            sx.MERGED.get(token, 0),
            single.get(token, 0),
            *sx.BONDS.get(token, (0, 0)),
            int(token) if token in "0123456789" else 0,
            atoms.get(token, 0),
        )
        for i, token in enumerate(VOCAB)
    ]
    return _Tables(
        next=words(spelling.next).flatten(),
        question=words(spelling.question).int(),
        token=words(meanings),
        capacity=words(capacities()).flatten(),
        highest=words([best for row in capacities() for best in (max(row[6:14]), max(row[17:25]))]),
        nature=words([st.PROTON if atom == "H" else st.DONOR if atom in sx.DONORS else 0 for atom in ATOMS]),
        free=words(sx.FREE)[:, None],
        merged=words(list(sx.MERGED.values()))[:, None],
        kinds=words(sx.KINDS).T.contiguous()[:, :, None],
        classes=words(sx.CLASSES).T.contiguous()[:, :, None],
        digits=words(range(10))[:, None],
        powers=words([1 << i for i in range(31)])[:, None],
    )


class SmilesGrammar:
    """``genesis.decoding.constraint.Constraint`` over the vocabulary of ``smiles.py``."""

    def __init__(self, max_length: int = st.LONGEST) -> None:
        if not 1 <= max_length <= st.LONGEST:
            raise UsageError(f"a SMILES grammar for {max_length} tokens; allowed are 1 to {st.LONGEST}")
        self._on: dict[torch.device, _Tables] = {}

    def __eq__(self, other: object) -> bool:
        """All of them read tokens alike; what differs is the longest sequence that was meant."""
        return isinstance(other, SmilesGrammar)

    def __hash__(self) -> int:
        return hash(SmilesGrammar)

    def _tables(self, device: torch.device) -> _Tables:
        if device not in self._on:
            self._on[device] = _tables(device)
        return self._on[device]

    def start(self, rows: int, device: torch.device) -> Tensor:
        """``[B, S]`` int32: the state after ``<bos>``."""
        return torch.zeros(rows, st.WORDS, dtype=torch.int32, device=device)

    def allowed(self, state: Tensor, remaining: int | Tensor) -> Tensor:
        """``[B, V]`` bool: tokens after which the dues fit in what remains, the same for all rows or ``[B]``."""
        tables, head = self._tables(state.device), st.Head.of(state)
        dues = Dues(state, head, remaining)
        atom = dues.attached()
        answers, rings = _outside(tables, dues, atom, remaining)
        inside = head.mode >= sx.LEFT
        if not st.at_hand(state) or bool(inside.any()):
            answers = torch.where(inside, _bracket(tables, head, atom, remaining), answers)
        mask = (tables.question.index_select(0, head.mode) & answers[:, None]) != 0
        mask[:, FIRST_RING : FIRST_RING + len(rings)] |= rings.T
        return mask

    def advance(self, state: Tensor, token: Tensor) -> Tensor:
        """``[B, S]``: the state after one token ``[B]`` each."""
        state, head, tables = state.clone(), st.Head.of(state), self._tables(state.device)
        read = _Token(*tables.token.index_select(0, token).T.contiguous().unbind(0))
        mode = tables.next.index_select(0, head.mode * len(VOCAB) + token)
        ring = (read.slot > 0) & ((head.mode == sx.CHAIN) | (head.mode == sx.BOND))
        attach = (mode == sx.CHAIN) & ~ring
        merged = read.merged > 0  # such a token is always an atom, and brings its own bond
        near, far = torch.where(merged, read.merged, head.near), torch.where(merged, read.merged, head.far)
        high = torch.where(ring, torch.maximum(head.high, read.slot), head.high)

        words = st.slots(state, high)
        at = (read.slot - 1).clamp(0, words.shape[1] - 1)[:, None]
        partner = ((words.gather(1, at)[:, 0] >> 1) & st.ATOM) * ring  # the other end of a ring that is closed now
        near = torch.where(ring & (partner == 0), 1, near)
        free = head.free - near * (attach | ring)
        _write_rings(words, at, head, partner, ring, attach, free, far)
        branch = _write_branches(state, head, partner, attach, mode == sx.AFTER, free, far)

        bracket = attach & (head.mode >= sx.LEFT)
        capacity = tables.capacity.index_select(0, _place(head.element, head.charge)) - head.hydrogens
        capacity = torch.where(bracket, capacity, read.capacity)
        nature = tables.nature.index_select(0, head.element) * bracket
        nature *= torch.where(nature == st.PROTON, head.atom == 0, head.charge == 0)
        leaves, returns = mode == sx.START, (mode == sx.AFTER)
        bond, settled = (mode == sx.BOND) | (mode == sx.LINK), attach | ring
        made = head.made + attach.long()
        element, hydrogens, charge = _bracket_words(head, read, mode, token)
        after = st.Head(
            mode=mode,
            free=torch.where(attach, capacity - far, torch.where(returns, branch.free, free)),
            atom=torch.where(attach, made, torch.where(returns, branch.atom, head.atom)) * ~leaves,
            parent=torch.where(attach, head.atom, head.parent),
            made=made,
            depth=branch.depth,
            nature=torch.where(attach, nature, torch.where(returns, branch.nature, head.nature)),
            near=torch.where(bond, read.near, torch.where(settled, 1, head.near)) * ~leaves,
            far=torch.where(bond, read.far, torch.where(settled, 1, head.far)) * ~leaves,
            branch=(head.branch | (mode == sx.OPEN)) * ~attach,
            element=element,
            hydrogens=hydrogens,
            charge=charge,
            high=high,
        )
        state[:, : st.HEAD] = after.words()
        return state


def _write_rings(
    words: Tensor, at: Tensor, head: st.Head, partner: Tensor, ring: Tensor, attach: Tensor, free: Tensor, far: Tensor
) -> None:
    """Settle the ring words ``[B, W]`` in place after a bond from the current atom."""
    opener = (words >> 1) & st.ATOM
    own = (opener == head.atom[:, None]) & (opener > 0)
    closing = partner > 0
    group = (opener == partner[:, None]) & closing[:, None]
    words += ((own * (free - head.free)[:, None] + group * (1 - far)[:, None]) << st.RING_FREE).int()
    words |= group.int()  # touched, until the next atom
    words &= ~attach.int()[:, None]
    opened = st.ring_word(head.atom, head.depth, free)
    kept = words.gather(1, at)[:, 0]
    words.scatter_(1, at, torch.where(ring, torch.where(closing, 1, opened), kept).int()[:, None])


@dataclass(frozen=True, slots=True)
class _Branch:
    """Where ``)`` returns to, and how deep it is then; ``[B]`` each."""

    depth: Tensor
    atom: Tensor
    nature: Tensor
    free: Tensor


def _write_branches(
    state: Tensor, head: st.Head, partner: Tensor, attach: Tensor, returns: Tensor, free: Tensor, far: Tensor
) -> _Branch:
    """Settle the branch words in place: push the current atom, or return to the last one pushed."""
    push = attach & (head.branch > 0)
    depth = (head.depth + push.long() - returns.long()).clamp(0, st.MAX_DEPTH)
    words = st.branches(state, torch.maximum(depth, head.depth))
    group = ((words & st.ATOM) == partner[:, None]) & (partner > 0)[:, None]
    words += ((group * (1 - far)[:, None]) << st.BRANCH_FREE).int()
    at = (depth - push.long()).clamp(0, words.shape[1] - 1)[:, None]
    word = words.gather(1, at)[:, 0]
    words.scatter_(1, at, torch.where(push, st.branch_word(head.atom, head.nature, free), word).int()[:, None])
    return _Branch(depth, word & st.ATOM, (word >> st.NATURE) & 3, (word >> st.BRANCH_FREE) - st.BIAS)


def _bracket_words(head: st.Head, read: _Token, mode: Tensor, token: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Element, hydrogens and charge after a token of a bracket."""
    named = (mode == sx.ELEMENT) | (mode == sx.PROTON)
    element = torch.where(named, read.element, head.element)
    hydrogens = torch.where(mode == sx.HYDRO, 1, head.hydrogens)
    hydrogens = torch.where(mode == sx.HYDRO1, read.digit, hydrogens)
    hydrogens = torch.where(mode == sx.HYDRO2, head.hydrogens * 10 + read.digit, hydrogens)
    sign = torch.where(head.charge < 0, -1, 1)
    charge = torch.where(mode == sx.SIGN, torch.where(token == IDS["-"], -1, 1), head.charge)
    charge = torch.where(mode == sx.SIGN1, sign * read.digit, charge)
    charge = torch.where(mode == sx.SIGN2, head.charge * 10 + sign * read.digit, charge)
    return element, hydrogens * ~named, charge.clamp(-MAX_CHARGE, MAX_CHARGE) * ~named


def _place(element: Tensor, charge: Tensor) -> Tensor:
    return element * CHARGES + charge + MAX_CHARGE


def _yes(tables: _Tables, *answers: Tensor) -> Tensor:
    """``[B]`` int32: one bit an answer; ``[B]`` or ``[n, B]`` bools in the order of the ``ASK`` constants."""
    bits = torch.cat([answer if answer.ndim == 2 else answer[None] for answer in answers])
    return (bits * tables.powers[: len(bits)]).sum(0).int()


class _Room:
    """Whether a new atom with so much free valence leaves the end within reach of ``remaining`` tokens."""

    def __init__(self, atom: Tensor, remaining: int | Tensor) -> None:
        self.least = (atom[: MANY + 1] > remaining).sum(0)  # dues fall with free valence
        self.donor = atom[DONOR_CASE] <= remaining

    def for_atom(self, free: Tensor) -> Tensor:
        return free.clamp_max(MANY) >= self.least

    def for_donor(self, free: Tensor, donor: Tensor) -> Tensor:
        return self.for_atom(free) | (donor & (free >= 0) & self.donor)


def _outside(tables: _Tables, dues: Dues, atom: Tensor, remaining: int | Tensor) -> tuple[Tensor, Tensor]:
    """Answers outside brackets, and ``[W, B]`` for the ring numbers."""
    head = dues.head
    chain = head.mode == sx.CHAIN
    (near, far), bonds = tables.kinds, atom[KIND_CASE:] < remaining - 1
    able = near <= dues.free
    kinds = len(sx.RING_KINDS)
    if st.at_hand(atom) and not bool((able & ~bonds)[:kinds].any()):
        kinds = 1  # every bond may lead to a carbon, so it does not matter whether it may also close a ring
    closed = dues.closed(kinds)
    bonds[:kinds] |= (closed.amin(1) < remaining - 1) & chain
    bonds &= able & ((far > 0) | (head.nature != st.PROTON))  # see ``_bracket``
    bonds[-1] &= dues.count == 0  # RDKit cannot read what it writes of an any-bond in a ring

    reach = dues.free >= head.near
    ended = (head.depth == 0) & (dues.count == 0)
    opens = (head.free >= 1) & (head.depth < st.MAX_DEPTH) & (atom[OPEN_CASE] < remaining - 1)
    organic = _Room(atom, remaining - 1).for_atom(tables.free - head.far) & reach
    merged = (atom[MERGED_CASE:OPEN_CASE] < remaining) & (tables.merged <= dues.free)
    left = (atom[MANY] < remaining - 2) & reach
    closes = dues.returned() < remaining
    answers = _yes(tables, ended, ended & (remaining > 2), opens, closes, left, organic, merged, bonds)

    vacant = ~(dues.rings.open | dues.rings.touched)
    lowest = vacant.long().argmax(0, keepdim=True)
    may_open = chain & (dues.opened() < remaining)
    rings = torch.zeros_like(vacant).scatter_(0, lowest, may_open[None]) & vacant
    return answers, rings | (closed[0] < remaining)


def _bracket(tables: _Tables, head: st.Head, atom: Tensor, remaining: int | Tensor) -> Tensor:
    """Answers inside brackets: whether ``]``, or a sign and ``]``, leaves the end within reach.

    RDKit removes a hydrogen atom and gives its bond, now of order 1, to the neighbour. No bond that takes nothing from
    the neighbour may therefore lead to a hydrogen atom."""
    rooms = [_Room(atom, remaining - n) for n in (1, 2, 3)]
    capacity, charged, donor, hydrogen = tables.classes
    fits = rooms[1].for_donor(capacity - head.far, donor > 0) | rooms[2].for_atom(charged - head.far)
    fits &= ~((hydrogen > 0) & (head.near == 0) & (head.atom > 0))
    element = _yes(tables, atom[MANY] < remaining - 2, fits)
    unnamed = (head.mode == sx.LEFT) | ((head.mode >= sx.ISOTOPE.start) & (head.mode < sx.ISOTOPE.stop))
    return torch.where(unnamed, element, _rest(tables, head, rooms))


def _rest(tables: _Tables, head: st.Head, rooms: list[_Room]) -> Tensor:
    """Answers after an element."""
    soon, later, last = rooms

    def free(charge: Tensor) -> Tensor:
        """``[n, B]``: left on the atom at a charge, without the hydrogens."""
        known = charge.clamp(-MAX_CHARGE, MAX_CHARGE)
        place = _place(head.element, known)
        capacity = tables.capacity.index_select(0, place.flatten()).view_as(place)
        return torch.where(known == charge, capacity, NEVER) - head.far

    donor = tables.nature.index_select(0, head.element) == st.DONOR
    minus, neutral, plus = free((tables.digits[:3] - 1).expand(-1, len(donor)))

    def unsigned(hydrogens: Tensor) -> Tensor:
        charged = torch.maximum(minus, plus) - hydrogens
        return later.for_donor(neutral - hydrogens, donor) | last.for_atom(charged)

    def signed(single: Tensor, sign: int) -> Tensor:
        """A single charge, or where that is no atom at all (``[SbH6+]``) a higher one."""
        highest = tables.highest.index_select(0, head.element * 2 + sign) - head.far - head.hydrogens
        return later.for_atom(single) | ((single < 0) & last.for_atom(highest))

    now, giving = free(head.charge) - head.hydrogens, donor & (head.charge == 0)
    tens = torch.where(head.mode == sx.HYDRO1, head.hydrogens * 10, 0)
    counted = unsigned(tens + tables.digits)
    sign = torch.where(head.charge < 0, -1, 1)
    tens = torch.where(head.mode == sx.SIGN1, head.charge * 10, 0)
    charged = later.for_atom(free(tens + sign * tables.digits) - head.hydrogens)
    signs = (head.mode == sx.SIGN) | (head.mode == sx.SIGN1)
    return _yes(
        tables,
        unsigned(head.hydrogens),
        unsigned(head.hydrogens + 1),
        signed(plus - head.hydrogens, 1),
        signed(minus - head.hydrogens, 0),
        last.for_donor(now, giving),
        later.for_donor(now, giving),
        soon.for_donor(now, giving),
        torch.where(signs, charged, counted),
    )

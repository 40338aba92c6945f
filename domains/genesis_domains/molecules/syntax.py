"""The spelling of SMILES as a table: which token may follow where, apart from valence, rings and length.

A mode says what was just written. ``next[mode, token]`` is the mode after a token (END where the spelling is wrong).
``question[mode, token]`` is one bit: the question about valence, rings and length that ``grammar.py`` must answer with
yes for the token to be allowed; no bit means the spelling alone forbids it.

The spelling is the one RDKit writes, a subset of what it reads: ring bonds directly after the atom, their bond order at
the closing end, no leading zeros, no doubled signs (``[Fe+2]``). Aromatic tokens have no place in it: the Kekulé form
has none.
"""

from __future__ import annotations

from dataclasses import dataclass

from genesis.domain import BOS, EOS, PAD
from genesis_domains.molecules.smiles import IDS, ORGANIC, VOCAB
from genesis_domains.molecules.state import RINGS
from genesis_domains.molecules.valence import ATOMS, MAX_CHARGE, UNLIMITED, capacities

ISOTOPE_DIGITS, MAP_DIGITS = 5, 9  # RDKit refuses a map number of 2**31

# outside brackets: before any atom, after an atom or a ring bond, after ")", after "(", after a bond that may (BOND) or
# may not (LINK) become a ring bond; END takes every token and stays
START, CHAIN, AFTER, OPEN, BOND, LINK, END = range(7)
# inside: after "[", an element, the element H, a chirality, H, H and digits, a sign, a sign and digits, ":", ":0"
LEFT, ELEMENT, PROTON, PARITY, HYDRO, HYDRO1, HYDRO2, SIGN, SIGN1, SIGN2, COLON, ZERO = range(7, 19)
TWO, THREE, TWENTY, THIRTY, TENS, TOP20, TOP30 = range(19, 26)  # a permutation number up to 2, 3, 20 or 30 is due
ISOTOPE = range(26, 26 + ISOTOPE_DIGITS)  # after n + 1 digits of an isotope
MAP = range(ISOTOPE.stop, ISOTOPE.stop + MAP_DIGITS)
MODES = MAP.stop

PERMUTATIONS = {"@TH": TWO, "@AL": TWO, "@SP": THREE, "@TB": TWENTY, "@OH": THIRTY}
# the bonds a token stands for: valence it takes from the atom before it and from the atom after it
BONDS = {
    "-": (1, 1), "/": (1, 1), "\\": (1, 1), "=": (2, 2), "#": (3, 3), "$": (4, 4), "->": (0, 1), "<-": (1, 0),
    "~": (0, 0),
}  # fmt: skip
KINDS = ((1, 1), (2, 2), (3, 3), (0, 1), (1, 0), (4, 4), (0, 0))
RING_KINDS = KINDS[:5]  # RDKit reads an any-bond that closes a ring as a single bond; fourfold bonds are left out
MERGED = {"=C": 2, "=N": 2, "=O": 2, "=S": 2, "#C": 3, "#N": 3}
DONORS = ("N", "O", "F", "Cl", "Br")  # neutral bracket atoms that RDKit writes with a dative bond beyond their valence

NEUTRAL = {atom: row[MAX_CHARGE] for atom, row in zip(ATOMS, capacities(), strict=True)}
CHARGED = {  # the better of the charges -1 and +1
    atom: max(row[MAX_CHARGE - 1], row[MAX_CHARGE + 1]) for atom, row in zip(ATOMS, capacities(), strict=True)
}
FREE = (1, 2, 3, 4, 5, 6, UNLIMITED)  # capacities of the atoms that need no bracket
CLASS = {a: (NEUTRAL[a], CHARGED[a], a in DONORS, a == "H") for a in ATOMS}  # elements that behave alike in a bracket
CLASSES = sorted(set(CLASS.values()))

# bits outside brackets
ASK_END, ASK_DOT, ASK_OPEN, ASK_CLOSE, ASK_LEFT = range(5)
ASK_FREE = 5  # + index in FREE
ASK_MERGED = ASK_FREE + len(FREE)  # + index in MERGED
ASK_KIND = ASK_MERGED + len(MERGED)  # + index in KINDS
# bits after "[" and in an isotope
ASK_ISOTOPE = 0
ASK_CLASS = 1  # + index in CLASSES
# bits after an element
ASK_PARITY, ASK_HYDRO, ASK_PLUS, ASK_MINUS, ASK_COLON, ASK_MAP, ASK_RIGHT = range(7)
ASK_DIGIT = 7  # + digit of an H count or a charge


@dataclass(frozen=True, slots=True)
class Syntax:
    """``[mode, token]`` as nested lists: the next mode, and the bit asked (0: not allowed)."""

    next: list[list[int]]
    question: list[list[int]]

    def allow(self, mode: int, tokens: tuple[str, ...] | str, to: int, ask: int) -> None:
        for token in (tokens,) if isinstance(tokens, str) else tokens:
            self.next[mode][IDS[token]] = to
            self.question[mode][IDS[token]] = 1 << ask


def syntax() -> Syntax:
    """The two tables over ``MODES`` and the vocabulary."""
    table = Syntax([[END] * len(VOCAB) for _ in range(MODES)], [[0] * len(VOCAB) for _ in range(MODES)])
    _outside(table)
    _bracket(table)
    table.question[END][PAD] = -1  # every answer is yes
    return table


def _outside(table: Syntax) -> None:
    for mode in (START, CHAIN, AFTER, OPEN, BOND, LINK):
        for atom in ORGANIC:
            table.allow(mode, atom, CHAIN, ASK_FREE + FREE.index(NEUTRAL[atom]))
        table.allow(mode, "[", LEFT, ASK_LEFT)
    for mode in (CHAIN, AFTER, OPEN):
        for i, token in enumerate(MERGED):
            table.allow(mode, token, CHAIN, ASK_MERGED + i)
        for token, kind in BONDS.items():
            to = BOND if mode == CHAIN and kind in RING_KINDS else LINK
            table.allow(mode, token, to, ASK_KIND + KINDS.index(kind))
    for mode in (CHAIN, AFTER):
        table.allow(mode, "(", OPEN, ASK_OPEN)
        table.allow(mode, ")", AFTER, ASK_CLOSE)
        table.allow(mode, ".", START, ASK_DOT)
        table.next[mode][EOS], table.question[mode][EOS] = END, 1 << ASK_END
    for slot in range(1, RINGS + 1):  # the grammar answers for each ring number by itself: no bit
        for mode in (CHAIN, BOND):
            table.next[mode][ring_token(slot)] = CHAIN
    table.next[START][BOS] = START


def ring_token(slot: int) -> int:
    """The token of ring number 1 ... 99."""
    return IDS[str(slot) if slot < 10 else f"%{slot}"]


def _bracket(table: Syntax) -> None:
    digits, nonzero = tuple("0123456789"), tuple("123456789")
    table.allow(LEFT, nonzero, ISOTOPE[0], ASK_ISOTOPE)
    for mode in (LEFT, *ISOTOPE):
        for atom in ATOMS:
            table.allow(mode, atom, PROTON if atom == "H" else ELEMENT, ASK_CLASS + CLASSES.index(CLASS[atom]))
    _number(table, ISOTOPE, digits, ASK_ISOTOPE)
    table.allow(ELEMENT, ("@", "@@"), PARITY, ASK_PARITY)
    for token, mode in PERMUTATIONS.items():
        table.allow(ELEMENT, token, mode, ASK_PARITY)
    for mode, first in ((TWO, "12"), (THREE, "123"), (TWENTY, "3456789"), (THIRTY, "456789")):
        table.allow(mode, tuple(first), PARITY, ASK_PARITY)
    for mode, token, to in ((TWENTY, "1", TENS), (TWENTY, "2", TOP20), (THIRTY, "3", TOP30)):
        table.allow(mode, token, to, ASK_PARITY)
    table.allow(THIRTY, ("1", "2"), TENS, ASK_PARITY)
    table.allow(TENS, digits, PARITY, ASK_PARITY)
    for mode in (TOP20, TOP30):
        table.allow(mode, "0", PARITY, ASK_PARITY)
    unsigned = (ELEMENT, PROTON, PARITY, *range(TWO, TOP30 + 1))
    for mode in unsigned:
        table.allow(mode, "H", HYDRO, ASK_HYDRO)
    for mode in (*unsigned, HYDRO, HYDRO1, HYDRO2):
        table.allow(mode, "+", SIGN, ASK_PLUS)
        table.allow(mode, "-", SIGN, ASK_MINUS)
    for mode in (*unsigned, HYDRO, HYDRO1, HYDRO2, SIGN, SIGN1, SIGN2):
        table.allow(mode, ":", COLON, ASK_COLON)
    for mode in (*unsigned, HYDRO, HYDRO1, HYDRO2, SIGN, SIGN1, SIGN2, ZERO, *MAP):
        table.allow(mode, "]", CHAIN, ASK_RIGHT)
    for mode, to, choice in (
        (HYDRO, HYDRO1, nonzero), (HYDRO1, HYDRO2, digits), (SIGN, SIGN1, nonzero), (SIGN1, SIGN2, digits),
    ):  # fmt: skip
        for digit in choice:
            table.allow(mode, digit, to, ASK_DIGIT + int(digit))
    table.allow(COLON, "0", ZERO, ASK_MAP)
    table.allow(COLON, nonzero, MAP[0], ASK_MAP)
    _number(table, MAP, digits, ASK_MAP)


def _number(table: Syntax, modes: range, digits: tuple[str, ...], ask: int) -> None:
    for mode in modes[:-1]:
        table.allow(mode, digits, mode + 1, ask)

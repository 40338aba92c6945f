"""The state of the SMILES automaton: one row of int32 words a molecule.

``Head`` comes first, then one word an open branch, then one word a ring number. In both kinds of words the free valence
is the topmost field, so that a difference can be added in place.

    B  batch    S  state words    W  words in use
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RINGS = 99
MAX_DEPTH = 40  # RDKit's canonical SMILES nest 11 deep in MoleculeNet, random ones of its longest peptides 31
LONGEST = 4_095  # atoms are numbered in 12 bits

DONOR, PROTON = 1, 2  # natures of an atom, else 0
HEAD = 14
SLOTS = HEAD + MAX_DEPTH
WORDS = SLOTS + RINGS

ATOM = 0xFFF
NATURE = 12  # branch: the atom it returns to (12 bits), the nature of that (2), its free valence
BRANCH_FREE = 14
LEVEL = 13  # ring: touched (1), the atom that opened it (12), the branch depth of that (6), its free valence
RING_FREE = 19
BIAS = 128  # free valence is below zero where a donor has spent what its open rings reserve


@dataclass(frozen=True, slots=True)
class Head:
    """The first words of a state, ``[B]`` int32 each; all zero after ``<bos>``."""

    mode: Tensor  # what was just written, see ``syntax.py``
    free: Tensor  # valence left on the current atom beyond what its open rings reserve
    atom: Tensor  # number of the current atom, from which the next bond starts; 0: none
    parent: Tensor
    made: Tensor  # atoms so far
    depth: Tensor  # open branches
    nature: Tensor  # of the current atom; a donor may spend what its open rings reserve, RDKit hides a proton
    near: Tensor  # valence that the next bond takes from the current atom
    far: Tensor  # and from the next one
    branch: Tensor  # 1: a branch was opened and has no atom yet
    element: Tensor  # of the bracket being written
    hydrogens: Tensor
    charge: Tensor
    high: Tensor  # the highest ring number used

    @classmethod
    def of(cls, state: Tensor) -> Head:
        return cls(*state[:, :HEAD].T.long().contiguous().unbind(0))

    def words(self) -> Tensor:
        return torch.stack([getattr(self, name) for name in self.__slots__], 1).int()


def branches(state: Tensor, depth: Tensor) -> Tensor:
    """``[B, W]``: a view of the branch words; on a CPU no wider than the deepest row."""
    return _in_use(state, HEAD, MAX_DEPTH, depth)


def slots(state: Tensor, high: Tensor) -> Tensor:
    """``[B, W]``: a view of the ring words; on a CPU no wider than the highest number in use."""
    return _in_use(state, SLOTS, RINGS, high)


def _in_use(state: Tensor, first: int, size: int, used: Tensor) -> Tensor:
    if at_hand(state):
        size = min(max(int(used.max()), 1), size)
    return state[:, first : first + size]


def at_hand(x: Tensor) -> bool:
    """Whether Python can look at the numbers without waiting for a device: then work that no row needs is left out."""
    return x.device.type == "cpu" and x.numel() > 0


def branch_word(atom: Tensor, nature: Tensor, free: Tensor) -> Tensor:
    return atom | (nature << NATURE) | ((free + BIAS) << BRANCH_FREE)


def ring_word(atom: Tensor, level: Tensor, free: Tensor) -> Tensor:
    return (atom << 1) | (level << LEVEL) | ((free + BIAS) << RING_FREE)

"""Molecules from what is given of them: growth at attachment points, linkers, superstructures.

The fragments are written into the sequence token by token, so that they are there by construction; whether they are,
and whether nothing was added to them but at their points, is then asked of the finished molecule.

    B  batch    T  tokens
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from genesis.domain import Asked, Constraint
from genesis.errors import UsageError
from genesis_domains.molecules.fragments import POINT, Given
from genesis_domains.molecules.molecule import Molecule
from genesis_domains.molecules.smiles import IDS, tokenize

if TYPE_CHECKING:
    from torch import Tensor

LEAST = "C"  # what stands in a gap when ways of writing are compared


class MoleculeCompletion:
    """What is given of a molecule, how the rest may be written round it, and whether a molecule holds it."""

    def __init__(self, text: str, anywhere: bool = False) -> None:
        self.given = Given.read(text, anywhere)

    @cached_property
    def _spelled(self) -> list[list[list[int]]]:
        return [[[IDS[t] for t in tokenize(text)] for text in group] for group in self.given.spellings()]

    @cached_property
    def ways(self) -> Sequence[Sequence[Tensor]]:
        """Whole sequences, the least in every gap: groups that grow at different places, and spellings of each."""
        import torch

        least, point = IDS[LEAST], IDS[POINT]
        return [
            [torch.tensor([least if token == point else token for token in way]) for way in group]
            for group in self._spelled
        ]

    def check(self, asked: Mapping[str, Sequence[Asked]]) -> None:
        """UsageError where a target contradicts what is given."""
        bounds = {"mol_weight": self.given.weight, "heavy_atoms": self.given.heavy_atoms, "rings": self.given.rings}
        for name, least in bounds.items():
            for want in asked.get(name, ()):
                most = want[1] if isinstance(want, tuple) else want
                if not isinstance(most, str) and most < least:
                    raise UsageError(f"{name}={most:g}: what is given has {least:g} already; ask for more")

    def constraint(self, max_length: int, ways: Sequence[Sequence[int]], chance: Tensor) -> Constraint:
        """The grammar kept to the chosen ``ways``: of each group its spellings. ``chance [B, 4]`` in (0, 1) decides."""
        import torch

        from genesis_domains.molecules.domain import grammar
        from genesis_domains.molecules.script import LONGEST_LINKER, Script, Scripted

        scripts = Script([self._spelled[group][way] for group, chosen in enumerate(ways) for way in chosen])
        sizes = torch.tensor([len(chosen) for chosen in ways if chosen])
        group = (chance[:, 0] * len(sizes)).long()
        which = (sizes.cumsum(0) - sizes)[group] + (chance[:, 1] * sizes[group]).long()
        room = torch.tensor(
            [max_length - len(self._spelled[g][way]) for g, chosen in enumerate(ways) for way in chosen]
        )
        least = (1 + (chance[:, 2] * LONGEST_LINKER).long()).minimum((room[which] // 2).clamp(min=1))
        return Scripted(grammar(max_length), scripts, which, least)

    def holds(self, item: Molecule) -> bool:
        """Whether the finished molecule contains what was given, changed nowhere but at its points."""
        return self.given.holds(item.mol)

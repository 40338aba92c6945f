"""The task of finishing a molecule: one pass, in a way of writing the fragments that the model finds likely."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from genesis.domain import Constraint
from genesis.errors import UsageError
from genesis_domains.molecules.completion import MoleculeCompletion
from genesis_domains.molecules.molecule import Molecule

if TYPE_CHECKING:
    from torch import Tensor

GIVEN = {
    "complete": "SMILES with attachment points [*:1]: grown at each of its points; two fragments are linked.",
    "superstructure": "SMILES that every molecule contains: grown at any atom that has a hydrogen.",
}
LIKELIEST = 4  # ways of writing what is given that are used, of each group

Chance = tuple[float, float, float, float]  # uniform numbers in (0, 1) that decide what is open


class CompletionTask:
    """``genesis.domain.Task`` and ``Weighing``: the draft before the pass is a chance, after it the molecule."""

    passes = 1
    candidates = 8

    def __init__(self, given: Mapping[str, Any], target: Mapping[str, Any]) -> None:
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} do not go together; give one of them")
        ((name, self.text),) = given.items()
        if not isinstance(self.text, str):
            raise UsageError(f"{name}: SMILES are needed, not {type(self.text).__name__}")
        self.completion = MoleculeCompletion(self.text, anywhere=name == "superstructure")
        self.completion.check({n: value if isinstance(value, list) else [value] for n, value in target.items()})
        self.target = dict(target)
        self.ways: tuple[tuple[int, ...], ...] = ()

    def weigh(self, nats: Callable[[Sequence[Tensor]], Sequence[float]], room: int) -> None:
        """Keep the likeliest ways of each group, among those that fit in ``room`` tokens."""
        groups = self.completion.ways
        lengths = [len(way) for group in groups for way in group]
        if not lengths:
            raise UsageError(f"{self.text!r}: what is given cannot be written")
        if min(lengths) > room:
            raise UsageError(
                f"{self.text!r}: what is given takes {min(lengths)} tokens, and this model writes at most {room}"
            )
        fits = [[i for i, way in enumerate(group) if len(way) <= room] for group in groups]
        each = iter(nats([group[i] for group, kept in zip(groups, fits, strict=True) for i in kept]))
        costs = [{i: next(each) for i in kept} for kept in fits]
        self.ways = tuple(tuple(sorted(cost, key=cost.__getitem__)[:LIKELIEST]) for cost in costs)

    def begin(self, index: int, seed: int, candidate: int = 0) -> Chance:
        """Where to grow and how to spell is each candidate's; the length of a linker, ``c``, is the item's.

        Were it the candidates', the shortest linkers would win, of which there are few.
        """

        def dice(counter: int) -> list[float]:
            philox = np.random.Philox(key=[seed, index], counter=counter)
            return np.random.Generator(philox).random(4, np.float32).tolist()  # type: ignore[no-any-return]

        a, b, _, d = dice(candidate)
        return a, b, dice(0)[2], d

    def constraint(self, turn: int, drafts: Sequence[Chance], max_length: int) -> Constraint:
        import torch

        return self.completion.constraint(max_length, self.ways, torch.tensor(drafts))

    def join(self, turn: int, draft: Chance, tokens: Sequence[int], max_length: int) -> Molecule | None:
        """The molecule, when it is one and still holds what was given."""
        import torch

        from genesis_domains.molecules import DOMAIN

        item = DOMAIN.decode(torch.tensor(tokens, dtype=torch.int64))
        return item if item is not None and self.completion.holds(item) else None

    def finish(self, draft: Molecule) -> Molecule:
        return draft

"""The adapter between molecules and the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genesis.domain import EOS, Asked, Category, Constraint, Number, Reading, Tokens
from genesis.errors import EncodeError
from genesis_domains.molecules import files, picture
from genesis_domains.molecules.molecule import Molecule
from genesis_domains.molecules.properties import PROPERTIES, measure
from genesis_domains.molecules.smiles import IDS, VOCAB, tokenize
from genesis_domains.molecules.tasks import GIVEN, CompletionTask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from genesis_domains.molecules.grammar import SmilesGrammar

# torch is imported where it is used: the processes that only read and write files start ten times as fast without it
MAX_LENGTH = 256  # tokens of a sequence; a model's own limit may be lower


class Molecules:
    """SMILES in Kekulé form as tokens, RDKit as the judge."""

    name = "molecules"
    spec = Tokens(VOCAB, MAX_LENGTH)
    properties: Mapping[str, Number | Category] = PROPERTIES
    given: Mapping[str, str] = GIVEN

    def read(self, source: Path, column: str | None = None) -> Reading:
        return files.read(source, column)

    def read_parts(self, source: Path, column: str | None = None) -> Iterator[Reading]:
        return files.batches(source, column)

    def check_target(self, target: Path, count: int = 1) -> None:
        files.check_target(target)

    def write(self, items: Sequence[Molecule], target: Path, columns: Mapping[str, Sequence[Any]]) -> None:
        files.write(items, target, columns)

    def encode(self, item: Molecule) -> Tensor:
        import torch

        tokens = tokenize(item.kekule())
        if len(tokens) > MAX_LENGTH:
            raise EncodeError(f"{item.smiles}: {len(tokens)} tokens; at most {MAX_LENGTH} are modelled")
        return torch.tensor([IDS[token] for token in tokens], dtype=torch.int64)

    def spellings(self, item: Molecule, count: int) -> list[Tensor]:
        if count < 1:
            return []
        import torch

        written = (tokenize(text) for text in item.random_kekule(count))
        return [torch.tensor([IDS[token] for token in tokens]) for tokens in written if len(tokens) <= MAX_LENGTH]

    def decode(self, x: Tensor) -> Molecule | None:
        tokens = x.tolist()
        if not all(EOS < token < len(VOCAB) for token in tokens):
            return None
        try:
            item = Molecule.from_smiles("".join(VOCAB[token] for token in tokens))
            item.mol  # noqa: B018 - what RDKit cannot read back is no valid item
        except EncodeError:
            return None
        return item

    def key(self, item: Molecule) -> str:
        return item.smiles

    def describe(self, item: Molecule, names: Sequence[str]) -> Mapping[str, float | str]:
        return measure(item.mol, names)

    def constraint(self, max_length: int, asked: Sequence[Mapping[str, Asked]] = ()) -> Constraint:
        return grammar(max_length)

    def parse(self, text: str) -> Molecule:
        return Molecule.from_smiles(text)

    def similarity(self, items: Sequence[Molecule], others: Sequence[Molecule]) -> NDArray[np.float32]:
        from genesis_domains.molecules.profile import tanimoto

        return tanimoto([item.mol for item in items], [other.mol for other in others])

    def task(self, given: Mapping[str, Any], target: Mapping[str, Any]) -> CompletionTask:
        return CompletionTask(given, target)

    def picture(self, items: Sequence[Molecule], captions: Sequence[str], target: Path) -> None:
        picture.draw(items, captions, target)

    def screen(self, item: Molecule) -> str | None:
        from genesis_domains.molecules.screen import screen

        return screen(item.mol)

    def evaluate(
        self,
        items: Sequence[Molecule | None],
        reference: str,
        corpus: Callable[[str], Path],
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Mapping[str, float]:
        from genesis_domains.molecules.evaluation import benchmark

        return benchmark([item.smiles if item else None for item in items], reference, corpus, progress)


@cache
def grammar(max_length: int) -> SmilesGrammar:
    """The automaton for sequences of so many tokens; its tables are made once."""
    from genesis_domains.molecules.grammar import SmilesGrammar

    return SmilesGrammar(max_length)

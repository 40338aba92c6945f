"""What a domain author reads: the adapter between items and sequences.

A domain knows how an item becomes a sequence and back, what can be measured on it, and what makes two items the same.
It knows no network. Optional powers are protocols of one method; the engine asks ``isinstance`` before it uses one.

    B  batch    T  tokens    V  vocabulary
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from genesis.asked import Asked
from genesis.decoding.constraint import BOS, EOS, PAD, SPECIALS, Constraint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Item = TypeVar("Item")
ItemIn = TypeVar("ItemIn", contravariant=True)

__all__ = [
    "BOS",
    "EOS",
    "HOLE",
    "PAD",
    "SPECIALS",
    "Asked",
    "Audible",
    "Augmented",
    "Begun",
    "Built",
    "Category",
    "Compared",
    "Completing",
    "Constrained",
    "Constraint",
    "Domain",
    "Evaluated",
    "Gapped",
    "Grid",
    "Grouped",
    "Label",
    "Number",
    "Parsed",
    "Pictured",
    "Property",
    "Reading",
    "Rejected",
    "Reporting",
    "Respelled",
    "Screened",
    "Speaking",
    "Task",
    "Text",
    "Tokens",
    "Weighing",
]


@dataclass(frozen=True, slots=True)
class Tokens:
    """A closed vocabulary; the first three entries are ``<pad> <bos> <eos>``."""

    vocab: tuple[str, ...]
    max_length: int

    def __post_init__(self) -> None:
        assert self.vocab[:3] == SPECIALS
        assert len(set(self.vocab)) == len(self.vocab)


@dataclass(frozen=True, slots=True)
class Grid:
    """Whole numbers below ``levels``, ``[H, W, C]``: near numbers mean nearly the same, and so do near places.

    ``max_length``: numbers of the largest item. A grid is kept and batched as a sequence like any other, row by row, a
    number ``v`` as the token ``v + 3``; all items of one corpus have one shape.
    """

    levels: int
    max_length: int

    @property
    def vocab(self) -> tuple[str, ...]:
        return (*SPECIALS, *map(str, range(self.levels)))

    def tokens(self, x: Tensor) -> Tensor:
        """``[T]`` tokens of ``[H, W, C]``."""
        return x.long().flatten() + len(SPECIALS)

    def numbers(self, tokens: Tensor, shape: Sequence[int]) -> Tensor:
        """``[H, W, C]`` of ``[T]`` tokens."""
        return tokens.view(*shape) - len(SPECIALS)


@dataclass(frozen=True, slots=True)
class Number:
    """A measured number: its unit, the range a target may have, and one line for the help text."""

    unit: str
    low: float
    high: float
    about: str
    integer: bool = False


@dataclass(frozen=True, slots=True)
class Category:
    """A measured label out of a closed set."""

    values: tuple[str, ...]
    about: str


@dataclass(frozen=True, slots=True)
class Label:
    """A label that an item brings along, such as its style; which there are, the training corpus says.

    It can be asked for and not measured: ``describe`` gives what the item came with, empty when it came with nothing.
    """

    about: str


@dataclass(frozen=True, slots=True)
class Text:
    """Words that an item brings along, such as its caption: any others may be asked for. It cannot be measured."""

    about: str


Property = Number | Category | Label | Text


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that could not become an item: where it stood, what it said, and why it was refused."""

    row: int
    text: str
    reason: str


@dataclass(slots=True)
class Reading:
    """What a file gave: items, the extra columns of each, and the rows that were refused."""

    items: list[Any] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)

    @classmethod
    def joined(cls, parts: Iterable[Reading]) -> Reading:
        """Several parts as one; a column that some part lacks holds None there."""
        whole = cls()
        for part in parts:
            for name in part.columns:
                whole.columns.setdefault(name, [None] * len(whole.items))
            for name, cells in whole.columns.items():
                cells += part.columns.get(name) or [None] * len(part.items)
            whole.items += part.items
            whole.rejected += part.rejected
        return whole


@runtime_checkable
class Domain(Protocol[Item]):
    """The whole contract; ``tests/test_domain_contract.py`` runs it on every installed domain."""

    @property
    def name(self) -> str: ...
    @property
    def spec(self) -> Tokens | Grid: ...
    @property
    def properties(self) -> Mapping[str, Property]: ...

    def read(self, source: Path, column: str | None = None) -> Reading:
        """Items of a file; the suffix says the format. Bad rows are collected, not raised."""
        ...

    def read_parts(self, source: Path, column: str | None = None) -> Iterator[Reading]:
        """The same in order, some thousand items at a time, so that a file larger than memory can be read."""
        ...

    def check_target(self, target: Path, count: int = 1) -> None:
        """UsageError now if ``write`` could not write ``count`` items there later."""
        ...

    def write(self, items: Sequence[Item], target: Path, columns: Mapping[str, Sequence[Any]]) -> None:
        """Items with their columns; the suffix says the format; whole or not at all."""
        ...

    def encode(self, item: Item) -> Tensor:
        """``[T]`` int64 tokens without ``<bos>`` and ``<eos>``, or the ``[H, W, C]`` numbers of a Grid.

        EncodeError if the item does not fit.
        """
        ...

    def decode(self, x: Tensor) -> Item | None:
        """The item of what ``encode`` gives, or None when that is not a valid item. Never raises."""
        ...

    def key(self, item: Item) -> str:
        """The canonical text of an item: two items are the same exactly when their keys are."""
        ...

    def describe(self, item: Item, names: Sequence[str]) -> Mapping[str, float | str]:
        """The measured value of each named property."""
        ...


@runtime_checkable
class Constrained(Protocol):
    """A domain whose decoding can be kept inside the valid sequences."""

    def constraint(self, max_length: int, asked: Sequence[Mapping[str, Asked]] = ()) -> Constraint:
        """The automaton for sequences of ``max_length`` tokens.

        ``asked`` holds the targets of each row, so that what the automaton can promise is obeyed by construction; row
        ``i`` of a batch is asked for ``asked[i % len(asked)]``.
        """
        ...


@runtime_checkable
class Task(Protocol):
    """Items of which a part is given, finished in passes: what the last pass left is the draft of the next.

    A draft is the domain's own; the engine only hands it on.
    """

    @property
    def passes(self) -> int: ...

    @property
    def candidates(self) -> int:
        """How often each item is drawn, where the request does not say; see ``genesis.drawing.finish_chunk``."""
        ...

    @property
    def target(self) -> Mapping[str, Any]:
        """What is asked of the items: what the user asked for, and what follows from what is given."""
        ...

    def begin(self, index: int, seed: int, candidate: int = 0) -> Any:
        """The draft of an item before the first pass; what shall differ from item to item, its candidates share."""
        ...

    def constraint(self, turn: int, drafts: Sequence[Any], max_length: int) -> Constraint:
        """The automaton of pass ``turn``, which forces what is given; row ``i`` goes on from ``drafts[i % n]``."""
        ...

    def join(self, turn: int, draft: Any, tokens: Sequence[int], max_length: int) -> Any | None:
        """The draft with what pass ``turn`` drew; None when that is no valid sequence."""
        ...

    def finish(self, draft: Any) -> Any | None:
        """The item of a draft after the last pass."""
        ...


HOLE = -1  # a token that is open, in a template


@runtime_checkable
class Gapped(Protocol):
    """A task that leaves holes in a sequence whose length is known: what a masked diffusion fills in any order."""

    def template(self, index: int, seed: int, room: int) -> Sequence[int]:
        """The sequence of an item, ``HOLE`` where a token is open; at most ``room`` tokens where it can choose."""
        ...


@dataclass(frozen=True, slots=True)
class Begun:
    """A grid that is given. A diffusion goes on from it, and leaves alone what is kept.

    ``item [H, W, C]``; ``strength`` from 0 (nothing changes) to 1 (nothing is left); ``keep [H, W]`` bool.
    """

    item: Tensor
    strength: float = 1.0
    keep: Tensor | None = None


@runtime_checkable
class Completing(Protocol):
    """A domain that can finish what is given: go on from it, or fill what it leaves open."""

    @property
    def given(self) -> Mapping[str, str]:
        """What can be given, by name, and a line of help for each; a text without a name means the first."""
        ...

    def task(self, given: Mapping[str, Any], target: Mapping[str, Any]) -> Task | Begun:
        """The task of finishing ``given`` (texts of the command line, or objects); UsageError if it makes no sense.

        The engine has looked that every name is known. A domain of grids says what the items begin with.
        """
        ...


@runtime_checkable
class Weighing(Protocol):
    """A task that can write what is given in several ways, and asks the model which of them it finds likely."""

    def weigh(self, nats: Callable[[Sequence[Tensor]], Sequence[float]], room: int) -> None:
        """Choose, before the first pass. ``nats`` gives -log p of sequences ``[T]`` of at most ``room`` tokens."""
        ...


@runtime_checkable
class Parsed(Protocol):
    """A domain whose items can be written in a line of text."""

    def parse(self, text: str) -> Any:
        """The item of the text; EncodeError says why there is none."""
        ...


@runtime_checkable
class Compared(Protocol[ItemIn]):
    """A domain that says how alike two items are."""

    def similarity(self, items: Sequence[ItemIn], others: Sequence[ItemIn]) -> NDArray[np.float32]:
        """``[N, M]`` from 0 to 1: how alike each of ``N`` items is to each of ``M`` others; 1 to itself."""
        ...


@runtime_checkable
class Pictured(Protocol[ItemIn]):
    """A domain whose items can be drawn; ``pictured`` says how many a picture shows where nobody asks, else 24."""

    def picture(self, items: Sequence[ItemIn], captions: Sequence[str], target: Path) -> None: ...


@runtime_checkable
class Screened(Protocol[ItemIn]):
    """A domain that knows items which must not be handed out unseen."""

    def screen(self, item: ItemIn) -> str | None:
        """The name of the listed family that the item belongs to, or None."""
        ...


@runtime_checkable
class Audible(Protocol[ItemIn]):
    """A domain whose items can be heard."""

    def sound(self, items: Sequence[ItemIn], target: Path) -> None:
        """The items one after the other as a .wav file."""
        ...


@runtime_checkable
class Evaluated(Protocol[ItemIn]):
    """A domain with a benchmark of its own field."""

    def evaluate(
        self,
        items: Sequence[ItemIn | None],
        reference: str,
        corpus: Callable[[str], Path],
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Mapping[str, float]:
        """The field's figures for items against the reference of that name.

        ``items`` holds None where an item asked for is not valid, so that fractions are of what was asked. ``corpus``
        gives the folder of a fetched corpus, or raises ResourceError with the command that fetches it.
        """
        ...


@runtime_checkable
class Obeying(Protocol[ItemIn]):
    """A domain that looks, where it can, whether an item is what was asked for; one that is not is drawn again."""

    def obeys(self, item: ItemIn, asked: Mapping[str, Asked]) -> bool: ...


@runtime_checkable
class Reporting(Protocol[ItemIn]):
    """A domain that can say more of an item than its properties: what it owes to what the model learned from."""

    def learn(self, items: Iterable[ItemIn], folder: Path) -> None:
        """Write into ``folder``, beside the weights, what ``report`` needs of the training items."""
        ...

    def report(self, items: Sequence[ItemIn], folder: Path | None) -> Mapping[str, Sequence[Any]]:
        """Columns, an entry an item, for files of items; ``folder`` holds the model, or None."""
        ...


@runtime_checkable
class Speaking(Protocol[Item]):
    """A domain whose items can be written in other tokens: in a vocabulary learned from them, or a foreign model's."""

    def vocabulary(self, items: Iterable[Item], size: int) -> Sequence[str]:
        """A vocabulary of ``size`` tokens that suits the items."""
        ...

    def speaking(self, vocab: Sequence[str], split: Callable[[str], Sequence[int]] | None = None) -> Domain[Item]:
        """The same domain over another vocabulary; ``split`` cuts a text into its tokens."""
        ...


@runtime_checkable
class Augmented(Protocol[Item]):
    """A domain whose items training sees in another form: cut to a length, or as several variants."""

    def augment(self, item: Item) -> Iterable[Item]: ...


@runtime_checkable
class Respelled(Protocol[ItemIn]):
    """A domain whose items can be written in several ways, of which ``encode`` gives one."""

    def spellings(self, item: ItemIn, count: int) -> Sequence[Tensor]:
        """At most ``count`` other sequences ``[T]`` that say the same; always the same ones.

        Molecules in another order of atoms, notes seen from another tonic.
        """
        ...


@runtime_checkable
class Grouped(Protocol[ItemIn]):
    """A domain whose items come in families (variants of one tune): a family stands on one side of the split."""

    @property
    def held_out(self) -> float:
        """Share of the families that training does not see."""
        ...

    def group(self, item: ItemIn) -> str:
        """The name of the item's family; a stable hash of it decides."""
        ...


@runtime_checkable
class Built(Protocol):
    """A domain whose corpora are compiled once from the files that were fetched."""

    def build(
        self,
        corpus: str,
        files: Mapping[str, Path],
        target: Path,
        workers: int | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Sequence[Rejected]:
        """Write what ``Corpus.made`` lists into the folder ``target``; the files come by their path in the package.

        A package that is kept whole comes as the files in it, and a ``.gz`` unpacked, its path without that suffix.
        """
        ...

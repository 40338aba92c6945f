"""The adapter between texts and the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genesis.domain import EOS, Asked, Constraint, Label, Number, Reading, Rejected, Tokens
from genesis.errors import EncodeError
from genesis_domains.text.spelling import BYTES, Spelling, learned

if TYPE_CHECKING:
    from torch import Tensor

    from genesis_domains.text.tasks import Writing

# torch is imported where it is used: the processes that only read and write files start ten times as fast without it
MAX_LENGTH = 8_190  # tokens of a sequence; a model's own limit may be lower
TRAINED = 254  # tokens that training sees at once: longer texts are cut at line ends or spaces
PROPERTIES: dict[str, Number | Label] = {
    "style": Label("whose manner it is: the style of the training texts"),
    "characters": Number("", 1, 1e9, "characters of the text", integer=True),
}


@dataclass(frozen=True, slots=True)
class Text:
    """A text that is not empty, and the style that it came with."""

    text: str
    style: str = ""

    def check(self) -> Text:
        """Itself; EncodeError if it is no text."""
        if not self.text:
            raise EncodeError("the text is empty")
        try:
            self.text.encode()
        except UnicodeEncodeError as error:
            raise EncodeError(f"not UTF-8: {error.reason} at character {error.start}") from None
        return self


class TextDomain:
    """Texts as bytes, or in another vocabulary."""

    name = "text"
    properties: Mapping[str, Number | Label] = PROPERTIES

    def __init__(self, spelling: Spelling = BYTES) -> None:
        self.spelling = spelling
        self.spec = Tokens(spelling.vocab, MAX_LENGTH)

    def vocabulary(self, items: Iterable[Text], size: int) -> tuple[str, ...]:
        return learned((item.text for item in items), size)

    def speaking(self, vocab: Sequence[str], split: Callable[[str], Sequence[int]] | None = None) -> TextDomain:
        return TextDomain(Spelling(vocab, split))

    @property
    def given(self) -> Mapping[str, str]:
        from genesis_domains.text.tasks import GIVEN

        return GIVEN

    def read(self, source: Path, column: str | None = None) -> Reading:
        from genesis_domains.text import files

        return files.read(source, column)

    def read_parts(self, source: Path, column: str | None = None) -> Iterator[Reading]:
        from genesis_domains.text import files

        return files.batches(source, column)

    def check_target(self, target: Path, count: int = 1) -> None:
        from genesis_domains.text import files

        files.check_target(target)

    def write(self, items: Sequence[Text], target: Path, columns: Mapping[str, Sequence[Any]]) -> None:
        from genesis_domains.text import files

        files.write(items, target, columns)

    def encode(self, item: Text) -> Tensor:
        import torch

        tokens = self.spelling.tokens_of(item.check().text)
        if len(tokens) > MAX_LENGTH:
            raise EncodeError(f"{len(item.text):,} characters are {len(tokens):,} tokens; at most {MAX_LENGTH:,}")
        return torch.tensor(tokens, dtype=torch.int64)

    def decode(self, x: Tensor) -> Text | None:
        tokens = x.tolist()
        if not all(EOS < token < len(self.spec.vocab) for token in tokens):
            return None
        return self.text(tokens)

    def text(self, tokens: Sequence[int]) -> Text | None:
        """The text of the tokens, if it is UTF-8 and not empty."""
        try:
            text = self.spelling.bytes_of(tokens).decode()
        except UnicodeDecodeError:
            return None
        return Text(text) if text else None

    def key(self, item: Text) -> str:
        return item.text

    def describe(self, item: Text, names: Sequence[str]) -> Mapping[str, float | str]:
        known: dict[str, float | str] = {"style": item.style, "characters": float(len(item.text))}
        return {name: known[name] for name in names}

    def augment(self, item: Text) -> Iterator[Text]:
        """What training sees: the text, or where it is too long the windows into which it falls."""
        data, at = item.check().text.encode(), 0
        while at < len(data):
            last = min(at + TRAINED, len(data))
            if last < len(data):
                half = at + TRAINED // 2
                cut = data.rfind(b"\n", half, last) + 1 or data.rfind(b" ", half, last) + 1
                while not cut and data[last] & 0xC0 == 0x80:  # not inside a character
                    last -= 1
                last = cut or last
            if piece := data[at:last].decode().strip("\n"):
                yield Text(piece, item.style)
            at = last

    def constraint(self, max_length: int, asked: Sequence[Mapping[str, Asked]] = ()) -> Constraint:
        return self.any_text

    @cached_property
    def any_text(self) -> Constraint:
        """The automaton of every text that is UTF-8 and not empty."""
        from genesis.decoding.automaton import automaton
        from genesis.decoding.pattern import compiled

        return automaton(compiled("(?s).+"), self.spelling.pieces)

    def task(self, given: Mapping[str, Any], target: Mapping[str, Any]) -> Writing:
        from genesis_domains.text.tasks import task

        return task(self, given, target)

    def parse(self, text: str) -> Text:
        return Text(text).check()

    def build(
        self,
        corpus: str,
        files: Mapping[str, Path],
        target: Path,
        workers: int | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> list[Rejected]:
        from genesis_domains.text import corpora

        return corpora.build(corpus, files, target)

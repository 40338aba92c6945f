"""The adapter between scores and the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genesis.domain import EOS, Asked, Category, Constraint, Label, Number, Reading, Rejected, Task, Tokens
from genesis.errors import EncodeError
from genesis_domains.music import account, augment, codec, corpora, files
from genesis_domains.music.families import family
from genesis_domains.music.keyfinding import in_key
from genesis_domains.music.names import KEYS
from genesis_domains.music.properties import PROPERTIES, measure
from genesis_domains.music.score import Score
from genesis_domains.music.tasks import GIVEN, task
from genesis_domains.music.vocabulary import VOCAB

if TYPE_CHECKING:
    from torch import Tensor

MAX_LENGTH = 2_048  # tokens of a sequence; a model's own limit may be lower
TRAINED = 510  # tokens that training sees at once: longer scores are cut at bars


class Music:
    """Scores as events; symusic reads and writes MIDI."""

    name = "music"
    spec = Tokens(VOCAB, MAX_LENGTH)
    properties: Mapping[str, Number | Category | Label] = PROPERTIES
    held_out = 0.05
    given: Mapping[str, str] = GIVEN

    def read(self, source: Path, column: str | None = None) -> Reading:
        return files.read(source, column)

    def read_parts(self, source: Path, column: str | None = None) -> Iterator[Reading]:
        return files.batches(source, column)

    def check_target(self, target: Path, count: int = 1) -> None:
        files.check_target(target, count)

    def write(self, items: Sequence[Score], target: Path, columns: Mapping[str, Sequence[Any]]) -> None:
        files.write(items, target, columns)

    def encode(self, item: Score) -> Tensor:
        import torch

        tokens = codec.encode(item.check())
        if len(tokens) > MAX_LENGTH:
            raise EncodeError(
                f"{len(item.meters)} bars are {len(tokens):,} tokens; at most {MAX_LENGTH:,} are modelled"
            )
        return torch.tensor(tokens, dtype=torch.int64)

    def decode(self, x: Tensor) -> Score | None:
        tokens = x.tolist()
        if not all(EOS < token < len(VOCAB) for token in tokens):
            return None
        return codec.decode(tokens)

    def key(self, item: Score) -> str:
        return item.key_text()

    def describe(self, item: Score, names: Sequence[str]) -> Mapping[str, float | str]:
        return measure(item, names)

    def obeys(self, item: Score, asked: Mapping[str, Asked]) -> bool:
        """Whether the notes are in the key asked for, and the instrument is heard; the automaton keeps to the rest."""
        if "instrument" in asked and not item.tracks[0].notes:
            return False
        return "key" not in asked or in_key(item.tracks, KEYS.index(str(asked["key"])))

    def augment(self, item: Score) -> Iterator[Score]:
        return augment.training(item, TRAINED)

    def spellings(self, item: Score, count: int) -> list[Tensor]:
        """The same notes seen from other tonics, those first that are near on the circle of fifths.

        A passage that has left the key is then met as one that is in it, which is what transposing does for models of
        absolute pitches.
        """
        first = item.key - item.key % 12
        fifths = [way * 7 * steps for steps in range(1, 6) for way in (1, -1)] + [6]
        keys = [first + (item.key + fifth) % 12 for fifth in fifths[:count]]
        return [self.encode(replace(item, key=key)) for key in keys]

    def group(self, item: Score) -> str:
        return item.origin.family or family(item)

    def build(
        self,
        corpus: str,
        files: Mapping[str, Path],
        target: Path,
        workers: int | None = None,
        progress: corpora.Progress | None = None,
    ) -> list[Rejected]:
        return corpora.build(corpus, files, target, workers, progress)

    def constraint(self, max_length: int, asked: Sequence[Mapping[str, Asked]] = ()) -> Constraint:
        from genesis_domains.music.automaton import ScoreGrammar

        return ScoreGrammar(max_length, asked)

    def task(self, given: Mapping[str, Any], target: Mapping[str, Any]) -> Task:
        return task(given, target)

    def learn(self, items: Iterable[Score], folder: Path) -> None:
        account.learn(items, folder)

    def report(self, items: Sequence[Score], folder: Path | None) -> Mapping[str, Sequence[Any]]:
        return account.report(items, folder)

    def picture(self, items: Sequence[Score], captions: Sequence[str], target: Path) -> None:
        from genesis_domains.music import picture

        picture.draw(items, captions, target)

    def sound(self, items: Sequence[Score], target: Path) -> None:
        from genesis_domains.music import sound

        sound.write(items, target)

    def evaluate(
        self,
        items: Sequence[Score | None],
        reference: str,
        corpus: Callable[[str], Path],
        progress: corpora.Progress | None = None,
    ) -> Mapping[str, float]:
        from genesis_domains.music.evaluation import benchmark

        return benchmark(items, reference, corpus, TRAINED, progress)

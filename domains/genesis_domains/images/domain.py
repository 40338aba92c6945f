"""The adapter between images and the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genesis.domain import Begun, Grid, Label, Reading, Rejected, Text
from genesis.errors import EncodeError
from genesis_domains.images import corpora, files, given
from genesis_domains.images.image import SIDE, Image, draw_sheet

if TYPE_CHECKING:
    from torch import Tensor

PROPERTIES: Mapping[str, Label | Text] = {
    "label": Label("what kind of thing it shows, in the words of the training corpus"),
    "prompt": Text("what it shows, in words of your own"),
}


class Images:
    """Squares of numbers from 0 to 255."""

    name = "images"
    spec = Grid(256, SIDE * SIDE * 3)
    properties: Mapping[str, Label | Text] = PROPERTIES
    given: Mapping[str, str] = given.GIVEN
    pictured = 400  # images of a sheet

    def read(self, source: Path, column: str | None = None) -> Reading:
        return files.read(source)

    def read_parts(self, source: Path, column: str | None = None) -> Iterator[Reading]:
        return files.batches(source)

    def check_target(self, target: Path, count: int = 1) -> None:
        files.check_target(target, count)

    def write(self, items: Sequence[Image], target: Path, columns: Mapping[str, Sequence[Any]]) -> None:
        files.write(items, target, columns)

    def encode(self, item: Image) -> Tensor:
        import torch

        if max(item.shape) > SIDE:
            raise EncodeError(f"{item.shape[1]}x{item.shape[0]} pixels; a square of at most {SIDE}x{SIDE} is modelled")
        return torch.from_numpy(item.pixels.astype(np.int64))

    def decode(self, x: Tensor) -> Image | None:
        try:
            if x.ndim != 3 or bool(((x < 0) | (x > 255)).any()):
                return None
            return Image.of(x.numpy().astype(np.uint8))
        except EncodeError:
            return None

    def key(self, item: Image) -> str:
        return item.key

    def describe(self, item: Image, names: Sequence[str]) -> Mapping[str, float | str]:
        return {name: str(getattr(item, name)) for name in names}

    def parse(self, text: str) -> Image:
        return files.one(Path(text))

    def similarity(self, items: Sequence[Image], others: Sequence[Image]) -> NDArray[np.float32]:
        """1 less the mean difference, as a share of the whole range; 0 where shapes differ."""
        out = np.zeros((len(items), len(others)), np.float32)
        for shape in {item.shape for item in items}:
            rows, columns = ([i for i, x in enumerate(group) if x.shape == shape] for group in (items, others))
            theirs = np.array([others[i].pixels for i in columns]).reshape(len(columns), -1)
            for row in rows:
                mine = items[row].pixels.reshape(1, -1)
                out[row, columns] = 1 - (np.maximum(mine, theirs) - np.minimum(mine, theirs)).mean(1) / 255
        return out

    def task(self, given_: Mapping[str, Any], target: Mapping[str, Any]) -> Begun:
        return given.begun(given_)

    def build(
        self,
        corpus: str,
        files: Mapping[str, Path],
        target: Path,
        workers: int | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> list[Rejected]:
        corpora.build(corpus, files, target)
        return []

    def evaluate(
        self,
        items: Sequence[Image | None],
        reference: str,
        corpus: Callable[[str], Path],
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Mapping[str, float]:
        from genesis_domains.images.evaluation import evaluate

        return evaluate(items, reference, corpus)

    def picture(self, items: Sequence[Image], captions: Sequence[str], target: Path) -> None:
        draw_sheet(items, target)

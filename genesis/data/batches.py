"""Batches of like lengths under a token budget, in an order that is a pure function of (seed, epoch).

B  batch    T  tokens, with <bos> and <eos>    P  properties    N  items
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genesis.data.encoded import Encoded
from genesis.domain import BOS, EOS, PAD
from genesis.rng import STREAM_DROPS, STREAM_ORDER

BLOCK = 256  # batches sorted by length together: long enough to pad little, short enough to stay a shuffle
PAD_TO = 8  # padded lengths are multiples of this
FINE = 64  # tokens of the longest item for each such step: long items have about eight widths, not sixty


@dataclass(frozen=True, slots=True)
class Batch:
    """``tokens [B, T]`` int64 and ``values [B, P]`` float32 with NaN where a property is absent."""

    tokens: Tensor
    values: Tensor


def padded(lengths: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
    """``[N]`` widths: room for ``<bos>`` and ``<eos>``, few different ones, never more than the longest item needs."""
    step = PAD_TO * max(1, longest // FINE)
    return np.minimum(-(-(lengths + 2) // step) * step, longest + 2)


def plan(lengths: NDArray[np.int64], longest: int, budget: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Index arrays of one epoch: every item once, batches of at most ``budget`` padded tokens, in shuffled order."""
    rng = _generator(seed, epoch, STREAM_ORDER)
    order = rng.permutation(len(lengths))
    widths = padded(lengths, longest)
    block = max(1, int(BLOCK * budget / widths.mean()))
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), block):
        part = order[start : start + block]
        for width in np.unique(widths[part]):
            alike = part[widths[part] == width]
            rows = max(1, budget // int(width))
            batches += [alike[i : i + rows] for i in range(0, len(alike), rows)]
    return [batches[i] for i in rng.permutation(len(batches))]


def epochs(
    lengths: NDArray[np.int64], longest: int, budget: int, seed: int, epoch: int, position: int
) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Endless ``(epoch, position, indices)``, beginning at the given place."""
    while True:
        batches = plan(lengths, longest, budget, seed, epoch)
        for at in range(position, len(batches)):
            yield epoch, at, batches[at]
        epoch, position = epoch + 1, 0


def collate(corpus: Encoded, index: NDArray[np.int64], budget: int = 0, multiple: int = 1) -> Batch:
    """The batch of the given items: ``<bos> tokens <eos>``, padded on the right.

    With a ``budget`` the batch is filled with empty rows up to ``budget // T``: every batch of a width then has one
    shape, which is what lets the step be compiled a handful of times rather than for every batch. Rows are filled up
    to a ``multiple`` too, so that several processes can share them evenly.
    """
    starts, ends = corpus.offsets[index], corpus.offsets[index + 1]
    width = int(padded(ends - starts, corpus.longest).max())
    rows = -(-max(len(index), budget // width) // multiple) * multiple
    tokens = np.full((rows, width), PAD, np.int64)
    values = np.full((rows, corpus.values.shape[1]), np.nan, np.float32)
    values[: len(index)] = corpus.values[index]
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        tokens[row, 0] = BOS
        tokens[row, 1 : 1 + end - start] = corpus.tokens[start:end]
        tokens[row, 1 + end - start] = EOS
    return Batch(torch.from_numpy(tokens), torch.from_numpy(values))


def drop_conditions(values: Tensor, seed: int, step: int, none: float, whole: float) -> Tensor:
    """Random subsets of the properties, so that any subset can be asked for later.

    With probability ``none`` an item loses all of them (the unconditional model that guidance needs, Ho and Salimans
    2022), with probability ``whole`` none (what an engine asks that fills a target from a profile); otherwise each is
    kept with a probability that is itself the square of a uniform number: every size of subset occurs, and the small
    ones, which people ask for, most often.
    """
    rows, width = values.shape
    u = torch.from_numpy(_generator(seed, step, STREAM_DROPS).random((rows, width + 2), np.float32))
    share, odds = u[:, :1], u[:, 1:2] ** 2
    keep = (share >= none) & ((share < none + whole) | (u[:, 2:] < odds))
    return values.masked_fill(~keep, float("nan"))


def _generator(seed: int, count: int, stream: int) -> np.random.Generator:
    """Philox again (as in ``genesis.rng``), with the stream in the highest word of the counter."""
    return np.random.Generator(np.random.Philox(key=[seed, count], counter=[0, 0, 0, stream]))

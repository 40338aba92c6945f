"""Nearest neighbour and mean similarity over packed binary fingerprints.

    Tanimoto(x, y) = |x and y| / (|x| + |y| - |x and y|), and 1 for two empty fingerprints

``|x and y|`` of all pairs is a matrix product, which a CPU does faster than counting bits pair by pair. Everything is
exact: sums of ones up to 256 are integers in bfloat16 too.

    Q  queries    N  references    W  bytes a fingerprint (eight bits each, as ``numpy.packbits`` lays them out)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genesis.errors import UsageError
from genesis.metrics.threads import on_each_core

Packed = NDArray[np.uint8]
QUERY_BLOCK = 256  # larger blocks of overlaps fall out of the cache and run at half the speed
REFERENCE_BLOCK = 4096
MEAN_BLOCK = 1024
STEP = 64
SLAB = 16_384  # references unpacked at a time: 34 MB at 1,024 bits in bfloat16
EXACT_IN_BFLOAT16 = 256


@dataclass(frozen=True, slots=True)
class Nearest:
    """For each query the row of the most similar reference, and the Tanimoto similarity to it; ``[Q]`` each."""

    index: NDArray[np.int64]
    similarity: NDArray[np.float32]


def slabs(references: Packed, rows: int = SLAB) -> Iterator[Packed]:
    """Consecutive blocks of an array ``[N, W]``, which may be memory-mapped."""
    for start in range(0, len(references), rows):
        yield np.asarray(references[start : start + rows])


def nearest(queries: Packed, references: Iterable[Packed], progress: Callable[[int], None] | None = None) -> Nearest:
    """The most similar of the references for each query ``[Q, W]``; ``progress`` hears the references done so far.

    References come as slabs ``[N, W]`` (see ``slabs``), so any number of them fits in memory. Within a slab they are
    grouped by their number of bits ``a``: for one ``a`` the largest overlap is the largest similarity, and no query
    of ``b`` bits can reach more than ``min(a, b) / max(a, b)`` (Swamidass and Baldi, 2007), which skips most groups.
    """
    bits = _bits(queries)
    order = np.argsort(bits, kind="stable")  # equal bit counts side by side: a block of queries skips as one
    blocks = [order[start : start + QUERY_BLOCK] for start in range(0, len(order), QUERY_BLOCK)]
    best = torch.full((len(queries),), -1.0)
    index = torch.full((len(queries),), -1, dtype=torch.int64)
    dtype = _exact_dtype(bits)
    done = 0
    for slab in references:
        if slab.shape[1] != queries.shape[1]:
            raise UsageError(f"fingerprints of {queries.shape[1] * 8} and {slab.shape[1] * 8} bits do not compare")
        groups = _Groups(slab, dtype)

        def search(rows: NDArray[np.int64], groups: _Groups = groups) -> tuple[Tensor, Tensor]:
            counts = torch.from_numpy(bits[rows]).float()
            return groups.nearest(_unpacked(queries[rows], dtype), counts, best[torch.from_numpy(rows)])

        for rows, (similarity, found) in zip(blocks, on_each_core(search, blocks), strict=True):
            at = torch.from_numpy(rows)
            index[at] = torch.where(found >= 0, found + done, index[at])
            best[at] = similarity
        done += len(slab)
        if progress is not None:
            progress(done)
    if done == 0:
        raise UsageError("no references to find a nearest one among; give at least one fingerprint")
    return Nearest(index.numpy(), best.numpy())


class _Groups:
    """One slab of references, unpacked and grouped by number of bits.

    Groups are filled up to a multiple of ``STEP`` by repeating a row, and so are the queries of a product: a matrix
    library that compiles a kernel for every new shape (oneDNN does) would spend most of its time and memory on that.
    """

    def __init__(self, slab: Packed, dtype: torch.dtype) -> None:
        bits = _bits(slab)
        order = np.argsort(bits, kind="stable")
        self.bits, starts = np.unique(bits[order], return_index=True)
        groups = [_filled(torch.from_numpy(rows)) for rows in np.split(order, starts[1:])]
        ends = np.cumsum([len(rows) for rows in groups]).tolist()
        self.spans = list(zip([0, *ends], ends, strict=False))
        self.rows = torch.cat(groups)
        self.vectors = _unpacked(slab[self.rows.numpy()], dtype)

    def nearest(self, queries: Tensor, bits: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
        """The better of ``best`` and the slab for each query; the second result is -1 where ``best`` stood."""
        best, found = best.clone(), torch.full(best.shape, -1, dtype=torch.int64)
        for group in np.argsort(np.abs(np.log1p(self.bits) - float(bits.median().log1p()))):
            count = float(self.bits[group])
            bound = torch.minimum(bits, torch.tensor(count)) / bits.clamp(min=max(count, 1.0))
            bound[(bits == 0) & (count == 0)] = 1.0
            first, last = self.spans[group]
            for start in range(first, last, REFERENCE_BLOCK):
                active = _filled((bound > best).nonzero()[:, 0])
                if len(active) == 0:
                    break
                overlap, at = (queries[active] @ self.vectors[start : min(start + REFERENCE_BLOCK, last)].T).max(1)
                similarity = _tanimoto(overlap.float(), bits[active], torch.tensor(count))
                better = similarity > best[active]
                best[active[better]] = similarity[better]
                found[active[better]] = self.rows[at[better] + start]
        return best, found


def _filled(rows: Tensor) -> Tensor:
    """The rows, the last one repeated up to a multiple of ``STEP``."""
    return torch.cat([rows, rows[-1:].expand(-len(rows) % STEP)]) if len(rows) else rows


def mean_similarity(fingerprints: Packed, progress: Callable[[int], None] | None = None) -> NDArray[np.float64]:
    """``[2, Q]``: the mean, and the mean square, of each fingerprint's Tanimoto similarity to all, itself included."""
    bits = _bits(fingerprints)
    dtype = _exact_dtype(bits)
    counts = torch.from_numpy(bits).float()
    sums = torch.zeros(2, len(fingerprints), dtype=torch.float64)
    for start in range(0, len(fingerprints), MEAN_BLOCK):
        y = _unpacked(fingerprints[start : start + MEAN_BLOCK], dtype)
        column = counts[start : start + MEAN_BLOCK]

        def add(at: int, y: Tensor = y, column: Tensor = column) -> None:
            x = _unpacked(fingerprints[at : at + QUERY_BLOCK], dtype)
            similarity = _tanimoto((x @ y.T).float(), counts[at : at + QUERY_BLOCK, None], column)
            sums[0, at : at + QUERY_BLOCK] += similarity.sum(1)
            sums[1, at : at + QUERY_BLOCK] += similarity.square_().sum(1)

        for _ in on_each_core(add, range(0, len(fingerprints), QUERY_BLOCK)):
            pass
        if progress is not None:
            progress(min(start + MEAN_BLOCK, len(fingerprints)))
    return (sums / max(len(fingerprints), 1)).numpy()


def _tanimoto(overlap: Tensor, a: Tensor, b: Tensor) -> Tensor:
    union = a + b - overlap
    return torch.where(union == 0, 1.0, overlap / union) if bool((a == 0).any() and (b == 0).any()) else overlap / union


def _bits(packed: Packed) -> NDArray[np.int64]:
    if packed.ndim != 2 or packed.dtype != np.uint8:
        raise UsageError(f"packed fingerprints are uint8 [N, W], not {packed.dtype} {list(packed.shape)}")
    bits: NDArray[np.int64] = np.bitwise_count(packed).sum(1, dtype=np.int64)
    return bits


def _unpacked(packed: Packed, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.unpackbits(packed, axis=1)).to(dtype)


def _exact_dtype(query_bits: NDArray[np.int64]) -> torch.dtype:
    """No overlap exceeds the bits of the query, so few bits may use the narrow type."""
    return _fast_dtype() if query_bits.max(initial=0) <= EXACT_IN_BFLOAT16 else torch.float32


@cache
def _fast_dtype() -> torch.dtype:
    """Which of the two exact types multiplies faster here, timed once: it is bfloat16 where the CPU has it."""

    def seconds(dtype: torch.dtype) -> float:
        x = torch.ones(512, 1024, dtype=dtype)
        x @ x.T
        start = time.perf_counter()
        x @ x.T
        return time.perf_counter() - start

    return min((torch.bfloat16, torch.float32), key=seconds)

"""Every key of a run so far, in bounded memory: sorted runs on disk, merged eight at a time (O'Neil et al., 1996).

A key is 128 bits in two words. At most ``BUFFER`` keys (16 MB) wait in memory; a run on disk is searched through its
pages, which are given back after each search. The runs are scratch: they are made again from the key column of the
shards when a run is resumed, so there is no second truth to keep in step.

N  keys asked about    M  keys of a run
"""

from __future__ import annotations

import mmap
import os
import shutil
import socket
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genesis.data.whole import alive
from genesis.errors import GenesisError

Words = NDArray[np.uint64]
BUFFER = 1 << 20  # keys in memory before they become a run on disk
FAN = 8  # runs of one level that are merged into one of the next
SLICES = 256  # of the key space, merged one after another: 1/256 of the keys is in memory
PREFIX = "_keys."


class Keys:
    """The keys of a run; of two equal keys the first one given is the winner."""

    def __init__(self, library: Path, buffer: int = BUFFER) -> None:
        host = socket.gethostname()
        for found in library.glob(f"{PREFIX}{host}.*"):  # of a run that was killed here
            pid = found.name.rpartition(".")[2]
            if pid.isdigit() and not alive(int(pid)):
                shutil.rmtree(found, ignore_errors=True)
        self.folder = library / f"{PREFIX}{host}.{os.getpid()}"
        self.buffer, self.waiting = buffer, 0
        self.recent: list[Words] = []  # sorted, in memory
        self.levels: list[list[_Run]] = []
        self.made = 0

    def __len__(self) -> int:
        return self.waiting + sum(run.count for level in self.levels for run in level)

    def fresh(self, keys: Words) -> NDArray[np.bool_]:
        """``[N]``: which of the keys ``[N, 2]`` are not here and did not come before in the same array."""
        order = np.lexsort((np.arange(len(keys)), keys[:, 1], keys[:, 0]))
        high, low = np.ascontiguousarray(keys[order, 0]), np.ascontiguousarray(keys[order, 1])
        new = np.ones(len(keys), np.bool_)
        new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
        for run in self.recent:
            new &= ~_member(run[0], run[1], high, low)
        for level in self.levels:
            for stored in level:
                new &= ~stored.contains(high, low)
        found = np.empty_like(new)
        found[order] = new
        return found

    def add(self, keys: Words) -> None:
        """Take in keys ``[N, 2]`` that are fresh."""
        if not len(keys):
            return
        self.recent.append(_sorted(keys[:, 0], keys[:, 1]))
        self.waiting += len(keys)
        if self.waiting >= self.buffer:
            try:
                self._spill()
            except OSError as error:
                raise GenesisError(
                    f"could not write the keys of the run into {self.folder}: {error.strerror or error}; everything "
                    "finished is kept, and the run goes on when there is room"
                ) from None
        elif len(self.recent) > 2 * FAN:
            self.recent = [_sorted(*(np.concatenate([run[word] for run in self.recent]) for word in (0, 1)))]

    def close(self) -> None:
        """Remove the scratch."""
        for level in self.levels:
            for run in level:
                run.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Keys:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _spill(self) -> None:
        high, low = (np.concatenate([run[word] for run in self.recent]) for word in (0, 1))
        self.recent, self.waiting = [], 0
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._next()
        with path.open("wb") as file:
            for word in _sorted(high, low):
                file.write(word.tobytes())
        self._place(_Run(path, len(high)), 0)

    def _place(self, run: _Run, level: int) -> None:
        if level == len(self.levels):
            self.levels.append([])
        self.levels[level].append(run)
        if len(self.levels[level]) == FAN:
            parts, self.levels[level] = self.levels[level], []
            self._place(_merged(parts, self._next()), level + 1)

    def _next(self) -> Path:
        self.made += 1
        return self.folder / f"{self.made}.run"


class _Run:
    """``M`` sorted keys in a file: all their first words, then all their second words."""

    def __init__(self, path: Path, count: int) -> None:
        self.path, self.count = path, count
        with path.open("rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def words(self) -> tuple[Words, Words]:
        both = np.frombuffer(self.map, np.uint64)
        return both[: self.count], both[self.count :]

    def contains(self, high: Words, low: Words) -> NDArray[np.bool_]:
        found = _member(*self.words(), high, low)
        self.rest()
        return found

    def rest(self) -> None:
        """Give the pages back; they stay in the system's cache while there is room."""
        if hasattr(self.map, "madvise"):
            self.map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        self.map.close()
        self.path.unlink(missing_ok=True)


def keys_of(raw: bytes) -> Words:
    """``[N, 2]`` from ``N`` keys of sixteen bytes one after another."""
    return np.frombuffer(raw, np.uint64).reshape(-1, 2)


def _sorted(high: Words, low: Words) -> Words:
    order = np.argsort(high)  # twice as fast as by both words, and two keys of one first word are rare
    sorted_high = high[order]
    if (sorted_high[1:] == sorted_high[:-1]).any():
        order = np.lexsort((low, high))
    return np.stack((sorted_high, low[order]))


def _member(run_high: Words, run_low: Words, high: Words, low: Words) -> NDArray[np.bool_]:
    """``[N]``: which keys are in a sorted run; two keys of one first word are rare, and looked at one after another."""
    at = np.searchsorted(run_high, high)
    found = np.zeros(len(high), np.bool_)
    rows = np.arange(len(high))
    while len(rows):
        rows = rows[at[rows] < len(run_high)]
        rows = rows[run_high[at[rows]] == high[rows]]
        found[rows] |= run_low[at[rows]] == low[rows]
        rows = rows[~found[rows]]
        at[rows] += 1
    return found


def _merged(parts: list[_Run], path: Path) -> _Run:
    """One run of several, a slice of the key space at a time."""
    total = sum(part.count for part in parts)
    bounds = np.arange(1, SLICES, dtype=np.uint64) << np.uint64(64 - 8)
    cuts = [[0, *np.searchsorted(part.words()[0], bounds).tolist(), part.count] for part in parts]
    done = 0
    with path.open("wb") as file:
        for i in range(SLICES):
            pieces = [
                (part.words()[0][cut[i] : cut[i + 1]], part.words()[1][cut[i] : cut[i + 1]])
                for part, cut in zip(parts, cuts, strict=True)
            ]
            merged = _sorted(*(np.concatenate([piece[word] for piece in pieces]) for word in (0, 1)))
            del pieces  # they are windows on the maps, which could not be closed
            for word in (0, 1):
                file.seek(8 * (done + word * total))
                file.write(merged[word].tobytes())
            done += merged.shape[1]
    for part in parts:
        part.close()
    return _Run(path, total)

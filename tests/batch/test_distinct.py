"""The store of keys against a Python set, with buffers so small that it spills and merges all the time."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genesis.batch.distinct import FAN, PREFIX, Keys, keys_of
from genesis.errors import GenesisError


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), words=st.sampled_from([3, 50, 2**64]), buffer=st.integers(1, 40))
def test_the_first_of_equal_keys_wins(tmp_path: Path, seed: int, words: int, buffer: int) -> None:
    """With three different words almost every first word is shared by several keys."""
    rng = random.Random(seed)
    seen: set[tuple[int, int]] = set()
    with Keys(tmp_path, buffer) as keys:
        for _ in range(rng.randrange(1, 30)):
            asked = [(rng.randrange(words), rng.randrange(words)) for _ in range(rng.randrange(40))]
            array = np.array(asked, np.uint64).reshape(-1, 2)
            fresh = keys.fresh(array)
            for key, new in zip(asked, fresh.tolist(), strict=True):
                assert new == (key not in seen)
                seen.add(key)
            keys.add(array[fresh])
            assert len(keys) == len(seen)
    assert list(tmp_path.iterdir()) == []


def test_asking_changes_nothing(tmp_path: Path) -> None:
    array = np.array([[1, 2], [1, 2], [3, 4]], np.uint64)
    with Keys(tmp_path) as keys:
        for _ in range(2):
            assert keys.fresh(array).tolist() == [True, False, True]
        keys.add(array[1:])
        assert keys.fresh(array).tolist() == [False, False, False]


def test_runs_are_merged_by_level(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 2**64, (10, 2), dtype=np.uint64) for _ in range(FAN * FAN + FAN + 1)]
    with Keys(tmp_path, buffer=10) as keys:
        for array in arrays:
            keys.add(array)
        assert [len(level) for level in keys.levels] == [1, 1, 1]
        assert len(list(keys.folder.iterdir())) == 3
        assert not keys.fresh(np.concatenate(arrays)).any()
        assert keys.fresh(rng.integers(0, 2**64, (10, 2), dtype=np.uint64)).all()


def test_the_scratch_of_the_dead_is_swept_and_that_of_the_living_stays(tmp_path: Path) -> None:
    dead = tmp_path / f"{PREFIX}{socket.gethostname()}.{2**22 + 1}"
    alive = tmp_path / f"{PREFIX}{socket.gethostname()}.{os.getppid()}"
    elsewhere = tmp_path / f"{PREFIX}another-host.{2**22 + 1}"
    for folder in (dead, alive, elsewhere):
        folder.mkdir()
    with Keys(tmp_path):
        assert sorted(tmp_path.iterdir()) == sorted([alive, elsewhere])


def test_a_disk_without_room_for_keys_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        Keys(tmp_path / "file", buffer=1) as keys,
        pytest.raises(GenesisError, match="could not write the keys of the run"),
    ):
        keys.add(np.array([[1, 2]], np.uint64))


def test_keys_are_two_words_of_sixteen_bytes() -> None:
    assert keys_of(bytes(range(16)) * 2).shape == (2, 2)
    assert keys_of(b"").shape == (0, 2)


@pytest.mark.slow
def test_ten_million_keys_take_little_memory(tmp_path: Path) -> None:
    import resource

    rng = np.random.default_rng(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Keys(tmp_path) as keys:
        for _ in range(1_000):
            array = rng.integers(0, 2**64, (10_000, 2), dtype=np.uint64)
            keys.add(array[keys.fresh(array)])
        assert len(keys) == 10_000_000
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 400, f"{grown:.0f} MB"

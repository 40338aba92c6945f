"""Fractions of sets, and the set of known keys on disk against Python's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesis.errors import InputError, UsageError
from genesis.metrics.sets import KeySet, key_hash, novelty, uniqueness, validity

KEYS = st.lists(st.text(max_size=3), max_size=30)


def test_fractions_count_what_was_asked_for() -> None:
    keys = ["a", None, "a", "b", None]
    assert validity(keys) == 3 / 5
    assert uniqueness(keys) == 2 / 3
    assert uniqueness(keys, 2) == 1 / 2
    assert uniqueness(keys, 99) == 2 / 3
    assert validity([]) == uniqueness([]) == uniqueness([None]) == 0


def test_uniqueness_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="first 0 items; ask for 1 or more"):
        uniqueness(["a"], 0)


def test_novelty_is_of_distinct_keys(tmp_path: Path) -> None:
    known = KeySet.build(["a", "c"], tmp_path / "known.npy")
    assert novelty(["a", "a", "a", "b", None], known) == 1 / 2
    assert novelty([None], known) == 0


@settings(max_examples=40)
@given(known=KEYS, asked=KEYS)
def test_a_key_set_is_a_set(known: list[str], asked: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("keys")
    keys = KeySet.build(iter(known), folder / "keys.npy")
    assert len(keys) == len(set(known))
    assert keys.contains(asked).tolist() == [key in set(known) for key in asked]
    assert [file.name for file in folder.iterdir()] == ["keys.npy"]


def test_several_files_are_one_set(tmp_path: Path) -> None:
    """What a model has seen beside its own corpus is not repeated beside its weights."""
    first, second = (KeySet.build(keys, tmp_path / f"{keys}.npy") for keys in ("ab", "bc"))
    asked, there = list("abcd"), [True, True, True, False]
    both = first | second
    assert both.contains(asked).tolist() == KeySet(tmp_path / "ab.npy", tmp_path / "bc.npy").contains(asked).tolist()
    assert both.contains(asked).tolist() == both.written(tmp_path / "all.npy").contains(asked).tolist() == there
    assert len(KeySet(tmp_path / "all.npy")) == 3
    assert not (KeySet() | KeySet()).contains(asked).any()


def test_the_hash_never_changes() -> None:
    """Key sets are shipped beside models: another hash would make every molecule novel."""
    assert key_hash("CCO") == 0xC353956C6F0B206D


@pytest.mark.parametrize("content", [b"", b"not numpy", np.zeros(0).tobytes()])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keys.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"is not a set of keys .* build it again"):
        KeySet(tmp_path / "keys.npy")


def test_an_array_of_something_else_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "keys.npy", np.zeros((2, 2)))
    with pytest.raises(InputError, match=r"holds float64 of shape \[2, 2\]"):
        KeySet(tmp_path / "keys.npy")
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="is not a set of keys"):
        KeySet(tmp_path / "pickled.npy")

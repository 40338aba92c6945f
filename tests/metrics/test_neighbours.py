"""Similarities of packed fingerprints against Python's sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genesis.errors import UsageError
from genesis.metrics import neighbours
from genesis.metrics.neighbours import mean_similarity, nearest, slabs

Packed = neighbours.Packed


def packed(seed: int, count: int, bits: int = 64, most: float = 0.9) -> Packed:
    """Fingerprints from empty to dense, each with its own density."""
    rng = np.random.default_rng(seed)
    return np.packbits(rng.random((count, bits)) < rng.uniform(0, most, (count, 1)), axis=1)


def brute(queries: Packed, references: Packed) -> np.ndarray:
    """``[Q, N]`` Tanimoto similarities, one pair of Python sets at a time."""
    sets = [[set(np.flatnonzero(row).tolist()) for row in np.unpackbits(x, axis=1)] for x in (queries, references)]
    return np.array([[len(x & y) / len(x | y) if x | y else 1.0 for y in sets[1]] for x in sets[0]])


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 40), st.integers(1, 17))
def test_nearest_is_the_nearest(seed: int, asked: int, known: int, rows: int) -> None:
    queries, references = packed(seed, asked), packed(seed + 1, known)
    references[::7] = 0
    expected = brute(queries, references)
    found = nearest(queries, slabs(references, rows))
    np.testing.assert_allclose(found.similarity, expected.max(1), rtol=1e-6)
    np.testing.assert_allclose(expected[np.arange(asked), found.index], found.similarity, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_either_number_type_is_exact_over_many_blocks(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    monkeypatch.setattr(neighbours, "_fast_dtype", lambda: dtype)
    monkeypatch.setattr(neighbours, "QUERY_BLOCK", 16)
    monkeypatch.setattr(neighbours, "REFERENCE_BLOCK", 16)
    monkeypatch.setattr(neighbours, "MEAN_BLOCK", 24)
    monkeypatch.setattr(neighbours, "STEP", 8)
    queries, references = packed(0, 50, most=0.2), packed(1, 300, most=0.2)
    heard: list[int] = []
    found = nearest(queries, slabs(references, 200), heard.append)
    np.testing.assert_allclose(found.similarity, brute(queries, references).max(1), rtol=1e-6)
    assert heard == [200, 300]
    heard.clear()
    expected = brute(queries, queries)
    np.testing.assert_allclose(
        mean_similarity(queries, heard.append), [expected.mean(1), (expected**2).mean(1)], rtol=1e-6
    )
    assert heard == [24, 48, 50]


def test_fingerprints_of_many_bits_are_exact_too() -> None:
    """Two thousand common bits are no integer of bfloat16's eight digits: float32 must be chosen."""
    queries, references = packed(0, 20, bits=4096), packed(1, 50, bits=4096)
    expected = brute(queries, references)
    np.testing.assert_allclose(nearest(queries, slabs(references)).similarity, expected.max(1), rtol=1e-6)
    np.testing.assert_allclose(mean_similarity(references)[0], brute(references, references).mean(1), rtol=1e-6)


def test_nearest_of_itself_is_itself() -> None:
    fingerprints = packed(5, 300, bits=256, most=0.5)
    found = nearest(fingerprints, slabs(fingerprints))
    assert (found.similarity == 1).all()
    assert (fingerprints[found.index] == fingerprints).all()


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 20))
def test_mean_similarity_is_of_all_pairs(seed: int, count: int) -> None:
    fingerprints = packed(seed, count)
    fingerprints[::5] = 0
    expected = brute(fingerprints, fingerprints)
    np.testing.assert_allclose(mean_similarity(fingerprints), [expected.mean(1), (expected**2).mean(1)], rtol=1e-6)


def test_identical_fingerprints_have_similarity_one() -> None:
    assert (mean_similarity(np.repeat(packed(3, 1, bits=256), 40, axis=0)) == 1).all()


def test_what_does_not_compare_is_refused() -> None:
    with pytest.raises(UsageError, match="of 64 and 128 bits do not compare"):
        nearest(packed(0, 2), slabs(packed(0, 2, bits=128)))
    with pytest.raises(UsageError, match="no references"):
        nearest(packed(0, 2), [])
    with pytest.raises(UsageError, match=r"uint8 \[N, W\], not float64"):
        mean_similarity(np.zeros((2, 8)))  # type: ignore[arg-type]

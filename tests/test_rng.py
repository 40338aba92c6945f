"""The generator against published vectors, an independent implementation, and the statistics it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from genesis import rng
from genesis_kernels import philox

# Random123 1.14, kat_vectors, lines "philox4x32 10": counter, key, result
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
EULER = 0.5772156649015329


def chi_square_limit(freedom: int, z: float = 3.719) -> float:
    """The value that chi-square exceeds once in 10,000 times (Wilson and Hilferty 1931)."""
    return freedom * (1 - 2 / (9 * freedom) + z * math.sqrt(2 / (9 * freedom))) ** 3


def chi_square(counts: Tensor, p: Tensor) -> float:
    expected = p.double() * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_gives_the_published_vectors(counter, key, result):
    words = philox.philox(*(torch.tensor([c]) for c in counter), *key)
    assert tuple(int(w) for w in words) == result


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**62), st.integers(0, 2**32 - 1), st.sampled_from(range(4)))
def test_words_are_the_philox_of_seed_item_step_and_stream(seed, item, step, stream):
    def round_by_hand(c, k):
        a, b = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        return (b >> 32) ^ c[1] ^ k[0], b & philox.MASK32, (a >> 32) ^ c[3] ^ k[1], a & philox.MASK32

    c = (item & philox.MASK32, item >> 32, step, stream)
    k = (seed & philox.MASK32, seed >> 32)
    for _ in range(10):
        c = round_by_hand(c, k)
        k = ((k[0] + 0x9E3779B9) & philox.MASK32, (k[1] + 0xBB67AE85) & philox.MASK32)
    assert tuple(int(w) for w in rng.words(seed, torch.tensor([item]), step, stream)) == c


def test_every_argument_changes_the_words():
    base = (0, 0, 0, 0)
    others = [(1, 0, 0, 0), (2**32, 0, 0, 0), (0, 1, 0, 0), (0, 2**32, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    drawn = {tuple(int(w) for w in rng.words(s, torch.tensor([i]), t, k)) for s, i, t, k in [base, *others]}
    assert len(drawn) == 7


def test_token_words_are_the_first_two_words_of_every_step():
    items = torch.tensor([0, 5, 2**40 + 3])
    table = rng.token_words(2**50 + 1, items, 6)
    assert table.dtype == torch.int32
    for step in range(6):
        w0, w1, _, _ = rng.words(2**50 + 1, items, step, rng.STREAM_TOKENS)
        assert torch.equal(table[:, step].long() & philox.MASK32, torch.stack((w0, w1), -1))


def test_scramble_is_lowbias32_and_can_be_undone():
    signed = torch.from_numpy(np.random.default_rng(0).integers(-(2**31), 2**31, 1_000_000).astype(np.int32))
    signed[:4] = torch.tensor([0, -1, 2**31 - 1, -(2**31)])
    mixed = philox.scramble_(signed.clone()).numpy().view(np.uint32)

    x = signed.numpy().view(np.uint32).copy()  # Wellons' lowbias32 in unsigned arithmetic
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    np.testing.assert_array_equal(mixed, x)

    x ^= x >> np.uint32(16)  # every step is invertible, so the whole is a bijection
    x *= np.uint32(pow(0x846CA68B, -1, 2**32))
    x ^= (x >> np.uint32(15)) ^ (x >> np.uint32(30))
    x *= np.uint32(pow(0x7FEB352D, -1, 2**32))
    x ^= x >> np.uint32(16)
    np.testing.assert_array_equal(x, signed.numpy().view(np.uint32))


def test_uniform_is_uniform_and_never_reaches_its_ends():
    u = rng.uniform(3, torch.arange(250_000), 5, rng.STREAM_TARGETS)
    assert u.shape == (250_000, 4)
    assert u.dtype == torch.float32
    counts = torch.histc(u, 1_000, 0, 1)
    assert chi_square(counts, torch.full((1_000,), 1e-3)) < chi_square_limit(999)
    assert torch.corrcoef(u.T.double()).fill_diagonal_(0).abs().max() < 4 / 250_000**0.5
    ends = philox.open_unit(torch.tensor([0, 2**23 - 1]))
    assert ends.tolist() == [2.0**-24, 1 - 2.0**-24]


def test_gumbel_noise_is_finite_at_both_ends_of_the_uniform():
    ends = philox.open_unit(torch.tensor([0, 2**23 - 1], dtype=torch.int32)).log_().neg_().log_().neg_()
    assert ends.isfinite().all()
    assert ends.tolist() == pytest.approx([-math.log(24 * math.log(2)), 24 * math.log(2)], rel=1e-6)


def test_gumbel_has_the_moments_of_gumbel():
    noise = rng.gumbel(0, torch.arange(32_768), 7, 256)
    assert noise.isfinite().all()
    x = noise.double()
    n = x.numel()
    assert x.mean() == pytest.approx(EULER, abs=4 * math.pi / (6 * n) ** 0.5)
    assert x.var() == pytest.approx(math.pi**2 / 6, rel=4 * (5.4 / n) ** 0.5 * 1.2)
    assert x.mean(0).sub(EULER).abs().max() < 5 * math.pi / (6 * 32_768) ** 0.5  # no token is favoured
    assert x.mean(1).sub(EULER).abs().max() < 6 * math.pi / (6 * 256) ** 0.5  # and no item


@pytest.mark.parametrize("vocab", [2, 13, 272])
def test_argmax_with_gumbel_noise_draws_from_the_softmax(vocab):
    logits = torch.randn(vocab, generator=torch.Generator().manual_seed(vocab))
    items = 400_000 if vocab < 100 else 40_000
    drawn = (logits + rng.gumbel(11, torch.arange(items), 0, vocab)).argmax(-1)
    counts = torch.bincount(drawn, minlength=vocab)
    assert chi_square(counts, logits.softmax(0)) < chi_square_limit(vocab - 1)


@pytest.mark.parametrize("other", ["next step", "next item", "next seed", "next token"])
def test_draws_are_independent_of_their_neighbours(other):
    items = torch.arange(200_000)
    if other == "next token":
        halves = rng.gumbel(5, items, 3, 12).chunk(2, -1)
        a, b = (half.argmax(-1) for half in halves)
    else:
        a = rng.gumbel(5, items, 3, 6).argmax(-1)
        b = rng.gumbel(
            5 + (other == "next seed"), items + (other == "next item"), 3 + (other == "next step"), 6
        ).argmax(-1)
    table = torch.bincount(6 * a + b, minlength=36)
    assert chi_square(table, torch.full((36,), 1 / 36)) < chi_square_limit(35)


@given(st.permutations(range(40)), st.integers(1, 40), st.integers(0, 2**63 - 1), st.integers(1, 70))
def test_an_item_has_the_same_noise_in_every_batch(order, count, seed, vocab):
    items = torch.arange(1_000, 1_040)
    whole = rng.gumbel(seed, items, 9, 70)
    part = torch.tensor(order[:count])
    assert torch.equal(rng.gumbel(seed, items[part], 9, vocab), whole[part, :vocab])

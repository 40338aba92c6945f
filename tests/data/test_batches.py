"""Every item once an epoch, within the budget, in an order that can be resumed anywhere."""

from __future__ import annotations

import csv
import itertools
import lzma
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genesis.data.batches import PAD_TO, collate, drop_conditions, epochs, padded, plan
from genesis.data.encoded import Encoded, Row, write
from genesis.domain import BOS, EOS, PAD

lengths_lists = st.lists(st.integers(0, 120), min_size=1, max_size=400).map(lambda x: np.array(x, np.int64))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Encoded:
    rng = np.random.default_rng(0)
    rows = [
        Row(rng.integers(3, 50, rng.integers(1, 77)).astype(np.uint16), np.array([i, -i], np.float32), False)
        for i in range(500)
    ]
    return write(rows, tmp_path_factory.mktemp("batches") / "corpus", {"properties": ["a", "b"]})


def same(a, b) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@given(lengths_lists, st.integers(64, 4_096), st.integers(0, 2**63 - 1), st.integers(0, 1_000))
def test_an_epoch_holds_every_item_once_within_the_budget(lengths, budget, seed, epoch):
    batches = plan(lengths, int(lengths.max()), budget, seed, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        widths = padded(lengths[batch], int(lengths.max()))
        assert len(set(widths.tolist())) == 1  # no padding beyond the common width
        assert len(batch) * widths[0] <= budget or len(batch) == 1
    assert same(batches, plan(lengths, int(lengths.max()), budget, seed, epoch))


@given(lengths_lists)
def test_widths_are_multiples_of_eight_or_the_longest_item(lengths):
    longest = int(lengths.max())
    widths = padded(lengths, longest)
    assert (widths >= lengths + 2).all()
    assert (widths < lengths + 2 + PAD_TO).all()
    assert ((widths % PAD_TO == 0) | (widths == longest + 2)).all()
    assert widths.max() == longest + 2 if (longest + 2) % PAD_TO else widths.max() % PAD_TO == 0


def test_orders_differ_by_seed_and_epoch():
    lengths = np.full(200, 6)
    orders = [np.concatenate(plan(lengths, 6, 64, s, e)).tolist() for s, e in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert len({tuple(order) for order in orders}) == 4


def test_long_and_short_items_are_mixed_over_an_epoch():
    lengths = np.repeat(np.array([6, 30, 62]), 2_000)
    batches = plan(lengths, 62, 256, 0, 0)
    widths = np.array([lengths[b[0]] for b in batches])
    for part in np.array_split(widths, 8):  # each eighth has nearly the mix of all
        for length in (6, 30, 62):
            assert np.mean(part == length) == pytest.approx(np.mean(widths == length), abs=0.15)


@given(lengths_lists, st.integers(0, 60))
def test_the_stream_resumes_anywhere(lengths, taken):
    longest = int(lengths.max())
    whole = list(itertools.islice(epochs(lengths, longest, 256, 5, 0, 0), taken + 20))
    assert [e for e, _, _ in whole] == sorted(e for e, _, _ in whole)
    epoch, position = (whole[taken - 1][0], whole[taken - 1][1] + 1) if taken else (0, 0)
    resumed = list(itertools.islice(epochs(lengths, longest, 256, 5, epoch, position), 20))
    for (e, p, index), (f, q, other) in zip(whole[taken:], resumed, strict=True):
        assert (e, p, index.tolist()) == (f, q, other.tolist())


def test_collate_puts_each_item_between_its_ends(corpus):
    index = np.array([17, 3, 400])
    batch = collate(corpus, index)
    assert batch.tokens.dtype == torch.int64
    for row, i in enumerate(index):
        tokens = corpus.tokens[corpus.offsets[i] : corpus.offsets[i + 1]].tolist()
        expected = [BOS, *tokens, EOS]
        assert batch.tokens[row].tolist() == expected + [PAD] * (batch.tokens.shape[1] - len(expected))
    assert batch.values.tolist() == [[17, -17], [3, -3], [400, -400]]


@pytest.mark.parametrize("multiple", [1, 2, 3])
def test_every_batch_of_a_width_has_one_shape(corpus, multiple):
    shapes: dict[int, set[int]] = {}
    for batch in plan(corpus.lengths, corpus.longest, 512, 0, 0):
        tokens = collate(corpus, batch, 512, multiple).tokens
        shapes.setdefault(tokens.shape[1], set()).add(tokens.shape[0])
        assert tokens.shape[0] % multiple == 0
        assert tokens.shape[0] * tokens.shape[1] <= 512 + (multiple - 1) * tokens.shape[1]
        assert (tokens[: len(batch), 0] == BOS).all()
        assert (tokens[len(batch) :] == PAD).all()
    assert len(shapes) > 5
    assert all(len(rows) == 1 for rows in shapes.values())
    assert max(shapes) == corpus.longest + 2  # never wider than the longest item: a network that fits it fits all


def test_filling_rows_have_no_condition(corpus):
    batch = collate(corpus, np.array([0, 1]), 4_096)
    assert len(batch.values) > 2
    assert batch.values[2:].isnan().all()


def test_dropped_conditions_have_the_promised_statistics():
    rows, width, none, whole = 40_000, 5, 0.25, 0.35
    kept = ~drop_conditions(torch.zeros(rows, width), 1, 2, none, whole).isnan()
    counts = torch.bincount(kept.sum(-1), minlength=width + 1) / rows
    # the square of a uniform number is Beta(1/2, 1), so the number kept is beta-binomial
    beta = torch.tensor([_beta(k + 0.5, width - k + 1) * math.comb(width, k) / _beta(0.5, 1) for k in range(width + 1)])
    expected = (1 - none - whole) * beta
    expected[0] += none
    expected[-1] += whole
    torch.testing.assert_close(counts, expected, rtol=0, atol=4 * 0.5 / rows**0.5)
    torch.testing.assert_close(
        kept.float().mean(0), torch.full((width,), whole + (1 - none - whole) / 3), rtol=0, atol=0.01
    )


def _beta(a: float, b: float) -> float:
    return math.gamma(a) * math.gamma(b) / math.gamma(a + b)


def test_dropping_is_a_function_of_seed_and_step_and_keeps_values():
    values = torch.arange(40.0).view(8, 5)
    values[0, 0] = float("nan")
    a, b = (drop_conditions(values, 1, 2, 0.2, 0.2) for _ in range(2))
    assert torch.equal(a.isnan(), b.isnan())
    assert a[0, 0].isnan()
    assert torch.equal(a.nan_to_num(-1), torch.where(a.isnan(), -1, values))
    for seed, step in ((1, 3), (2, 2)):
        assert not torch.equal(drop_conditions(values, seed, step, 0.2, 0.2).isnan(), a.isnan())
    assert drop_conditions(values, 1, 2, 1.0, 0.0).isnan().all()
    assert torch.equal(drop_conditions(values, 1, 2, 0.0, 1.0).isnan(), values.isnan())
    assert torch.equal(drop_conditions(values[:3], 1, 2, 0.2, 0.2).isnan(), a[:3].isnan())  # filled rows change nothing
    assert drop_conditions(torch.empty(4, 0), 1, 2, 0.5, 0.1).shape == (4, 0)


def test_order_and_drops_share_no_numbers():
    from genesis.data.batches import _generator
    from genesis.rng import STREAM_DROPS, STREAM_ORDER

    drawn = [_generator(7, 3, stream).random(1_000).tolist() for stream in (STREAM_DROPS, STREAM_ORDER)]
    assert not set(drawn[0]) & set(drawn[1])


def test_real_lengths_are_padded_little(shared: Path):
    """ZINC SMILES by characters: the share of a batch that is not padding."""
    source = shared / "data" / "zinc250k" / "zinc250k_props.csv.xz"
    if not source.exists():
        pytest.skip("no zinc250k in the shared folder")
    with lzma.open(source, "rt") as file:
        lengths = np.array([len(row["smiles"]) for row in itertools.islice(csv.DictReader(file), 20_000)])
    longest = int(lengths.max())
    widths = [int(padded(lengths[batch], longest)[0]) for batch in plan(lengths, longest, 8_192, 0, 0)]
    assert (lengths + 2).sum() / sum(8_192 // width * width for width in widths) > 0.85

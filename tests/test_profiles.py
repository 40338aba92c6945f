"""What was not asked for is borrowed from training items that have what was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genesis.data.encoded import Row, write
from genesis.errors import CheckpointError
from genesis.nn.conditioner import CategoryField, NumberField
from genesis.nn.text import TextField
from genesis.profiles import KEPT, NEAREST, PROFILES, Profiles
from genesis.targets import Targets

FIELDS = (
    NumberField(name="weight", mean=0.0, std=2.0, quantiles=(0.0, 1.0)),
    NumberField(name="double", mean=0.0, std=4.0, quantiles=(0.0, 1.0)),
    CategoryField(name="sign", values=("minus", "plus")),
)
NAN = float("nan")


@pytest.fixture(scope="module")
def profiles() -> Profiles:
    """Items of which the second property is twice the first, and the third its sign."""
    x = np.random.default_rng(0).normal(0, 2, 5_000)
    return Profiles(np.stack((x, 2 * x, x > 0), -1).astype(np.float32), FIELDS)


def test_what_is_asked_stays_and_the_rest_goes_with_it(profiles):
    asked = torch.tensor([[1.5, NAN, NAN], [-2.25, NAN, NAN], [0.7, NAN, NAN]])
    filled = profiles.fill(asked, torch.rand(3))
    assert torch.equal(filled[:, 0], asked[:, 0])
    torch.testing.assert_close(filled[:, 1], 2 * asked[:, 0], rtol=0, atol=0.05)
    assert filled[:, 2].tolist() == [1, 0, 1]


def test_a_label_is_matched_before_any_number(profiles):
    filled = profiles.fill(torch.tensor([[1.0, NAN, 0.0]]), torch.tensor([0.5]))
    assert filled[0, 0] == 1.0
    assert filled[0, 1] < 0  # of the items with that label, one near


def test_the_nearest_are_chosen_evenly_and_are_the_nearest(profiles):
    u = (torch.arange(8_000) + 0.5) / 8_000
    filled = profiles.fill(torch.tensor([[0.3, NAN, NAN]]).expand(8_000, 3), u)
    seen, counts = np.unique(filled[:, 1].numpy(), return_counts=True)
    nearest = np.sort(np.abs(profiles.values[:, 0] - 0.3))[:NEAREST]
    np.testing.assert_allclose(np.sort(np.abs(seen / 2 - 0.3)), nearest, atol=1e-6)
    assert counts.tolist() == [8_000 // NEAREST] * NEAREST


def test_an_item_borrows_the_same_whatever_its_company(profiles):
    targets = Targets.check({"weight": (-1, 1)}, FIELDS, {}, profiles)
    whole = targets.values(torch.arange(64), 3)
    assert torch.equal(targets.values(torch.arange(20, 30), 3), whole[20:30])
    assert not whole.isnan().any()
    assert not targets.alike
    assert (
        Targets.check({}, FIELDS, {}, profiles).values(torch.arange(4), 3).isnan().all()
    )  # nothing asked, nothing told


def test_few_profiles_are_enough():
    one = Profiles(np.array([[1, 2, 1]], np.float32), FIELDS)
    assert one.fill(torch.tensor([[5.0, NAN, NAN]]), torch.tensor([0.99])).tolist() == [[5, 2, 1]]


def test_the_sample_holds_complete_training_items(tmp_path):
    rows = [
        Row(np.array([5], np.uint16), np.array([i, NAN if i % 7 == 0 else 2 * i, 1], np.float32), i % 10 == 0)
        for i in range(300)
    ]
    corpus = write(rows, tmp_path / "corpus", {"properties": ["weight", "double", "sign"]})
    found = Profiles.sample(corpus, FIELDS, 0)
    assert found is not None
    assert {int(x) for x in found.values[:, 0]} == {i for i in range(300) if i % 7 and i % 10}
    empty = write([Row(rows[7].tokens, rows[7].values, False)], tmp_path / "none", {"properties": ["a", "b", "c"]})
    assert Profiles.sample(empty, FIELDS, 0) is None


def test_they_are_read_as_they_were_written(tmp_path, profiles):
    assert Profiles.read(tmp_path, FIELDS) is None
    profiles.write(tmp_path)
    assert np.array_equal(Profiles.read(tmp_path, FIELDS).values, profiles.values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 2), np.float32), r"float32 of shape \(3, 2\); float32 \[M, 3\] is read"),
        (np.zeros((3, 3)), "float64 of shape"),
        (np.zeros(3, np.float32), r"of shape \(3,\)"),
        (np.full((3, 3), np.nan, np.float32), "finite ones are read"),
        (np.zeros((0, 3), np.float32), "0 rows, 1 to"),
        (np.zeros((KEPT + 1, 3), np.float32), f"1 to {KEPT:,} finite ones"),
        (np.array([{}], object), "not readable as a numpy array"),
    ],
)
def test_what_is_no_table_of_profiles_is_refused(tmp_path, values, message):
    np.save(tmp_path / PROFILES, values, allow_pickle=True)
    with pytest.raises(CheckpointError, match=message):
        Profiles.read(tmp_path, FIELDS)


def test_a_truncated_file_is_refused(tmp_path, profiles):
    profiles.write(tmp_path)
    file = tmp_path / PROFILES
    file.write_bytes(file.read_bytes()[:1_000])
    with pytest.raises(CheckpointError, match="not readable as a numpy array"):
        Profiles.read(tmp_path, FIELDS)


def test_a_text_is_neither_borrowed_nor_compared():
    """Its number is a place among the texts of one request, and means another text in every other."""
    fields = (FIELDS[0], TextField.of("prompt", ["a cat", "a dog"]), FIELDS[2])
    rows = np.array([[1.0, 0, 1], [1.1, 1, 1], [-1.0, 0, 0], [-1.1, 1, 0]] * 4, np.float32)
    known = Profiles(rows, fields)
    filled = known.fill(torch.tensor([[1.0, NAN, NAN]]), torch.tensor([0.5]))
    assert filled[0].isnan().tolist() == [False, True, False]
    assert filled[0, 2] == 1
    filled = known.fill(torch.tensor([[NAN, 1.0, 0.0]]), torch.tensor([0.5]))
    assert filled[0, 1] == 1.0
    assert filled[0, 0] < 0
    alone = torch.tensor([[NAN, 1.0, NAN]])
    assert known.fill(alone, torch.tensor([0.5]))[0].isnan().tolist() == [True, False, True]

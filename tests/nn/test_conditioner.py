"""Any subset of properties: absent is absent, near values can be told apart, order of rows does not matter."""

from __future__ import annotations

import math
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from genesis.nn.conditioner import FREQUENCIES, CategoryField, Conditioner, NumberField

FIELDS = (
    NumberField(name="logp", mean=2.5, std=1.2, quantiles=()),
    CategoryField(name="style", values=("bach", "folk", "none")),
    NumberField(name="weight", mean=300.0, std=25.0, quantiles=()),
)
NAN = float("nan")


@pytest.fixture(scope="module")
def conditioner() -> Conditioner:
    torch.manual_seed(0)
    return Conditioner(FIELDS, 16).double()


def values(*rows: tuple[float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def by_hand(c: Conditioner, row: tuple[float, float, float]) -> Tensor:
    """The vector of one row, a property at a time."""
    out = torch.zeros(16, dtype=torch.float64)
    number = 0
    for column, (field, value) in enumerate(zip(FIELDS, row, strict=True)):
        if isinstance(field, NumberField):
            if math.isnan(value):
                out += c.absent[column]
            else:
                x = max(-8.0, min(8.0, (value - field.mean) / field.std))
                angles = [x * 2.0**k * math.pi / 4 for k in range(FREQUENCIES)]
                features = [x, *map(math.sin, angles), *map(math.cos, angles)]
                out += torch.tensor(features, dtype=torch.float64) @ c.numbers[number]
            number += 1
        else:
            out += c.absent[column] if math.isnan(value) else c.categories[0].weight[int(value)]
    return c.mlp(out)


@pytest.mark.parametrize(
    "row", [(2.5, 0, 300), (NAN, NAN, NAN), (0.1, NAN, 311.5), (NAN, 2, NAN), (1e9, 1, -1e9), (-3.0, 2, NAN)]
)
def test_it_is_the_sum_of_its_parts(conditioner, row):
    torch.testing.assert_close(conditioner(values(row))[0], by_hand(conditioner, row), rtol=1e-6, atol=1e-6)


def test_rows_do_not_see_each_other(conditioner):
    rows = values((2.5, 0, 300), (NAN, NAN, NAN), (0.1, NAN, 311.5))
    torch.testing.assert_close(conditioner(rows), torch.cat([conditioner(row[None]) for row in rows]))


@given(st.integers(1, 2**22 - 1), st.booleans())
def test_every_nan_is_the_same_absence(payload, negative):
    bits = 0x7F800000 | payload | (0x80000000 if negative else 0)
    torch.manual_seed(0)
    conditioner = Conditioner(FIELDS, 8)
    strange = torch.tensor([[1.0, NAN, NAN]])
    strange.view(torch.int32)[0, 1:] = struct.unpack("<i", struct.pack("<I", bits))[0]
    assert strange[0, 1:].isnan().all()
    assert torch.equal(conditioner(strange), conditioner(torch.tensor([[1.0, NAN, NAN]])))


def test_absent_is_neither_zero_nor_the_mean(conditioner):
    absent, zero, mean = conditioner(values((NAN, 0, 300), (0.0, 0, 300), (2.5, 0, 300)))
    assert (absent - zero).norm() > 1e-3
    assert (absent - mean).norm() > 1e-3


def test_it_tells_near_values_and_every_label_apart(conditioner):
    a, b = conditioner(values((2.5, 0, 300), (2.5 + 1.2 / 50, 0, 300)))
    assert (a - b).norm() > 1e-3
    labels = conditioner(values(*((2.5, label, 300) for label in range(3))))
    assert torch.pdist(labels).min() > 1e-3


def test_values_beyond_eight_deviations_are_taken_for_eight(conditioner):
    near, far, below = conditioner(values((2.5 + 9 * 1.2, 0, 300), (1e30, 0, 300), (-1e30, 0, 300)))
    torch.testing.assert_close(near, far)
    assert (near - below).norm() > 1e-3
    assert conditioner(torch.full((1, 3), NAN, dtype=torch.float64)).isfinite().all()


def test_no_field_at_all():
    conditioner = Conditioner((), 8)
    out = conditioner(torch.empty(4, 0))
    assert out.shape == (4, 8)
    assert torch.equal(out, out[:1].expand(4, 8))
    out.sum().backward()
    assert all(p.grad is not None for p in conditioner.parameters())  # none is left out, which DDP would refuse


def test_gradients_reach_every_parameter_that_a_batch_uses(conditioner):
    conditioner.zero_grad()
    conditioner(values((2.5, 0, NAN), (NAN, NAN, 310))).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in conditioner.parameters())
    assert conditioner.categories[0].weight.grad[1:].abs().sum() == 0  # the labels that did not occur


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        (NumberField, {"mean": NAN, "std": 1.0}),
        (NumberField, {"mean": 0.0, "std": 0.0}),
        (NumberField, {"mean": 0.0, "std": 1e-50}),  # 0 in float32
        (NumberField, {"mean": 1e50, "std": 1.0}),  # inf in float32
        (CategoryField, {"values": ()}),
    ],
)
def test_fields_that_would_give_nan_are_refused(field, wrong):
    with pytest.raises(ValidationError):
        field(name="x", **({"quantiles": ()} if field is NumberField else {}), **wrong)

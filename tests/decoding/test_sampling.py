"""The kept set is exact, and the draw follows the probabilities."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from genesis.decoding.sampling import NEVER, Rules, draw, keep
from genesis.rng import gumbel


def kept(logits: list[float], **rules: float) -> set[int]:
    out = keep(torch.tensor([logits]), Rules(**rules))[0]
    return {i for i, x in enumerate(out.tolist()) if x > NEVER}


def log(*p: float) -> list[float]:
    return [math.log(x) for x in p]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, {0, 1, 2, 3}),
        ({"top_k": 1}, {1}),
        ({"top_k": 3}, {0, 1, 3}),
        ({"top_k": 9}, {0, 1, 2, 3}),
        ({"top_p": 0.39}, {1}),
        ({"top_p": 0.41}, {1, 0}),
        ({"top_p": 0.71}, {1, 0, 3}),
        ({"top_p": 1.0}, {0, 1, 2, 3}),
        ({"min_p": 0.6}, {0, 1}),
        ({"min_p": 0.4}, {0, 1, 3}),
        ({"min_p": 1.0}, {1}),
        ({"top_k": 3, "top_p": 0.5}, {0, 1}),  # top_p is of what top_k left: 0.4 / 0.9 < 0.5
    ],
)
def test_kept_set_by_hand(rules, expected):
    assert kept(log(0.3, 0.4, 0.1, 0.2), **rules) == expected


def test_ties_go_to_the_lower_token():
    assert kept([0.0, 0.0, 0.0, 0.0], top_k=2) == {0, 1}
    assert kept([0.0, 0.0, 0.0, 0.0], top_p=0.5) == {0, 1}


@given(
    st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=40),
    st.integers(0, 45),
    st.floats(0.01, 1),
    st.floats(0, 1),
)
def test_kept_set_is_never_empty_and_holds_the_most_probable(logits, top_k, top_p, min_p):
    chosen = kept(logits, top_k=top_k, top_p=top_p, min_p=min_p)
    assert logits.index(max(logits)) in chosen
    assert not top_k or len(chosen) <= top_k


@given(st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=30, unique=True), st.floats(0.05, 0.999))
def test_top_p_is_the_smallest_set_that_reaches_p(logits, p):
    exact = torch.tensor(logits, dtype=torch.float64).softmax(-1)
    chosen = kept(logits, top_p=p)
    total = float(exact[sorted(chosen)].sum())
    smallest = min(float(exact[i]) for i in chosen)
    assert total >= p - 1e-5
    assert total - smallest < p + 1e-5


def test_masked_tokens_stay_masked():
    assert kept([NEVER, 0.0, NEVER, 1.0], top_k=4, top_p=0.999, min_p=0.01) == {1, 3}


def test_temperature_zero_is_greedy_and_needs_no_noise():
    assert draw(torch.tensor([[0.0, 3.0, 1.0]]), None, Rules(temperature=0)).tolist() == [1]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax_at_each_temperature(temperature):
    logits = torch.tensor(log(0.5, 0.3, 0.15, 0.05))
    expected = (logits / temperature).softmax(-1)
    count = 40_000
    noise = gumbel(3, torch.arange(count), 0, 4)
    drawn = draw(logits.expand(count, 4), noise, Rules(temperature=temperature))
    seen = torch.bincount(drawn, minlength=4)
    chi_square = float(((seen - count * expected) ** 2 / (count * expected)).sum())
    assert chi_square < 16.3  # 0.1 % of draws with 3 degrees of freedom


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"temperature": math.nan}, {"top_p": 0}, {"top_p": 1.1}, {"min_p": 2}, {"top_k": -1}]
)
def test_rules_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(ValidationError):
        Rules(**wrong)

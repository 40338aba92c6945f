"""The sampler in one launch: the same tokens as the reference, exact kept sets, the right frequencies."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from genesis import rng
from genesis_kernels import reference
from genesis_kernels import token_sampler as kernel

# integers that wrap, and infinity less infinity where the kernel looks for it: numpy, which interprets, says so
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
NEVER = float("-inf")
MADE = ("token", "position", "length", "ended", "log_prob", "out")


def rules(temperature: float = 1, top_k: int = 0, top_p: float = 1, min_p: float = 0, guidance: float = 1) -> Tensor:
    return torch.tensor([temperature, top_k, top_p, min_p, guidance], dtype=torch.float32)


def state(guarded, position: list[int], room: int) -> dict[str, Tensor]:
    R = len(position)
    where = torch.tensor(position, dtype=torch.int32)
    return {
        "token": guarded.copy(torch.full((R,), 7)),
        "position": guarded.copy(where),
        "length": guarded.copy(where.clamp(min=0)),
        "ended": guarded.copy(torch.zeros(R, dtype=torch.bool)),
        "log_prob": guarded.copy(torch.linspace(-3, 0, R)),
        "out": guarded.copy(torch.full((R, room), -9, dtype=torch.int32)),
    }


def empty_state(R: int, position: Tensor | None = None, room: int = 2) -> dict[str, Tensor]:
    return {
        "token": torch.zeros(R, dtype=torch.int64),
        "position": torch.zeros(R, dtype=torch.int32) if position is None else position.clone(),
        "length": torch.zeros(R, dtype=torch.int32),
        "ended": torch.zeros(R, dtype=torch.bool),
        "log_prob": torch.zeros(R),
        "out": torch.zeros(R, room, dtype=torch.int32),
    }


def kept_set(logits: Tensor, which: Tensor, seed: int = 3) -> set[int]:
    """The tokens that are kept, exactly: each possible one gets a row whose noise would draw it were it kept."""
    possible = logits.isfinite().nonzero()[:, 0]
    items = torch.arange(20_000)
    cooled = logits / which[0] + rng.gumbel(seed, items, 0, len(logits))
    best = cooled.argmax(-1)
    item = torch.stack([items[best == token][0] for token in possible])
    made = empty_state(len(item))
    rows = logits.expand(len(item), -1).contiguous()
    kernel.forward(rows, None, torch.tensor([seed]), which, item, *made.values(), len(logits))
    drawn = set(made["token"].tolist())
    assert drawn == {int(token) for token, got in zip(possible, made["token"], strict=True) if token == got}
    return drawn


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    "which",
    [
        rules(),
        rules(0),
        rules(0.7, 5),
        rules(1, top_p=0.8),
        rules(1.3, min_p=0.2),
        rules(1, 10, 0.7, 0.1),
        rules(1, 200),
        rules(guidance=2.5),
    ],
    ids=lambda r: " ".join(f"{x:g}" for x in r.tolist()),
)
def test_one_step_is_the_references(guarded, normal, which, dtype, masked):
    """Rows at the first, a middle and the last place, an idle row, one with NaN, one with infinity."""
    position, V, room = [0, 3, 8, -1, 2, 5, 4], 150, 9
    R, guided = len(position), float(which[4]) != 1
    logits = (3 * normal(R * (1 + guided), 160)).to(dtype)
    logits[:, :2] = NEVER
    logits[4, 50], logits[5, 9] = float("nan"), float("inf")
    allowed = (normal(R, V) > -0.5) if masked else None
    if allowed is not None:
        allowed[:, 2] = True
    inputs = (logits, allowed, torch.tensor([2**40 + 17]), which, torch.arange(R) * 2**33 + 3)
    found, expected = state(guarded, position, room), state(guarded, position, room)
    kernel.forward(*inputs, *found.values(), V)
    reference.token_sampler(*inputs, *expected.values(), V)
    good = [0, 1, 2, 3, 6]  # what a spoiled row drew is never looked at
    assert torch.equal(found["token"][good], expected["token"][good])
    assert allowed is None or allowed[good, found["token"][good]][torch.tensor(position)[good] >= 0].all()
    for name in MADE[1:]:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5, equal_nan=True)
    assert found["position"].tolist()[3:6] == [-1, -1, -1]
    assert (found["out"][3] == -9).all()


@pytest.mark.parametrize(
    ("which", "kept"),
    [
        (rules(), {0, 1, 2, 3}),
        (rules(top_k=1), {1}),
        (rules(top_k=3), {0, 1, 3}),
        (rules(top_p=0.39), {1}),
        (rules(top_p=0.41), {1, 0}),
        (rules(top_p=0.71), {1, 0, 3}),
        (rules(min_p=0.6), {0, 1}),
        (rules(min_p=0.4), {0, 1, 3}),
        (rules(top_k=3, top_p=0.5), {0, 1}),  # top_p is of what top_k left: 0.4 / 0.9 < 0.5
    ],
    ids=str,
)
def test_kept_set_by_hand(which, kept):
    """Probabilities 0.3, 0.4, 0.1, 0.2 of four tokens that are none of the special ones."""
    logits = torch.full((7,), NEVER)
    logits[3:] = torch.tensor([0.3, 0.4, 0.1, 0.2]).log()
    assert kept_set(logits, which) == {3 + token for token in kept}


@pytest.mark.parametrize("which", [rules(1.5, 9), rules(0.8, top_p=0.6), rules(1, 25, 0.9, 0.02)], ids=str)
def test_kept_set_of_many_is_the_references(normal, which):
    logits = normal(40)
    logits[:3] = NEVER
    kept = reference.keep(logits[None] / which[0], int(which[1]), float(which[2]), float(which[3]))[0]
    assert kept_set(logits, which) == set(kept.isfinite().nonzero()[:, 0].tolist())


def test_ties_go_to_the_lower_token():
    logits = torch.full((9,), NEVER)
    logits[3:7] = 0.25
    assert kept_set(logits, rules(top_k=2)) == {3, 4}
    assert kept_set(logits, rules(top_p=0.5)) == {3, 4}
    logits[5] = 0.5
    assert kept_set(logits, rules(top_k=2)) == {5, 3}
    logits[3], logits[4] = 0.0, -0.0
    assert kept_set(torch.where(logits < 0.2, logits, NEVER), rules(top_k=1)) == {3}


def test_noise_is_that_of_the_host(normal):
    """argmax(logits + gumbel) with the noise of ``genesis.rng``, for large seeds, items and steps."""
    R, V, seed = 40, 200, 2**62 + 2**33 + 5
    logits, item, room = normal(R, V), torch.arange(R) * (2**50 + 12345), 60
    logits[:, :3] = NEVER
    made = empty_state(R, torch.arange(R, dtype=torch.int32), room)
    kernel.forward(logits, None, torch.tensor([seed]), rules(), item, *made.values(), V)
    expected = [int((logits[i] + rng.gumbel(seed, item[i : i + 1], i, V)[0]).argmax()) for i in range(R)]
    assert made["token"].tolist() == expected


def test_a_row_draws_the_same_whatever_the_batch(guarded, normal):
    logits, items = normal(12, 40), torch.arange(12) + 2**35
    whole = state(guarded, [4] * 12, 8)
    kernel.forward(logits, None, torch.tensor([9]), rules(0.9, 20, 0.9), items, *whole.values(), 40)
    for some in (torch.tensor([7]), torch.tensor([11, 0, 5])):
        part = state(guarded, [4] * len(some), 8)
        kernel.forward(logits[some], None, torch.tensor([9]), rules(0.9, 20, 0.9), items[some], *part.values(), 40)
        assert torch.equal(part["token"], whole["token"][some])


@pytest.mark.parametrize(
    ("R", "top_p", "limit"),
    [
        (400, 1.0, 20.5),  # 0.1 % of draws with 5 degrees of freedom
        (140, 0.9, 18.5),  # with 4: one of six tokens is cut off
        pytest.param(5_000, 0.9, 18.5, marks=pytest.mark.slow),
    ],
)
def test_frequencies_are_the_softmax(R, top_p, limit):
    """Chi-square of draws from six tokens at temperature 2, and the likelihood that is told of them."""
    p = torch.tensor([0.4, 0.25, 0.15, 0.12, 0.06, 0.02])
    logits = torch.cat((torch.full((3,), NEVER), p.log()))
    cooled = (p.log() / 2).softmax(0)
    before = cooled.cumsum(0) - cooled
    expected = torch.where(before < top_p, cooled, 0)
    expected = expected / expected.sum() * R
    kept = expected > 0
    assert int(kept.sum()) == (6 if top_p == 1 else 5)
    assert float(expected[kept].min()) > 5
    made = empty_state(R)
    rows = logits.expand(R, -1).contiguous()
    kernel.forward(rows, None, torch.tensor([11]), rules(2, top_p=top_p), torch.arange(R), *made.values(), 9)
    seen = torch.bincount(made["token"], minlength=9)[3:]
    assert (seen[~kept] == 0).all()
    assert float(((seen - expected)[kept] ** 2 / expected[kept]).sum()) < limit
    likelihood = made["log_prob"].double()
    assert math.isclose(float(likelihood.mean()), float((seen.double() @ p.double().log()) / R), abs_tol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_same_bits_every_time(guarded, normal, dtype):
    logits, items = (3 * normal(3, 90)).to(dtype), torch.arange(3) + 2**40
    runs = []
    for _ in range(3):
        made = state(guarded, [0, 5, 2], 9)
        kernel.forward(logits, None, torch.tensor([5]), rules(0.9, 12, 0.9, 0.01), items, *made.values(), 90)
        runs.append([t.clone() for t in made.values()])
    assert all(all(map(torch.equal, runs[0], run)) for run in runs[1:])

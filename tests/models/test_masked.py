"""Masked diffusion against the exact bound of a toy: the average over all orders of filling."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from pydantic import ValidationError

from genesis.errors import UsageError
from genesis.models.masked import MaskedConfig, MaskedDiffusion

SHAPE = MaskedConfig(vocab=6, max_length=4, dim=32, depth=1, heads=2, kv_heads=1, ff_dim=32, cond_dim=8)
WORDS = {(3, 4, 3): 0.5, (4, 3, 5): 0.25, (5,): 0.25}  # what the toy corpus holds, and how often
ENTROPY = 1.5 * math.log(2)


def make(seed: int = 0) -> MaskedDiffusion:
    torch.manual_seed(seed)
    model = MaskedDiffusion(SHAPE)
    for p in model.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return model.eval()


def framed(words: list[tuple[int, ...]], width: int = 5) -> torch.Tensor:
    rows = torch.zeros(len(words), width, dtype=torch.int64)
    for row, word in enumerate(words):
        rows[row, : len(word) + 2] = torch.tensor([1, *word, 2])
    return rows


@torch.no_grad()
def exact(model: MaskedDiffusion, word: tuple[int, ...]) -> float:
    """-log p(T) and the mean, over all orders, of the nats of filling one token after the other."""
    body, length, values = torch.tensor([word]), torch.tensor([len(word)]), torch.empty(1, 0)
    total = 0.0
    orders = list(itertools.permutations(range(len(word))))
    for order in orders:
        masked = torch.ones(1, len(word), dtype=torch.bool)
        for place in order:
            total += float(model.masked_nats(body, length, values, masked)[0, place])
            masked[0, place] = False
    return total / len(orders) - float(model.lengths(values)[0, len(word)])


@pytest.mark.parametrize("word", WORDS)
def test_the_loss_is_the_exact_bound_in_the_mean(word: tuple[int, ...]) -> None:
    model = make()
    torch.manual_seed(0)
    with torch.no_grad():
        losses = [float(model.loss(framed([word] * 512), torch.empty(512, 0))) / 512 for _ in range(40)]
    error = float(torch.tensor(losses).std()) / math.sqrt(40)
    assert sum(losses) / 40 == pytest.approx(exact(model, word), abs=4 * error + 0.01)


def test_a_trained_toy_reaches_its_entropy() -> None:
    """A bound is at least the entropy of the corpus, and a model that fits comes close to it."""
    torch.manual_seed(0)
    model = MaskedDiffusion(SHAPE)
    rows = framed([word for word, p in WORDS.items() for _ in range(round(64 * p))])
    adam = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(600):
        adam.zero_grad()
        (model.loss(rows, torch.empty(64, 0)) / 64).backward()
        adam.step()
    bound = sum(p * exact(model, word) for word, p in WORDS.items())
    assert ENTROPY <= bound < ENTROPY + 0.08


@torch.no_grad()
def test_what_is_not_masked_is_seen_on_both_sides_and_padding_is_not() -> None:
    model = make()
    body = torch.tensor([[3, 4, 3, 0], [3, 4, 3, 5]])
    masked = torch.zeros(2, 4, dtype=torch.bool)
    masked[:, 1] = True
    three, four = torch.tensor([3, 3]), torch.tensor([4, 4])
    nats = model.masked_nats(body, three, torch.empty(2, 0), masked)[:, 1]
    assert float(nats[0]) == pytest.approx(float(nats[1]))  # the fourth token lies outside a sequence of three
    changed = body.clone()
    changed[:, 2] = 5
    assert float(model.masked_nats(changed, three, torch.empty(2, 0), masked)[0, 1]) != float(nats[0])
    assert float(model.masked_nats(body, four, torch.empty(2, 0), masked)[1, 1]) != float(nats[1])


@torch.no_grad()
def test_neither_padding_nor_frame_is_ever_predicted() -> None:
    model = make()
    logits = model(torch.full((1, 3), model.mask), torch.tensor([3]), torch.empty(1, 0))
    assert (logits[..., :3] == float("-inf")).all()
    assert float(model.lengths(torch.empty(1, 0)).exp().sum()) == pytest.approx(1)
    padded = torch.cat((framed([(5,)]), torch.zeros(3, 5, dtype=torch.int64)))
    assert math.isfinite(float(model.loss(padded, torch.empty(4, 0))))


def test_what_does_not_fit() -> None:
    with pytest.raises(UsageError, match="5 tokens; this network was made for at most 4"):
        make()(torch.zeros(1, 5, dtype=torch.int64), torch.tensor([5]), torch.empty(1, 0))
    with pytest.raises(ValidationError, match="do not divide evenly"):
        MaskedConfig.model_validate({**SHAPE.model_dump(), "heads": 3})

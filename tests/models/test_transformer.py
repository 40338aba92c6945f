"""The decoder as a probability: causal, normalised, conditional, and able to learn.

B  batch    T  tokens    V  vocabulary
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from genesis.domain import BOS, EOS, PAD
from genesis.errors import UsageError
from genesis.models.transformer import SIZES, Transformer, TransformerConfig
from genesis.nn.conditioner import CategoryField, NumberField

FIELDS = (
    NumberField(name="qed", mean=0.7, std=0.1, quantiles=()),
    CategoryField(name="style", values=("a", "b")),
)
NAN = float("nan")
STEPS = 80


def shaken(vocab: int = 11, max_length: int = 24, fields=FIELDS, seed: int = 0) -> Transformer:
    """A tiny decoder in float64 whose every parameter matters (a new one ignores its conditions)."""
    torch.manual_seed(seed)
    model = Transformer(TransformerConfig.of("tiny", vocab, max_length, fields)).double()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> Transformer:
    return shaken()


def draw(B: int, T: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, 11, (B, T), generator=generator)
    values = torch.stack((torch.randn(B, generator=generator) * 0.1 + 0.7, torch.arange(B) % 2), -1)
    return tokens, values.double()


@settings(max_examples=40)
@given(st.integers(1, 23), st.integers(0, 22), st.integers(0, 1_000))
def test_a_token_changes_nothing_before_it_and_something_after(model, T, place, seed):
    place = min(place, T - 1)
    tokens, values = draw(2, T, seed)
    other = tokens.clone()
    other[:, place] = 3 + (tokens[:, place] - 3 + 1) % 8
    with torch.no_grad():
        a, b = model(tokens, values), model(other, values)
    torch.testing.assert_close(a[:, :place], b[:, :place], rtol=0, atol=1e-12)
    assert (a[:, place:] - b[:, place:]).abs().amax((1, 2)).min() > 1e-6


def test_padding_and_company_change_no_loss(model):
    rows = [draw(1, T, seed=T)[0][0] for T in (2, 5, 9, 14)]
    _, values = draw(4, 1)
    alone = sum(model.loss(row[None], values[i : i + 1]) for i, row in enumerate(rows))
    padded = torch.full((4, 16), PAD)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    torch.testing.assert_close(model.loss(padded, values), alone)
    empty = torch.cat((padded, torch.full((3, 16), PAD)))
    absent = torch.cat((values, torch.full((3, 2), NAN)))
    torch.testing.assert_close(model.loss(empty, absent), alone)


def test_absent_conditions_are_the_same_whatever_their_bits(model):
    tokens, _ = draw(2, 7)
    quiet = torch.full((2, 2), NAN)
    strange = torch.tensor([[0x7FABCDEF, -0x400001], [0x7F800001, 0x7FFFFFFF]], dtype=torch.int32).view(torch.float32)
    assert strange.isnan().all()
    assert torch.equal(model(tokens, strange.double()), model(tokens, quiet.double()))


@pytest.mark.parametrize("column", [0, 1])
def test_every_condition_reaches_every_logit(model, column):
    tokens, values = draw(2, 7)
    changed = values.clone()
    changed[:, column] = 0.55 if column == 0 else 1 - values[:, 1]
    absent = values.clone()
    absent[:, column] = NAN
    base = model(tokens, values)
    for other in (changed, absent):
        assert (model(tokens, other) - base).abs().amax(-1).min() > 1e-4
    torch.testing.assert_close(model(tokens[:1], changed[:1]), model(tokens, changed)[:1])  # its own row's alone


def test_a_new_model_ignores_its_conditions_and_is_nearly_uniform():
    torch.manual_seed(0)
    model = Transformer(TransformerConfig.of("tiny", 64, 16, FIELDS))
    tokens, values = draw(3, 12)
    torch.testing.assert_close(model(tokens, values.float()), model(tokens, torch.full((3, 2), NAN)))
    assert model.nats(tokens, values.float()).item() / 33 == pytest.approx(math.log(64), rel=0.02)


def test_loss_is_the_cross_entropy_counted_by_hand(model):
    tokens, values = draw(3, 9)
    tokens[0, 6:], tokens[1, 3:] = PAD, PAD
    logits = model(tokens[:, :-1], values).detach()
    nats = 0.0
    for row, column in itertools.product(range(3), range(8)):
        target = int(tokens[row, column + 1])
        if target != PAD:
            z = logits[row, column]
            nats -= float(z[target]) - math.log(sum(math.exp(float(x)) for x in z))
    assert model.nats(tokens, values).item() == pytest.approx(nats, rel=1e-6)
    assert model.loss(tokens, torch.full_like(values, NAN)).item() == pytest.approx(
        model.nats(tokens, torch.full_like(values, NAN)).item()
    )


@torch.no_grad()
def test_the_account_is_what_its_contributions_add_up_to(model):
    """By hand: two Huber distances of the closed accounts from the targets, at the token before <eos>."""
    tokens, values = draw(2, 6)
    tokens[:, -1] = EOS
    tokens[1, 3:] = torch.tensor([EOS, PAD, PAD])
    x = model.embed(tokens) + model.position.weight[:6]
    x, branch = model.layers[0](
        x,
        None,
        None,
        model.layers[0].modulation(values.new_zeros(2, 1)),
        model.cos[:6].double(),
        model.sin[:6].double(),
    )
    x = x + branch
    y = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    a = (y.float() @ model.account.contribution.weight.float().T + model.account.contribution.bias.float())[..., 0]
    error = 0.0
    for row, end in ((0, 5), (1, 3)):
        z = (float(values[row, 0]) - 0.7) / 0.1
        off = abs(float(a[row, :end].sum()) - z)
        error += 0.5 * off**2 if off < 1 else off - 0.5
    extra = model.loss(tokens, values) - model.nats(tokens, values)
    assert extra.item() == pytest.approx(error, rel=1e-4)


def test_the_account_does_not_see_what_it_is_compared_with(model):
    """A target that could be read by the blocks below would simply be copied into the account."""
    tokens, values = draw(2, 9)
    other = values + 0.03
    assert torch.equal(model._read(tokens, values, None)[1], model._read(tokens, other, None)[1])
    assert not torch.equal(model(tokens, values), model(tokens, other))


def test_probabilities_of_all_sequences_sum_to_one():
    model = shaken(vocab=6, max_length=8, seed=3)
    with torch.no_grad():
        model.head.bias[[PAD, BOS]] = -1e9  # never drawn: a sequence is letters, then the end or the limit
    letters, limit = (3, 4, 5), 4
    for values in (torch.tensor([[0.8, 1.0]]), torch.tensor([[NAN, NAN]])):
        total = 0.0
        for length in range(limit + 1):
            texts = list(itertools.product(letters, repeat=length))
            tokens = torch.tensor([[BOS, *text, *([EOS] if length < limit else [])] for text in texts])
            padded = torch.nn.functional.pad(tokens, (0, limit + 1 - tokens.shape[1]))
            with torch.no_grad():
                log_p = [-float(model.nats(row[None], values.double())) for row in padded]
            total += sum(map(math.exp, log_p))
        assert total == pytest.approx(1, abs=1e-6)


def test_it_learns_a_grammar_and_what_its_condition_says():
    """Palindromes over two letters, of the length that the condition asks for."""
    torch.manual_seed(0)
    fields = (NumberField(name="length", mean=3.0, std=1.0, quantiles=()),)
    model = Transformer(TransformerConfig.of("tiny", 5, 6, fields))
    halves = [h for n in (1, 2) for h in itertools.product((3, 4), repeat=n)]
    tokens = torch.zeros(len(halves), 6, dtype=torch.long)
    for row, half in enumerate(halves):
        text = (BOS, *half, *reversed(half), EOS)
        tokens[row, : len(text)] = torch.tensor(text)
    values = torch.tensor([[2.0 * len(half)] for half in halves])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.95), fused=True)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / STEPS)
        optimizer.zero_grad()
        (model.loss(tokens, values) / (tokens[:, 1:] != PAD).sum()).backward()
        optimizer.step()
    # the entropy that is left: 2 and 4 equally likely texts of the lengths asked for
    entropy = sum(len(half) * math.log(2) for half in halves) / len(halves)
    with torch.no_grad():
        assert float(model.nats(tokens, values)) / len(halves) == pytest.approx(entropy, rel=0.05)
        mass = {1: 0.0, 2: 0.0}
        for row, half in enumerate(halves):  # what the model gives to the texts when it is asked for the long ones
            mass[len(half)] += math.exp(-float(model.nats(tokens[row : row + 1], torch.tensor([[4.0]]))))
    assert mass[2] > 0.95
    assert mass[1] < 0.03


@pytest.mark.parametrize(("size", "millions"), [("tiny", 0.17), ("small", 5.0), ("base", 16), ("large", 87)])
def test_the_dial_gives_the_documented_number_of_parameters(size, millions):
    fields = tuple(NumberField(name=str(i), mean=0, std=1, quantiles=()) for i in range(10))
    with torch.device("meta"):
        model = Transformer(TransformerConfig.of(size, 272, 80, fields))
    count = sum(p.numel() for p in model.parameters())
    assert count == pytest.approx(millions * 1e6, rel=0.03)

    dim, depth, heads, kv_heads, ff, cond, reading = SIZES[size]
    block = dim * dim * (1 + 2 * kv_heads / heads) + dim * dim + 3 * dim * ff
    modulation, account = 6 * dim * (cond + 1), 10 * (dim + 1) + 10 * 15 * dim
    conditioner = 10 * 13 * cond + 10 * cond + 2 * cond * (cond + 1)
    ends = 272 * dim + 80 * dim + 2 * dim * (cond + 1) + 272 * (dim + 1)
    assert count == depth * block + (depth - reading) * modulation + account + conditioner + ends


def test_buffers_are_no_part_of_the_weights_and_can_be_made_anew():
    with torch.device("meta"):
        empty = Transformer(TransformerConfig.of("tiny", 11, 24, FIELDS))
    model = shaken().float()
    assert not set(dict(model.named_buffers())) & set(model.state_dict())
    empty.load_state_dict(model.state_dict(), assign=True)
    empty.fill_tables()
    tokens, values = draw(2, 20)
    torch.testing.assert_close(empty.eval()(tokens, values.float()), model(tokens, values.float()))


def test_a_sequence_that_does_not_fit_is_refused(model):
    tokens, values = draw(1, 25)
    assert model(tokens[:, :24], values).shape == (1, 24, 11)
    with pytest.raises(UsageError, match="a sequence of 25 tokens; this network was made for at most 24"):
        model(tokens, values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, "dim 64 is no multiple of 2 x 3 heads"),
        ({"heads": 64}, "dim 64 is no multiple of 2 x 64 heads"),
        ({"heads": 4, "kv_heads": 3}, "4 heads cannot share 3 key-value heads"),
        ({"fields": (FIELDS[0], FIELDS[0])}, "a field occurs twice in qed, qed"),
        ({"reading": 2}, "reading 2 of 2 blocks with 1 numeric fields; an account needs a block above it"),
        ({"fields": FIELDS[1:]}, "reading 1 of 2 blocks with 0 numeric fields"),
        ({"depth": 0}, "greater than or equal to 1"),
        ({"vocab": 10**9}, "less than or equal to 65536"),
        ({"width": 3}, "Extra inputs are not permitted"),
    ],
)
def test_shapes_that_cannot_be_are_refused(change, message):
    good = TransformerConfig.of("tiny", 11, 24, FIELDS).model_dump()
    assert TransformerConfig(**good).dim == 64
    with pytest.raises(ValidationError, match=message):
        TransformerConfig(**{**good, **change})

"""Decoding: the cache changes nothing, nor do the batch, its order, or what else is in it."""

import dataclasses

import pytest
import torch

from genesis import rng
from genesis.decoding import net
from genesis.decoding.constraint import EOS, PAD
from genesis.decoding.loop import Decoder, bucket
from genesis.decoding.net import Weights
from genesis.decoding.sampling import Rules
from genesis.models.transformer import Transformer, TransformerConfig
from genesis.nn.conditioner import NumberField

VOCAB = 24
ROOM = 32
FIELDS = (
    NumberField(name="a", mean=0, std=1, quantiles=(0, 1)),
    NumberField(name="b", mean=5, std=2, quantiles=(0, 1)),
)


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    model = Transformer(TransformerConfig.of("tiny", 32, ROOM, FIELDS)).eval()
    with torch.no_grad():
        for p in model.parameters():  # an untrained network ignores its condition and never stops: shake it
            p.add_(torch.randn_like(p) * 0.05)
        model.head.bias[EOS] += 1.5
    return model


def ask(count: int) -> torch.Tensor:
    values = torch.randn(count, 2, generator=torch.Generator().manual_seed(1))
    values[::3, 0] = float("nan")
    return values


def by_row(decoded):
    rows = zip(decoded.tokens, decoded.length.tolist(), decoded.ended.tolist(), decoded.log_prob.tolist(), strict=True)
    return [(t[:n].tolist(), ended, p) for t, n, ended, p in rows]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_items_do_not_depend_on_the_batch(model, dtype, guidance):
    """500 items, bit for bit, at batch sizes 1, 64 and 500 (1 on the first 40)."""
    decoder, values, items = Decoder(model, VOCAB, dtype), ask(500), torch.arange(500)
    whole = by_row(decoder.decode(values, items, 7, Rules(), guidance=guidance))
    parts = [
        by_row(decoder.decode(values[i : i + 64], items[i : i + 64], 7, Rules(), guidance=guidance))
        for i in range(0, 500, 64)
    ]
    assert [row for part in parts for row in part] == whole
    alone = [
        by_row(decoder.decode(values[i : i + 1], items[i : i + 1], 7, Rules(), guidance=guidance))[0] for i in range(40)
    ]
    assert alone == whole[:40]
    order = torch.randperm(500)
    shuffled = by_row(decoder.decode(values[order], items[order], 7, Rules(), guidance=guidance))
    assert [shuffled[i] for i in order.argsort().tolist()] == whole
    assert len({tuple(tokens) for tokens, _, _ in whole}) > 300


@pytest.mark.parametrize("asked", [(0.5, 1.0), (0.5, float("nan")), (float("nan"), float("nan"))])
def test_conditions_shared_by_all_rows_do_not_depend_on_the_batch_either(model, asked):
    decoder, values, items = Decoder(model, VOCAB), torch.tensor([asked]).expand(100, 2), torch.arange(100)
    whole = by_row(decoder.decode(values, items, 7, Rules(), shared=True))
    alone = [by_row(decoder.decode(values[:1], items[i : i + 1], 7, Rules(), shared=True))[0] for i in range(20)]
    assert alone == whole[:20]


@pytest.mark.parametrize("asked", [(0.5, 1.0), (float("nan"), 0.0)])
def test_conditions_folded_into_the_weights_are_the_same_conditions(model, asked):
    decoder, values = Decoder(model, VOCAB, torch.float32), torch.tensor([asked]).expand(64, 2)
    folded = by_row(decoder.decode(values, torch.arange(64), 3, Rules(), shared=True))
    by_rows = by_row(decoder.decode(values, torch.arange(64), 3, Rules()))
    assert [row[:2] for row in folded] == [row[:2] for row in by_rows]
    assert [row[2] for row in folded] == pytest.approx([row[2] for row in by_rows], abs=1e-3)
    other = by_row(decoder.decode(ask(64)[:1].expand(64, 2), torch.arange(64), 3, Rules(), shared=True))
    assert other != folded  # the folded weights of the request before are not used again


def test_rows_that_share_their_conditions_are_the_same_as_alone(model):
    decoder, values = Decoder(model, VOCAB), torch.tensor([[0.5, float("nan")]]).expand(64, 2)
    mixed = torch.cat((values, ask(8)))
    items = torch.arange(72)
    assert (
        by_row(decoder.decode(values, items[:64], 0, Rules())) == by_row(decoder.decode(mixed, items, 0, Rules()))[:64]
    )


def test_cached_decoding_equals_the_whole_forward_pass(model):
    """Each greedy token is the argmax of the uncached network on the prefix; log_prob is the uncached likelihood."""
    decoder, values = Decoder(model, VOCAB, torch.float32), ask(16)
    decoded = decoder.decode(values, torch.arange(16), 0, Rules(temperature=0))
    for row, (tokens, ended, log_prob) in enumerate(by_row(decoded)):
        fed = torch.tensor([[1, *tokens]])
        logits = model(fed, values[row : row + 1])[0, :, :VOCAB].detach().double()
        logits[:, :2] = float("-inf")
        wanted = [*tokens, EOS] if ended else tokens
        assert logits.argmax(-1)[: len(wanted)].tolist() == wanted
        exact = logits.log_softmax(-1)[range(len(wanted)), wanted].sum()
        assert log_prob == pytest.approx(float(exact), abs=1e-3)


@pytest.fixture(scope="module")
def continuing() -> Transformer:
    """A decoder that reads five vectors first, and keeps its account below them."""
    torch.manual_seed(0)
    model = Transformer(TransformerConfig.of("tiny", 32, ROOM, FIELDS, prefix=5)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.2)
        model.head.bias[EOS] += 3
    return model


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_cached_decoding_behind_a_prefix_equals_the_whole_forward_pass(continuing, guidance):
    decoder, values = Decoder(continuing, VOCAB, torch.float32), ask(16)
    prefix = torch.randn(16, 5, 64, generator=torch.Generator().manual_seed(2))
    decoded = decoder.decode(values, torch.arange(16), 0, Rules(temperature=0), guidance=guidance, prefix=prefix)
    for row, (tokens, ended, log_prob) in enumerate(by_row(decoded)):
        fed, own = torch.tensor([[1, *tokens]])[:, :ROOM], prefix[row : row + 1]
        c, u = (
            continuing(fed, asked, own)[0, :, :VOCAB].detach().double()
            for asked in (values[row : row + 1], torch.full((1, 2), float("nan")))
        )
        logits = u + guidance * (c - u)
        logits[:, :2] = float("-inf")
        wanted = [*tokens, EOS] if ended else tokens
        assert logits.argmax(-1)[: len(wanted)].tolist() == wanted
        exact = logits.log_softmax(-1)[range(len(wanted)), wanted].sum()
        assert log_prob == pytest.approx(float(exact), rel=1e-4, abs=2e-3)
    assert len({tuple(row[0]) for row in by_row(decoded)}) > 8
    other = decoder.decode(values, torch.arange(16), 0, Rules(temperature=0), guidance=guidance, prefix=-prefix)
    assert [row[0] for row in by_row(other)] != [row[0] for row in by_row(decoded)]


def test_items_behind_a_prefix_do_not_depend_on_the_batch(continuing):
    decoder, values, items = Decoder(continuing, VOCAB), ask(100), torch.arange(100)
    prefix = torch.randn(100, 5, 64, generator=torch.Generator().manual_seed(2))
    whole = by_row(decoder.decode(values, items, 7, Rules(), prefix=prefix))
    for i in (0, 17, 99):
        own = slice(i, i + 1)
        assert by_row(decoder.decode(values[own], items[own], 7, Rules(), prefix=prefix[own])) == whole[own]


def test_guidance_is_linear_in_the_logits(model):
    """The first greedy token under guidance w is the argmax of u + w (c - u) computed by hand."""
    decoder, values = Decoder(model, VOCAB, torch.float32), ask(64)
    start = torch.ones(64, 1, dtype=torch.int64)
    c = model(start, values)[:, 0, :VOCAB]
    u = model(start, torch.full_like(values, float("nan")))[:, 0, :VOCAB]
    for w in (0.0, 3.0):
        logits = u + w * (c - u)
        logits[:, :2] = float("-inf")
        first = decoder.decode(values, torch.arange(64), 0, Rules(temperature=0), guidance=w)
        got = torch.where(first.length > 0, first.tokens[:, 0], EOS)
        assert torch.equal(got, logits.argmax(-1))


def test_seed_and_item_decide_and_nothing_else(model):
    decoder, values = Decoder(model, VOCAB), ask(32)
    a = by_row(decoder.decode(values, torch.arange(32), 1, Rules()))
    assert a == by_row(decoder.decode(values, torch.arange(32), 1, Rules()))
    assert a != by_row(decoder.decode(values, torch.arange(32), 2, Rules()))
    assert a != by_row(decoder.decode(values, torch.arange(32) + 32, 1, Rules()))


def test_first_token_follows_the_model(model):
    """Chi-square of the first token over 20,000 items against the network's own softmax."""
    count = 20_000
    decoder = Decoder(model, VOCAB, torch.float32)
    values = torch.full((1, 2), float("nan"))
    logits = model(torch.ones(1, 1, dtype=torch.int64), values)[0, 0, :VOCAB].detach().clone()
    logits[:2] = float("-inf")
    expected = logits.softmax(-1)
    noise = rng.gumbel(5, torch.arange(count), 0, VOCAB)
    seen = torch.bincount((logits + noise).argmax(-1), minlength=VOCAB)[2:]
    decoded = decoder.decode(values.expand(2_000, 2), torch.arange(2_000), 5, Rules())
    first = torch.where(decoded.length > 0, decoded.tokens[:, 0], EOS)
    assert torch.equal(first, (logits + noise[:2_000]).argmax(-1))
    chi_square = float(((seen - count * expected[2:]) ** 2 / (count * expected[2:])).sum())
    assert chi_square < 48.3  # 0.1 % of draws with 21 degrees of freedom


class Counting:
    """A toy automaton: only token 5, exactly ``n`` times, then the end."""

    def __init__(self, n: int) -> None:
        self.n = n

    def start(self, rows, device):
        return torch.zeros(rows, 1, dtype=torch.int32)

    def allowed(self, state, remaining):
        mask = torch.zeros(len(state), VOCAB, dtype=torch.bool)
        mask[:, 5] = state[:, 0] < self.n
        mask[:, EOS] = state[:, 0] >= self.n
        return mask

    def advance(self, state, token):
        return state + (token[:, None] == 5)


@pytest.mark.parametrize("least", [4, 8, 16])
def test_batches_are_no_smaller_than_products_that_round_alike(model, monkeypatch, least):
    """On a processor whose products of fewer than ``least`` rows are a little different."""
    exact = net.F.linear

    def linear(x, *more):
        return exact(x, *more) * (1 if len(x) >= least else 1 + 1e-6)

    monkeypatch.setattr(net.F, "linear", linear)
    assert Weights(model, torch.float32).fewest >= least
    monkeypatch.undo()
    assert Weights(model, torch.float32).fewest in (4, 8, 16)


def test_sizes_of_batches():
    assert [bucket(rows) for rows in (1, 16, 17, 25, 33, 49)] == [16, 16, 24, 32, 48, 64]
    assert [bucket(rows, 4) for rows in (1, 4, 5, 9, 17)] == [4, 4, 8, 16, 24]


@pytest.mark.parametrize("n", [0, 1, 7, ROOM - 1])
def test_constraint_is_obeyed_and_does_not_enter_the_likelihood(model, n):
    decoded = Decoder(model, VOCAB, torch.float32).decode(ask(10), torch.arange(10), 0, Rules(), Counting(n))
    for tokens, ended, log_prob in by_row(decoded):
        assert tokens == [5] * n
        assert ended
        assert log_prob < 0  # of the unconstrained model


def test_rows_without_an_end_are_marked(model):
    decoded = Decoder(model, VOCAB).decode(ask(5), torch.arange(5), 0, Rules(), Counting(ROOM + 1))
    assert not decoded.ended.any()
    assert decoded.length.tolist() == [ROOM] * 5


def test_nan_in_one_row_ends_that_row_alone(model):
    decoder, values = Decoder(model, VOCAB, torch.float32), ask(8)
    clean = by_row(decoder.decode(values, torch.arange(8), 0, Rules()))
    conditioner = decoder.model.conditioner
    mean = conditioner.mean.clone()
    spoiled = values.clone()
    spoiled[3] = 7.0
    try:
        original = decoder.model.modulations

        def broken(v):
            modulations, gain, shift = original(v)
            bad = (v == 7.0).all(-1)
            modulations = [
                dataclasses.replace(m, gain_a=m.gain_a.masked_fill(bad[:, None, None], float("nan")))
                for m in modulations
            ]
            return modulations, gain, shift

        decoder.model.modulations = broken
        rows = by_row(decoder.decode(spoiled, torch.arange(8), 0, Rules()))
    finally:
        del decoder.model.modulations
        conditioner.mean = mean
    assert rows[3][:2] == ([], False)
    assert [r for i, r in enumerate(rows) if i != 3] == [r for i, r in enumerate(clean) if i != 3]


def test_padding_follows_the_end(model):
    decoded = Decoder(model, VOCAB).decode(ask(64), torch.arange(64), 0, Rules())
    beyond = torch.arange(decoded.tokens.shape[1]) >= decoded.length[:, None]
    assert (decoded.tokens[beyond] == PAD).all()
    assert (decoded.tokens[~beyond] > EOS).all()


def test_a_mixture_of_one_is_plain_and_guidance_is_a_mixture(model):
    decoder, values, items = Decoder(model, VOCAB, torch.float32), ask(24), torch.arange(24)
    absent = torch.full_like(values, float("nan"))
    plain = by_row(decoder.decode(values, items, 3, Rules()))
    assert by_row(decoder.decode([(1.0, values)], items, 3, Rules())) == plain
    guided = by_row(decoder.decode(values, items, 3, Rules(), guidance=2.0))
    assert by_row(decoder.decode([(2.0, values), (-1.0, absent)], items, 3, Rules())) == guided
    halves = by_row(decoder.decode([(0.5, values), (0.5, values)], items, 3, Rules()))
    assert [tokens for tokens, *_ in halves] == [tokens for tokens, *_ in plain]
    mixed = by_row(decoder.decode([(0.5, values), (0.5, values.flip(0))], items, 3, Rules()))
    assert mixed == by_row(decoder.decode([(0.5, values.flip(0)), (0.5, values)], items, 3, Rules()))
    assert mixed != plain

"""Slots that are refilled and moved give what the loop gives, item for item; on a CPU, where nothing is recorded."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from genesis.decoding.constraint import EOS, PAD
from genesis.decoding.continuous import ContinuousDecoder, recorded
from genesis.decoding.loop import Decoded, Decoder
from genesis.decoding.sampling import Rules
from genesis.decoding.slots import Plan
from genesis.errors import UsageError
from genesis.models.transformer import Transformer, TransformerConfig
from genesis.nn.conditioner import NumberField

VOCAB, ROOM = 24, 32
FIELDS = tuple(NumberField(name=name, mean=0, std=1, quantiles=(0, 1)) for name in "ab")
GREEDY = Rules(temperature=0)


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    model = Transformer(TransformerConfig.of("tiny", 32, ROOM, FIELDS)).eval()
    with torch.no_grad():
        for p in model.parameters():  # an untrained network ignores its condition and never stops: shake it
            p.add_(torch.randn_like(p) * 0.25)
        model.head.bias[EOS] += 1.5
    return model


@pytest.fixture(scope="module")
def loop(model: Transformer) -> Decoder:
    return Decoder(model, VOCAB, torch.float32)


def continuous(model: Transformer, *buckets: int, shrinks: bool = True) -> ContinuousDecoder:
    return ContinuousDecoder(model, VOCAB, torch.float32, buckets, shrinks)


def ask(count: int) -> Tensor:
    values = torch.randn(count, 2, generator=torch.Generator().manual_seed(1))
    values[::3, 0] = float("nan")
    return values


def rows(decoded: Decoded) -> list[tuple[list[int], bool]]:
    found = zip(decoded.tokens, decoded.length.tolist(), decoded.ended.tolist(), strict=True)
    return [(t[:n].tolist(), ended) for t, n, ended in found]


class Parity:
    """A toy automaton with its number in the state: token 5 ``n`` times, with an even token between, then the end."""

    def __init__(self, n: int) -> None:
        self.n = n

    def start(self, rows: int, device: torch.device) -> Tensor:
        return torch.tensor([[self.n, 0]], dtype=torch.int32).repeat(rows, 1)

    def allowed(self, state: Tensor, remaining: int | Tensor) -> Tensor:
        left, between = state[:, 0, None], state[:, 1, None] == 1
        token = torch.arange(VOCAB)
        tight = torch.as_tensor(remaining).reshape(-1, 1) <= 2 * left + 1
        return torch.where(
            left == 0,
            token == EOS,
            torch.where(between, (token % 2 == 0) & (token > 5), (token == 5) | (~tight & (token == 7))),
        )

    def advance(self, state: Tensor, token: Tensor) -> Tensor:
        left, between = state[:, 0].long(), state[:, 1].long()
        now = (token == 5).long()
        left = left - ((between == 1) & (token % 2 == 0)).long()
        return torch.stack((left, now), 1).int()


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("shared", [True, False])
def test_greedy_items_are_the_loops_whatever_the_batch(model, loop, guidance, shared):
    """With and without cache growth, compaction, refill and another size of batch: 90 items in 8, 16 and 128 slots."""
    values = ask(1).expand(90, 2) if shared else ask(90)
    how = {"guidance": guidance, "shared": shared}
    expected = rows(loop.decode(values, torch.arange(90), 0, GREEDY, **how))
    assert len({tuple(tokens) for tokens, _ in expected}) > (0 if shared else 40)
    for decoder in (continuous(model, 128, 16, 8), continuous(model, 16, 8), continuous(model, 8, shrinks=False)):
        assert rows(decoder.decode(values, torch.arange(90), 0, GREEDY, **how)) == expected


def test_greedy_tokens_are_those_of_the_whole_network_without_a_cache(model):
    values = ask(20)
    decoded = rows(continuous(model, 8).decode(values, torch.arange(20), 0, GREEDY))
    for row, (tokens, ended) in enumerate(decoded):
        logits = model(torch.tensor([[1, *tokens][:ROOM]]), values[row : row + 1])[0, :, :VOCAB].detach()
        logits[:, :2] = float("-inf")
        wanted = [*tokens, EOS] if ended else tokens
        assert logits.argmax(-1)[: len(wanted)].tolist() == wanted


@pytest.mark.parametrize(
    "rules", [Rules(), Rules(temperature=0.7, top_k=5), Rules(top_p=0.8), Rules(temperature=1.5, min_p=0.1)]
)
def test_drawn_items_and_their_likelihoods_are_the_loops(model, loop, rules):
    values, items = ask(70), torch.arange(70) * 2**33 + 5
    expected = loop.decode(values, items, 2**40 + 7, rules)
    found = continuous(model, 16, 8).decode(values, items, 2**40 + 7, rules)
    assert rows(found) == rows(expected)
    torch.testing.assert_close(found.log_prob, expected.log_prob, rtol=1e-4, atol=1e-4)
    assert found.tokens.dtype == expected.tokens.dtype
    beyond = torch.arange(found.tokens.shape[1]) >= found.length[:, None]
    assert (found.tokens[beyond] == PAD).all()


def test_a_decoder_serves_one_request_after_the_other(model, loop):
    decoder = continuous(model, 16, 8)
    for seed, count in ((1, 40), (2, 5), (1, 40), (3, 17)):
        expected = loop.decode(ask(count), torch.arange(count), seed, Rules())
        assert rows(decoder.decode(ask(count), torch.arange(count), seed, Rules())) == rows(expected)
    shared = ask(9)[:1]
    for values in (shared, shared + 1):  # folded weights of the request before are not used again
        expected = loop.decode(values.expand(9, 2), torch.arange(9), 0, Rules(), shared=True)
        found = decoder.decode(values.expand(9, 2), torch.arange(9), 0, Rules(), shared=True)
        assert rows(found) == rows(expected)


def test_nothing_asked_leaves_the_account_out(model, loop):
    nothing = torch.full((30, 2), float("nan"))
    expected = loop.decode(nothing, torch.arange(30), 4, Rules())
    assert rows(continuous(model, 16, 8).decode(nothing, torch.arange(30), 4, Rules())) == rows(expected)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_an_automaton_is_obeyed_by_rows_that_stand_at_different_places(model, loop, n):
    values, items = ask(40), torch.arange(40)
    expected = loop.decode(values, items, 0, Rules(), Parity(n))
    found = rows(continuous(model, 16, 8).decode(values, items, 0, Rules(), Parity(n)))
    assert found == rows(expected)
    assert all(ended and tokens.count(5) == n for tokens, ended in found)


def test_another_automaton_takes_the_place_of_the_first(model):
    decoder = continuous(model, 8)
    for n in (1, 3, None, 2):
        found = rows(decoder.decode(ask(10), torch.arange(10), 0, Rules(), None if n is None else Parity(n)))
        assert n is None or all(tokens.count(5) == n for tokens, _ in found)


def test_nan_in_one_row_ends_that_row_alone(model):
    decoder = continuous(model, 16, 8)
    clean = rows(decoder.decode(ask(24), torch.arange(24), 0, Rules()))
    original = model.modulations

    def broken(values: Tensor):
        modulations, gain, shift = original(values)
        bad = (values == 7.0).all(-1)[:, None, None]
        return (
            [dataclasses.replace(m, gain_a=m.gain_a.masked_fill(bad, float("nan"))) for m in modulations],
            gain,
            shift,
        )

    spoiled = ask(24)
    spoiled[3] = 7.0
    model.modulations = broken
    try:
        found = rows(decoder.decode(spoiled, torch.arange(24), 0, Rules()))
    finally:
        del model.modulations
    assert found[3] == ([], False)
    assert found[:3] + found[4:] == clean[:3] + clean[4:]


def test_a_step_touches_idle_rows_of_no_buffer(model):
    slots, step = continuous(model, 8)._slots(Plan(rows=8, guided=False, shared=False, account=False))
    before = {
        name: getattr(slots, name).clone() for name in ("token", "position", "length", "log_prob", "out", "ended")
    }
    keys = [cache.clone() for cache in (*slots.keys, *slots.values)]
    step()
    for name, value in before.items():
        assert torch.equal(getattr(slots, name), value), name
    assert all(map(torch.equal, keys, (*slots.keys, *slots.values)))


def test_on_a_cpu_nothing_is_recorded():
    calls = []
    recorded(lambda: calls.append(1), torch.device("cpu"))()
    assert calls == [1]


@pytest.mark.parametrize("buckets", [(), (4,), (8, 16), (16, 16)])
def test_buckets_that_cannot_be_meant_are_refused(model, buckets):
    with pytest.raises(UsageError, match="buckets="):
        ContinuousDecoder(model, VOCAB, buckets=buckets)

"""Speed figures: what is counted, and the checks that a GPU has to pass, run here without one."""

from __future__ import annotations

import pytest
import torch

from genesis import bench
from genesis.checkpoint import Config, Provenance
from genesis.decoding.constraint import EOS
from genesis.decoding.continuous import ContinuousDecoder
from genesis.engine import Engine
from genesis.errors import ResourceError, UsageError
from genesis.models.transformer import Transformer, TransformerConfig
from genesis.nn.conditioner import NumberField
from genesis_domains.molecules.smiles import VOCAB

FIELDS = (NumberField(name="logp", mean=2, std=1, quantiles=(-2, 2, 6)),)


@pytest.fixture(scope="module")
def engine() -> Engine:
    torch.manual_seed(0)
    model = Transformer(TransformerConfig.of("tiny", 272, 32, FIELDS)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
        model.head.bias[EOS] += 3
    provenance = Provenance(corpus="none", licence="CC0", items=0)
    return Engine(model, Config(domain="molecules", vocab=VOCAB, model=model.config, provenance=provenance))


def test_bytes_of_a_step_by_hand():
    config = TransformerConfig(
        vocab=64, max_length=48, dim=256, depth=6, heads=8, kv_heads=8, ff_dim=640, cond_dim=128, fields=FIELDS
    )
    # six layers: keys and values of 24 positions, 28 widths of stream; weights once for all rows
    weights = 6 * (4 * 256 * 256 + 3 * 256 * 640) + 64 * 256
    rows = 8192 * 6 * (2 * 256 * 24 + 28 * 256)
    assert bench.step_bytes(config, 8192, 24, 2) == 2 * (rows + weights)


def test_decoding_rates_count_what_was_drawn(engine):
    rows = list(bench.decode(engine, [8, 16])) + list(bench.decode(engine, [8], constrained=True))
    assert [row["batch"] for row in rows] == [8, 16, 8]
    for row in rows:
        assert row["items"] == bench.PASSES * row["batch"]
        assert 1 <= row["mean_tokens"] <= 32
        assert row["tokens_a_second"] == pytest.approx(row["items_a_second"] * row["mean_tokens"])
        assert row["bytes_a_second"] > 0


def test_slots_are_timed_at_the_size_that_was_asked(engine):
    other = Engine(engine.model, engine.config)
    other.decoder = ContinuousDecoder(engine.model, len(VOCAB), torch.float32)
    assert bench._decoder(other, 24).buckets == (24,)
    (row,) = bench.decode(other, [8])
    assert row["dtype"] == "float32"


def test_the_whole_job_counts_valid_distinct_items(engine):
    free, held, measured = bench.whole(engine, 12, workers=1)
    assert [free["constrained"], held["constrained"], measured["what"]] == [False, True, "measured"]
    assert held["valid_unique"] <= 12
    assert held["a_second"] == pytest.approx(held["valid_unique"] / held["seconds"])


def test_the_check_of_recorded_decoding_is_green_where_it_should_be(engine):
    found = bench.check_engine(engine, 24)
    assert found["ok"], found
    assert found["greedy_as_the_loop"] == 1.0


def test_the_check_is_red_when_the_graph_draws_something_else(engine, monkeypatch):
    step = ContinuousDecoder.decode

    def other(self, values, items, seed, rules, *rest):
        return step(self, values, items, seed + len(self.buckets), rules, *rest)

    monkeypatch.setattr(ContinuousDecoder, "decode", other)
    monkeypatch.setattr(bench, "_alike", lambda a, b, order=None: 0.5)
    found = bench.check_engine(engine, 8)
    assert not found["ok"]
    assert any("50.00% of items are the same with and without a graph" in said for said in found["wrong"])


def test_kernels_need_a_gpu_and_a_name_that_exists():
    with pytest.raises(UsageError, match="no kernel 'short_atention'; did you mean 'short_attention'"):
        bench.kernels(["short_atention"])
    if not torch.cuda.is_available():
        with pytest.raises(ResourceError, match="timed on a CUDA device"):
            bench.kernels()

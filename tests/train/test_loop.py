"""The loop beside the same steps written out; what it logs; and how it ends when it is not left alone."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from genesis.data.batches import collate, drop_conditions, epochs
from genesis.data.encoded import Row, write
from genesis.errors import GenesisError, UsageError
from genesis.models.transformer import Transformer
from genesis.train import folder, learning_rate, loop, train
from genesis.train.config import averaging


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


class Failing(Transformer):
    """Gives a loss that is not a number at some of its training steps."""

    bad: tuple[int, ...] = ()
    seen = 0

    def loss(self, tokens: Tensor, values: Tensor) -> Tensor:
        loss = super().loss(tokens, values)
        if self.training:
            self.seen += 1
            if self.seen - 1 in self.bad:
                return loss * float("nan")
        return loss


def test_a_run_ends_in_time_and_its_rate_with_it(corpus, new_model, config, tmp_path, monkeypatch):
    """A clock that goes on by a second whenever it is read."""
    clock = iter(range(10_000))
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(clock)))
    train(new_model(), corpus, config(items=0, minutes=1.0, every=1), tmp_path)
    found = lines(tmp_path)
    assert 5 < len(found) < 60
    rates = [line["learning_rate"] for line in found]
    assert rates.index(max(rates)) < len(rates) // 2
    assert rates[-1] < 0.2 * max(rates)
    assert folder.shown(tmp_path) == found[-1]["items"]
    before = (tmp_path / "log.jsonl").read_text()
    train(new_model(), corpus, config(items=0, minutes=1.0, every=1), tmp_path)
    assert (tmp_path / "log.jsonl").read_text() == before  # its time is over


def test_items_end_a_run_before_its_time(corpus, new_model, config, tmp_path):
    train(new_model(), corpus, config(items=40, minutes=60.0), tmp_path)
    assert 40 <= folder.shown(tmp_path) < 200
    with pytest.raises(UsageError, match="items=0 leaves the length"):
        train(new_model(), corpus, config(items=0), tmp_path / "none")


def test_dropout_is_in_training_alone(corpus, new_model, config, tmp_path):
    whole, thinned = (train(new_model(), corpus, config(dropout=p), tmp_path / str(p)) for p in (0.0, 0.5))
    assert any(not torch.equal(a, b) for a, b in zip(whole.parameters(), thinned.parameters(), strict=True))
    assert not any(module.training for module in thinned.modules())
    again = train(new_model(), corpus, config(dropout=0.5), tmp_path / "again")
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), thinned.parameters(), strict=True))
    share = [(line["loss"], line["held_out"]) for line in lines(tmp_path / "0.5") if line["held_out"]]
    assert share[-1][0] > lines(tmp_path / "0.0")[-1]["loss"]  # half of each branch is missing


def test_it_takes_the_steps_that_are_written_here(corpus, new_model, config, tmp_path, tensors):
    settings = config(items=200, every=3, weight_decay=0.3, ema=0.5, clip=0.05, learning_rate=0.01)
    trained = train(new_model(), corpus, settings, tmp_path)

    model = new_model()
    average = {name: p.detach().clone() for name, p in model.named_parameters()}
    decayed = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    rest = [p for p in model.parameters() if all(p is not d for d in decayed)]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.3}, {"params": rest, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
        foreach=False,
        fused=False,
    )
    index = np.flatnonzero(~corpus.held_out)
    stream = epochs(corpus.lengths[index], corpus.longest, 256, 0, 0, 0)
    items = step = 0
    losses = []
    while items < 200:
        _, _, chosen = next(stream)
        batch = collate(corpus, index[chosen])
        values = drop_conditions(batch.values, 0, step, 0.2, 0.4)
        loss = model.loss(batch.tokens, values) / (batch.tokens[:, 1:] != 0).sum()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(items / 200, settings)
        optimizer.zero_grad()
        loss.backward()
        norm = math.sqrt(sum(p.grad.double().square().sum() for p in model.parameters()))
        assert norm > 0.05  # the gradient is clipped at every step
        for p in model.parameters():
            p.grad *= 0.05 / norm
        optimizer.step()
        decay = averaging(step, settings)
        for name, p in model.named_parameters():
            average[name] = decay * average[name] + (1 - decay) * p.detach()
        losses.append(loss.item())
        items, step = items + len(chosen), step + 1

    last = tensors(tmp_path)
    for name, p in model.named_parameters():
        torch.testing.assert_close(last["model"][name], p.detach(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(trained.get_parameter(name).detach(), average[name], rtol=1e-4, atol=1e-6)
    logged = [line["loss"] for line in lines(tmp_path)]
    windows = [np.mean(losses[i : i + 3]) for i in range(0, len(losses), 3)]
    assert logged == pytest.approx(windows, rel=1e-5)
    assert lines(tmp_path)[-1]["items"] == items


def test_it_learns_and_leaves_a_log_and_two_checkpoints(corpus, model, config, tmp_path):
    heard = []
    trained = train(model, corpus, config(items=1_500, every=20, learning_rate=0.01), tmp_path, heard.append)
    assert trained is model
    assert not model.training
    record = lines(tmp_path)
    assert [line["step"] for line in record] == [p.step for p in heard]
    assert [line["step"] for line in record[:-1]] == list(range(20, record[-1]["step"], 20))
    assert record[0]["loss"] > 1.3
    assert record[-1]["loss"] < 0.75  # what is left: which letter (ln 5 an item), and the length where it is not given
    assert record[-1]["held_out"] < record[0]["held_out"]
    assert all(line["items_per_second"] > 0 for line in record)
    assert [line["seconds"] for line in record] == sorted(line["seconds"] for line in record)
    steps = sorted(p.name for p in (tmp_path / "steps").iterdir())
    assert steps == [f"{line['step']:08d}" for line in record[-2:]]
    assert not list((tmp_path / "steps").rglob("*.part"))


def test_a_slow_run_reports_between_its_checkpoints(corpus, model, config, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "PATIENCE", 0)
    train(model, corpus, config(items=150), tmp_path)
    record = lines(tmp_path)
    assert [line["step"] for line in record] == list(range(1, len(record) + 1))
    assert [line["held_out"] is not None for line in record[:-1]] == [line["step"] % 5 == 0 for line in record[:-1]]


def test_held_out_loss_is_that_of_the_averaged_weights(corpus, model, config, tmp_path):
    train(model, corpus, config(ema=0.9), tmp_path)
    batch = collate(corpus, np.flatnonzero(corpus.held_out))
    with torch.no_grad():
        nats = model.loss(batch.tokens, torch.full_like(batch.values, float("nan"))).item()
    expected = nats / int((batch.tokens[:, 1:] != 0).sum())
    assert lines(tmp_path)[-1]["held_out"] == pytest.approx(expected, rel=1e-5)
    average = load_file(max((tmp_path / "steps").iterdir()) / "average.safetensors")
    assert all(torch.equal(p.detach(), average[name]) for name, p in model.named_parameters())


def test_bf16_on_the_cpu_follows_fp32(corpus, new_model, config, tmp_path):
    for precision in ("fp32", "bf16"):
        train(new_model(), corpus, config(precision=precision), tmp_path / precision)
    fp32, bf16 = ([line["loss"] for line in lines(tmp_path / p)] for p in ("fp32", "bf16"))
    assert fp32 == pytest.approx(bf16, rel=0.02)
    assert fp32 != bf16


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it compiles
def test_compiled_steps_are_the_same(corpus, new_model, config, tmp_path):
    for compile in (False, True):
        train(new_model(), corpus, config(compile=compile, items=200), tmp_path / str(compile))
    plain, compiled = ([line["loss"] for line in lines(tmp_path / str(c))] for c in (False, True))
    assert compiled == pytest.approx(plain, rel=1e-4)


def test_steps_that_are_not_finite_are_skipped(corpus, new_model, config, tmp_path, tensors):
    whole = new_model(kind=Failing)
    train(whole, corpus, config(every=1, items=80), tmp_path / "whole")
    broken = new_model(kind=Failing)
    broken.bad = (0, 1, 3)
    seen, out = [], tmp_path / "broken"
    train(broken, corpus, config(every=1, items=80), out, lambda _: seen.append(tensors(out)))
    first = dict(new_model(kind=Failing).named_parameters())
    for moment in seen[:2]:  # two bad steps in a row: nothing has moved
        assert all(torch.equal(t, first[name]) for name, t in moment["model"].items())
        assert all(not t.any() for t in moment["optimizer"].values())
    assert not torch.equal(seen[2]["model"]["head.weight"], first["head.weight"])
    for kind in ("model", "optimizer"):  # one more
        assert all(torch.equal(t, seen[2][kind][name]) for name, t in seen[3][kind].items())
    assert all(t.isfinite().all() for kind in seen[-1].values() for t in kind.values())
    assert [line["loss"] is None for line in lines(out)][:4] == [True, True, False, True]


def test_three_in_a_row_end_the_run(corpus, new_model, config, tmp_path, tensors):
    model = new_model(kind=Failing)
    model.bad = (7, 8, 9)
    with pytest.raises(GenesisError, match=r"not finite 3 times in a row at step 10; .* lower --learning-rate"):
        train(model, corpus, config(every=5), tmp_path)
    assert sorted(p.name for p in (tmp_path / "steps").iterdir()) == ["00000005"]
    assert all(t.isfinite().all() for kind in tensors(tmp_path).values() for t in kind.values())
    assert [line["step"] for line in lines(tmp_path)] == [5]


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "callback"])
def test_an_interrupted_run_goes_on_to_the_same_weights(corpus, new_model, config, tmp_path, tensors, equal, how):
    train(new_model(), corpus, config(every=4), tmp_path / "whole")
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def stop(progress):
        if progress.step == 8:
            if how == "callback":
                raise KeyboardInterrupt
            os.kill(os.getpid(), getattr(signal, how))

    with pytest.raises(KeyboardInterrupt):
        train(new_model(), corpus, config(every=4), tmp_path / "run", stop)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert "00000009" in os.listdir(tmp_path / "run" / "steps")  # the step that was begun, and no more
    resumed = train(new_model(seed=5), corpus, config(every=4), tmp_path / "run")
    assert equal(tensors(tmp_path / "run"), tensors(tmp_path / "whole"))
    assert all(torch.equal(resumed.get_parameter(n), t) for n, t in tensors(tmp_path / "whole")["average"].items())
    whole, run = lines(tmp_path / "whole"), [line for line in lines(tmp_path / "run") if line["step"] != 9]
    for key in ("step", "items", "held_out", "learning_rate"):
        assert [line[key] for line in run] == [line[key] for line in whole]


def test_a_second_signal_interrupts_at_once(corpus, model, config, tmp_path):
    def stop(_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("still here")

    with pytest.raises(KeyboardInterrupt):
        train(model, corpus, config(items=100_000, every=1), tmp_path, stop)


def test_it_trains_in_a_thread_without_touching_signals(corpus, model, config, tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    during = []
    thread = threading.Thread(
        target=train,
        args=(model, corpus, config(items=60), tmp_path, lambda _: during.append(signal.getsignal(signal.SIGINT))),
    )
    thread.start()
    thread.join()
    assert during
    assert set(during) == {handler}


def test_an_ignored_signal_stays_ignored(corpus, model, config, tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup or in a background job
    try:
        train(model, corpus, config(items=60), tmp_path, lambda _: os.kill(os.getpid(), signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert lines(tmp_path)


def test_a_finished_run_is_not_trained_again(corpus, new_model, config, tmp_path):
    first = train(new_model(), corpus, config(), tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "steps").rglob("*")}
    log = (tmp_path / "log.jsonl").read_text()
    again = train(new_model(seed=3), corpus, config(), tmp_path)
    assert all(torch.equal(p, again.get_parameter(name)) for name, p in first.named_parameters())
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "steps").rglob("*")} == before
    assert (tmp_path / "log.jsonl").read_text() == log


def test_a_run_can_be_made_longer(corpus, new_model, config, tmp_path):
    train(new_model(), corpus, config(items=100), tmp_path)
    train(new_model(), corpus, config(items=200, every=3), tmp_path)
    record = lines(tmp_path)
    assert record[-1]["items"] >= 200
    assert [line["step"] for line in record] == sorted({line["step"] for line in record})


def test_nothing_to_train_on(tmp_path, model, config):
    rows = [Row(np.array([3, 4], np.uint16), np.array([2], np.float32), True)]
    corpus = write(rows, tmp_path / "corpus", {"properties": ["length"]})
    with pytest.raises(GenesisError, match="every item of the corpus is held out; give more than a handful"):
        train(model, corpus, config(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_length(corpus, model, config, tmp_path):
    with pytest.raises(UsageError, match="say how many items to show"):
        train(model, corpus, config(items=0), tmp_path)


def test_nothing_to_watch(tmp_path, model, config):
    rows = [Row(np.array([3, 4], np.uint16), np.array([2], np.float32), False)] * 20
    train(model, write(rows, tmp_path / "corpus", {"properties": ["length"]}), config(items=40), tmp_path / "run")
    assert lines(tmp_path / "run")[-1]["held_out"] is None


def test_sharding_alone_makes_no_sense(tmp_path, corpus, model, config):
    with pytest.raises(UsageError, match="shard needs several processes; start them with torchrun"):
        train(model, corpus, config(), tmp_path, shard=True)
    with pytest.raises(UsageError, match="compile and shard do not go together"):
        train(model, corpus, config(compile=True), tmp_path, shard=True)

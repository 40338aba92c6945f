"""What a run leaves on disk, and what it makes of what it finds there."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from genesis.data.encoded import open_encoded
from genesis.errors import CheckpointError, ResourceError, UsageError
from genesis.train import train
from genesis.train.folder import Progress, RunFolder, State


def tensors(value: float = 1.0) -> dict[str, dict[str, torch.Tensor]]:
    return {kind: {"w": torch.full((2,), value)} for kind in ("model", "average", "optimizer")}


def settings(**changes) -> dict[str, dict[str, object]]:
    return {"config": {"seed": 0, "items": 10, **changes}, "corpus": {"items": 5}}


def progress(step: int, loss: float | None = 1.0) -> Progress:
    return Progress(step, 10 * step, loss, None, 0.1, 5.0, 1.0)


@pytest.fixture
def run(tmp_path) -> Path:
    """Three checkpoints were written, two are kept."""
    with RunFolder(tmp_path, settings()) as folder:
        for step in (5, 10, 15):
            folder.save(tensors(step), State(step=step, epoch=1, position=step))
            folder.log(progress(step))
    return tmp_path


def test_the_newest_comes_back(run):
    assert sorted(p.name for p in (run / "steps").iterdir()) == ["00000010", "00000015"]
    with RunFolder(run, settings()) as folder:
        saved = folder.restore()
    assert saved.state == State(step=15, epoch=1, position=15)
    assert saved.tensors["average"]["w"].tolist() == [15, 15]


def test_an_empty_folder_holds_nothing(tmp_path):
    with RunFolder(tmp_path / "new", settings()) as folder:
        assert folder.restore() is None


def test_leftovers_of_killed_writers_are_swept(run):
    for name in (".00000020.host.77.part", ".00000020.host.78.old", "00000030"):
        (run / "steps" / name).mkdir()
        (run / "steps" / name / "model.safetensors").touch()
    with RunFolder(run, settings()) as folder:
        assert folder.restore().state.step == 15
    assert sorted(p.name for p in (run / "steps").iterdir()) == ["00000010", "00000015"]


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["truncate", "remove", "garbage"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(run, file, damage):
    target = run / "steps" / "00000015" / file
    if damage == "truncate":
        os.truncate(target, target.stat().st_size // 2)
    elif damage == "remove":
        target.unlink()
    else:
        target.write_bytes(b"\xff" * 100)
    with RunFolder(run, settings()) as folder:
        assert folder.restore().state.step == 10
        folder.save(tensors(16), State(step=15))  # the damaged one is replaced
        assert load_file(run / "steps" / "00000015" / "model.safetensors")["w"].tolist() == [16, 16]


def test_no_checkpoint_can_be_read(run):
    for step in ("00000010", "00000015"):
        (run / "steps" / step / "state.json").write_text("{}")
    with (
        RunFolder(run, settings()) as folder,
        pytest.raises(CheckpointError, match="no checkpoint can be read: 00000015"),
    ):
        folder.restore()


def test_other_settings_are_refused_with_a_diff(run):
    with (
        RunFolder(run, settings(seed=1, items=99)) as folder,
        pytest.raises(
            CheckpointError, match=r"00000015: this run was begun with other settings \(seed=0, now 1\); use"
        ),
    ):
        folder.restore()
    other = {**settings(), "corpus": {"items": 6}}
    with RunFolder(run, other) as folder, pytest.raises(CheckpointError, match=r"\(items=5, now 6\)"):
        folder.restore()
    with RunFolder(run, settings(items=99, every=7, compile=True)) as folder:
        assert folder.restore().state.step == 15


def test_one_process_a_run(run):
    with RunFolder(run, settings()):
        with pytest.raises(UsageError, match="another process trains here; wait, or use another --out"):
            RunFolder(run, settings()).__enter__()
        with RunFolder(run, settings(), writes=False) as reader:  # the other processes of the same run
            assert reader.restore().state.step == 15
            reader.save(tensors(), State(step=99))
    with RunFolder(run, settings()) as again:
        assert again.restore().state.step == 15


def test_the_log_goes_back_to_the_checkpoint(run):
    with (run / "log.jsonl").open("a") as log:
        log.write(json.dumps({"step": 17}) + "\n" + '{"step": 18, "lo')
    with RunFolder(run, settings()) as folder:
        folder.begin(folder.restore().state)
        folder.log(progress(20, None))
    assert [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()] == [5, 10, 15, 20]


def test_a_log_line_is_json_or_nothing(run):
    with RunFolder(run, settings()) as folder, pytest.raises(ValueError, match="not JSON compliant"):
        folder.log(progress(20, float("nan")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, r"seed=0, now 1"),
        ({"learning_rate": 0.5, "ema": 0.1}, r"learning_rate=0.002, now 0.5; ema=0.998, now 0.1"),
    ],
)
def test_training_refuses_other_settings(corpus, new_model, config, tmp_path, change, message):
    train(new_model(), corpus, config(items=40), tmp_path)
    with pytest.raises(CheckpointError, match=message):
        train(new_model(), corpus, config(items=40, **change), tmp_path)


def test_training_refuses_another_corpus_and_another_model(corpus, new_model, config, tmp_path):
    train(new_model(), corpus, config(items=40), tmp_path / "run")
    meta = json.loads((corpus.path / "meta.json").read_text())
    shutil.copytree(corpus.path, tmp_path / "corpus")
    (tmp_path / "corpus" / "meta.json").write_text(json.dumps({**meta, "corpus": "other"}))
    with pytest.raises(CheckpointError, match="corpus='toy', now 'other'"):
        train(new_model(), open_encoded(tmp_path / "corpus"), config(items=40), tmp_path / "run")
    wider = new_model(shape=new_model().config.model_copy(update={"ff_dim": 24}))
    with pytest.raises(
        CheckpointError, match=r"begun with another model \(blocks.0.down.weight was \(16, 16\), now \(16, 24\)\)"
    ):
        train(wider, corpus, config(items=40), tmp_path / "run")


def test_curves_are_written_for_tensorboard(corpus, model, config, tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(model, corpus, config(), tmp_path, tensorboard=True)
    events = accumulators.EventAccumulator(str(tmp_path / "curves"))
    events.Reload()
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for name in ("loss", "held_out", "learning_rate", "items_per_second"):
        assert [(e.step, e.value) for e in events.Scalars(name)] == [
            (line["step"], pytest.approx(line[name], rel=1e-6)) for line in log
        ]


def test_curves_without_tensorboard(corpus, model, config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ResourceError, match=r"pip install 'genesis-engine\[train\]'"):
        train(model, corpus, config(), tmp_path, tensorboard=True)
    assert not (tmp_path / "steps").exists()

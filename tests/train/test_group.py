"""Two processes compute what one does: the same losses, the same weights in both, checkpoints that fit either."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from genesis.data.encoded import Encoded
from genesis.train import train

PROGRAM = Path(__file__).with_name("rank_program.py")


@pytest.fixture(scope="module")
def together(corpus: Encoded, tmp_path_factory) -> Path:
    """The folder of the runs of two processes."""
    folder = tmp_path_factory.mktemp("together")
    shutil.copytree(corpus.path, folder / "corpus")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with subprocess.Popen(
        [*launch, str(PROGRAM), str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as launcher:
        try:
            _, errors = launcher.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            os.killpg(launcher.pid, signal.SIGKILL)
            raise
    assert launcher.returncode == 0, errors
    assert "Warning" not in errors, errors
    return folder


@pytest.fixture(scope="module")
def alone(corpus: Encoded, new_model, config, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("alone") / "run"
    torch.set_num_threads(1)
    train(new_model(), corpus, config(), run)
    return run


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["ddp", "shard"])
def test_two_processes_compute_what_one_does(together, alone, tensors, kind):
    ranks = [json.loads((together / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0][kind] == ranks[1][kind]  # the same weights in both, to the bit
    one, two = tensors(alone), tensors(together / kind)
    for name, t in one["average"].items():
        torch.testing.assert_close(two["average"][name], t, rtol=1e-3, atol=1e-5)
    assert ranks[0][kind] == {name: float(t.double().sum()) for name, t in two["average"].items()}
    curve = {line["step"]: line for line in lines(together / kind) if line["step"] % 5 == 0}
    for line in lines(alone):
        for key in ("items", "loss", "held_out", "learning_rate"):
            if (kind, key, line["step"]) == ("shard", "loss", 15):
                continue  # the mean since the interruption
            assert curve[line["step"]][key] == pytest.approx(line[key], rel=1e-4)


def test_a_signal_to_one_process_stops_both_at_the_same_step(together):
    ranks = [json.loads((together / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert [rank["interrupted"] for rank in ranks] == [True, True]
    assert 11 in [line["step"] for line in lines(together / "shard")]


def test_a_checkpoint_of_two_processes_goes_on_in_one(together, corpus, new_model, config, tensors, tmp_path):
    for kind in ("ddp", "shard"):
        shutil.copytree(together / kind, tmp_path / kind)
        before = tensors(tmp_path / kind)
        train(new_model(), corpus, config(items=500), tmp_path / kind)
        after = tensors(tmp_path / kind)
        assert lines(tmp_path / kind)[-1]["items"] >= 500
        assert {n: t.shape for n, t in before["optimizer"].items()} == {
            n: t.shape for n, t in after["optimizer"].items()
        }

"""Trains once in peace and once killed again and again at random moments; says whether the weights are the same.

    kill_driver.py FOLDER KILLS

A program of its own, which forks: torch is imported once, and each victim costs what its steps cost.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from conftest import corpus_in, last_step, make_config, make_model, same

from genesis.data.encoded import Encoded
from genesis.train import train


def start(corpus: Encoded, out: Path) -> int:
    """The process that trains in ``out``: 20 steps, with a checkpoint after each."""
    pid = os.fork()
    if pid == 0:
        torch.set_num_threads(1)
        train(make_model(), corpus, make_config(items=400, every=1, learning_rate=0.01), out)
        os._exit(0)
    return pid


def main(folder: Path, kills: int) -> None:
    rng = random.Random(kills)
    corpus = corpus_in(folder / "corpus")
    torch.set_num_threads(1)
    train(make_model(), corpus, make_config(items=1), folder / "warm")  # whatever torch imports at the first step
    began = time.monotonic()
    assert os.waitpid(start(corpus, folder / "whole"), 0)[1] == 0
    seconds = time.monotonic() - began
    expected = last_step(folder / "whole")
    killed = finished = swept = 0
    while killed < kills or finished == 0:
        run = folder / f"run{finished}"
        pid = start(corpus, run)
        if killed < kills:
            time.sleep(rng.uniform(0, 0.6 * seconds))
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status):
            killed += 1
            swept += len(list((run / "steps").glob(".*.part"))) if (run / "steps").exists() else 0
            continue
        assert status == 0
        finished += 1
        assert same(last_step(run), expected)
        assert all(p.name.isdigit() for p in (run / "steps").iterdir())
        steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
        assert steps == list(range(1, steps[-1] + 1))
    print(json.dumps({"killed": killed, "finished": finished, "torn": swept, "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

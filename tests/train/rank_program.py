"""What each process of a group does in the test of several processes: the same runs as one process alone.

torchrun --nproc-per-node 2 rank_program.py FOLDER
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from conftest import make_config, make_model

from genesis.data.encoded import open_encoded
from genesis.train import loop, train


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    loop.PATIENCE = float("inf")
    rank = int(os.environ["RANK"])
    corpus = open_encoded(folder / "corpus")

    def weights(model: torch.nn.Module) -> dict[str, float]:
        return {name: float(p.detach().double().sum()) for name, p in model.named_parameters()}

    # another seed in the second process: what the first one has is what counts
    result = {"ddp": weights(train(make_model(rank), corpus, make_config(), folder / "ddp"))}

    def stop(progress) -> None:
        if progress.step == 10:
            os.kill(os.getpid(), signal.SIGTERM)  # one of the two is asked to stop, both do

    try:
        train(make_model(rank), corpus, make_config(), folder / "shard", stop, shard=True)
        result["interrupted"] = False
    except KeyboardInterrupt:
        result["interrupted"] = True
    result["shard"] = weights(train(make_model(rank + 7), corpus, make_config(), folder / "shard", shard=True))
    (folder / f"rank{rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

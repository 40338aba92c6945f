"""Makes a library on a Ray cluster of three machines, all of them here, and kills one in the middle.

cluster_driver.py FOLDER
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["OMP_NUM_THREADS"] = "1"

import ray
from library_of_words import save_model
from ray.cluster_utils import Cluster as Machines

import genesis
from genesis.batch.cluster import Cluster
from genesis.batch.local import Inline
from genesis.batch.plan import Plan
from genesis.batch.run import Run
from genesis.batch.session import begin, status
from genesis.batch.verify import verify
from genesis.batch.worker import Job, Source, work


def slowly(job: Job) -> int:
    """Long enough for a machine to die under it."""
    time.sleep(0.5)
    return work(job)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def main(folder: Path) -> None:
    model = save_model(folder)
    engine = genesis.load(model, "cpu")
    plan = Plan.of(
        {"domain": "molecules", "model": str(model), "count": 400, "shard": 16, "batch_size": 16, "measure": ["logp"]}
    )
    whole = begin(plan, engine, folder / "whole")
    Run(whole, Source.of(whole.order, engine), Inline()).run()

    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20}
    machines = Machines(initialize_head=True, head_node_args=head)
    others = [machines.add_node(num_cpus=1, object_store_memory=80 << 20) for _ in range(2)]
    ray.init(address=machines.address, log_to_driver=False)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    library = begin(plan, engine, folder / "library")
    killed = []

    def kill() -> None:
        while len(files(library.folder)) < 3:
            time.sleep(0.1)
        machines.remove_node(others[0], allow_graceful=False)
        killed.append(len(files(library.folder)))

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    run = Run(library, Source.of(library.order, engine), Cluster(work=slowly))
    size = run.pool.size
    run.run()
    thread.join(600)
    deadline = time.monotonic() + 600  # a death is noticed by missing heartbeats, which may come after the end
    while (left := sum(node["Alive"] for node in ray.nodes())) == len(nodes) and time.monotonic() < deadline:
        time.sleep(1)
    print(
        json.dumps(
            {
                "machines": len(nodes), "workers": size, "killed_at_shard": killed, "machines_left": left,
                "rows": ray.data.read_parquet(str(library.folder)).count(),
                "retried": run.retried, "same_bytes": files(library.folder) == files(whole.folder),
                "same_hash": status(library.folder).hash == status(whole.folder).hash,
                "verified": verify(library.folder) == [],
            }
        )
    )  # fmt: skip
    ray.shutdown()
    machines.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

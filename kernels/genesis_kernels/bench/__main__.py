"""``python -m genesis_kernels.bench check|time|prepare OP`` and ``... ceilings``: JSON on standard output."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

import torch

from genesis_kernels.bench import cases, clock

OPS = ("short_attention", "decode_attention", "token_sampler", "modulated_norm")


def ceilings() -> dict[str, Any]:
    """What this machine copies and multiplies at best, today."""
    return {"copy_bytes_a_second": clock.copy_bandwidth(), "bf16_flops_a_second": clock.matrix_rate()}


def check(op: str) -> dict[str, Any]:
    from genesis_kernels.bench import checks

    return checks.summary(checks.check(op))


def rows(op: str) -> Iterator[dict[str, Any]]:
    """Every case of an op against every opponent, each beside what the machine copies then."""
    bandwidth = clock.copy_bandwidth()
    for case in cases.cases(op):
        yield {**_row(case, bandwidth), "copy_bytes_a_second": bandwidth}
        torch.cuda.empty_cache()
        torch._dynamo.reset()


def prepare(op: str, part: int, parts: int) -> dict[str, Any]:
    """Compile what every n-th case needs, into the caches on disk: several processes do it together."""
    done, failed = 0, 0
    for case in islice(cases.cases(op), part, None, parts):
        inputs = case.inputs(0)
        for call in (case.ours, *case.opponents.values()):
            try:
                call(*inputs)
                done += 1
            except Exception:  # it will be told when it is timed
                failed += 1
    return {"compiled": done, "failed": failed}


def _row(case: cases.Case, bandwidth: float) -> dict[str, Any]:
    one = case.inputs(0)
    count = clock.sets_of(clock.bytes_of(one))
    sets = [one, *(case.inputs(17 * seed) for seed in range(1, count))]
    timings: dict[str, Any] = {}
    for name, call in {"ours": case.ours, **case.opponents}.items():
        try:
            timings[name] = asdict(clock.timed(lambda i, call=call: call(*sets[i]), count))  # type: ignore[misc]
        except Exception as error:  # an opponent that cannot do a shape is a finding, not the end
            timings[name] = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"}
    row: dict[str, Any] = {"op": case.op, "case": case.name, "bytes": case.bytes, "flops": case.flops, "us": timings}
    if "median" in timings["ours"]:
        best = {name: t["median"] for name, t in timings.items() if name != "ours" and "median" in t}
        mine = timings["ours"]["median"]
        row["of_copy"] = case.bytes / (mine * 1e-6) / bandwidth
        if best:
            row["best"] = min(best, key=best.__getitem__)
            row["times_best"] = best[row["best"]] / mine
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("check", "time", "ceilings", "prepare"))
    parser.add_argument("op", choices=OPS, nargs="?")
    parser.add_argument("--part", default="0/1", help="of prepare: part 0 of 4 is 0/4")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("genesis_kernels.bench needs a CUDA device; torch finds none here")
    if arguments.what == "ceilings":
        print(json.dumps(ceilings()))
        return
    if arguments.op is None:
        parser.error(f"{arguments.what} needs an op: {', '.join(OPS)}")
    if arguments.what == "prepare":
        print(json.dumps(prepare(arguments.op, *map(int, arguments.part.split("/")))))
        return
    checked = check(arguments.op)
    if arguments.what == "check":
        print(json.dumps(checked))
    elif not checked["ok"]:
        print(json.dumps({"refused": "its check is red", **checked}))
    else:
        torch.use_deterministic_algorithms(False)
        for row in rows(arguments.op):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

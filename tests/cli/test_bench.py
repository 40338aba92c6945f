"""``genesis bench``: tables, JSON, and refusals; the figures themselves are tested in ``tests/test_bench.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from genesis import bench

Call = Callable[..., Any]
TIMING = {"median": 12.34, "p20": 12.0, "p80": 13.0, "recorded": True}
KERNELS = [
    {
        "op": "short_attention",
        "case": "B 8",
        "us": {"ours": TIMING},
        "of_copy": 0.75,
        "times_best": 1.5,
        "best": "flex",
    },
    {"op": "a", "case": "B 9", "us": {"ours": {"error": "OutOfMemoryError"}}},
    {"op": "token_sampler", "refused": "its check is red"},
]
RATE = {
    "batch": 64,
    "device": "cpu",
    "dtype": "float32",
    "mean_tokens": 34.0,
    "tokens_a_second": 5e3,
    "items_a_second": 147.0,
}
JOB = {"what": "measured", "constrained": True, "drawn": 70, "valid_unique": 64, "seconds": 2.0, "a_second": 32.0}


def test_kernels_and_what_was_refused(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "kernels", lambda names: KERNELS)
    done = call("bench", "kernels")
    assert done.code == 1
    lines = [line.split() for line in done.out.splitlines()]
    assert ["short_attention", "B", "8", "12.3", "75", "1.50", "flex"] in lines
    assert any("OutOfMemoryError" in line for line in lines)
    assert "its check is red" in done.out
    monkeypatch.setattr(bench, "kernels", lambda names: KERNELS[:1])
    assert call("bench", "kernels").code == 0


def test_decode_at_the_sizes_asked_for(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        bench, "decode", lambda engine, sizes, constrained: asked.append((sizes, constrained)) or [RATE]
    )
    assert "5,000" in call("bench", "decode", "--batch", "64", "--batch", "8", "--constrained").out
    assert call("bench", "decode").code == 0
    assert asked == [([64, 8], True), ([64, 512], False)]


def test_the_whole_job_as_json(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "whole", lambda engine, count, workers: [{**JOB, "drawn": count}])
    found = json.loads(call("bench", "whole", "--count", "70", "--json").out)
    assert found == {"what": "whole", "rows": [JOB]}
    assert "automaton" in call("bench", "whole", "--count", "70").out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["planes"], 2, "planes"),
        (["decode", "--batch", "0"], 2, "'--batch'"),
        (["kernels", "--kernel", "x"], 2, "no kernel 'x'"),
    ],
)
def test_what_cannot_be_meant(call: Call, arguments: list[str], code: int, said: str) -> None:
    done = call("bench", *arguments)
    assert done.code == code
    assert said in done.err

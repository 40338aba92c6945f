"""The script behind `make gpu`: no step stops another, everything is written as it comes, nothing is made up."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_script", ROOT / "benchmarks" / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_script"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def python(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


def test_steps_fail_alone_and_are_written_at_once(script, tmp_path):
    Step = script.Step
    run = script.Run(tmp_path / "results.json")
    run.together(
        [
            Step("good", python("print('{\"rows\": 1}')"), 30),
            Step("red check", python('print(\'{"ok": false, "wrong": {"case": ["off"]}}\')'), 30),
            Step("crash", python("print('{\"row\": 1}', flush=True); import os; os.abort()"), 30),
            Step("error", python("raise ValueError('what went wrong')"), 30),
            Step("hang", python("print('{\"row\": 1}', flush=True); import time; time.sleep(60)"), 3),
            Step("silent", python("pass"), 30),
        ]
    )
    run.together(
        [Step("refused", python("print(1)"), 30, ("red check",)), Step("follows", python("print('{}')"), 30, ("good",))]
    )
    steps = json.loads((tmp_path / "results.json").read_text())["steps"]
    assert {name for name, step in steps.items() if step["ok"]} == {"good", "follows"}
    assert "off" in steps["red check"]["said"]
    assert steps["crash"]["rows"] == [{"row": 1}]
    assert steps["crash"]["said"].startswith("ended with -6")
    assert "ValueError: what went wrong" in steps["error"]["said"]
    assert steps["hang"]["rows"] == [{"row": 1}]
    assert steps["hang"]["said"].startswith("stopped after")
    assert steps["refused"]["said"] == "left out: red check is not green"
    assert not list(tmp_path.glob("*.draft"))


WORKER = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "


@pytest.mark.parametrize("after", ["time.sleep(60)", "print('{}', flush=True)"])
def test_a_worker_does_not_outlive_its_step(script, tmp_path, after):
    """It would hold the pipes of a step that was stopped, or that has ended, and the run would wait for it."""
    run = script.Run(tmp_path / "results.json")
    began = time.monotonic()
    run.together([script.Step("step", python(WORKER + after), 3)])
    assert time.monotonic() - began < 20
    assert run.results["steps"]["step"]["said"].startswith("stopped after")


def test_what_does_not_fit_the_time_is_left_out(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "BUDGET", 0.0)
    run = script.Run(tmp_path / "results.json")
    run.together([script.Step("late", python("print('{}')"), 30)])
    assert run.results["steps"]["late"]["said"] == "left out: no time for it"


def test_the_plan_fits_its_budget_and_checks_before_it_times(script):
    together, *alone = script.steps(16)
    assert len(together) <= 20
    names = [step.name for step in together]
    for group in alone:
        assert len(group) == 1
        assert all(name in names for name in group[0].after)
    assert {step.name for group in alone for step in group} == {
        "ceilings", "decode", "whole", *(f"time {op}" for op in script.OPS),
    }  # fmt: skip
    assert script.BUDGET < 480


def test_the_table_shows_what_was_measured_and_what_is_red(script, tmp_path, monkeypatch):
    ours = {"median": 10.0, "p20": 9.0, "p80": 11.0, "recorded": True}
    row = {
        "op": "short_attention",
        "case": "B 1",
        "us": {"ours": ours},
        "of_copy": 0.5,
        "times_best": 1.25,
        "best": "flex",
    }
    speed = {"batch": 8, "constrained": True, "dtype": "bfloat16", "tokens_a_second": 1e6, "items_a_second": 5e4}
    results = {
        "environment": {"device": "A GPU", "torch": "2", "triton": "3", "date": "2026-01-01"},
        "steps": {
            "ceilings": {"ok": True, "rows": [{"copy_bytes_a_second": 4e12}]},
            "time short_attention": {"ok": True, "rows": [row]},
            "decode": {"ok": True, "rows": [{**speed, "bytes_a_second": 1e12}]},
            "whole": {"ok": False, "said": "ended with 1", "rows": []},
        },
    }
    text = script.table(results)
    assert "| short_attention | B 1 | 10.0 (9.0 to 11.0) | 50 | 1.25 | flex |" in text
    assert "| with the automaton, bfloat16 | 8 | 1,000,000 | 50,000 | 25 |" in text
    assert "* whole: ended with 1" in text
    page = tmp_path / "kernels.md"
    page.write_text(f"before\n{script.BEGIN}\nold\n{script.END}\nafter\n")
    monkeypatch.setattr(script, "PAGE", page)
    script.publish(text)
    assert page.read_text().startswith(f"before\n{script.BEGIN}\n\nA GPU")
    assert page.read_text().endswith(f"{script.END}\nafter\n")
    assert "old" not in page.read_text()


def test_the_page_has_the_marks_that_the_table_goes_between(script):
    text = script.PAGE.read_text()
    assert text.count(script.BEGIN) == text.count(script.END) == 1


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="there is a GPU")
def test_without_a_gpu_it_says_so(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert script.main() == 1
    assert "make gpu needs a CUDA device" in capsys.readouterr().err

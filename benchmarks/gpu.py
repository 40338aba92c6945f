"""Everything that needs a GPU, in one run of less than eight minutes: `make gpu`.

Steps are processes of their own: one that fails, hangs or breaks the device is a red line in the results and stops
none of the others. Checks run side by side, and so does the compilation of what will be timed; then one thing is timed
after the other. `benchmarks/results/<device>-<date>.json` is written after every step, and at the end the table
of docs/kernels.md.

    python benchmarks/gpu.py                 all of it
    python benchmarks/gpu.py --only check    steps whose name begins so
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "kernels.md"
BUDGET = 465.0  # seconds: what has not begun by then, or does not fit, is left out and named
OPS = ("short_attention", "decode_attention", "token_sampler", "modulated_norm")
MODEL = "molecules"
BEGIN, END = "<!-- measured on a GPU -->", "<!-- end -->"

DECODE = """
import json, genesis
from genesis import bench
engine = genesis.load(MODEL, "cuda")
for constrained, sizes in ((False, (256, 1024, 4096, 8192)), (True, (1024, 4096))):
    for row in bench.decode(engine, sizes, constrained):
        print(json.dumps(row), flush=True)
"""
WHOLE = """
import json, genesis
from genesis import bench
for row in bench.whole(genesis.load(MODEL, "cuda"), 50_000):
    print(json.dumps(row), flush=True)
"""
ENGINE = """
import json, genesis
from genesis import bench
print(json.dumps(bench.check_engine(genesis.load(MODEL, "cuda"))))
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One process: what it runs, how long it may take, and what must be green before it."""

    name: str
    command: tuple[str, ...]
    limit: float  # seconds
    after: tuple[str, ...] = ()


def python(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code.replace("MODEL", repr(MODEL))


def bench(*arguments: str) -> tuple[str, ...]:
    return sys.executable, "-m", "genesis_kernels.bench", *arguments


def steps(processors: int) -> list[list[Step]]:
    """Groups in order; the steps of a group run side by side."""
    parts = max(1, min(10, processors - 5))
    together = [Step(f"check {op}", bench("check", op), 240) for op in OPS]
    together += [
        Step(f"prepare {op} {part}", bench("prepare", op, "--part", f"{part}/{n}"), 200)
        for op, n in (("short_attention", parts), ("decode_attention", 2), ("token_sampler", 2), ("modulated_norm", 1))
        for part in range(n)
    ]
    together.append(Step("check engine", python(ENGINE), 200))
    alone = [Step("ceilings", bench("ceilings"), 60)]
    alone += [Step(f"time {op}", bench("time", op), 120, (f"check {op}",)) for op in OPS]
    alone.append(Step("decode", python(DECODE), 120, ("check engine",)))
    alone.append(Step("whole", python(WHOLE), 120, ("check engine",)))
    return [together, *([step] for step in alone)]


@dataclass(slots=True)
class Run:
    """The results so far, on disk after every step."""

    file: Path
    began: float = field(default_factory=time.monotonic)
    results: dict[str, Any] = field(default_factory=dict)

    def left(self) -> float:
        return BUDGET - (time.monotonic() - self.began)

    def write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps(self.results, indent=1) + "\n")
        draft.replace(self.file)

    def record(self, name: str, found: dict[str, Any]) -> None:
        self.results.setdefault("steps", {})[name] = found
        self.write()
        state = "ok" if found["ok"] else f"RED: {found.get('said', '')}"
        print(f"{time.monotonic() - self.began:6.0f} s  {name:28} {found['seconds']:5.0f} s  {state}", flush=True)

    def green(self, name: str) -> bool:
        return bool(self.results.get("steps", {}).get(name, {}).get("ok"))

    def together(self, group: Sequence[Step]) -> None:
        """Run the steps of a group side by side."""
        started = []
        for step in group:
            red = next((name for name in step.after if not self.green(name)), None)
            if red is not None:
                self.record(step.name, {"ok": False, "seconds": 0, "said": f"left out: {red} is not green"})
            elif self.left() < min(20, step.limit):
                self.record(step.name, {"ok": False, "seconds": 0, "said": "left out: no time for it"})
            else:
                started.append((step, time.monotonic(), _start(step)))
        try:
            for step, since, child in started:
                limit = max(1.0, min(step.limit, self.left()) - (time.monotonic() - since))
                self.record(step.name, _end(child, limit, since))
        finally:  # a Ctrl-C does not reach what is a session of its own
            for *_, child in started:
                if child.returncode is None:
                    _stop(child)


def _start(step: Step) -> subprocess.Popen[str]:
    paths = [str(ROOT), str(ROOT / "kernels"), str(ROOT / "domains"), os.environ.get("PYTHONPATH", "")]
    # one thread of compilation a process: there are as many processes as processors
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    if not step.name.startswith(("time", "decode", "whole")):
        environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    return subprocess.Popen(
        step.command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
        start_new_session=True,
    )


def _end(child: subprocess.Popen[str], limit: float, since: float) -> dict[str, Any]:
    """What a process printed: JSON lines, kept also where it was stopped in the middle."""
    try:
        out, err = child.communicate(timeout=limit)
        said = "" if child.returncode == 0 else f"ended with {child.returncode}: {_last(err)}"
    except subprocess.TimeoutExpired:
        _stop(child)
        out, err = child.communicate()
        said = f"stopped after {limit:.0f} s"
    rows = []
    for line in out.splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    refused = next((row for row in rows if row.get("ok") is False or "refused" in row), None)
    if refused is not None:
        said = said or str(refused.get("refused") or json.dumps(refused.get("wrong")))[:400]
    return {"ok": not said and bool(rows), "seconds": time.monotonic() - since, "said": said, "rows": rows}


def _stop(child: subprocess.Popen[str]) -> None:
    """End a process and its workers, which would hold its pipes open for ever."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _last(err: str) -> str:
    lines = [line for line in err.strip().splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing on standard error"


def environment() -> dict[str, Any]:
    import torch
    import triton

    properties = torch.cuda.get_device_properties()
    return {
        "device": torch.cuda.get_device_name(),
        "capability": list(torch.cuda.get_device_capability()),
        "memory": properties.total_memory,
        "processors": os.cpu_count(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cuda": torch.version.cuda,
        "date": date.today().isoformat(),
    }


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown; a step that is not green has none."""
    about = results["environment"]
    lines = [
        f"{about['device']}, torch {about['torch']}, triton {about['triton']}, {about['date']}.",
        "",
        "| op | case | us | % of copy | times the best | which is |",
        "|---|---|---|---|---|---|",
    ]
    found = results.get("steps", {})
    for op in OPS:
        for row in found.get(f"time {op}", {}).get("rows", []):
            if "us" not in row:
                continue
            ours = row["us"]["ours"]
            us = f"{ours['median']:.1f} ({ours['p20']:.1f} to {ours['p80']:.1f})" if "median" in ours else ours["error"]
            share = f"{100 * row['of_copy']:.0f}" if "of_copy" in row else ""
            times = f"{row['times_best']:.2f}" if "times_best" in row else ""
            lines.append(f"| {op} | {row['case']} | {us} | {share} | {times} | {row.get('best', '')} |")
    lines += ["", "| decoding | batch | tokens a second | items a second | % of copy |", "|---|---|---|---|---|"]
    ceiling = next(iter(found.get("ceilings", {}).get("rows", [])), {}).get("copy_bytes_a_second")
    for row in found.get("decode", {}).get("rows", []):
        share = f"{100 * row['bytes_a_second'] / ceiling:.0f}" if ceiling else ""
        what = "with the automaton" if row["constrained"] else "free"
        speed = f"{row['tokens_a_second']:,.0f} | {row['items_a_second']:,.0f}"
        lines.append(f"| {what}, {row['dtype']} | {row['batch']} | {speed} | {share} |")
    lines += ["", "| whole job | drawn | valid and distinct a second |", "|---|---|---|"]
    for row in found.get("whole", {}).get("rows", []):
        what = row["what"] + (", with the automaton" if row["constrained"] else "")
        lines.append(f"| {what} | {row['drawn']} | {row['a_second']:,.0f} |")
    red = [f"* {name}: {step['said']}" for name, step in found.items() if not step["ok"]]
    return "\n".join([*lines, *(["", "Not green:", "", *red] if red else [])])


def publish(text: str) -> None:
    """Put the table into the page, between its two marks."""
    page = PAGE.read_text()
    PAGE.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n\n{text}\n\n{END}", page, flags=re.DOTALL))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="NAME", help="steps whose name begins with this")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    arguments = parser.parse_args()
    try:
        about = environment()
    except (ImportError, AssertionError, RuntimeError) as error:
        print(f"make gpu needs a CUDA device, torch built for it, and triton: {error}", file=sys.stderr)
        return 1
    device = re.sub(r"[^a-z0-9]+", "-", about["device"].lower()).strip("-")
    run = Run(arguments.results / f"{device}-{about['date']}.json")
    run.results = {"environment": about}
    run.write()
    for group in steps(os.cpu_count() or 1):
        chosen = [step for step in group if step.name.startswith(arguments.only)]
        if arguments.only:  # what a step needs was not run: it decides for itself
            chosen = [Step(step.name, step.command, step.limit) for step in chosen]
        run.together(chosen)
    run.results["seconds"] = time.monotonic() - run.began
    run.write()
    text = table(run.results)
    print(text)
    if not arguments.only and arguments.results == RESULTS:
        publish(text)
    print(f"\n{run.file}")
    return int(any(not step["ok"] for step in run.results["steps"].values()))


if __name__ == "__main__":
    raise SystemExit(main())

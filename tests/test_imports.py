"""``import genesis`` is silent and cheap, and so is ``genesis --help``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "rdkit", "typer", "rich", "pydantic", "numpy", "safetensors", "pandas", "pyarrow", "triton")
RUNS = 5  # the fastest counts: the others measure what else the machine does
IMPORT_SECONDS = 0.15
HELP_SECONDS = 0.3  # where Python itself starts in 15 ms, and in proportion where it takes longer
STARTS = 20  # HELP_SECONDS in starts of Python

WATCH = """
import json, sys
events = []
sys.addaudithook(lambda event, _: events.append(event) if event.startswith(("socket.", "subprocess.")) else None)
import genesis
loaded = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"loaded": loaded, "events": events}))
"""


def cpu_seconds(*command: str | Path) -> float:
    """Processor time of the fastest of several runs: unlike wall time it hardly depends on the load."""
    return min(_once(command) for _ in range(RUNS))


def _once(command: tuple[str | Path, ...]) -> float:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    said = child.stderr.read().decode()
    child.stderr.close()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, said
    return usage.ru_utime + usage.ru_stime


def test_import_loads_nothing_heavy_and_opens_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", WATCH], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)  # also proves that the import prints nothing
    assert done.stderr == ""
    assert "genesis" in seen["loaded"]
    assert set(seen["loaded"]).isdisjoint(HEAVY)
    assert seen["events"] == []


def test_import_time() -> None:
    bare = cpu_seconds(sys.executable, "-c", "pass")
    assert cpu_seconds(sys.executable, "-c", "import genesis") - bare < IMPORT_SECONDS


def test_help_time() -> None:
    command = Path(sys.executable).with_name("genesis")
    assert command.exists(), "the command `genesis` is not installed; run `make test`"
    bare = cpu_seconds(sys.executable, "-c", "pass")
    assert cpu_seconds(command, "--help") < max(HELP_SECONDS, STARTS * bare)


def test_help_loads_neither_torch_nor_a_domain() -> None:
    code = "import sys; from genesis.cli.app import run; run(['--help']); print({'torch', 'rdkit'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"

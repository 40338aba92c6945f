"""Every block of the README runs, in order and in one folder, as a reader would type it.

``python`` blocks share their names; in ``console`` blocks the lines after ``$`` run. A block after the comment
``<!-- not run: REASON -->`` is skipped for that reason.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+?) -->\n+)?^```(?P<kind>python|console)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    kind: str
    text: str
    line: int  # where the text begins, from 1
    reason: str | None  # why it is not run

    @property
    def commands(self) -> list[str]:
        """What follows ``$``, with the lines that a backslash continues."""
        joined = self.text.replace("\\\n", "")
        return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


def blocks(text: str) -> Iterator[Block]:
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        yield Block(match["kind"], match["text"], line, match["reason"])


FOUND = list(blocks(README.read_text(encoding="utf-8"))) if README.exists() else []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reader")


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    return {"__name__": "readme"}


def test_the_readme_shows_both_ways_in() -> None:
    assert README.exists(), "README.md is missing"
    assert {block.kind for block in FOUND if block.reason is None} == {"python", "console"}


@pytest.mark.parametrize("block", FOUND, ids=lambda block: f"line {block.line}")
def test_a_block_runs(block: Block, folder: Path, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if block.reason is not None:
        pytest.skip(block.reason)
    monkeypatch.chdir(folder)
    if block.kind == "python":
        # as many empty lines before it as in the file, so that a traceback names the README's own line
        exec(compile("\n" * (block.line - 1) + block.text, str(README), "exec"), names)
        return
    assert block.commands, f"README.md:{block.line}: a console block without a line that begins with '$ '"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in block.commands:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"README.md:{block.line}: {command}\n{done.stdout}{done.stderr}"


def test_blocks_are_found_as_written() -> None:
    text = (
        "a\n```python\nx = 1\n```\n```text\nno\n```\n"
        "<!-- not run: takes an hour -->\n```console\n$ genesis train \\\n    --out run\ndone\n$ ls\n```\n"
    )
    first, second = blocks(text)
    assert first == Block("python", "x = 1\n", 3, None)
    assert (second.kind, second.reason, second.line) == ("console", "takes an hour", 10)
    assert second.commands == ["genesis train     --out run", "ls"]

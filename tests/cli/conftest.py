"""A domain of words and an engine that makes them at once, so that the command line is tested without weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

import genesis
from genesis import registry
from genesis.cli.app import run
from genesis.domain import Category, Number, Reading, Rejected
from genesis.errors import UsageError
from genesis.hits import Hits, Report
from genesis.nn.conditioner import CategoryField, NumberField
from genesis.targets import Targets


class Words:
    """Items are words; a line with a digit in it is no item."""

    name = "words"
    properties: Mapping[str, Number | Category] = {
        "letters": Number("", 1, 20, "letters of the word", integer=True),
        "vowels": Number("%", 0, 100, "share of vowels"),
        "kind": Category(("short", "long"), "short has at most three letters"),
    }

    def read(self, source: Path, column: str | None = None) -> Reading:
        reading = Reading()
        for row, line in enumerate(source.read_text().splitlines(), 1):
            if line.isalpha():
                reading.items.append(line)
            else:
                reading.rejected.append(Rejected(row, line, "not a word"))
        return reading

    def check_target(self, target: Path, count: int = 1) -> None:
        if target.suffix not in (".txt", ".jsonl") and str(target) != "-":
            raise UsageError(f"cannot write {target.suffix} to {target.name}; allowed: .txt, .jsonl")

    def write(self, items: Sequence[str], target: Path, columns: Mapping[str, Sequence[Any]]) -> None:
        if str(target) == "-":
            sys.stdout.write("".join(f"{item}\n" for item in items))
        elif target.suffix == ".jsonl":
            rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
            text = [json.dumps({"word": item, **row}) for item, row in zip(items, rows, strict=True)]
            target.write_text("\n".join(text) + "\n")
        else:
            target.write_text("\n".join(items) + "\n")

    def key(self, item: str) -> str:
        return item.lower()

    def describe(self, item: str, names: Sequence[str]) -> Mapping[str, float | str]:
        share = 100 * sum(letter in "aeiou" for letter in item) / len(item)
        kind = "short" if len(item) <= 3 else "long"
        return {name: {"letters": float(len(item)), "vowels": share, "kind": kind}[name] for name in names}

    def picture(self, items: Sequence[str], captions: Sequence[str], target: Path) -> None:
        Image.new("L", (len(captions), 1)).save(target)


FIELDS = (
    NumberField(name="letters", mean=5, std=2, quantiles=(1, 5, 20)),
    CategoryField(name="kind", values=("short", "long")),
    NumberField(name="fame", mean=0, std=1, quantiles=(-3, 0, 3)),  # a column of a file: the domain cannot measure it
)


@dataclass
class FakeEngine:
    """Remembers how it was asked; ``said`` changes the report it gives."""

    domain: Any = field(default_factory=Words)
    name: str = "words-fake"
    words: Sequence[str] = ("sun", "river", "a", "stone", "cloud", "tree", "rain", "oak", "field", "owl", "fox", "hill")
    said: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None
    device: str = "cpu"
    config: Any = field(
        default_factory=lambda: SimpleNamespace(
            model=SimpleNamespace(fields=FIELDS), provenance=SimpleNamespace(corpus="dictionary", licence="CC0")
        )
    )

    def targets(self, target: Mapping[str, Any] | None) -> Targets:
        return Targets.check(target, FIELDS, self.domain.properties)

    def generate(self, count: int, target: Mapping[str, Any] | None = None, **how: Any) -> Hits:
        if self.error is not None:
            raise self.error
        items = list(self.words[:count])
        on_progress = how.pop("on_progress", None) or (lambda done, total, what: None)
        target = dict(target or {})
        self.asked = {"count": count, "target": target, **how}
        for done in range(len(items)):
            on_progress(done + 1, count, "drawing")
        measured = [self.domain.describe(item, list(self.domain.properties)) for item in items]
        report = {
            "asked": count,
            "drawn": len(items) + 1,
            "returned": len(items),
            "valid": len(items) / (len(items) + 1),
            "unique": len(items) / (len(items) + 1),
            "seed": how["seed"],
            "model": self.name,
            "corpus": "dictionary",
            "licence": "CC0",
        }
        return Hits(
            domain=self.domain,
            items=items,
            index=list(range(len(items))),
            keys=[self.domain.key(item) for item in items],
            measured={name: [row[name] for row in measured] for name in self.domain.properties},
            asked={name: [want] * len(items) for name, want in target.items()},
            log_prob=[-1.0] * len(items),
            summary=Report(**(report | self.said)),
        )


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """The only model of the only domain."""
    fake = FakeEngine()

    def load(name: str = "words", device: str = "auto") -> FakeEngine:
        fake.asked = {"model": name, "device": device}
        return fake

    monkeypatch.setattr(genesis, "load", load)
    monkeypatch.setattr(registry, "domains", lambda: {"words": None})
    monkeypatch.setattr(registry, "domain", lambda name: fake.domain)
    monkeypatch.setattr(registry, "presets", dict)
    return fake


@pytest.fixture
def call(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = run(arguments)
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return command

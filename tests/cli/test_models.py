"""``genesis models``: what a listing and a description say of models, whole and damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genesis import registry
from genesis.checkpoint import Config, Provenance
from genesis.models.transformer import TransformerConfig
from genesis.nn.conditioner import CategoryField, NumberField

Call = Callable[..., Any]
VOCAB = ("<pad>", "<bos>", "<eos>", "a", "b")
FIELDS = (
    NumberField(name="letters", mean=5, std=2, quantiles=tuple(map(float, range(101)))),
    CategoryField(name="kind", values=("short", "long")),
    NumberField(name="fame", mean=0, std=1, quantiles=(-3, 0, 3)),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder as far as a description reads it."""
    config = Config(
        domain="words",
        vocab=VOCAB,
        model=TransformerConfig.of("tiny", 5, 20, FIELDS),
        provenance=Provenance(corpus="dictionary", licence="CC0", items=1000, seed=7),
        scores={"valid": 0.987, "FCD": 1.5},
    )
    path = tmp_path / "words-small"
    path.mkdir()
    (path / "config.json").write_text(config.model_dump_json())
    (path / "model.safetensors").write_bytes(b"\0" * 1_200_000)
    return path


def test_the_list_of_presets(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = folder.parent / "words-broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    monkeypatch.setattr(registry, "presets", lambda: {"words-small": folder, "words-broken": broken})
    done = call("models", "list")
    header, small, bad = done.out.splitlines()
    assert header.split() == ["model", "domain", "size", "corpus", "licence", "scores"]
    assert small.split(maxsplit=6) == ["words-small", "words", "1.2", "MB", "dictionary", "CC0", "valid 0.987, FCD 1.5"]
    assert "checkpoint format None" in bad
    whole, damaged = json.loads(call("models", "list", "--json").out)
    assert (whole["bytes"], whole["scores"]["FCD"]) == (1_200_000, 1.5)
    assert "damage" in damaged


def test_no_preset_is_said(call: Call) -> None:
    done = call("models", "list")
    assert (done.code, done.out) == (0, "")
    assert "no preset is installed" in done.err
    assert json.loads(call("models", "list", "--json").out) == []


def test_a_description_lists_every_target_with_its_spread(call: Call, folder: Path) -> None:
    done = call("models", "info", str(folder))
    assert done.code == 0
    for part in ("dictionary", "CC0", "width 64, depth 2", "0.987", "90 % within 5 to 95", "one of short, long"):
        assert part in done.out
    assert "a column of the training file; not measured" in done.out.splitlines()[-1]


def test_a_description_as_json(call: Call, folder: Path) -> None:
    found = json.loads(call("models", "info", str(folder), "--json").out)
    assert (found["name"], found["items"], found["megabytes"]) == ("words-small", 1000, 1.2)
    assert [target["name"] for target in found["targets"]] == ["letters", "kind", "fame"]


def test_what_is_no_model_is_a_missing_resource(call: Call, tmp_path: Path) -> None:
    done = call("models", "info", "nosuch")
    assert (done.code, done.out) == (4, "")
    assert "no model 'nosuch'" in done.err
    assert call("models", "info", str(tmp_path)).code == 4

"""``genesis doctor``: healthy, ill, and as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genesis import ops, registry

Call = Callable[..., Any]


@pytest.fixture
def preset(engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one preset, beside the fake engine that answers for it."""
    folder = tmp_path / "words-small"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  model.safetensors\n")
    monkeypatch.setattr(registry, "presets", lambda: {"words-small": folder})
    return folder


@pytest.mark.usefixtures("preset")
def test_a_healthy_installation(call: Call) -> None:
    done = call("doctor")
    assert done.code == 0
    assert "words-small  ok  model.safetensors unchanged" in done.out
    assert "8 of 8 items in" in done.out
    for op in ops.KERNELS:
        assert op in done.out
    assert "cpu tensors take the PyTorch reference" in done.out


@pytest.mark.usefixtures("preset")
def test_json_holds_all_of_it(call: Call) -> None:
    found = json.loads(call("doctor", "--json").out)
    assert found["ok"] is True
    assert set(found) == {"versions", "machine", "operations", "presets", "self_test", "ok"}
    assert found["versions"]["torch"] not in ("", "missing")
    assert set(found["operations"]) == set(ops.KERNELS)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.safetensors", b"other weights", "model.safetensors has SHA-256"),
        ("model.safetensors", None, "model.safetensors: No such file or directory"),
        ("SHA256SUMS", None, "SHA256SUMS is missing"),
    ],
)
def test_a_changed_preset_is_an_illness(call: Call, preset: Path, name: str, content: bytes | None, said: str) -> None:
    (preset / name).unlink()
    if content is not None:
        (preset / name).write_bytes(content)
    done = call("doctor", "--no-self-test")
    assert done.code == 1
    assert "FAILED" in done.out
    assert said in done.out


@pytest.mark.usefixtures("preset")
def test_a_failed_self_test_is_reported_not_raised(call: Call, engine: Any) -> None:
    engine.error = RuntimeError("no kernel image")
    done = call("doctor")
    assert done.code == 1
    assert "RuntimeError: no kernel image" in done.out
    engine.error, engine.words = None, ["one"]
    assert "1 of 8 items" in call("doctor").out


def test_without_presets_there_is_nothing_to_fail(call: Call) -> None:
    done = call("doctor")
    assert done.code == 0
    assert done.out.rstrip().endswith("none")

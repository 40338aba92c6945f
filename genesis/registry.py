"""Where domains and presets are found: the entry-point group ``genesis.domains``, ours and other people's alike."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from genesis.domain import Domain, Speaking
from genesis.errors import ResourceError, UsageError, suggest

GROUP = "genesis.domains"


def domains() -> dict[str, EntryPoint]:
    """Installed domains by name, without importing them."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name)}


def domain(name: str, vocab: Sequence[str] | None = None) -> Domain[Any]:
    """The domain of a name; UsageError with near names, ResourceError when its libraries are missing.

    One that can speak in other words speaks those of ``vocab``.
    """
    own = _domain(name)
    if vocab is None or not isinstance(own, Speaking) or tuple(vocab) == own.spec.vocab:
        return own
    return _speaking(name, tuple(vocab))


@cache
def _speaking(name: str, vocab: tuple[str, ...]) -> Domain[Any]:
    own: Speaking[Any] = _domain(name)  # type: ignore[assignment]
    return own.speaking(vocab)


@cache
def _domain(name: str) -> Domain[Any]:
    found = domains()
    if name not in found:
        raise UsageError(f"unknown domain {name!r}; {suggest(name, found)}")
    try:
        loaded: Domain[Any] = found[name].load()
    except ImportError as error:
        raise ResourceError(f"the domain {name!r} needs a library that is not installed: {error}") from None
    return loaded


def presets() -> dict[str, Path]:
    """Shipped checkpoints by name: the folders under ``presets`` beside each domain, the first its default."""
    found: dict[str, Path] = {}
    for entry in domains().values():
        spec = importlib.util.find_spec(entry.module)
        for place in (spec.submodule_search_locations or []) if spec else []:
            for config in sorted(Path(place).glob("presets/*/config.json")):
                found[config.parent.name] = config.parent
    return found


def resolve(name: str | Path) -> Path:
    """The checkpoint folder of a preset's name, of a domain's name (its default preset), or of a path."""
    shipped = presets()
    if str(name) in shipped:
        return shipped[str(name)]
    default = next((path for preset, path in shipped.items() if preset.startswith(f"{name}-")), None)
    if str(name) in domains() and default is not None:
        return default
    path = Path(name)
    for folder in (path, path / "model"):  # a checkpoint, or the run that ended in one
        if (folder / "config.json").is_file():
            return folder
    if path.exists():
        raise ResourceError(
            f"{path}: no checkpoint here (config.json is missing); give a folder that `genesis train` wrote"
        )
    raise ResourceError(f"no model {str(name)!r}: neither a preset nor a folder; {suggest(str(name), shipped)}")

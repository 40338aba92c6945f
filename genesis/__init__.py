"""genesis: one generation engine for molecules, and for whatever else is a sequence.

>>> import genesis
>>> engine = genesis.load("molecules")
>>> hits = engine.generate(100, target={"qed": 0.9, "logp": (2, 3)}, seed=0)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genesis.engine import Engine, load
    from genesis.errors import GenesisError
    from genesis.hits import Hits, Report

__version__ = "0.1.0"
__all__ = ["Engine", "GenesisError", "Hits", "Report", "load"]

_HOMES = {"Engine": "engine", "GenesisError": "errors", "Hits": "hits", "Report": "hits", "load": "engine"}


def __getattr__(name: str) -> Any:
    """Public names are imported at first use: ``import genesis`` alone loads neither torch nor a domain."""
    if name not in _HOMES:
        raise AttributeError(f"module 'genesis' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"genesis.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

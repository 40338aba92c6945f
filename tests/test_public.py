"""The public surface is what ``__all__`` says, and no more."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import genesis


def test_all_names_exactly_what_is_there() -> None:
    listed = genesis.__all__
    assert listed == sorted(set(listed))
    # in a fresh process: other tests have imported submodules, which then are attributes too
    code = "import genesis; print(*[n for n in dir(genesis) if not n.startswith('_')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == listed


@pytest.mark.parametrize("name", genesis.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(genesis, name)
    assert value.__name__ == name
    assert value.__module__.startswith("genesis.")
    assert (value.__doc__ or "").strip()


def test_star_import_brings_the_same_names() -> None:
    names: dict[str, object] = {}
    exec("from genesis import *", names)
    names.pop("__builtins__")
    assert sorted(names) == genesis.__all__


def test_a_wrong_name_is_named() -> None:
    with pytest.raises(AttributeError, match="'genesis' has no attribute 'laod'"):
        genesis.laod  # noqa: B018


def test_the_version_is_the_installed_one() -> None:
    assert genesis.__version__ == version("genesis-engine")

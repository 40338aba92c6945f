"""Every error a user can meet.

    GenesisError                 exit code 1: it failed, and the message says what to do
    |-- UsageError               exit code 2: a flag or an argument cannot be meant
    |   `-- UnknownProperty
    |-- InputError               exit code 3: a file or an item is unreadable
    |   `-- EncodeError          one item has no sequence (counted, never fatal by itself)
    |-- ResourceError            exit code 4: a model, a corpus or an extra is missing
    |   `-- CheckpointError      a folder is not a checkpoint, or not one of ours
    `-- GateError                exit code 5: a check the user asked for refused the result

A message names what was wrong, the value, what is allowed and what to do, in one line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GenesisError(Exception):
    """The work failed."""

    exit_code = 1


class UsageError(GenesisError):
    """A flag or an argument cannot be meant."""

    exit_code = 2


class UnknownProperty(UsageError):
    """A property that the domain or the model does not have."""

    def __init__(self, name: str, known: Iterable[str], of: str) -> None:
        super().__init__(f"unknown property {name!r} for {of}; {suggest(name, known)}")


class InputError(GenesisError):
    """A file or an item is unreadable."""

    exit_code = 3


class EncodeError(InputError):
    """One item has no sequence under this domain's vocabulary or limits."""


class ResourceError(GenesisError):
    """A model, a corpus or an optional dependency is missing."""

    exit_code = 4


class CheckpointError(ResourceError):
    """A folder is not a checkpoint, or not one this version can read."""


class GateError(GenesisError):
    """A check that the user asked for refused the result."""

    exit_code = 5


def suggest(name: str, known: Iterable[str]) -> str:
    """``did you mean 'qed'? known: ...``: the near names first, then all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"{hint}known: {', '.join(names) or 'none'}"

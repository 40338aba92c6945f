"""``--target-property NAME=VALUE``: from the text of the flag to the target that ``Engine.generate`` takes."""

from __future__ import annotations

from collections.abc import Sequence

from genesis.asked import values
from genesis.errors import UsageError

__all__ = ["pairs", "values"]

FORM = "write NAME=NUMBER, NAME=LOW:HIGH or NAME=LABEL, such as qed=0.9 or logp=2:3"


def pairs(texts: Sequence[str], flag: str = "--target-property") -> dict[str, str]:
    """Names and the texts of their values; UsageError when a text has not the form or a name comes twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise UsageError(f"{flag} {text!r}: not understood; {FORM}")
        if name in found:
            raise UsageError(f"{flag} {name}: given twice, {found[name]!r} and {value!r}; give it once")
        found[name] = value
    return found

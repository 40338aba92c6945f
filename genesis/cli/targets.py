"""``--target-property NAME=VALUE``: from the text of the flag to the target that ``Engine.generate`` takes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from genesis.errors import UsageError

if TYPE_CHECKING:
    from genesis.targets import Asked

FORM = "write NAME=NUMBER, NAME=LOW:HIGH or NAME=LABEL, such as qed=0.9 or logp=2:3"
_NUMBER = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,3})?", re.ASCII)


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """Names and the texts of their values; UsageError when a text has not the form or a name comes twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise UsageError(f"--target-property {text!r}: not understood; {FORM}")
        if name in found:
            raise UsageError(f"--target-property {name}: given twice, {found[name]!r} and {value!r}; give it once")
        found[name] = value
    return found


def values(found: Mapping[str, str], labelled: Collection[str]) -> dict[str, Asked]:
    """Numbers and ranges; the properties in ``labelled`` keep their text. UsageError for what is neither."""
    return {name: text if name in labelled else _value(name, text) for name, text in found.items()}


def _value(name: str, text: str) -> Asked:
    ends = [end.strip() for end in text.split(":")]
    if len(ends) > 2 or not all(_NUMBER.fullmatch(end) for end in ends):
        lower = text.lower()
        odd = "a target must be finite; " if any(word in lower for word in ("nan", "inf")) else ""
        raise UsageError(f"--target-property {name}={text}: {odd}write {name}=NUMBER or {name}=LOW:HIGH")
    numbers = [float(end) for end in ends]
    if any(abs(number) == float("inf") for number in numbers):
        raise UsageError(f"--target-property {name}={text}: a target must be finite; the number is too large")
    if len(numbers) == 1:
        return numbers[0]
    low, high = numbers
    if low > high:
        raise UsageError(f"--target-property {name}={text}: the range is empty; write the lower end first")
    return low, high

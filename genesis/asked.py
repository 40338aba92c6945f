"""Targets as people write them: ``0.9``, ``2:3`` or a label, on the command line and in a plan."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from genesis.errors import UsageError, suggest

Asked = float | tuple[float, float] | str
"""What is asked of one property of one item: a number, a range or a label."""

_NUMBER = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,3})?", re.ASCII)


def values(found: Mapping[str, str], labelled: Collection[str]) -> dict[str, Asked]:
    """Numbers and ranges; the properties in ``labelled`` keep their text. UsageError for what is neither."""
    return {name: value(name, text, name in labelled) for name, text in found.items()}


def value(name: str, text: str, label: bool = False) -> Asked:
    """What one text asks of a property."""
    if label:
        return text
    ends = [end.strip() for end in text.split(":")]
    if len(ends) > 2 or not all(_NUMBER.fullmatch(end) for end in ends):
        lower = text.lower()
        odd = "a target must be finite; " if any(word in lower for word in ("nan", "inf")) else ""
        raise UsageError(f"target {name}={text}: {odd}write {name}=NUMBER or {name}=LOW:HIGH")
    numbers = [float(end) for end in ends]
    if any(abs(number) == float("inf") for number in numbers):
        raise UsageError(f"target {name}={text}: a target must be finite; the number is too large")
    if len(numbers) == 1:
        return numbers[0]
    low, high = numbers
    if low > high:
        raise UsageError(f"target {name}={text}: the range is empty; write the lower end first")
    return low, high


def blend(name: str, text: str, known: Collection[str]) -> dict[str, float]:
    """``bach:0.7,irish:0.3`` as labels and shares that add up to one; UsageError where it is none."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        label, colon, share = (piece.strip() for piece in part.rpartition(":"))
        if not (colon and _NUMBER.fullmatch(share)) or not float(share) > 0 or label in shares:
            raise UsageError(f"{name}={text}: write a mixture as LABEL:SHARE,LABEL:SHARE with shares above 0")
        if label not in known:
            raise UsageError(f"{name}={text}: {label!r} is not a label; {suggest(label, known)}")
        shares[label] = float(share)
    total = sum(shares.values())
    return {label: share / total for label, share in shares.items()}

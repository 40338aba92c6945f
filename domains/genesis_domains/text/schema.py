"""A JSON schema as a regular expression of the JSON texts that it describes, written in one way.

Understood are the types object, array, string, number, integer, boolean and null, ``enum``, ``const``, ``anyOf`` and
``oneOf``; ``properties`` come in their order, with ``", "`` and ``": "`` between. Everything nested has to end, so a
schema that refers to itself is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genesis.errors import InputError, UsageError

TEXT = r'[^"\\\x00-\x1f]'  # a character that needs no escape
NUMBER = {"integer": r"-?(0|[1-9][0-9]{0,8})", "number": r"-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,6})?"}
PLAIN = {"boolean": "(true|false)", "null": "null", **NUMBER}
ALWAYS = {"type", "title", "description", "$schema", "$id", "examples", "default", "$comment"}
LONGEST = 40  # characters of a string, and items of an array, where the schema says nothing


def pattern(file: Path) -> str:
    """The regular expression of a file that holds a schema."""
    try:
        schema = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not JSON ({error})") from None
    return of(schema)


def of(schema: Any, where: str = "$") -> str:
    """The regular expression of a schema; UsageError says which part of it is not understood."""
    if not isinstance(schema, Mapping):
        raise UsageError(f"JSON schema, {where}: an object is needed, not {json.dumps(schema):.40}")
    for name in ("anyOf", "oneOf"):
        if name in schema:
            _only(schema, {name}, where)
            return f"({'|'.join(of(one, f'{where}.{name}[{i}]') for i, one in enumerate(schema[name]))})"
    if "const" in schema or "enum" in schema:
        _only(schema, {"const", "enum"}, where)
        values = [schema["const"]] if "const" in schema else schema["enum"]
        return f"({'|'.join(re.escape(json.dumps(value, ensure_ascii=False)) for value in values)})"
    kind = schema.get("type")
    if isinstance(kind, list):
        return f"({'|'.join(of({**schema, 'type': one}, where) for one in kind)})"
    if kind in PLAIN:
        _only(schema, set(), where)
        return PLAIN[kind]
    nested: dict[Any, Callable[[Any, str], str]] = {"string": _string, "array": _array, "object": _object}
    if kind not in nested:
        raise UsageError(
            f"JSON schema, {where}: type {kind!r}; known: {', '.join((*PLAIN, *nested))}, enum, const, anyOf"
        )
    return nested[kind](schema, where)


def _only(schema: Mapping[str, Any], known: set[str], where: str) -> None:
    stray = sorted(schema.keys() - known - ALWAYS)
    if stray:
        raise UsageError(f"JSON schema, {where}: {stray[0]!r} is not understood here; leave it out")


def _count(schema: Mapping[str, Any], of: str, where: str) -> tuple[int, int]:
    least = schema.get(f"min{of}", 0)
    most = schema.get(f"max{of}", max(least, LONGEST) if isinstance(least, int) else 0)
    if not (isinstance(least, int) and isinstance(most, int) and 0 <= least <= most):
        raise UsageError(f"JSON schema, {where}: min{of}={least}, max{of}={most}: whole numbers in order are needed")
    return least, most


def _string(schema: Mapping[str, Any], where: str) -> str:
    _only(schema, {"pattern", "minLength", "maxLength"}, where)
    if "pattern" in schema:
        return f'"({schema["pattern"].removeprefix("^").removesuffix("$")})"'
    least, most = _count(schema, "Length", where)
    return f'"{TEXT}{{{least},{most}}}"'


def _array(schema: Mapping[str, Any], where: str) -> str:
    _only(schema, {"items", "minItems", "maxItems"}, where)
    least, most = _count(schema, "Items", where)
    one = of(schema.get("items", {}), f"{where}.items")
    if not most:
        return r"\[\]"
    several = rf"\[{one}(, {one}){{{max(least, 1) - 1},{most - 1}}}\]"
    return several if least else rf"(\[\]|{several})"


def _object(schema: Mapping[str, Any], where: str) -> str:
    """Properties that are not required may be missing; the first of those that are there has no comma before it."""
    _only(schema, {"properties", "required", "additionalProperties"}, where)
    properties = schema.get("properties") or {}
    required = schema.get("required", list(properties) if "required" not in schema else [])
    rest, begins = "", ""
    for name, value in reversed(properties.items()):
        pair = re.escape(json.dumps(name, ensure_ascii=False)) + ": " + of(value, f"{where}.{name}")
        if name in required:
            begins, rest = f"{pair}{rest}", f", {pair}{rest}"
        else:
            begins, rest = f"({pair}{rest}|{begins})", f"(, {pair})?{rest}"
    return rf"\{{{begins}\}}"

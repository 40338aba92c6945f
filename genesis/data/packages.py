"""Packages that a fetch keeps whole, opened while a domain makes its files of what they hold."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from genesis.data.fetch import scratch_beside, writing


@contextmanager
def opened(files: Mapping[str, Path], folder: Path) -> Iterator[dict[str, Path]]:
    """The files by their path in the package: of a ``.whl`` or a ``.tgz`` those in it, of a ``.gz`` what it packs.

    Until the block ends they lie beside ``folder`` under numbers, so a path in an archive points nowhere on this
    machine. Where two packages have a path in common, the later one's counts.
    """
    with ExitStack() as stack:
        with writing(folder):
            scratch = stack.enter_context(scratch_beside(folder))
            out: dict[str, Path] = {}
            for number, (path, data) in enumerate(_contents(files)):
                if isinstance(data, Path):
                    out[path] = data
                    continue
                out[path] = scratch / str(number)
                with out[path].open("wb") as copy:
                    shutil.copyfileobj(data, copy)
        yield out


def _contents(files: Mapping[str, Path]) -> Iterator[tuple[str, IO[bytes] | gzip.GzipFile | Path]]:
    for path, file in files.items():
        if file.suffix == ".whl":
            with zipfile.ZipFile(file) as wheel:
                for entry in wheel.infolist():
                    if not entry.is_dir():
                        with wheel.open(entry) as stream:
                            yield entry.filename, stream
        elif file.suffix == ".tgz":
            with tarfile.open(file) as archive:
                for member in archive:
                    found = archive.extractfile(member) if member.isfile() else None
                    if found is not None:
                        yield member.name.partition("/")[2], found  # npm puts all into one folder
        elif file.suffix == ".gz":
            with gzip.open(file) as plain:
                yield path.removesuffix(".gz"), plain
        else:
            yield path, file

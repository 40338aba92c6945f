"""A folder that is whole or not there: written under a temporary name beside its place, synced, renamed."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from genesis.errors import UsageError


class Whole:
    """``with Whole(target, "config.json") as part:`` fills ``part``, which becomes ``target`` when the block ends well.

    A target that holds the marker file, or nothing, is replaced; any other is refused, for it is not ours to delete.
    What killed writers left behind is swept by the next writer of the same target on the same machine.
    """

    def __init__(self, target: Path, marker: str) -> None:
        self.target, self.marker = target, marker
        self.part = target.with_name(f".{target.name}.{socket.gethostname()}.{os.getpid()}.part")
        self.old = self.part.with_suffix(".old")

    def __enter__(self) -> Path:
        self._refuse_foreign()
        self._sweep()
        self.part.mkdir(parents=True)
        return self.part

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self.part, ignore_errors=True)
            return
        for file in self.part.iterdir():
            sync(file)
        sync(self.part)
        self._refuse_foreign()
        if self.target.exists():
            self.target.rename(self.old)
        self.part.rename(self.target)
        sync(self.target.parent)
        shutil.rmtree(self.old, ignore_errors=True)

    def _refuse_foreign(self) -> None:
        if self.target.exists() and not (
            self.target.is_dir() and ((self.target / self.marker).exists() or not any(self.target.iterdir()))
        ):
            raise UsageError(
                f"{self.target}: something else stands there (no {self.marker} in it); choose another place"
            )

    def _sweep(self) -> None:
        mine = f".{self.target.name}.{socket.gethostname()}."
        for found in self.target.parent.glob(f"{mine}*"):
            pid = found.name.removeprefix(mine).removesuffix(".part").removesuffix(".old")
            if pid.isdigit() and (int(pid) == os.getpid() or not alive(int(pid))):
                shutil.rmtree(found, ignore_errors=True)


def alive(pid: int) -> bool:
    """Whether a process of this machine runs."""
    if os.name == "nt":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def sync(path: Path) -> None:
    """Wait until a file or the names in a folder are on the disk."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Files of a run that are whole or not there, also after a crash, on one machine or on a shared disk.

A temporary file is written and synced, then linked to its name: whoever finds the name taken was second, and the first
one's bytes are the same. Names begin with ``.`` or ``_``, or do not end in ``.parquet``, where readers of the library
must not look.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

from genesis.data.whole import alive, sync
from genesis.errors import GenesisError

DRAFTS = "_drafts"


def shard_name(shard: int) -> str:
    return f"part-{shard:05d}.parquet"


def draft_name(shard: int) -> str:
    return f"{DRAFTS}/part-{shard:05d}.draft"


def publish(content: memoryview | bytes, target: Path) -> bool:
    """Give ``target`` its bytes, whole or not at all; False when somebody else had done it. GenesisError: no room."""
    return _write(content, target, replace=False)


def replace(content: bytes, target: Path) -> None:
    """The same for a file that changes."""
    _write(content, target, replace=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files of writers that were killed on this machine."""
    host = socket.gethostname()
    for part in folder.glob(f".*.{host}.*.tmp"):
        pid = part.name.split(".")[-2]
        if pid.isdigit() and not alive(int(pid)):
            part.unlink(missing_ok=True)


def _write(content: memoryview | bytes, target: Path, replace: bool) -> bool:
    part = target.with_name(f".{target.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(part, target)
        else:
            try:
                os.link(part, target)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                    raise
                os.replace(part, target)  # a file system without hard links
        sync(target.parent)
        return True
    except OSError as error:
        raise GenesisError(
            f"could not write {target}: {error.strerror or error}; everything finished is kept, and `genesis batch "
            f"resume` goes on from it"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)

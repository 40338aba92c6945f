"""The folder of a run: its order, its shards, and the manifest that follows them.

library/
  part-00000.parquet ...   what pandas, DuckDB and Polars read; a shard with its name is finished
  _manifest.json           sums, counts, versions, licences; made from the shards, never the other way
  _plan.json               the order
  _drafts/                 drawn, not yet compared with the shards before them
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from genesis.batch.columns import MODULUS, arrow, note_of
from genesis.batch.plan import FORMAT, Order, differences
from genesis.batch.shards import DRAFTS, draft_name, publish, replace, shard_name
from genesis.batch.tally import Tally
from genesis.errors import InputError, UsageError

PLAN, MANIFEST = "_plan.json", "_manifest.json"
MAX_MANIFEST_BYTES = 1 << 28


class Entry(BaseModel):
    """A finished shard: its size and sums."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    first: int
    last: int
    rows: int
    bytes: int
    sha256: str  # of the file
    digest: str  # of its rows, in any order


class Manifest(BaseModel):
    """``_manifest.json``. ``hash`` is the sum of the digests of all rows: equal libraries have equal hashes."""

    model_config = ConfigDict(extra="forbid")
    format: int = FORMAT
    order: str
    model: str
    corpus: str
    licence: str
    genesis: str
    versions: dict[str, str]
    complete: bool = False
    hash: str = ""
    seconds: float = 0.0  # of work, over all sessions
    updated: float = 0.0  # seconds since 1970
    total: Tally = Tally()
    shards: dict[str, Entry] = {}

    @classmethod
    def of(cls, order: Order) -> Manifest:
        return cls(
            order=order.name, model=order.model, corpus=order.corpus, licence=order.licence, genesis=order.genesis,
            versions=order.versions,
        )  # fmt: skip

    def add(self, name: str, entry: Entry, tally: Tally) -> None:
        """Take in a shard, in the order of the shards."""
        self.shards[name] = entry
        self.total = self.total.plus(tally)
        self.hash = f"{(int(self.hash or '0', 16) + int(entry.digest, 16)) % MODULUS:032x}"


@dataclass(frozen=True, slots=True)
class Library:
    """A folder with an order."""

    folder: Path
    order: Order

    @classmethod
    def create(cls, folder: Path, order: Order) -> Library:
        """Begin a run, or go on with the same one; UsageError when the folder holds anything else."""
        if not cls.is_begun(folder):
            folder.mkdir(parents=True, exist_ok=True)
            publish((order.model_dump_json(indent=1) + "\n").encode(), folder / PLAN)
        found = cls.open(folder)  # of somebody else, if two began at once
        different = list(differences(found.order, order))
        if different:
            more = f" and {len(different) - 3} more" if len(different) > 3 else ""
            raise UsageError(
                f"{folder} holds another run ({'; '.join(different[:3])}{more}); name another folder, or "
                f"go on with `genesis batch resume {folder}`"
            )
        return found

    @staticmethod
    def is_begun(folder: Path) -> bool:
        """Whether a run is here; UsageError when there is something else."""
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file; name a folder")
        if (folder / PLAN).exists():
            return True
        there = folder.iterdir() if folder.exists() else ()
        foreign = any(not path.name.startswith(f".{PLAN}.") for path in there)  # not of a writer that was killed
        begun = (folder / PLAN).exists()  # by somebody else, at this moment
        if foreign and not begun:
            raise UsageError(f"{folder} is not empty and holds no run ({PLAN} is missing); name another folder")
        return begun

    @classmethod
    def open(cls, folder: Path) -> Library:
        """The run in a folder; InputError when there is none or its order is unreadable."""
        path = folder / PLAN
        if not path.is_file():
            raise InputError(f"{folder}: no batch run here ({PLAN} is missing)")
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(raw, dict) and raw.get("format") != FORMAT:
                raise InputError(f"{path}: format {raw.get('format')!r:.40}; this version reads {FORMAT}")
            order = Order.model_validate(raw)
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: unreadable ({_first(error)}); put back the file that was written") from None
        return cls(folder, order)

    def shard(self, shard: int) -> Path:
        return self.folder / shard_name(shard)

    def draft(self, shard: int) -> Path:
        return self.folder / draft_name(shard)

    def is_drawn(self, shard: int) -> bool:
        return self.shard(shard).exists() or self.draft(shard).exists()

    def drafts(self) -> list[int]:
        """Shards that are drawn and wait for those before them."""
        names = (self.folder / DRAFTS).glob("part-*.draft")
        return sorted(int(path.stem.removeprefix("part-")) for path in names)

    def manifest(self) -> Manifest:
        """What stands in the manifest, a new one when there is none; InputError when it is unreadable."""
        path = self.folder / MANIFEST
        if not path.exists():
            return Manifest.of(self.order)
        try:
            if path.stat().st_size > MAX_MANIFEST_BYTES:
                raise ValueError("too large")
            raw = json.loads(path.read_text(encoding="utf-8"))
            manifest = Manifest.model_validate({name: value for name, value in raw.items() if name != "sha256"})
            if raw.get("sha256") != _sum(manifest):
                raise ValueError("its own sum does not fit it")
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{path}: unreadable ({_first(error)}); remove it and resume: it is made again from the shards"
            ) from None
        if manifest.order != self.order.name:
            raise InputError(f"{path}: belongs to another run; remove it and resume: it is made again from the shards")
        return manifest

    def write_manifest(self, manifest: Manifest) -> None:
        manifest.updated = time.time()
        content = manifest.model_dump(mode="json") | {"sha256": _sum(manifest)}
        replace((json.dumps(content, indent=1) + "\n").encode(), self.folder / MANIFEST)

    def tables(self) -> Iterator[tuple[int, Any]]:
        """Every finished shard in order, as an Arrow table."""
        for path in sorted(self.folder.glob("part-*.parquet")):
            yield int(path.stem.removeprefix("part-")), read(path)


def read(path: Path, columns: list[str] | None = None) -> Any:
    """A shard or a draft; InputError when it is damaged."""
    try:
        table = arrow().parquet.ParquetFile(path).read(columns=columns)
        note_of(table.schema)
        return table
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: damaged ({_first(error)}); remove it and run `genesis batch resume {path.parent}`: the same rows "
            "are drawn again"
        ) from None


def encoded(table: Any, compression: str = "zstd") -> memoryview:
    """The bytes of a Parquet file."""
    sink = arrow().BufferOutputStream()
    arrow().parquet.write_table(table, sink, compression=compression)
    return memoryview(sink.getvalue())


def sha256(content: memoryview | bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sum(manifest: Manifest) -> str:
    return sha256(json.dumps(manifest.model_dump(mode="json"), sort_keys=True).encode())


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(map(str, found['loc']))}: {found['msg']}"[:200]
    return (" ".join(str(error).split()) or type(error).__name__)[:200]

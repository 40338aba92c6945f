"""The folder of a training run: its log, and what it needs to go on from where it was.

log.jsonl          one line a report
steps/00000500/    model, average, optimizer (safetensors) and state.json: whole or not there
curves/            TensorBoard's event files, when asked for
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from genesis.data.whole import Whole
from genesis.errors import CheckpointError, ResourceError, UsageError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

KEEP = 2  # complete checkpoints kept: the last, and one to fall back to
# a run may be made longer or shorter, and saved more or less often
FREE = {("config", "items"), ("config", "minutes"), ("config", "every"), ("config", "compile")}
KINDS = ("model", "average", "optimizer")

Tensors = Mapping[str, Mapping[str, Tensor]]  # kind -> name -> tensor


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of ``log.jsonl``."""

    step: int
    items: int
    loss: float | None  # nats a token over the steps since the last line; None when none was finite
    held_out: float | None  # the same of the averaged weights, on held-out items
    learning_rate: float
    items_per_second: float
    seconds: float
    figures: Mapping[str, float] = field(default_factory=dict)  # of the last batch, by the model's own names


@dataclass(slots=True)
class State:
    """What a checkpoint restores besides tensors."""

    step: int = 0
    items: int = 0
    epoch: int = 0
    position: int = 0  # in the epoch: the next batch
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint that was read."""

    tensors: Tensors
    state: State


class RunFolder:
    """One run's files. Several processes may read it, the one that ``writes`` holds its lock."""

    def __init__(
        self, path: Path, settings: Mapping[str, Mapping[str, Any]], writes: bool = True, tensorboard: bool = False
    ) -> None:
        self.path, self.steps = path, path / "steps"
        self.settings = settings
        self.writes = writes
        self._writer = _summary_writer() if tensorboard and writes else None
        self._curves: SummaryWriter | None = None
        self._lock = -1
        self._last = -1  # the step that was restored or saved last

    def __enter__(self) -> RunFolder:
        if self.writes:
            self.steps.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.path)
            for found in self.steps.iterdir():
                if (found.name.isdigit() or found.name.startswith(".")) and not (found / "COMPLETE").exists():
                    shutil.rmtree(found, ignore_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._curves:
            self._curves.close()
        if self._lock >= 0:
            os.close(self._lock)

    def restore(self) -> Saved | None:
        """The newest checkpoint that can be read, None when there is none. Other settings than its own are refused."""
        damaged = []
        for step in self._complete():
            try:
                record = json.loads((step / "state.json").read_text(encoding="utf-8"))
                saved = Saved(
                    {kind: load_file(step / f"{kind}.safetensors") for kind in KINDS}, State(**record["state"])
                )
            except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
                damaged.append(f"{step.name} ({error!s:.80})")
                continue
            self._compare(step, record)
            self._last = saved.state.step
            return saved
        if damaged:
            raise CheckpointError(f"{self.steps}: no checkpoint can be read: {'; '.join(damaged)}; use another --out")
        return None

    def begin(self, state: State) -> None:
        """Forget what a killed run wrote to its log after the checkpoint that it goes on from."""
        if not self.writes:
            return
        log = self.path / "log.jsonl"
        if log.exists():
            kept = [line for line in log.read_text(encoding="utf-8").splitlines() if _step(line) <= state.step]
            part = log.with_name(".log.part")
            part.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
            part.replace(log)
        if self._writer:
            self._curves = self._writer(str(self.path / "curves"), purge_step=state.step + 1)

    def log(self, progress: Progress) -> None:
        """Add a line to the log, and a point to every curve."""
        if not self.writes:
            return
        record = asdict(progress)
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(record, allow_nan=False) + "\n")
        if self._curves:
            for name in ("loss", "held_out", "learning_rate", "items_per_second"):
                if record[name] is not None:
                    self._curves.add_scalar(name, record[name], progress.step)
            for name, value in progress.figures.items():
                self._curves.add_scalar(f"figures/{name}", value, progress.step)

    def save(self, tensors: Tensors, state: State) -> None:
        """Write a checkpoint of this step, and let go of the oldest."""
        if not self.writes or state.step == self._last:
            return
        with Whole(self.steps / f"{state.step:08d}", "COMPLETE") as part:
            for kind in KINDS:
                save_file(dict(tensors[kind]), part / f"{kind}.safetensors")
            record = {"state": asdict(state), **self.settings}
            (part / "state.json").write_text(json.dumps(record), encoding="utf-8")
            (part / "COMPLETE").touch()
        self._last = state.step
        for old in list(self._complete())[KEEP:]:
            shutil.rmtree(old, ignore_errors=True)

    def _complete(self) -> Iterator[Path]:
        """Complete checkpoints, newest first."""
        if self.steps.is_dir():
            found = [p for p in self.steps.iterdir() if p.name.isdigit() and (p / "COMPLETE").exists()]
            yield from sorted(found, key=lambda p: int(p.name), reverse=True)

    def _compare(self, step: Path, record: Mapping[str, Mapping[str, Any]]) -> None:
        changed = [
            f"{name}={was!r:.60}, now {now.get(name)!r:.60}"
            for group, now in self.settings.items()
            for name, was in record.get(group, {}).items()
            if was != now.get(name) and (group, name) not in FREE
        ]
        if changed:
            raise CheckpointError(
                f"{step}: this run was begun with other settings ({'; '.join(changed)}); use them or another --out"
            )


def shown(path: Path) -> int:
    """Items that a finished run has shown."""
    return int(json.loads((path / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])["items"])


def _locked(path: Path) -> int:
    """A handle that locks the folder until it is closed or its process ends, however that ends."""
    handle = os.open(path / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UsageError(f"{path}: another process trains here; wait, or use another --out") from None
    except (ImportError, OSError):
        pass  # Windows, and file systems of clusters that know no locks: trust the user
    return handle


def _step(line: str) -> float:
    """The step of a line of the log; a line torn by a kill is beyond all steps."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _summary_writer() -> type[SummaryWriter]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ResourceError(
            "curves need the package tensorboard; pip install 'genesis-engine[train]', or train without them"
        ) from None
    return SummaryWriter

"""One training loop for every model that has ``loss(tokens [B, T], values [B, P])``, the sum of nats over a batch.

bf16 autocast, linear warm-up and cosine decay, gradient clipping, an exponential moving average of the weights,
length-bucketed batches by token budget. Everything random is a function of (seed, step), and a checkpoint holds the
rest, so a killed run resumes to bit-identical weights.

Under ``torchrun`` each process takes every n-th row of the same batch and the loss is divided by the tokens of the
whole batch, so several devices compute what one would.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genesis.data.batches import Batch, collate, drop_conditions, epochs
from genesis.data.encoded import Encoded
from genesis.errors import GenesisError, UsageError
from genesis.train.config import TrainConfig, learning_rate
from genesis.train.folder import Progress, RunFolder, State
from genesis.train.group import join
from genesis.train.learner import Learner

BAD_STEPS = 3  # gradients in a row that are not finite before the run stops
LOOK = 16  # steps between two looks at what a GPU has computed: each look waits for it
PATIENCE = 30.0  # seconds without a report
WATCHED = 2_048  # held-out items whose loss is watched


def train(
    model: nn.Module,
    corpus: Encoded,
    config: TrainConfig,
    out: Path,
    on_progress: Callable[[Progress], None] | None = None,
    device: torch.device | None = None,
    *,
    tensorboard: bool = False,
    shard: bool = False,
) -> nn.Module:
    """Train ``model`` on a corpus, in place; at the end it holds the averaged weights.

    ``out`` receives ``log.jsonl`` and ``steps/NNNNNNNN/`` checkpoints; a run that finds some there goes on from the
    newest complete one. Ctrl-C and SIGTERM finish the step, write a checkpoint and raise KeyboardInterrupt.

    Args:
        device: where to train, the CPU by default; under ``torchrun`` "cuda" means the device of the local rank.
        tensorboard: write curves to ``out/curves`` too.
        shard: split weights, gradients and moments over the processes (FSDP2) instead of repeating them in each (DDP).
    """
    index, watched = np.flatnonzero(~corpus.held_out), np.flatnonzero(corpus.held_out)[:WATCHED]
    if config.items == 0 and not config.minutes:
        raise UsageError("items=0 leaves the length of the run to Engine.train; say how many items to show")
    if len(index) == 0:
        raise GenesisError("every item of the corpus is held out; give more than a handful of items")
    if shard and config.compile:
        raise UsageError("compile and shard do not go together; drop one of them")
    about = {name: corpus.meta.get(name) for name in ("corpus", "items", "tokens", "vocab_hash", "properties")}
    settings = {"config": config.model_dump(), "corpus": about}
    group = join(device or torch.device("cpu"))
    if config.minutes and group.world > 1:
        raise UsageError("minutes: the clocks of several processes do not agree; say how many items to show")
    if shard and group.world == 1:
        raise UsageError("shard needs several processes; start them with torchrun")
    with (
        RunFolder(out, settings, group.rank == 0, tensorboard) as folder,
        Interruption() as interruption,
    ):
        learner = Learner(model, config, group, shard)
        state = State()
        saved = folder.restore()
        if saved:
            learner.restore(saved.tensors)
            state = saved.state
        folder.begin(state)
        watch = [collate(corpus, part) for part in np.array_split(watched, 8) if len(part)]
        window = _Window(state)
        lengths = corpus.lengths[index]
        batches = epochs(lengths, corpus.longest, config.batch_tokens, config.seed, state.epoch, state.position)
        clock = _Clock(config, state)
        done = clock.done(state)
        while done < 1:
            state.epoch, state.position, chosen = next(batches)
            batch = collate(corpus, index[chosen], config.batch_tokens, group.world)
            kept = drop_conditions(batch.values, config.seed, state.step, config.unconditional, config.complete)
            batch = Batch(batch.tokens, kept)
            rate = learning_rate(done, config)
            learner.pace(done)
            window.losses.append(learner.step(batch, state.step, rate))
            state.step += 1
            state.position += 1
            state.items += len(chosen)
            done = clock.done(state)
            last = done >= 1
            stopping = False
            if last or group.device.type == "cpu" or state.step % LOOK == 0:
                _stop_if_hopeless(learner, state)
                stopping = group.any(interruption.asked)
            keep = last or stopping or state.step % config.every == 0
            if keep or window.age() > PATIENCE:
                held_out = learner.held_out(watch) if keep and watch and not stopping else None
                progress = window.report(state, clock.seconds(), rate, held_out, learner.figures())
                folder.log(progress)  # before the checkpoint: a run that goes on from it then misses no line
                if keep:
                    folder.save(learner.tensors(), state)
                if folder.writes:
                    interruption.during(on_progress, progress)
                window = _Window(state)
            if stopping:
                raise KeyboardInterrupt
        learner.finish(model)
    return model.eval()


class Interruption:
    """Remembers Ctrl-C and SIGTERM, so that no step and no file is torn; the second one interrupts at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if self.asked and kind is None:
            raise KeyboardInterrupt

    def during(self, callback: Callable[[Progress], None] | None, progress: Progress) -> None:
        """Call back; a KeyboardInterrupt that comes out of it is remembered like the others."""
        try:
            if callback:
                callback(progress)
        except KeyboardInterrupt:
            self.asked = True

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


class _Clock:
    """How far a run is: the share of its items that were shown, or of its time that is over, whichever is more."""

    def __init__(self, config: TrainConfig, state: State) -> None:
        self.config, self.began = config, time.monotonic() - state.seconds

    def seconds(self) -> float:
        """Of all parts of the run together."""
        return time.monotonic() - self.began

    def done(self, state: State) -> float:
        shown = state.items / self.config.items if self.config.items else 0.0
        over = self.seconds() / (60 * self.config.minutes) if self.config.minutes else 0.0
        return min(1.0, max(shown, over))


class _Window:
    """The steps since the last report."""

    def __init__(self, state: State) -> None:
        self.losses: list[Tensor] = []
        self.items, self.began = state.items, time.monotonic()

    def age(self) -> float:
        return time.monotonic() - self.began

    def report(
        self, state: State, seconds: float, rate: float, held_out: float | None, figures: Mapping[str, float]
    ) -> Progress:
        age = max(1e-9, self.age())
        state.seconds = seconds
        losses = torch.stack(self.losses)
        losses = losses[losses.isfinite()]
        return Progress(
            step=state.step,
            items=state.items,
            loss=float(losses.mean()) if len(losses) else None,
            held_out=held_out,
            learning_rate=rate,
            items_per_second=(state.items - self.items) / age,
            seconds=state.seconds,
            figures=figures,
        )


def _stop_if_hopeless(learner: Learner, state: State) -> None:
    if learner.worst >= BAD_STEPS:
        raise GenesisError(
            f"the gradient was not finite {BAD_STEPS} times in a row at step {state.step}; train again with a lower "
            "--learning-rate or in fp32, in another --out (the last checkpoint of this run is kept)"
        )

"""The engine: a model, its domain, and everything a user does with them.

B  items of a batch
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import genesis
from genesis import checkpoint, registry, train
from genesis.checkpoint import Config, Provenance
from genesis.data import sources
from genesis.data.encoded import Encoded
from genesis.decoding.loop import Decoded, Decoder
from genesis.decoding.sampling import Rules
from genesis.domain import Completing, Constrained, Constraint, Domain, Label, Reporting, Task
from genesis.errors import UnknownProperty, UsageError
from genesis.hits import Hits, Report
from genesis.metrics.sets import KeySet
from genesis.models.transformer import Size, Transformer, TransformerConfig
from genesis.nn.conditioner import NumberField
from genesis.prepare import KEYS, learned, prepare, prepared_corpus
from genesis.profiles import Profiles
from genesis.targets import Target, Targets
from genesis.train import Progress, TrainConfig
from genesis.train.group import join

TRAINING_KEYS = "training_keys.npy"  # beside the weights: what novelty is asked of
# glibc gives blocks of a megabyte back at once and takes them again at the next step: 8 % of decoding on two cores
LONG_LIVED = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30), "OMP_NUM_THREADS": "1"}
PASSES = 10  # over the corpus, where the length of a training is not given
PATIENCE = 4  # draws an item asked for, before a shortfall is reported
TURN = 1 << 40  # items of one pass over what is given; the next pass has the noise of the items beyond
SPAWN = 2_000  # items from which worker processes pay for their start (about 3 s)

OnProgress = Callable[[int, int, str], None]


class Request(BaseModel):
    """One way of drawing items, the same in every process that serves it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)
    seed: int = Field(default=0, ge=0, lt=2**63)
    rules: Rules = Rules()
    guidance: float = Field(default=1.0, ge=0, le=20)
    constrained: bool = True
    measure: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawn:
    """What became of one index: ``item`` is None when the sequence is not a valid item."""

    index: int
    item: Any | None
    key: str | None
    measured: Mapping[str, float | str]
    log_prob: float
    tokens: tuple[int, ...] = ()  # what the domain decoded; empty where it gave no item


def load(name: str | Path = "molecules", device: str = "auto") -> Engine:
    """The engine of a preset, a domain's default preset, or a folder that `genesis train` wrote."""
    path = registry.resolve(name)
    where = _device(device)
    model, config = checkpoint.load(path, where)
    return Engine(model, config, path)


class Engine:
    """Draws, measures and saves; made by :func:`load` or by training."""

    def __init__(self, model: Transformer, config: Config, path: Path | None = None) -> None:
        self.model, self.config = model, config
        self._path = path
        self.domain: Domain[Any] = registry.domain(config.domain)
        if config.vocab != self.domain.spec.vocab:
            raise UsageError(
                f"this model speaks another vocabulary than the installed domain {config.domain!r}; train it again"
            )

    @property
    def name(self) -> str:
        if self._path is None:
            return f"{self.config.domain} (not saved)"
        return self._path.parent.name if self._path.name == "model" else self._path.name

    @property
    def path(self) -> Path | None:
        """The folder of the checkpoint, once there is one."""
        return self._path

    @property
    def properties(self) -> tuple[str, ...]:
        """What can be asked for."""
        return tuple(field.name for field in self.config.model.fields)

    @property
    def device(self) -> torch.device:
        return self.model.embed.weight.device

    @cached_property
    def decoder(self) -> Decoder:
        return Decoder(self.model, len(self.config.vocab))

    @cached_property
    def known(self) -> KeySet | None:
        """The keys of the training items, when they came with the model."""
        file = self._path / TRAINING_KEYS if self._path else None
        return KeySet(file) if file and file.exists() else None

    @cached_property
    def profiles(self) -> Profiles | None:
        """What goes with what in the training corpus, when it came with the model."""
        return Profiles.read(self._path, self.config.model.fields) if self._path else None

    def targets(self, target: Mapping[str, Target] | None) -> Targets:
        """Checked targets; what is not asked for is borrowed from training items that have what is."""
        return Targets.check(target, self.config.model.fields, self.domain.properties, self.profiles)

    @classmethod
    def train(
        cls,
        domain: str,
        source: Path | str,
        out: Path | str,
        *,
        column: str | None = None,
        targets: Sequence[str] = (),
        size: Size = "small",
        config: TrainConfig | None = None,
        share: float = 1.0,
        licence_tier: str | None = None,
        max_rejected: float = 0.1,
        device: str = "auto",
        tensorboard: bool = False,
        on_encode: OnProgress | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Engine:
        """Train a model on a file, or on a corpus by name, and leave a checkpoint in ``out``.

        The properties of the domain and the columns named in ``targets`` become what can be asked for. A run that was
        interrupted goes on from its last checkpoint when it is called again with the same ``out``.

        Args:
            source: a file the domain reads, or the name of a corpus (``genesis data list``).
            column: the column that holds the items, where the file has several.
            licence_tier: train only on items whose licence allows at least as much as free, sharealike, gpl, ...
            size: the one dial of the network: tiny, small, base, large.
            config: length and settings of the run; by default ten passes over the items.
        """
        out = Path(out)
        ready = (
            prepared_corpus(str(source))
            if source in sources.CORPORA and not targets and share == 1 and not licence_tier
            else None
        )
        where = _device(device)
        group = join(where)
        for turn in (0, 1):  # the first process encodes; the others then find the folder there
            if (group.rank > 0) == turn:
                data = prepare(
                    domain, source, ready or out / "encoded", column=column, targets=targets, share=share,
                    licence_tier=licence_tier, max_rejected=max_rejected, on_progress=on_encode,
                )  # fmt: skip
            group.wait()
        config = config or TrainConfig()
        if not config.items:
            config = config.model_copy(update={"items": PASSES * len(data.encoded)})
        vocab = registry.domain(domain).spec.vocab
        shape = TransformerConfig.of(size, -(-len(vocab) // 16) * 16, _room(data.encoded), data.fields)
        torch.manual_seed(config.seed)
        model = Transformer(shape)
        train.train(model, data.encoded, config, out, on_progress, where, tensorboard=tensorboard)
        provenance = Provenance(
            corpus=data.encoded.meta["corpus"], licence=data.encoded.meta["licence"], items=len(data.encoded),
            items_seen=config.items, seed=config.seed, genesis=genesis.__version__, torch=torch.__version__,
            device=where.type, trained=date.today().isoformat(),
        )  # fmt: skip
        engine = cls(model, Config(domain=domain, vocab=vocab, model=shape, provenance=provenance))
        if group.rank == 0:
            engine.save(out / "model")
            shutil.copyfile(data.encoded.path / KEYS, out / "model" / TRAINING_KEYS)
            profiles = Profiles.sample(data.encoded, data.fields, config.seed)
            if profiles:
                profiles.write(out / "model")
            if isinstance(engine.domain, Reporting):
                engine.domain.learn(learned(domain, source, column, licence_tier), out / "model")
        group.wait()
        return engine

    def save(self, target: Path) -> None:
        """Write a checkpoint folder, whole or not at all."""
        checkpoint.save(self.model, self.config, Path(target))
        self._path = Path(target)

    def generate(
        self,
        count: int,
        target: Mapping[str, Target] | None = None,
        *,
        given: Mapping[str, Any] | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        guidance: float = 1.0,
        constrained: bool = True,
        keep_best: int = 1,
        measure: Literal["all"] | Sequence[str] = "all",
        batch_size: int = 512,
        workers: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> Hits:
        """``count`` valid, distinct items, measured, in the order of their indices.

        Items are drawn at indices 0, 1, 2, ... until enough are valid and new; what index ``i`` gives depends on the
        seed, the targets and the sampling rules alone. After ``4 * count + 64`` draws a shortfall is reported instead.

        Args:
            count: items to return, at least 1.
            target: property -> number, ``(low, high)``, label, or a list with one of these for each item.
            given: what is there already and shall be finished, in the domain's words (`given` of its domain).
            seed: 0 to 2^63 - 1.
            temperature: divides the logits; 0 takes the most probable token.
            top_k, top_p, min_p: limits on the tokens drawn from; 0, 1 and 0 are none.
            guidance: w of classifier-free guidance; 1 is none, larger presses harder towards the targets.
            constrained: keep decoding inside the domain's grammar, where it has one.
            keep_best: draw this many times ``count`` and keep those closest to the targets; the report says so.
            measure: the properties to measure, besides those asked for.
            batch_size: rows decoded together; changes the speed, never the items.
            workers: processes; None chooses by the size of the work, 1 stays in this process.
            on_progress: called with ``(done, total, what)``.

        Ctrl-C returns what is finished, with ``report().interrupted`` set.
        """
        if count < 1 or keep_best < 1 or batch_size < 1:
            raise UsageError(f"count={count}, keep_best={keep_best}, batch_size={batch_size}: each must be at least 1")
        task = self._task(given, target)
        targets = self.targets(self._follows(task, target or {}) if task else target)
        if keep_best > 1 and not targets.asked:
            raise UsageError("keep_best chooses the items closest to the targets; give a target")
        measurable = {n: kind for n, kind in self.domain.properties.items() if not isinstance(kind, Label)}
        blind = sorted(set(targets.asked) - set(measurable))
        if keep_best > 1 and blind:
            raise UsageError(
                f"keep_best needs targets that can be measured; {blind[0]!r} is known from the training file only"
            )
        if guidance != 1 and not self.properties:
            raise UsageError("guidance needs a model trained with properties; this one has none")
        names = tuple(measurable) if measure == "all" else tuple(measure)
        unknown = next((n for n in names if n not in measurable), None)
        if unknown is not None:
            raise UnknownProperty(unknown, measurable, f"the domain {self.domain.name!r}")
        try:
            request = Request(
                seed=seed,
                rules=Rules(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p),
                guidance=guidance,
                constrained=constrained,
                measure=tuple(dict.fromkeys((*(n for n in targets.asked if n in measurable), *names))),
            )
        except ValidationError as error:
            wrong = error.errors()[0]
            raise UsageError(f"{'.'.join(map(str, wrong['loc']))}={wrong['input']!r}: {wrong['msg']}") from None
        began, wanted = time.monotonic(), count * keep_best
        kept: dict[str, Drawn] = {}
        drawn = valid = 0
        interrupted = False
        try:
            for one in self.draw(wanted * PATIENCE + 64, request, targets, batch_size, workers, wanted, task):
                drawn += 1
                if one.key is not None:
                    valid += 1
                    kept.setdefault(one.key, one)
                if on_progress and (drawn % 64 == 0 or len(kept) == wanted):
                    on_progress(len(kept), wanted, "drawing")
                if len(kept) == wanted:
                    break
        except KeyboardInterrupt:
            interrupted = True
        distinct = len(kept)
        chosen = list(kept.values())
        if keep_best > 1:
            closest = sorted(chosen, key=lambda d: (targets.distance(d.index, d.measured), d.index))[:count]
            chosen = sorted(closest, key=lambda d: d.index)
        return self._hits(
            chosen, targets, request, count, keep_best, drawn, valid, distinct, time.monotonic() - began, interrupted
        )

    def _task(self, given: Mapping[str, Any] | None, target: Mapping[str, Target] | None) -> Task | None:
        """The domain's task of finishing what is given."""
        if not given:
            return None
        if not isinstance(self.domain, Completing):
            raise UsageError(f"the domain {self.domain.name!r} finishes nothing that is given; leave it out")
        return self.domain.task(given, target or {})

    def _follows(self, task: Task, target: Mapping[str, Target]) -> dict[str, Target]:
        """A task's targets; of those that nobody asked for and that follow from what is given, the ones known here."""
        known = {field.name: field for field in self.config.model.fields}
        return {
            name: value
            for name, value in task.target.items()
            if name in target
            or ((field := known.get(name)) and (isinstance(field, NumberField) or value in field.values))
        }

    def draw(
        self,
        limit: int,
        request: Request,
        targets: Targets,
        batch_size: int = 512,
        workers: int | None = None,
        expect: int | None = None,
        task: Task | None = None,
    ) -> Iterator[Drawn]:
        """Indices 0 to ``limit`` in order, valid or not: what :meth:`generate` and every raw figure are made of."""
        expect = expect or limit
        if workers is None:
            workers = (os.cpu_count() or 1) if expect >= SPAWN and self.device.type == "cpu" else 1
        batch_size = min(batch_size, -(-expect // workers))
        chunks = [(first, min(first + batch_size, limit)) for first in range(0, limit, batch_size)]
        if workers == 1:
            for first, last in chunks:
                yield from draw_chunk(self, first, last, request, targets, task)
            return
        yield from self._in_processes(chunks, request, targets, workers, task)

    def _in_processes(
        self,
        chunks: list[tuple[int, int]],
        request: Request,
        targets: Targets,
        workers: int,
        task: Task | None,
    ) -> Iterator[Drawn]:
        from loky import ProcessPoolExecutor  # unlike multiprocessing's, it needs no __main__ guard in a user's script

        with tempfile.TemporaryDirectory() as folder:
            path = self._path
            if path is None:
                path = Path(folder) / "model"
                checkpoint.save(self.model, self.config, path, torch.float32)
            pool = ProcessPoolExecutor(workers, initializer=_single_thread, env=LONG_LIVED)
            try:
                waiting, ahead = [], iter(chunks)
                for chunk in [c for _, c in zip(range(2 * workers), ahead, strict=False)]:
                    waiting.append(pool.submit(_serve, str(path), *chunk, request, targets, task))
                while waiting:
                    yield from waiting.pop(0).result()
                    following = next(ahead, None)
                    if following:
                        waiting.append(pool.submit(_serve, str(path), *following, request, targets, task))
            finally:
                pool.shutdown(wait=True, kill_workers=True)

    def _hits(
        self,
        chosen: list[Drawn],
        targets: Targets,
        request: Request,
        count: int,
        keep_best: int,
        drawn: int,
        valid: int,
        distinct: int,
        seconds: float,
        interrupted: bool,
    ) -> Hits:
        keys = [str(d.key) for d in chosen]
        asked = [targets.of(d.index) for d in chosen]
        novel = (~self.known.contains(keys)).tolist() if self.known else None
        report = Report(
            asked=count, drawn=drawn, returned=len(chosen),
            valid=valid / max(1, drawn), unique=distinct / max(1, drawn),
            unseen=targets.unseen(), keep_best=keep_best, constrained=request.constrained,
            temperature=request.rules.temperature, guidance=request.guidance, seed=request.seed,
            model=self.name, corpus=self.config.provenance.corpus, licence=self.config.provenance.licence,
            seconds=seconds, interrupted=interrupted,
        )  # fmt: skip
        return Hits(
            domain=self.domain,
            items=[d.item for d in chosen],
            index=[d.index for d in chosen],
            keys=keys,
            measured={name: [d.measured[name] for d in chosen] for name in request.measure},
            asked={name: [a[name] for a in asked] for name in targets.asked},
            log_prob=[d.log_prob for d in chosen],
            summary=report,
            novel=novel,
            model=self._path,
            scale={field.name: field.std for field in targets.fields if isinstance(field, NumberField)},
        )


def draw_chunk(
    engine: Engine, first: int, last: int, request: Request, targets: Targets, task: Task | None = None
) -> list[Drawn]:
    """Decode and check the items of one range of indices."""
    domain = engine.domain
    if task is not None:
        return finish_chunk(engine, first, last, request, targets, task)
    constraint = None
    if request.constrained and isinstance(domain, Constrained):
        asked = [targets.of(index) for index in range(first, last)]
        constraint = domain.constraint(engine.model.config.max_length, asked)
    decoded = _decode(engine, list(range(first, last)), request, targets, constraint)
    out = []
    for row, index in enumerate(range(first, last)):
        tokens = decoded.tokens[row, : decoded.length[row]]
        item = domain.decode(tokens) if decoded.ended[row] else None
        log_prob = float(decoded.log_prob[row])
        out.append(_drawn(engine, index, item, request, log_prob, tokens.tolist() if item is not None else ()))
    return out


def finish_chunk(engine: Engine, first: int, last: int, request: Request, targets: Targets, task: Task) -> list[Drawn]:
    """The same where a part is given: pass by pass, each with noise of its own; a draft that fails ends there."""
    room = engine.model.config.max_length
    drafts = {index: task.begin(index, request.seed) for index in range(first, last)}
    log_prob = dict.fromkeys(drafts, 0.0)
    for turn in range(task.passes):
        if not drafts:
            break
        alive = list(drafts)
        constraint = task.constraint(turn, [drafts[index] for index in alive], room)
        decoded = _decode(engine, alive, request, targets, constraint, turn)
        for row, index in enumerate(alive):
            tokens = decoded.tokens[row, : decoded.length[row]].tolist()
            draft = task.join(turn, drafts[index], tokens, room) if decoded.ended[row] else None
            log_prob[index] += float(decoded.log_prob[row])
            if draft is None:
                del drafts[index]
            else:
                drafts[index] = draft
    finished = {index: task.finish(draft) for index, draft in drafts.items()}
    return [_drawn(engine, i, finished.get(i), request, log_prob[i]) for i in range(first, last)]


def _decode(
    engine: Engine,
    indices: Sequence[int],
    request: Request,
    targets: Targets,
    constraint: Constraint | None,
    turn: int = 0,
) -> Decoded:
    items = torch.tensor(indices)
    values = targets.mixture(items, request.seed)
    return engine.decoder.decode(
        values, items + turn * TURN, request.seed, request.rules, constraint, request.guidance, shared=targets.alike
    )


def _drawn(
    engine: Engine, index: int, item: Any | None, request: Request, log_prob: float, tokens: Sequence[int] = ()
) -> Drawn:
    domain = engine.domain
    key = domain.key(item) if item is not None else None
    measured = domain.describe(item, request.measure) if item is not None else {}
    return Drawn(index, item, key, measured, log_prob, tuple(tokens))


@cache
def _served(path: str) -> Engine:
    return load(path, "cpu")


def _serve(
    path: str, first: int, last: int, request: Request, targets: Targets, task: Task | None = None
) -> list[Drawn]:
    return draw_chunk(_served(path), first, last, request, targets, task)


def _single_thread() -> None:
    torch.set_num_threads(1)  # one process a core: threads inside would only wait for one another


def _room(data: Encoded) -> int:
    """Positions of a network for this corpus: its longest item with a quarter to spare, in multiples of sixteen."""
    return -(-(int(data.lengths.max()) * 5 // 4 + 2) // 16) * 16


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}; known: auto, cpu, cuda, cuda:N") from None

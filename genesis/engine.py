"""The engine: a model, its domain, and everything a user does with them.

B  items of a batch
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch.nn.utils.rnn import pad_sequence

from genesis import checkpoint, exploring, families, foreign, registry, training
from genesis.augmenting import Labelled, augment
from genesis.checkpoint import Config, Model
from genesis.decoding.foreign import Causal, Painter
from genesis.decoding.loop import Decoder
from genesis.decoding.sampling import Rules
from genesis.domain import (
    BOS,
    EOS,
    PAD,
    Begun,
    Completing,
    Domain,
    Gapped,
    Grid,
    Label,
    Task,
    Text,
    Weighing,
)
from genesis.drawing import Drawn, Request, checked_beside, draw_chunk, in_processes
from genesis.errors import CheckpointError, UnknownProperty, UsageError, suggest
from genesis.hits import Hits, Report
from genesis.metrics.sets import KeySet
from genesis.models.denoiser import DiffusionConfig
from genesis.models.gan import GANConfig
from genesis.models.grid import GridVAEConfig
from genesis.models.masked import MaskedDiffusion
from genesis.models.transformer import Transformer
from genesis.nn.conditioner import CategoryField, Conditioner, NumberField
from genesis.profiles import Profiles
from genesis.targets import Target, Targets

TRAINING_KEYS = "training_keys.npy"  # beside the weights: what novelty is asked of
PATIENCE = 4  # draws an item asked for, before a shortfall is reported
SCORED = 64  # sequences whose likelihood is worked out together
SPAWN = 2_000  # items from which worker processes pay for their start (about 3 s)
CHUNK = 16_384  # items that a GPU decodes in one go: its slots are full but for the last of them

OnProgress = Callable[[int, int, str], None]


def load(name: str | Path = "molecules", device: str = "auto") -> Engine:
    """The engine of a preset, a domain's default preset, or a folder that `genesis train` wrote.

    ``hf:PATH`` is a language model of transformers (a folder, or a GGUF file), ``diffusers:PATH`` a pipeline of
    diffusers.
    """
    where = device_named(device)
    if foreign.is_foreign(name):
        return foreign.load(str(name), where)
    path = registry.resolve(name)
    model, config = checkpoint.load(path, where)
    return Engine(model, config, path)


class Engine:
    """Draws, measures and saves; made by :func:`load` or by training."""

    def __init__(
        self,
        model: Model | Causal | Painter,
        config: Config,
        path: Path | None = None,
        domain: Domain[Any] | None = None,
        name: str = "",
    ) -> None:
        self.model, self.config = model, config
        self._path, self._name = path, name
        self.domain: Domain[Any] = domain or registry.domain(config.domain, config.vocab)
        if config.vocab != self.domain.spec.vocab:
            raise UsageError(
                f"this model speaks another vocabulary than the installed domain {config.domain!r}; train it again"
            )

    @property
    def name(self) -> str:
        if self._path is None:
            return self._name or f"{self.config.domain} (not saved)"
        return self._path.parent.name if self._path.name == "model" else self._path.name

    @property
    def path(self) -> Path | None:
        """The folder of the checkpoint, once there is one."""
        return self._path

    @property
    def foreign(self) -> bool:
        """Whether the model is another library's."""
        return isinstance(self.model, Causal | Painter)

    @property
    def properties(self) -> tuple[str, ...]:
        """What can be asked for."""
        return tuple(field.name for field in self.config.model.fields)

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, columns and numbers at a place of its items, where they are grids; else empty."""
        of = self.config.model
        if isinstance(self.model, Painter):
            return self.model.shape
        vae = of.vae if isinstance(of, DiffusionConfig | GANConfig) else of
        return vae.shape if isinstance(vae, GridVAEConfig) else ()

    def tell(self, targets: Targets) -> None:
        """Give the model the texts that are asked for: its condition values are their places among them."""
        for name, texts in targets.texts().items():
            if isinstance(self.model, Painter):
                self.model.tell(texts)
            for conditioner in (m for m in self.model.modules() if isinstance(m, Conditioner)):
                conditioner.tell(name, texts)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @cached_property
    def decoder(self) -> families.AnyDecoder:
        """What draws from the model, on its device."""
        return families.decoder(self.model, len(self.config.vocab))

    @cached_property
    def loop(self) -> Decoder:
        """The loop over a batch that shrinks, which alone mixes several sets of conditions."""
        if isinstance(self.decoder, Decoder):
            return self.decoder
        if not isinstance(self.model, Transformer):
            raise UsageError(f"a mixture of labels needs the family transformer; this model is a {self.config.family}")
        return Decoder(self.model, len(self.config.vocab))

    @cached_property
    def known(self) -> KeySet | None:
        """The keys of the training items, when they came with the model."""
        if self._path is None or not (self._path / TRAINING_KEYS).exists():
            return None
        presets = registry.presets()
        missing = next((name for name in self.config.provenance.keys_of if name not in presets), None)
        if missing is not None:
            raise CheckpointError(f"{self._path}: it has seen what the preset {missing!r:.80} has, which is not here")
        folders = (self._path, *(presets[name] for name in self.config.provenance.keys_of))
        return KeySet(*(folder / TRAINING_KEYS for folder in folders))

    @cached_property
    def profiles(self) -> Profiles | None:
        """What goes with what in the training corpus, when it came with the model."""
        return Profiles.read(self._path, self.config.model.fields) if self._path else None

    def targets(self, target: Mapping[str, Target] | None) -> Targets:
        """Checked targets; what is not asked for is borrowed from training items that have what is."""
        return Targets.check(target, self.config.model.fields, self.domain.properties, self.profiles)

    train = classmethod(training.train)

    def save(self, target: Path) -> None:
        """Write a checkpoint folder, whole or not at all."""
        if self.foreign:
            raise UsageError(f"{self.name} stays in its own format; there is nothing to save")
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
        steps: int = 0,
        sampler: str = "",
        blur: float | None = None,
        constrained: bool = True,
        keep_best: int = 1,
        candidates: int = 0,
        accept: Callable[[Any], bool] | None = None,
        measure: Literal["all"] | Sequence[str] = "all",
        batch_size: int = 512,
        workers: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> Hits:
        """``count`` valid, distinct items, measured, in the order of their indices.

        Items are drawn at indices 0, 1, 2, ... until enough are valid and new (and, with the constraint, as asked where
        the domain looks: music in the key asked for); what index ``i`` gives depends on the
        seed, the targets and the sampling rules alone. After ``4 * count + 64`` draws a shortfall is reported instead.

        Args:
            count: items to return, at least 1.
            target: property -> number, ``(low, high)``, label, or a list with one of these for each item.
            given: what is there already and shall be finished, in the domain's words (`given` of its domain).
            seed: 0 to 2^63 - 1.
            temperature: divides the logits; 0 takes the most probable token.
            top_k, top_p, min_p: limits on the tokens drawn from; 0, 1 and 0 are none.
            guidance: w of classifier-free guidance; 1 is none, larger presses harder towards the targets.
            steps: looks of a diffusion, each at a lower noise; 0 takes as many as its family does.
            sampler: euler, heun, ddim, dpmpp_2m or ancestral of a diffusion, confidence or random of a masked one.
            blur: deviations of noise that the decoder of a latent is to see through: 0 writes every latent as it is,
                much leaves its outline; None takes the model's own.
            constrained: keep decoding inside the domain's grammar, where it has one and the model writes in order.
            keep_best: draw this many times ``count`` and keep those closest to the targets; the report says so.
            candidates: draws of each item round what is given, of which one is kept with the probability that forcing
                left of it; more are slower and nearer to the model's own. 0 takes the task's own, 8 for molecules.
            accept: looks at each valid item; where it says no, the next index is drawn, and the report counts it.
            measure: the properties to measure, besides those asked for.
            batch_size: rows decoded together; changes the speed, never the items.
            workers: processes; None chooses by the size of the work, 1 stays in this process.
            on_progress: called with ``(done, total, what)``.

        Ctrl-C returns what is finished, with ``report().interrupted`` set.
        """
        if count < 1 or keep_best < 1 or batch_size < 1:
            raise UsageError(f"count={count}, keep_best={keep_best}, batch_size={batch_size}: each must be at least 1")
        task = self.task(given, target, constrained) if given else None
        targets = self.targets(target if task is None or isinstance(task, Begun) else self._follows(task, target or {}))
        if keep_best > 1 and not targets.asked:
            raise UsageError("keep_best chooses the items closest to the targets; give a target")
        measurable = {n: kind for n, kind in self.domain.properties.items() if not isinstance(kind, Label | Text)}
        blind = sorted(set(targets.asked) - set(measurable))
        if keep_best > 1 and blind:
            raise UsageError(
                f"keep_best needs targets that can be measured; {blind[0]!r} is known from the training file only"
            )
        families.check_drawing(self.config, guidance, steps, sampler, blur)
        own = task.candidates if isinstance(self.model, Transformer) and isinstance(task, Task) else 0
        if candidates and not own:
            raise UsageError(
                f"candidates={candidates}: a transformer draws them round what is given; leave it out here"
            )
        names = tuple(measurable) if measure == "all" else tuple(measure)
        unknown = next((n for n in names if n not in measurable), None)
        if unknown is not None:
            raise UnknownProperty(unknown, measurable, f"the domain {self.domain.name!r}")
        try:
            request = Request(
                seed=seed,
                rules=Rules(
                    temperature=temperature,
                    top_k=top_k,
                    top_p=top_p,
                    min_p=min_p,
                    steps=steps,
                    sampler=sampler,
                    blur=blur,
                ),
                guidance=guidance,
                constrained=constrained and self.config.family != "masked",
                strict=constrained and task is None,
                candidates=candidates or own,
                measure=tuple(dict.fromkeys((*(n for n in targets.asked if n in measurable), *names))),
            )
        except ValidationError as error:
            wrong = error.errors()[0]
            raise UsageError(f"{'.'.join(map(str, wrong['loc']))}={wrong['input']!r}: {wrong['msg']}") from None
        began, wanted = time.monotonic(), count * keep_best
        kept: dict[str, Drawn] = {}
        drawn = valid = refused = 0
        interrupted = False
        try:
            for one in self.draw(wanted * PATIENCE + 64, request, targets, batch_size, workers, wanted, task):
                drawn += 1
                if one.key is not None:
                    valid += 1
                    if one.key not in kept and accept is not None and not accept(one.item):
                        refused += 1
                    else:
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
            chosen, targets, request, count, keep_best, drawn, valid, distinct, time.monotonic() - began, interrupted,
            None if accept is None else refused,
        )  # fmt: skip

    def task(
        self, given: Mapping[str, Any], target: Mapping[str, Target] | None = None, constrained: bool = True
    ) -> Task | Begun:
        """The domain's task of finishing what is given, as :meth:`draw` takes it."""
        if not isinstance(self.domain, Completing):
            raise UsageError(f"the domain {self.domain.name!r} finishes nothing that is given; leave it out")
        unknown = next((name for name in given if name not in self.domain.given), None)
        if unknown is not None:
            raise UsageError(f"{unknown!r} cannot be given; {suggest(unknown, self.domain.given)}")
        if isinstance(self.domain.spec, Grid):
            begun = self.domain.task(given, target or {})
            assert isinstance(begun, Begun)
            families.start(self.model, begun)  # what it cannot go on from is said before the work
            return begun
        if not isinstance(self.model, Transformer | Causal | MaskedDiffusion):
            raise UsageError(
                f"what is given is finished by a transformer or a masked diffusion; this is a {self.config.family}"
            )
        if not constrained:
            raise UsageError("what is given is kept by the constraint; leave the constraint on")
        task = self.domain.task(given, target or {})
        assert not isinstance(task, Begun)
        if isinstance(self.model, MaskedDiffusion):
            if not isinstance(task, Gapped):
                raise UsageError("a masked diffusion fills gaps; for anything else that is given take a transformer")
            task.template(0, 0, self.model.config.max_length)  # what it cannot be is said before the work
            return task
        if isinstance(task, Weighing):
            task.weigh(self._nats, self.model.config.max_length - 1)
        return task

    def _follows(self, task: Task, target: Mapping[str, Target]) -> dict[str, Target]:
        """A task's targets; of those that nobody asked for and that follow from what is given, the ones known here."""
        known = {field.name: field for field in self.config.model.fields}
        return {
            name: value
            for name, value in task.target.items()
            if name in target
            or ((field := known.get(name)) and (not isinstance(field, CategoryField) or value in field.values))
        }

    def complete(
        self,
        given: str | Mapping[str, Any],
        count: int = 10,
        target: Mapping[str, Target] | None = None,
        **how: Any,
    ) -> Hits:
        """:meth:`generate` items of which ``given`` is a part: a text, or the domain's names and what they hold.

        For molecules a text is SMILES with attachment points: ``"[*:1]c1ccccc1"`` grows a fragment at each of its
        points, ``"[*:1]C1CC1.[*:1]N1CCOCC1"`` links two; ``{"superstructure": "c1ccc2[nH]ccc2c1"}`` grows at any atom
        that has a hydrogen. UsageError says why what is given cannot be used.
        """
        if not given:
            raise UsageError("complete() needs what is given of the items; for none use generate()")
        if isinstance(given, str):
            names = tuple(self.domain.given) if isinstance(self.domain, Completing) else ("",)
            given = {names[0]: given}
        return self.generate(count, target, given=given, **how)

    def encode(self, items: Sequence[Any]) -> torch.Tensor:
        """``[N, L, K]``: the latent of each item, where the model has latents (family vae, diffusion or gan)."""
        return exploring.encode(self, items)

    def decode(self, z: torch.Tensor) -> list[Any | None]:
        """The likeliest item of each latent ``[N, L, K]``; None where the sequence is no item."""
        return exploring.decode(self, z)

    def interpolate(self, a: str, b: str, steps: int = 8, *, seed: int = 0) -> Hits:
        """``steps`` different items on the way from ``a`` to ``b`` through latent space, the ends among them."""
        return exploring.interpolate(self, a, b, steps, seed)

    def analogues(
        self, like: str, count: int = 10, *, similarity: tuple[float, float] = (0.4, 0.7), seed: int = 0
    ) -> Hits:
        """``count`` different items whose similarity to ``like`` lies in the range."""
        return exploring.analogues(self, like, count, similarity, seed)

    def augment(
        self,
        source: Path | str,
        labels: Sequence[str],
        count: int,
        *,
        column: str | None = None,
        near: float = 0.01,
        seed: int = 0,
        **how: Any,
    ) -> Hits:
        """``count`` synthetic items for a labelled data set: labels of rows drawn from it, and no near copy of them.

        An item is a near copy that lies nearer to one of the data set than all but ``near`` of them lie to another.
        ``measured["nearest"]`` is the similarity to the nearest; ``how`` goes to :meth:`generate`.
        """
        data = Labelled.read(self.domain, Path(source), labels, column)
        return augment(self, data, count, near, seed, how)

    def explore(self, count: int = 500, *, seed: int = 0) -> Hits:
        """A map of latent space: items of the prior and their place ``x, y`` on its two main axes."""
        return exploring.explore(self, count, seed)

    @torch.inference_mode()
    def _nats(self, ways: Sequence[torch.Tensor]) -> list[float]:
        """-log p of each sequence, no condition given."""
        assert isinstance(self.model, Transformer)
        framed = [torch.cat((w.new_tensor([BOS]), w, w.new_tensor([EOS]))) for w in ways]
        out: list[float] = []
        for first in range(0, len(framed), SCORED):
            tokens = pad_sequence(framed[first : first + SCORED], batch_first=True).to(self.device)
            absent = torch.full((len(tokens), len(self.properties)), float("nan"), device=self.device)
            log_p = self.model(tokens[:, :-1], absent).float().log_softmax(-1)
            each = log_p.gather(-1, tokens[:, 1:, None])[..., 0] * (tokens[:, 1:] != PAD)
            out += (-each.sum(1)).tolist()
        return out

    def draw(
        self,
        limit: int,
        request: Request,
        targets: Targets,
        batch_size: int = 512,
        workers: int | None = None,
        expect: int | None = None,
        task: Task | Begun | None = None,
    ) -> Iterator[Drawn]:
        """Indices 0 to ``limit`` in order, valid or not: what :meth:`generate` and every raw figure are made of."""
        expect = expect or limit
        if workers is None:
            workers = (os.cpu_count() or 1) if expect >= SPAWN else 1
        on_device = self.device.type != "cpu"
        batch_size = min(max(batch_size, CHUNK), expect) if on_device else min(batch_size, -(-expect // workers))
        chunks = [(first, min(first + batch_size, limit)) for first in range(0, limit, batch_size)]
        if self.foreign or (on_device and task is not None):
            workers = 1  # what is given is finished beside the model: a process of its own would want the device too
        if workers == 1:
            for first, last in chunks:
                yield from draw_chunk(self, first, last, request, targets, task)
            return
        if on_device:
            yield from checked_beside(self, chunks, request, targets, workers)
        else:
            yield from in_processes(self, chunks, request, targets, workers, task)

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
        refused: int | None,
    ) -> Hits:
        keys = [str(d.key) for d in chosen]
        asked = [targets.of(d.index) for d in chosen]
        novel = (~self.known.contains(keys)).tolist() if self.known else None
        report = Report(
            asked=count, drawn=drawn, returned=len(chosen),
            valid=valid / max(1, drawn), unique=distinct / max(1, drawn),
            unseen=targets.unseen(), keep_best=keep_best,
            candidates=max(1, request.candidates), constrained=request.constrained,
            temperature=request.rules.temperature, guidance=request.guidance, seed=request.seed,
            model=self.name, corpus=self.config.provenance.corpus, licence=self.config.provenance.licence,
            seconds=seconds, interrupted=interrupted, refused=refused,
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


def device_named(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}; known: auto, cpu, cuda, cuda:N") from None

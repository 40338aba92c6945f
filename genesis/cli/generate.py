"""``genesis DOMAIN``: make items, measure them, and put them where they were asked for."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesis.cli import streams, targets
from genesis.cli.command import Command, Interrupted
from genesis.cli.flags import RUN, Debug, Device, DryRun, Quiet, Seed, Workers, flag
from genesis.errors import GenesisError, UsageError

if TYPE_CHECKING:
    from genesis.engine import Engine
    from genesis.hits import Hits

DRAW = "How it is drawn"
KEEP = "Where it goes"
STDOUT = Path("-")

Count = Annotated[int, flag("--count", "-n", metavar="N", min=1, help="Items to make, valid and distinct.")]
TargetProperty = Annotated[
    list[str],
    flag(
        "--target-property",
        "-t",
        metavar="NAME=VALUE",
        help="A number, LOW:HIGH or a label; repeatable. `genesis models info` lists names and ranges.",
    ),
]
Given = Annotated[
    list[str],
    flag("--given", "-g", metavar="NAME=VALUE", help="What is there already and shall be finished; repeatable."),
]
Model = Annotated[
    str | None,
    flag("--model", metavar="NAME", help="A preset or a folder of `genesis train`; else the default preset."),
]
Like = Annotated[str, flag("--like", metavar="TEXT", help="Items like this one, by a model that has latents.")]
Similarity = Annotated[
    str, flag("--similarity", metavar="LOW:HIGH", help="How like it, from 0 to 1; 0.4:0.7 if not given.")
]
NEARBY = "0.4:0.7"
LIKE_ALONE = (
    "target_property", "given", "temperature", "top_k", "top_p", "min_p", "guidance", "steps", "sampler",
    "blur", "keep_best", "candidates", "no_constraint",
)  # fmt: skip
Temperature = Annotated[
    float, flag("--temperature", metavar="X", min=0, max=100, help="Below 1 more typical; 0 greedy.", panel=DRAW)
]
TopK = Annotated[int, flag("--top-k", metavar="N", min=0, help="Tokens to choose from; 0 all.", panel=DRAW)]
TopP = Annotated[
    float, flag("--top-p", metavar="X", min=0.001, max=1, help="Probability to choose from; 1 all.", panel=DRAW)
]
MinP = Annotated[
    float, flag("--min-p", metavar="X", min=0, max=1, help="Least probability, of the best token's.", panel=DRAW)
]
Guidance = Annotated[
    float, flag("--guidance", metavar="X", min=0, max=20, help="Pull towards the targets; 1 none added.", panel=DRAW)
]
Steps = Annotated[
    int, flag("--steps", metavar="N", min=0, max=10_000, help="Looks of a diffusion; 0 its family's own.", panel=DRAW)
]
Sampler = Annotated[
    str,
    flag(
        "--sampler",
        metavar="NAME",
        help="euler, heun, ddim, dpmpp_2m, ancestral; confidence, random of a masked model.",
        panel=DRAW,
    ),
]
Blur = Annotated[
    float | None,
    flag("--blur", metavar="X", min=0, max=1_000, help="Of latents, before they are written; 0 none.", panel=DRAW),
]
KeepBest = Annotated[
    int, flag("--keep-best", metavar="N", min=1, help="Draw N times as many, keep the closest.", panel=DRAW)
]
Candidates = Annotated[
    int, flag("--candidates", metavar="N", min=0, help="Draws of each item round what is given; 0 as fits.", panel=DRAW)
]
NoConstraint = Annotated[bool, flag("--no-constraint", help="Let the model write what is not valid.", panel=DRAW)]
Out = Annotated[
    list[Path],
    flag("--out", "-o", metavar="FILE", help="All items; the suffix chooses the format; repeatable.", panel=KEEP),
]
Picture = Annotated[
    Path | None, flag("--picture", metavar="FILE", help="The first items drawn, .png or .svg.", panel=KEEP)
]
Audio = Annotated[
    Path | None, flag("--audio", metavar="FILE", help="The items played, .wav, where the domain can.", panel=KEEP)
]
Json = Annotated[bool, flag("--json", help="Print an item a line as JSON.", panel=KEEP)]
ReportFile = Annotated[Path | None, flag("--report", metavar="FILE", help="The report as JSON.", panel=KEEP)]
BatchSize = Annotated[
    int, flag("--batch-size", metavar="N", min=1, help="Items drawn together; changes speed only.", panel=RUN)
]


class Making(Command):
    """A generating command: each property of its domain is a flag too, so ``--qed 0.9`` is ``-t qed=0.9``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self.spelled_out(args))

    def spelled_out(self, args: Sequence[str]) -> list[str]:
        """The arguments with every property's own flag written as ``--target-property NAME=VALUE``."""
        known = {name for parameter in self.params for name in (*parameter.opts, *parameter.secondary_opts)}
        if not any(text.startswith("--") and text.partition("=")[0] not in known for text in args):
            return list(args)  # the domain's libraries are not loaded for nothing
        words = self.words(args)
        out: list[str] = []
        rest = iter(args)
        for text in rest:
            name, equals, value = text.partition("=")
            word = name.removeprefix("--").replace("-", "_")
            if name in known or not name.startswith("--") or word not in words:
                out.append(text)
                continue
            said = value if equals else next(rest, None)
            if said is None:
                raise UsageError(f"{name}: a value is missing; write {name} VALUE")
            out += [words[word], f"{word}={said}"]
        return out

    def words(self, args: Sequence[str]) -> Mapping[str, str]:
        """What can be a flag of its own, and the flag that it stands for; nothing when no domain is named."""
        from genesis import registry
        from genesis.domain import Completing

        domain = registry.domain(str(self.name))
        given = domain.given if isinstance(domain, Completing) else {}
        return {**dict.fromkeys(domain.properties, "--target-property"), **dict.fromkeys(given, "--given")}

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        from genesis import registry
        from genesis.domain import Completing

        domain = registry.domain(str(self.name))
        names = ", ".join(f"--{name.replace('_', '-')}" for name in domain.properties)
        with formatter.section("What can be asked for"):
            formatter.write_text(names)
        if isinstance(domain, Completing):
            with formatter.section("What can be given"):
                formatter.write_dl([(f"--{name}", text) for name, text in domain.given.items()])
        super().format_epilog(ctx, formatter)


def epilog(name: str) -> str:
    """Three examples."""
    return f"""\
Examples:
  genesis {name} --count 1000 --seed 1 --out hits.csv --picture hits.png
  genesis {name} -n 100 --json | head
  genesis {name} --model runs/mine -t NAME=VALUE -t NAME=LOW:HIGH --keep-best 4"""


def command(name: str) -> Callable[..., int]:
    """The generating command of a domain."""

    def generate(
        ctx: typer.Context,
        count: Count = 10,
        target_property: TargetProperty = [],  # noqa: B006 (typer copies it)
        given: Given = [],  # noqa: B006
        like: Like = "",
        similarity: Similarity = "",
        seed: Seed = 0,
        model: Model = None,
        temperature: Temperature = 1.0,
        top_k: TopK = 0,
        top_p: TopP = 1.0,
        min_p: MinP = 0.0,
        guidance: Guidance = 1.0,
        steps: Steps = 0,
        sampler: Sampler = "",
        blur: Blur = None,
        keep_best: KeepBest = 1,
        candidates: Candidates = 0,
        no_constraint: NoConstraint = False,
        out: Out = [],  # noqa: B006
        picture: Picture = None,
        audio: Audio = None,
        json: Json = False,
        report: ReportFile = None,
        device: Device = "auto",
        batch_size: BatchSize = 512,
        workers: Workers = None,
        dry_run: DryRun = False,
        quiet: Quiet = False,
        debug: Debug = False,
    ) -> int:
        if like:
            left_out(ctx, "like", LIKE_ALONE)
        elif similarity:
            raise UsageError("--similarity says how near to --like; give that too")
        asked = targets.pairs(target_property)
        outputs = Outputs.of(out, picture, audio, json, report)
        count = outputs.check(name, count, chosen=_source(ctx, "count") != "default")
        engine = _engine(name, model, device)
        target = targets.values(asked, _labelled(engine))
        if dry_run:
            _show_plan(ctx, engine, target, json)
            return 0
        if like:
            return deliver(
                engine.analogues(like, count, similarity=_range(similarity or NEARBY), seed=seed), outputs, quiet
            )
        with streams.Progress(quiet) as progress:
            hits = engine.generate(
                count,
                target,
                given=targets.pairs(given, "--given"),
                seed=seed,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                min_p=min_p,
                guidance=guidance,
                steps=steps,
                sampler=sampler,
                blur=blur,
                keep_best=keep_best,
                candidates=candidates,
                constrained=not no_constraint,
                batch_size=batch_size,
                workers=workers,
                on_progress=progress,
            )
        return deliver(hits, outputs, quiet)

    generate.__doc__ = f"Make {name} with the properties you ask for."
    return generate


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the items go: files of items, pictures and sounds, told apart by their suffixes."""

    files: tuple[Path, ...]
    pictures: tuple[Path, ...]
    sounds: tuple[Path, ...]
    json: bool
    report: Path | None

    @classmethod
    def of(
        cls, outs: Sequence[Path], picture: Path | None, audio: Path | None, json: bool, report: Path | None
    ) -> Outputs:
        """``--out`` takes every kind; ``--picture`` and ``--audio`` say which kind is meant."""
        from genesis.hits import PICTURES, SOUNDS

        drawn = [path for path in outs if path.suffix.lower() in PICTURES] + [path for path in (picture,) if path]
        played = [path for path in outs if path.suffix.lower() in SOUNDS] + [path for path in (audio,) if path]
        files = [path for path in outs if path.suffix.lower() not in (*PICTURES, *SOUNDS)]
        return cls(tuple(files), tuple(drawn), tuple(played), json, report)

    def check(self, name: str, count: int, chosen: bool = True) -> int:
        """What would stop the writing after the work is said before it.

        The count is 1 where the user has chosen none and a file takes no more than one item.
        """
        from genesis import registry
        from genesis.hits import check_picture, check_sound

        domain = registry.domain(name)
        if STDOUT in self.files and self.json:
            raise UsageError("--out - and --json both print the items; leave one out")
        for file in self.files:
            try:
                domain.check_target(file, count)
            except UsageError:
                if chosen:
                    raise
                domain.check_target(file, 1)
                count = 1
        for picture in self.pictures:
            check_picture(domain, picture)
        for sound in self.sounds:
            check_sound(domain, sound)
        report = self.report
        if report is not None and (report.is_dir() or not report.resolve().parent.is_dir()):
            why = "that is a folder" if report.is_dir() else "its folder is not there"
            raise UsageError(f"--report {report}: {why}")
        return count


def _source(ctx: typer.Context, name: str) -> str:
    """Where a setting comes from: ``default``, ``commandline`` or ``environment``."""
    return str(getattr(ctx.get_parameter_source(name), "name", "")).lower()


def left_out(ctx: typer.Context, with_: str, names: Sequence[str]) -> None:
    """Refuse flags that do not go together with one that was given."""
    given = [name for name in names if _source(ctx, name) == "commandline"]
    if given:
        raise UsageError(f"--{given[0].replace('_', '-')} does not go together with --{with_}; leave one out")


def _range(text: str) -> tuple[float, float]:
    from genesis.asked import value

    found = value("similarity", text, False)
    if isinstance(found, str):
        raise UsageError(f"--similarity {text}: not understood; write LOW:HIGH, such as 0.4:0.7")
    return found if isinstance(found, tuple) else (found, found)


def _engine(name: str, model: str | None, device: str) -> Engine:
    import genesis

    engine: Engine = genesis.load(model or name, device=device)
    if engine.domain.name != name:
        made = engine.domain.name
        raise UsageError(f"{model} is a model of {made}; use `genesis {made} --model {model}`")
    return engine


def _labelled(engine: Engine) -> set[str]:
    """The properties whose targets are labels, whatever they look like."""
    from genesis.domain import Label, Text

    told = {name for name, kind in engine.domain.properties.items() if isinstance(kind, Label | Text)}
    return told | {field.name for field in engine.config.model.fields if field.kind != "number"}


def deliver(hits: Hits, outputs: Outputs, quiet: bool) -> int:
    """Write and print; then the exit code: a shortfall and an interruption are said after everything is kept."""
    said = hits.report()
    if outputs.report is not None:
        _write_report(outputs.report, dataclasses.asdict(said))
    try:
        if len(hits):
            for file in outputs.files:
                if file != STDOUT:
                    hits.write(file)
            for picture in outputs.pictures:
                hits.picture(picture)
            for sound in outputs.sounds:
                hits.sound(sound)
            _print(hits, outputs)
    finally:
        if not quiet:
            streams.note(f"\n{said}" if sys.stdout.isatty() else str(said))
    if said.interrupted:
        streams.note(f"genesis: {said.shortfall or 'interrupted'}; what was finished is kept")
        return Interrupted.exit_code
    if said.shortfall:
        raise GenesisError(f"{said.shortfall}; try a higher --temperature, or targets that the model knows")
    return 0


def _print(hits: Hits, outputs: Outputs) -> None:
    if outputs.json:
        # every domain writes JSON lines; only a file of its own has the suffix that asks for them
        with tempfile.TemporaryDirectory() as folder:
            lines = Path(folder) / "hits.jsonl"
            hits.write(lines)
            with streams.results(), lines.open(encoding="utf-8") as file:
                shutil.copyfileobj(file, sys.stdout)
    elif STDOUT in outputs.files:
        with streams.results():
            hits.write(STDOUT)
    elif not outputs.files:
        streams.show(repr(hits))


def _write_report(path: Path, report: Mapping[str, Any]) -> None:
    path.write_text(dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _show_plan(ctx: typer.Context, engine: Engine, target: Mapping[str, Any], as_json: bool) -> None:
    """Every setting, its value, and whether a flag, the environment or the default gave it."""
    from genesis.hits import written
    from genesis.table import table

    engine.targets(target)
    origin = {name: _source(ctx, name) for name in ctx.params}
    origin = {name: {"commandline": "flag"}.get(source, source) for name, source in origin.items()}
    settings = {name: value for name, value in ctx.params.items() if name not in ("dry_run", "debug", "quiet")}
    settings["model"] = engine.name
    settings["target_property"] = {name: written(value) for name, value in target.items()}
    provenance = engine.config.provenance
    if as_json:
        streams.show_json(
            {
                "settings": {name: {"value": value, "from": origin[name]} for name, value in settings.items()},
                "corpus": provenance.corpus,
                "licence": provenance.licence,
                "device": str(engine.device),
            }
        )
        return
    rows = [(name, _text(value), origin[name]) for name, value in settings.items()]
    rows += [("corpus", provenance.corpus, "model"), ("licence", provenance.licence, "model")]
    streams.show(table(("setting", "value", "from"), rows))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={text}" for name, text in value.items()) or "none"
    return "none" if value is None else str(value)

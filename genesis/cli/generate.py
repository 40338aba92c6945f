"""``genesis DOMAIN``: make items, measure them, and put them where they were asked for."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesis.cli import streams, targets
from genesis.cli.command import Interrupted
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
Model = Annotated[
    str | None,
    flag("--model", metavar="NAME", help="A preset or a folder of `genesis train`; else the default preset."),
]
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
KeepBest = Annotated[
    int, flag("--keep-best", metavar="N", min=1, help="Draw N times as many, keep the closest.", panel=DRAW)
]
NoConstraint = Annotated[bool, flag("--no-constraint", help="Let the model write what is not valid.", panel=DRAW)]
Out = Annotated[
    Path | None, flag("--out", "-o", metavar="FILE", help="All items; the suffix chooses the format.", panel=KEEP)
]
Picture = Annotated[
    Path | None, flag("--picture", metavar="FILE", help="The first items drawn, .png or .svg.", panel=KEEP)
]
Json = Annotated[bool, flag("--json", help="Print an item a line as JSON.", panel=KEEP)]
ReportFile = Annotated[Path | None, flag("--report", metavar="FILE", help="The report as JSON.", panel=KEEP)]
BatchSize = Annotated[
    int, flag("--batch-size", metavar="N", min=1, help="Items drawn together; changes speed only.", panel=RUN)
]


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
        seed: Seed = 0,
        model: Model = None,
        temperature: Temperature = 1.0,
        top_k: TopK = 0,
        top_p: TopP = 1.0,
        min_p: MinP = 0.0,
        guidance: Guidance = 1.0,
        keep_best: KeepBest = 1,
        no_constraint: NoConstraint = False,
        out: Out = None,
        picture: Picture = None,
        json: Json = False,
        report: ReportFile = None,
        device: Device = "auto",
        batch_size: BatchSize = 512,
        workers: Workers = None,
        dry_run: DryRun = False,
        quiet: Quiet = False,
        debug: Debug = False,
    ) -> int:
        asked = targets.pairs(target_property)
        _check_outputs(name, out, picture, json, report)
        engine = _engine(name, model, device)
        target = targets.values(asked, _labelled(engine))
        if dry_run:
            _show_plan(ctx, engine, target, json)
            return 0
        with streams.Progress(quiet) as progress:
            hits = engine.generate(
                count,
                target,
                seed=seed,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                min_p=min_p,
                guidance=guidance,
                keep_best=keep_best,
                constrained=not no_constraint,
                batch_size=batch_size,
                workers=workers,
                on_progress=progress,
            )
        return _deliver(hits, out, picture, json, report, quiet)

    generate.__doc__ = f"Make {name} with the properties you ask for."
    return generate


def _check_outputs(name: str, out: Path | None, picture: Path | None, json: bool, report: Path | None) -> None:
    """What would stop the writing after the work is said before it."""
    from genesis import registry
    from genesis.hits import check_picture

    domain = registry.domain(name)
    if out == STDOUT and json:
        raise UsageError("--out - and --json both print the items; leave one out")
    if out is not None:
        domain.check_target(out)
    if picture is not None:
        check_picture(domain, picture)
    if report is not None and (report.is_dir() or not report.resolve().parent.is_dir()):
        raise UsageError(f"--report {report}: {'that is a folder' if report.is_dir() else 'its folder is not there'}")


def _engine(name: str, model: str | None, device: str) -> Engine:
    import genesis

    engine: Engine = genesis.load(model or name, device=device)
    if engine.domain.name != name:
        made = engine.domain.name
        raise UsageError(f"{model} is a model of {made}; use `genesis {made} --model {model}`")
    return engine


def _labelled(engine: Engine) -> set[str]:
    """The properties whose targets are labels, whatever they look like."""
    return {field.name for field in engine.config.model.fields if field.kind == "category"}


def _deliver(hits: Hits, out: Path | None, picture: Path | None, json: bool, report: Path | None, quiet: bool) -> int:
    """Write and print; then the exit code: a shortfall and an interruption are said after everything is kept."""
    said = hits.report()
    if report is not None:
        _write_report(report, dataclasses.asdict(said))
    try:
        if len(hits):
            if out is not None and out != STDOUT:
                hits.write(out)
            if picture is not None:
                hits.picture(picture)
            _print(hits, out, json)
    finally:
        if not quiet:
            streams.note(f"\n{said}" if sys.stdout.isatty() else str(said))
    if said.interrupted:
        streams.note(f"genesis: {said.shortfall or 'interrupted'}; what was finished is kept")
        return Interrupted.exit_code
    if said.shortfall:
        raise GenesisError(f"{said.shortfall}; try a higher --temperature, or targets that the model knows")
    return 0


def _print(hits: Hits, out: Path | None, json: bool) -> None:
    if json:
        # every domain writes JSON lines; only a file of its own has the suffix that asks for them
        with tempfile.TemporaryDirectory() as folder:
            lines = Path(folder) / "hits.jsonl"
            hits.write(lines)
            with streams.results(), lines.open(encoding="utf-8") as file:
                shutil.copyfileobj(file, sys.stdout)
    elif out == STDOUT:
        with streams.results():
            hits.write(STDOUT)
    elif out is None:
        streams.show(repr(hits))


def _write_report(path: Path, report: Mapping[str, Any]) -> None:
    path.write_text(dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _show_plan(ctx: typer.Context, engine: Engine, target: Mapping[str, Any], as_json: bool) -> None:
    """Every setting, its value, and whether a flag, the environment or the default gave it."""
    from genesis.hits import written
    from genesis.table import table

    engine.targets(target)
    origin = {name: str(getattr(ctx.get_parameter_source(name), "name", "")).lower() for name in ctx.params}
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

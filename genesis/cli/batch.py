"""``genesis batch``: libraries of any size, that survive what happens in a night."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesis.cli import generate, streams, targets
from genesis.cli.command import Command, Group, Interrupted, show_help
from genesis.cli.flags import RUN, Debug, Device, DryRun, Json, Quiet, Seed, Workers, flag
from genesis.errors import GateError, GenesisError, UsageError
from genesis.table import duration, number, share, table

if TYPE_CHECKING:
    from genesis.batch.library import Library
    from genesis.batch.local import Pool
    from genesis.batch.plan import Plan
    from genesis.batch.run import Progress
    from genesis.engine import Engine

EPILOG = """\
A plan file holds the flags by their long names, a line each, and sweeps:
  domain: molecules
  count: 1000000
  target: {qed: 0.9}
  sweep: {logp: [1, 2, "2.5:3"]}

On a Slurm cluster, one job array draws and one job commits:
  sbatch --array=0-9 --wrap 'genesis batch plan.yaml --out library
      --range $((SLURM_ARRAY_TASK_ID*100000)):$(((SLURM_ARRAY_TASK_ID+1)*100000))'
  genesis batch resume library

Examples:
  genesis batch molecules --count 1000000 -t logp=2:3 --out library
  genesis batch plan.yaml --out library --dry-run
  genesis batch status library"""
MAKE_EPILOG = """\
The same command goes on with a run that was interrupted. Exit code 130: interrupted, and what was finished is kept.

Examples:
  genesis batch molecules -n 1000000 --target-property logp=2:3 --out library
  genesis batch molecules -n 90000 --sweep logp=1,2,2.5:3 --sweep qed=0.8,0.9 --out library
  genesis batch plan.yaml --count 1000 --out library --workers 8"""
MAKE = "make"
PLANS = (".yaml", ".yml")
SHOWN = 8  # lines of what is wrong, or of a sweep


class BatchGroup(Group):
    """``genesis batch molecules`` and ``genesis batch plan.yaml``: what is no command is something to make."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = [MAKE, *args]
        return super().resolve_command(ctx, args)


class MakingLibrary(generate.Making):
    """The flags of every property, as the generating command has them, whose domain an argument or a plan names."""

    def words(self, args: Sequence[str]) -> Mapping[str, str]:
        from genesis import registry
        from genesis.batch.plan import read_plan

        for text in args:
            name = read_plan(Path(text)).get("domain") if text.lower().endswith(PLANS) else text
            if isinstance(name, str) and name in registry.domains():
                return dict.fromkeys(registry.domain(name).properties, "--target-property")
        return {}

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        Command.format_epilog(self, ctx, formatter)


app = typer.Typer(
    help="Make libraries of millions, resumable, each item once.",
    epilog=EPILOG,
    cls=BatchGroup,
    invoke_without_command=True,
    subcommand_metavar="DOMAIN|PLAN.yaml|COMMAND [OPTIONS]",
)
app.callback()(show_help)

What = Annotated[
    str, typer.Argument(metavar="DOMAIN|PLAN.yaml", help="What to make, or a plan of it.", show_default=False)
]
Folder = Annotated[Path, typer.Argument(metavar="LIBRARY", help="The folder of a run.", show_default=False)]
Out = Annotated[Path, flag("--out", "-o", metavar="FOLDER", help="The library: Parquet shards and a manifest.")]
Sweep = Annotated[
    list[str],
    flag("--sweep", metavar="NAME=V,V", help="Every value in turn, and every combination of several sweeps."),
]
Measure = Annotated[
    str, flag("--measure", metavar="NAMES", help="Properties to measure, with commas between; all.", panel="Columns")
]
NoScreen = Annotated[
    bool, flag("--no-screen", help="Keep items of listed hazardous families; the manifest says so.", panel="Columns")
]
Shard = Annotated[
    int | None,
    flag("--shard", metavar="N", min=8, max=1_000_000, help="Indices of a shard; by the count.", panel=RUN),
]
Range = Annotated[
    str | None, flag("--range", metavar="A:B", help="Only draw these indices; `resume` commits them.", panel=RUN)
]
OnCluster = Annotated[
    str | None, flag("--cluster", metavar="ADDRESS", help="A Ray cluster that shares the folder; or auto.", panel=RUN)
]


@app.command(MAKE, cls=MakingLibrary, epilog=MAKE_EPILOG)
def make(
    ctx: typer.Context,
    what: What,
    out: Out = Path("library"),
    count: generate.Count = 1_000,
    target_property: generate.TargetProperty = [],  # noqa: B006 (typer copies it)
    sweep: Sweep = [],  # noqa: B006
    seed: Seed = 0,
    model: generate.Model = None,
    temperature: generate.Temperature = 1.0,
    top_k: generate.TopK = 0,
    top_p: generate.TopP = 1.0,
    min_p: generate.MinP = 0.0,
    guidance: generate.Guidance = 1.0,
    keep_best: generate.KeepBest = 1,
    no_constraint: generate.NoConstraint = False,
    measure: Measure = "all",
    no_screen: NoScreen = False,
    device: Device = "auto",
    batch_size: generate.BatchSize = 512,
    shard: Shard = None,
    workers: Workers = None,
    cluster: OnCluster = None,
    range: Range = None,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Make a library, or go on with it; the word `make` may be left out."""
    from genesis.batch import session
    from genesis.batch.columns import arrow

    arrow()
    plan, origin = _plan(ctx, what)
    part = _range(range)
    engine = session.load_model(plan, device)
    if dry_run:
        _show_plan(plan, origin, engine, _workers(workers, engine), json)
        return 0
    library = session.begin(plan, engine, out)
    return _go(library, engine, device, workers, cluster, part, json, quiet)


@app.command(cls=Command)
def resume(
    library: Folder,
    device: Device = "auto",
    workers: Workers = None,
    cluster: OnCluster = None,
    range: Range = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Go on with a run; the result is what it would have been without the interruption."""
    from genesis.batch import session

    part = _range(range)
    found, engine = session.go_on(library, device)
    return _go(found, engine, device, workers, cluster, part, json, quiet)


@app.command(cls=Command)
def status(library: Folder, json: Json = False, debug: Debug = False) -> None:
    """How far a run is: items, rate, validity, time left."""
    from genesis.batch import session

    found = session.status(library)
    total, plan = found.total, found.order.plan
    left = (plan.count - total.returned) / found.rate if found.rate and not found.complete else 0.0
    if json:
        streams.show_json(
            {
                "complete": found.complete, "running": found.running, "count": plan.count, "shards": found.shards,
                "waiting": found.waiting, "bytes": found.bytes, "seconds": found.seconds, "rate": found.rate,
                "seconds_left": left, "hash": found.hash, "model": found.order.model, "licence": found.order.licence,
                **total.model_dump(mode="json"),
            }
        )  # fmt: skip
        return
    state = "complete" if found.complete else "running" if found.running else "interrupted"
    rows = [
        ("state", state, "" if found.complete else f"{duration(left)} left" if found.rate else "nothing committed yet"),
        ("shards", f"{found.shards:,}", f"{found.waiting:,} drawn and waiting, {found.bytes / 1e6:,.1f} MB"),
        ("hash", found.hash or "none", "of all rows, in any order"),
    ]
    report = total.report(found.order, found.known, found.seconds, False)
    streams.show("\n\n".join([table(("", "", ""), rows), str(report), *_sweep(found.order.plan, total.groups)]))


@app.command(cls=Command)
def verify(library: Folder, quiet: Quiet = False, debug: Debug = False) -> None:
    """Check every byte and every item of a library against its manifest."""
    from genesis.batch.verify import verify as check

    with streams.Progress(quiet) as progress:
        wrong = check(library, progress)
    for line in wrong[:SHOWN]:
        streams.show(line)
    if wrong:
        more = f", {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise GateError(
            f"{library}: {len(wrong)} things are wrong{more}; a shard that is removed is drawn again by "
            f"`genesis batch resume {library}`"
        )
    streams.show(f"{library}: every byte and every item as it was written")


@app.command(cls=Command)
def export(
    library: Folder,
    out: Annotated[Path, flag("--out", "-o", metavar="FOLDER", help="Where the files go, one a shard.")] = Path(
        "export"
    ),
    suffix: Annotated[str, flag("--format", metavar="SUFFIX", help="sdf, csv, png ...: what the domain writes.")] = "",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the items of a library in a format of their field, a file for each shard."""
    from genesis.batch.export import export as write

    if not suffix:
        raise UsageError("--format is missing; give one that the domain writes, such as --format sdf")
    with streams.Progress(quiet) as progress:
        streams.show(str(write(library, out, f".{suffix.lstrip('.')}", progress)))


def _plan(ctx: typer.Context, what: str) -> tuple[Plan, dict[str, str]]:
    """The plan, and where each setting comes from: a flag, the environment, the file, or nowhere."""
    from genesis import registry
    from genesis.batch.plan import Plan, read_plan

    flags = dict(ctx.params)
    given: dict[str, Any] = {
        "count": flags["count"], "seed": flags["seed"], "model": flags["model"], "temperature": flags["temperature"],
        "top_k": flags["top_k"], "top_p": flags["top_p"], "min_p": flags["min_p"], "guidance": flags["guidance"],
        "keep_best": flags["keep_best"], "batch_size": flags["batch_size"], "shard": flags["shard"],
        "target": targets.pairs(flags["target_property"]),
        "sweep": {name: text.split(",") for name, text in targets.pairs(flags["sweep"], "--sweep").items()},
        "constrained": not flags["no_constraint"], "screen": not flags["no_screen"],
        "measure": "all" if flags["measure"] == "all" else flags["measure"].split(","),
    }  # fmt: skip
    names = {"target": "target_property", "constrained": "no_constraint", "screen": "no_screen"}
    origin = {}
    for name in given:
        source = str(getattr(ctx.get_parameter_source(names.get(name, name)), "name", "")).lower()
        origin[name] = {"commandline": "flag"}.get(source, source)
    if not what.lower().endswith(PLANS):
        registry.domain(what)
        return Plan.of({"domain": what, **given}, "plan"), {"domain": "argument", **origin}
    settings = read_plan(Path(what))
    for name, value in given.items():
        if origin[name] in ("flag", "environment") or name not in settings:
            settings[name] = value
        else:
            origin[name] = "file"
    plan = Plan.of(settings, what)
    registry.domain(plan.domain)
    return plan, {"domain": "file", **origin}


def _range(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, colon, last = text.replace("_", "").partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise UsageError(f"--range {text}: write FIRST:LAST, such as 0:1000000; the last index is not drawn")
    return int(first), int(last)


def _workers(workers: int | None, engine: Engine) -> int:
    from genesis.batch.local import Processes

    return Processes(workers, engine.device.type).size


def _pool(workers: int | None, device: str, cluster: str | None, engine: Engine) -> Pool:
    from genesis.batch.cluster import Cluster
    from genesis.batch.local import Processes

    if cluster is None:
        return Processes(workers, device)
    return Cluster(cluster, gpu=engine.device.type == "cuda")


def _go(
    library: Library,
    engine: Engine,
    device: str,
    workers: int | None,
    cluster: str | None,
    part: tuple[int, int] | None,
    json: bool,
    quiet: bool,
) -> int:
    """Run to the end; then the exit code. A shortfall and an interruption are said after everything is kept."""
    from genesis.batch import session

    again = f"genesis batch resume {library.folder}"
    try:
        watch = Watch(quiet)
        with watch:
            pool = _pool(workers, device, cluster, engine)
            if part is not None:
                session.make_part(library, engine, pool, part, watch.see)
                streams.note(f"genesis: indices {part[0]:,} to {part[1]:,} are drawn; `{again}` commits them")
                return 0
            session.make(library, engine, pool, watch.see)
    except KeyboardInterrupt:
        streams.note(f"genesis: interrupted; what was finished is kept, and `{again}` goes on")
        return Interrupted.exit_code
    found = session.status(library.folder)
    report = found.total.report(library.order, engine.known is not None, found.seconds, False)
    if json:
        streams.show_json({**dataclasses.asdict(report), "hash": found.hash, "bytes": found.bytes})
    if not quiet:
        streams.note("\n\n".join([str(report), *_sweep(library.order.plan, found.total.groups)]))
    for index, why in list(found.total.poison.items())[:SHOWN]:
        streams.note(f"genesis: item {index} could not be drawn: {why}")
    if report.shortfall:
        raise GenesisError(f"{report.shortfall}; try a higher --temperature, or targets that the model knows")
    return 0


class Watch(streams.Progress):
    """A line of progress with the rates of a run beside its speed."""

    rates = ""

    def see(self, progress: Progress) -> None:
        """Take in how far the run is."""
        rates = f"{share(progress.valid)} valid, {share(progress.unique)} valid and distinct"
        parts = [rates] if progress.drawn else []
        parts += [f"{progress.waiting} shards waiting"] if progress.waiting else []
        parts += [f"{progress.retried} retried"] if progress.retried else []
        self.rates = ", ".join(parts)
        self(progress.done, progress.count, "drawing")

    def line(self, done: int, total: int, seconds: float) -> str:
        return ", ".join(filter(None, (super().line(done, total, seconds), self.rates)))


def _show_plan(plan: Plan, origin: Mapping[str, str], engine: Engine, workers: int, json: bool) -> None:
    """Every setting and where it comes from; then shards, time and size."""
    from genesis.batch import session
    from genesis.batch.plan import Order, combinations

    order, guess = Order.of(plan, engine), session.estimate(plan, engine, workers)
    settings = plan.model_dump(mode="json") | {"model": engine.name, "shard": order.shard}
    expected = {
        "combinations": len(combinations(plan)), "indices": guess.indices, "shards": guess.shards, "workers": workers,
        "seconds": guess.seconds, "bytes": guess.bytes,
    }  # fmt: skip
    if json:
        streams.show_json(
            {
                "settings": {name: {"value": v, "from": origin.get(name, "default")} for name, v in settings.items()},
                "corpus": order.corpus, "licence": order.licence, "decodes": order.decodes, "estimate": expected,
            }
        )  # fmt: skip
        return
    rows = [(name, _text(value), origin.get(name, "default")) for name, value in settings.items()]
    rows += [("corpus", order.corpus, "model"), ("licence", order.licence, "model")]
    facts = [
        ("indices", f"{guess.indices:,}", f"{guess.shards:,} shards of {order.shard:,}"),
        ("time", duration(guess.seconds), f"{workers} workers, {order.decodes}"),
        ("size", f"{guess.bytes / 1e6:,.1f} MB", "measured on two batches drawn here"),
    ]
    streams.show(f"{table(('setting', 'value', 'from'), rows)}\n\n{table(('estimate', '', ''), facts)}")


def _sweep(plan: Plan, groups: tuple[int, ...]) -> list[str]:
    """How many items each combination of the sweep gave."""
    from genesis.batch.plan import combinations

    if not groups:
        return []
    rows = [
        (*(str(value) for value in one.values()), f"{count:,}")
        for one, count in zip(combinations(plan), groups, strict=True)
    ]
    more = f"\n... and {len(rows) - SHOWN:,} more combinations" if len(rows) > SHOWN else ""
    return [table((*plan.sweep, "items"), rows[:SHOWN], right=(len(plan.sweep),)) + more]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        each = (f"{n}={','.join(map(_text, v)) if isinstance(v, list) else _text(v)}" for n, v in value.items())
        return ", ".join(each) or "none"
    if isinstance(value, float):
        return number(value)
    return "none" if value is None else str(value)

"""``genesis augment DOMAIN FILE``: synthetic items with the labels of a data set."""

from __future__ import annotations

import dataclasses
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from genesis.cli import streams
from genesis.cli.flags import RUN, Column, Debug, Device, Quiet, Seed, flag
from genesis.cli.generate import Guidance, Temperature
from genesis.errors import GenesisError, UsageError

EPILOG = """\
FOLDER gets synthetic and together (the data set and the synthetic items), in the format of FILE, with a column
`synthetic` that tells them apart, and report.json. Without --model a model is trained on FILE first, in FOLDER/model;
the same command given again goes on with it. Whether the items help is for a held-out set to say:
docs/augmentation.md has two cases.

Examples:
  genesis augment molecules solubility.csv --label logS --count 1000 --out augmented/
  genesis augment images photos.jsonl --label label --model runs/photos --guidance 1.5 --count 5000 --out augmented/"""
FIT = "When no model is given"

DomainName = Annotated[str, typer.Argument(metavar="DOMAIN", help="What the items are.", show_default=False)]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The labelled data set.", show_default=False)]
Labels = Annotated[list[str], flag("--label", metavar="NAME", help="A column that synthetic items get; repeatable.")]
Out = Annotated[Path, flag("--out", "-o", metavar="FOLDER", help="Where everything is written.")]
Count = Annotated[int, flag("--count", "-n", metavar="N", min=1, help="Synthetic items.")]
Model = Annotated[str | None, flag("--model", metavar="NAME", help="A model that can be asked for the labels.")]
Near = Annotated[
    float,
    flag("--near", metavar="X", min=0, max=0.99, help="Share of the data set that counts as near copies of others."),
]
Items = Annotated[
    int, flag("--items", metavar="N", min=0, help="Training items to show, repeats counted; 0 ten passes.", panel=FIT)
]
BatchSize = Annotated[
    int, flag("--batch-size", metavar="N", min=1, help="Items drawn together; changes speed only.", panel=RUN)
]


def augment(
    domain: DomainName,
    file: File,
    out: Out,
    label: Labels,
    count: Count = 1_000,
    model: Model = None,
    column: Column = None,
    near: Near = 0.01,
    guidance: Guidance = 1.0,
    temperature: Temperature = 1.0,
    items: Items = 0,
    seed: Seed = 0,
    device: Device = "auto",
    batch_size: BatchSize = 512,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make synthetic items for a labelled data set, none of them a near copy of its own."""
    import genesis
    from genesis import registry
    from genesis.augmenting import Labelled, fitted
    from genesis.augmenting import augment as augmented

    adapter = registry.domain(domain)
    out.mkdir(parents=True, exist_ok=True)
    suffix = "".join(file.suffixes) if not file.is_dir() else ".jsonl"
    adapter.check_target(out / f"synthetic{suffix}", count)
    data = Labelled.read(adapter, file, label, column)
    if model is None:
        with streams.Progress(quiet):
            note = None if quiet else lambda text: streams.note(f"genesis: {text}")
            engine = fitted(
                domain, file, label, out, column=column, items=items, seed=seed, device=device, on_progress=note
            )
    else:
        engine = genesis.load(model, device=device)
    if engine.domain.name != domain:
        raise UsageError(f"{model} is a model of {engine.domain.name}, not of {domain}")
    with streams.Progress(quiet) as progress:
        hits = augmented(
            engine, data, count, near, seed,
            {"guidance": guidance, "temperature": temperature, "batch_size": batch_size, "on_progress": progress},
        )  # fmt: skip
    said = hits.report()
    written = data.write(hits, out, suffix)
    report = out / "report.json"
    report.write_text(dumps(dataclasses.asdict(said), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if not quiet:
        streams.note(str(said))
    streams.show("\n".join(map(str, [*written, report])))
    if said.shortfall:
        raise GenesisError(f"{said.shortfall}; try a higher --temperature or a smaller --near")

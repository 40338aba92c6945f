"""``genesis interpolate A B`` and ``genesis explore``: ways and maps through the latent space of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genesis.cli.flags import Debug, Device, Quiet, Seed, flag
from genesis.cli.generate import Json, Outputs, Picture, ReportFile, deliver
from genesis.errors import UsageError

if TYPE_CHECKING:
    from genesis.engine import Engine

NEEDS = "The model has to have latents: one of `genesis train --family vae`, diffusion or gan."
WAY = f"""\
{NEEDS}

Examples:
  genesis interpolate 'CCO' 'c1ccccc1O' --model runs/vae --steps 8 --picture way.png
  genesis interpolate 'CCO' 'c1ccccc1O' --model runs/vae --out way.csv --json"""
MAP = f"""\
{NEEDS} Columns x and y of the table are places on the two main axes of the latents.

Examples:
  genesis explore --model runs/vae --count 1000 --out map.csv
  genesis explore --model runs/vae --colour logp --picture map.png"""

First = Annotated[str, typer.Argument(metavar="A", help="An item, such as SMILES.", show_default=False)]
Last = Annotated[str, typer.Argument(metavar="B", help="Another one.", show_default=False)]
Model = Annotated[str, flag("--model", metavar="NAME", help="A folder of `genesis train`, or a preset.")]
Steps = Annotated[int, flag("--steps", metavar="N", help="Items of the way, both ends among them; at least 2.")]
Count = Annotated[int, flag("--count", "-n", metavar="N", min=3, help="Items of the map.")]
Colour = Annotated[
    str | None, flag("--colour", metavar="NAME", help="The property that colours the map; else the first.")
]
Out = Annotated[list[Path], flag("--out", "-o", metavar="FILE", help="The items; the suffix says the format.")]
MapPicture = Annotated[Path | None, flag("--picture", metavar="FILE", help="The map, .png.")]


def interpolate(
    a: First,
    b: Last,
    model: Model,
    steps: Steps = 8,
    seed: Seed = 0,
    out: Out = [],  # noqa: B006 (typer copies it)
    picture: Picture = None,
    json: Json = False,
    report: ReportFile = None,
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Walk from one item to another; every step is a valid item of its own."""
    engine = _engine(model, device)
    outputs = Outputs.of(out, picture, None, json, report)
    outputs.check(engine.domain.name, steps)
    return deliver(engine.interpolate(a, b, steps, seed=seed), outputs, quiet)


def explore(
    model: Model,
    count: Count = 500,
    colour: Colour = None,
    seed: Seed = 0,
    out: Out = [],  # noqa: B006
    picture: MapPicture = None,
    json: Json = False,
    report: ReportFile = None,
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Map the latent space: items of the prior, placed by their latents and coloured by a property."""
    from genesis.scatter import check_scatter, scatter

    engine = _engine(model, device)
    outputs = Outputs.of(out, None, None, json, report)
    outputs.check(engine.domain.name, count)
    if outputs.pictures:
        raise UsageError(f"--out {outputs.pictures[0]}: the map is drawn with --picture")
    if picture is not None:
        check_scatter(picture)
    shade = colour or next(iter(engine.domain.properties))
    hits = engine.explore(count, seed=seed)
    if picture is not None:
        scatter(hits, shade, picture)
    return deliver(hits, outputs, quiet)


def _engine(model: str, device: str) -> Engine:
    import genesis

    engine: Engine = genesis.load(model, device=device)
    return engine

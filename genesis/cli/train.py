"""``genesis train DOMAIN SOURCE``: a model of one's own, from a file or from a corpus."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genesis.cli import streams
from genesis.cli.command import Interrupted
from genesis.cli.flags import Column, Debug, Device, Quiet, Seed, flag
from genesis.table import duration

if TYPE_CHECKING:
    from genesis.train import Progress

FIT = "How it is trained"
EPILOG = """\
A run that was stopped goes on where it was when the same command is given again.
The numbers of the domain are always learned; --target-property adds columns of the file.

Examples:
  genesis train molecules library.csv --smiles-column SMILES --target-property pic50 --out runs/mine
  genesis train molecules moses --size small --items 5000000 --out runs/moses
  genesis train molecules library.csv --from molecules-moses --learning-rate 1e-3 --out runs/tuned
  genesis train molecules moses --family vae --out runs/vae
  genesis train molecules moses --family diffusion --vae runs/vae --out runs/diffusion
  genesis molecules --model runs/mine --target-property pic50=8"""


class Size(StrEnum):
    """The one dial of the network."""

    tiny = "tiny"
    micro = "micro"
    mini = "mini"
    small = "small"
    base = "base"
    large = "large"


class Precision(StrEnum):
    """What the numbers of a step are kept in."""

    auto = "auto"
    bf16 = "bf16"
    fp32 = "fp32"


class Family(StrEnum):
    """How the model makes an item."""

    transformer = "transformer"
    vae = "vae"
    diffusion = "diffusion"
    gan = "gan"
    masked = "masked"


DomainName = Annotated[str, typer.Argument(metavar="DOMAIN", help="What the items are.", show_default=False)]
Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A file, a folder, or a corpus of `genesis data list`; several as one+other.",
        show_default=False,
    ),
]
Out = Annotated[Path, flag("--out", "-o", metavar="FOLDER", help="Where the model and the run's log are written.")]
TargetColumn = Annotated[
    list[str],
    flag("--target-property", "-t", metavar="NAME", help="A column that items can be asked for later; repeatable."),
]
NetworkSize = Annotated[
    Size,
    flag(
        "--size",
        metavar="NAME",
        help="Parameters: tiny 0.15 M, micro 0.9 M, mini 2.6 M, small 5 M, base 16 M, large 90 M.",
        panel=FIT,
    ),
]
OfFamily = Annotated[
    Family, flag("--family", metavar="NAME", help="transformer, vae, diffusion, gan or masked.", panel=FIT)
]
Vae = Annotated[
    str | None,
    flag(
        "--vae",
        metavar="FOLDER",
        help="The VAE over whose latents a diffusion, a GAN or another decoder is trained, or a model that is.",
        panel=FIT,
    ),
]
Items = Annotated[
    int, flag("--items", metavar="N", min=0, help="Training items to show, repeats counted; 0 ten passes.", panel=FIT)
]
Minutes = Annotated[
    float, flag("--minutes", metavar="X", min=0, help="End after this time, whatever was shown; 0 no limit.", panel=FIT)
]
BatchTokens = Annotated[int, flag("--batch-tokens", metavar="N", min=64, help="Tokens a step.", panel=FIT)]
LearningRate = Annotated[
    float, flag("--learning-rate", metavar="X", min=1e-9, max=1, help="Its highest value.", panel=FIT)
]
Arithmetic = Annotated[
    Precision,
    flag("--precision", metavar="NAME", help="auto, bf16 or fp32; auto takes what the device is fast in.", panel=FIT),
]
BeginWith = Annotated[
    str | None,
    flag(
        "--from", metavar="MODEL", help="Begin with the weights of a preset or a folder, as far as they fit.", panel=FIT
    ),
]
Share = Annotated[
    float, flag("--share", metavar="X", min=1e-6, max=1, help="Part of the items, by a stable hash.", panel=FIT)
]
LicenceTier = Annotated[
    str | None,
    flag("--licence-tier", metavar="NAME", help="Only items that allow as much: free, sharealike, gpl, nc.", panel=FIT),
]
MaxRejected = Annotated[
    float, flag("--max-rejected", metavar="X", min=0, max=1, help="Share of the rows that may be no items.", panel=FIT)
]
Vocabulary = Annotated[
    int,
    flag("--vocabulary", metavar="N", min=0, help="Tokens to learn first, of text; 0 the domain's own.", panel=FIT),
]
Spellings = Annotated[
    int,
    flag(
        "--spellings",
        metavar="N",
        min=1,
        help="Ways in which each item is written: orders of atoms, tonics of music.",
        panel=FIT,
    ),
]
Dropout = Annotated[
    float,
    flag("--dropout", metavar="X", min=0, max=0.99, help="Share of each branch that a step leaves out.", panel=FIT),
]
Unconditional = Annotated[
    float,
    flag("--unconditional", metavar="X", min=0, max=1, help="Share of items shown with no property.", panel=FIT),
]
Compile = Annotated[
    bool, flag("--compile", help="Compile the step: slow to start, then about twice as fast.", panel=FIT)
]
Tensorboard = Annotated[bool, flag("--tensorboard", help="Write curves for TensorBoard as well.", panel=FIT)]


def train(
    ctx: typer.Context,
    domain: DomainName,
    source: Source,
    out: Out,
    target_property: TargetColumn = [],  # noqa: B006 (typer copies it)
    column: Column = None,
    seed: Seed = 0,
    size: NetworkSize = Size.small,
    family: OfFamily = Family.transformer,
    vae: Vae = None,
    items: Items = 0,
    minutes: Minutes = 0.0,
    batch_tokens: BatchTokens = 8_192,
    learning_rate: LearningRate = 2e-3,
    precision: Arithmetic = Precision.auto,
    begin_with: BeginWith = None,
    share: Share = 1.0,
    licence_tier: LicenceTier = None,
    max_rejected: MaxRejected = 0.1,
    vocabulary: Vocabulary = 0,
    spellings: Spellings = 1,
    dropout: Dropout = 0.0,
    unconditional: Unconditional = 0.2,
    compile: Compile = False,
    tensorboard: Tensorboard = False,
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a model on your own items and columns."""
    from genesis.engine import Engine
    from genesis.prepare import REJECTED
    from genesis.train import TrainConfig

    config = TrainConfig(
        items=items,
        minutes=minutes,
        batch_tokens=batch_tokens,
        learning_rate=learning_rate,
        precision=precision.value,
        seed=seed,
        compile=compile,
        dropout=dropout,
        unconditional=unconditional,
    )

    def report(progress: Progress) -> None:
        if not quiet:
            streams.note(f"genesis: {line(progress, items, minutes)}")

    try:
        with streams.Progress(quiet) as encoding:
            made = Engine.train(
                domain,
                source,
                out,
                column=column,
                targets=target_property,
                size=size.value,
                family=family.value,
                vae=vae,
                config=config,
                share=share,
                licence_tier=licence_tier,
                max_rejected=max_rejected,
                begin_with=begin_with,
                vocabulary=vocabulary,
                spellings=spellings,
                device=device,
                tensorboard=tensorboard,
                on_progress=report,
                on_encode=encoding,
            )
    except KeyboardInterrupt:
        again = shlex.join(["genesis", *ctx.obj])
        raise Interrupted(f"interrupted; to go on from the last checkpoint: {again}") from None
    refused = out / "encoded" / REJECTED
    if not quiet:
        if refused.exists():
            streams.note(f"genesis: rows that are no items are listed in {refused}")
        streams.note(f"genesis: it can be asked for {', '.join(made.properties) or 'nothing'}")
    streams.show(str(out))


def line(progress: Progress, items: int, minutes: float = 0.0) -> str:
    """``step 1,500, 120,000 of 1,000,000 items, loss 0.812, held out 0.799, 812 items a second, 18 min 4 s left``."""
    parts = [
        f"step {progress.step:,}",
        f"{progress.items:,} of {items:,} items" if items else f"{progress.items:,} items",
    ]
    parts += [f"loss {progress.loss:.4f}"] if progress.loss is not None else ["no loss was finite"]
    parts += [f"held out {progress.held_out:.4f}"] if progress.held_out is not None else []
    parts.append(f"{progress.items_per_second:,.0f} items a second")
    left = [60 * minutes - progress.seconds] if minutes else []
    if items and progress.items_per_second > 0:
        left.append((items - progress.items) / progress.items_per_second)
    if left and min(left) > 0:
        parts.append(f"{duration(min(left))} left")
    return ", ".join(parts)

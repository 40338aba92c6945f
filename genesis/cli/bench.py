"""``genesis bench``: kernels against their opponents, decoding, and the whole job."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from genesis.cli import streams
from genesis.cli.flags import Debug, Device, Json, Workers, flag
from genesis.table import table

EPILOG = """\
Figures are of this machine, now, with whatever else it does. A kernel whose check is red is not timed.
Exit code 1 when one was refused.

Examples:
  genesis bench decode --batch 64 --batch 512
  genesis bench whole --count 4096
  genesis bench kernels --kernel short_attention --json > attention.json"""

What = Annotated[
    Literal["kernels", "decode", "whole"],
    typer.Argument(help="kernels (on a GPU), decode (tokens a second), or whole (valid, distinct items a second)."),
]
Model = Annotated[str, flag("--model", metavar="NAME", help="A preset, a domain, or a folder.")]
Batch = Annotated[list[int] | None, flag("--batch", metavar="N", min=1, help="Rows decoded together; repeatable.")]
Count = Annotated[int, flag("--count", "-n", metavar="N", min=1, help="Items of the whole job.")]
Kernel = Annotated[list[str] | None, flag("--kernel", metavar="NAME", help="Only this kernel; repeatable.")]
Constrained = Annotated[bool, flag("--constrained", help="Decode inside the domain's grammar.")]


def bench(
    what: What,
    model: Model = "molecules",
    batch: Batch = None,
    count: Count = 4096,
    kernel: Kernel = None,
    constrained: Constrained = False,
    device: Device = "auto",
    workers: Workers = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Measure speed on this machine."""
    import genesis
    from genesis import bench as measures

    if what == "kernels":
        rows = measures.kernels(kernel or ())
    else:
        engine = genesis.load(model, device)
        if what == "decode":
            rows = list(measures.decode(engine, batch or [64, 512], constrained))
        else:
            rows = list(measures.whole(engine, count, workers))
    if json:
        streams.show_json({"what": what, "rows": rows})
    else:
        streams.show({"kernels": _kernels, "decode": _decode, "whole": _whole}[what](rows))
    return int(any("refused" in row for row in rows))


def _kernels(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        if "refused" in row:
            lines.append((row["op"], row["refused"], "", "", "", ""))
            continue
        ours = row["us"]["ours"]
        lines.append(
            (
                row["op"],
                row["case"],
                f"{ours['median']:.1f}" if "median" in ours else ours["error"],
                f"{100 * row['of_copy']:.0f}" if "of_copy" in row else "",
                f"{row['times_best']:.2f}" if "times_best" in row else "",
                row.get("best", ""),
            )
        )
    return table(["op", "case", "us", "% of copy", "times the best", "which is"], lines)


def _decode(rows: list[dict[str, Any]]) -> str:
    lines = [
        (
            f"{row['batch']}",
            f"{row['device']} {row['dtype']}",
            f"{row['mean_tokens']:.1f}",
            f"{row['tokens_a_second']:,.0f}",
            f"{row['items_a_second']:,.0f}",
        )
        for row in rows
    ]
    return table(["batch", "in", "tokens an item", "tokens a second", "items a second"], lines)


def _whole(rows: list[dict[str, Any]]) -> str:
    lines = [
        (
            row["what"],
            "automaton" if row["constrained"] else "",
            f"{row['drawn']}",
            f"{row['valid_unique']}",
            f"{row['seconds']:.1f}",
            f"{row['a_second']:,.0f}",
        )
        for row in rows
    ]
    return table(["items are", "", "drawn", "valid and distinct", "seconds", "a second"], lines)

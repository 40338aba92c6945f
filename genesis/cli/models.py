"""``genesis models``: the presets of this installation, and what any model was made from and can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesis.cli import streams
from genesis.cli.command import Command, Group, show_help
from genesis.cli.flags import Debug, Json
from genesis.errors import CheckpointError
from genesis.table import number, table

if TYPE_CHECKING:
    from genesis.checkpoint import Config

EPILOG = """\
Examples:
  genesis models list
  genesis models info molecules
  genesis models info runs/mine --json"""
WEIGHTS = "model.safetensors"

app = typer.Typer(help="List presets, and describe a model.", epilog=EPILOG, cls=Group, invoke_without_command=True)
app.callback()(show_help)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A preset, a domain, or a folder of `genesis train`.", show_default=False)
]


@app.command("list", cls=Command)
def list_models(json: Json = False, debug: Debug = False) -> None:
    """Every preset: domain, size, corpus, licence and measured scores."""
    from genesis import registry

    found = [_summary(name, path) for name, path in registry.presets().items()]
    if json:
        streams.show_json(found)
        return
    if not found:
        streams.note("genesis: no preset is installed; train a model with `genesis train`")
        return
    rows = [
        (
            model["name"],
            model.get("domain", ""),
            f"{model['bytes'] / 1e6:.1f} MB",
            model.get("corpus", ""),
            model.get("licence", ""),
            model.get("damage") or _scores(model["scores"]),
        )
        for model in found
    ]
    streams.show(table(("model", "domain", "size", "corpus", "licence", "scores"), rows, right=(2,)))


@app.command("info", cls=Command)
def info(name: Name, json: Json = False, debug: Debug = False) -> None:
    """One model: what it was trained on, how it scored, and every target it can be asked for."""
    from genesis import registry
    from genesis.checkpoint import read_config

    path = registry.resolve(name)
    config = read_config(path)
    model = _described(path.name, path, config)
    if json:
        streams.show_json(model)
        return
    facts = [(key, str(value)) for key, value in model.items() if key not in ("scores", "targets") and value != ""]
    parts = [table(("", ""), facts)]
    if config.scores:
        parts.append(table(("score", "measured"), [(k, number(v)) for k, v in config.scores.items()], right=(1,)))
    rows = [(t["name"], t["corpus"], t["unit"], t["about"]) for t in model["targets"]]
    parts.append(table(("target", "in the corpus", "unit", "what it is"), rows))
    streams.show("\n\n".join(parts))


def _summary(name: str, path: Path) -> dict[str, Any]:
    """What a listing says of a preset; one that cannot be read is listed with the reason."""
    from genesis.checkpoint import read_config

    known: dict[str, Any] = {"name": name, "folder": str(path), "bytes": _size(path), "scores": {}}
    try:
        config = read_config(path)
    except CheckpointError as error:
        return known | {"damage": str(error)}
    provenance = config.provenance
    return known | {
        "domain": config.domain,
        "corpus": provenance.corpus,
        "licence": provenance.licence,
        "scores": config.scores,
    }


def _described(name: str, path: Path, config: Config) -> dict[str, Any]:
    model, provenance = config.model, config.provenance
    return {
        "name": name,
        "folder": str(path),
        "domain": config.domain,
        "megabytes": round(_size(path) / 1e6, 1),
        "network": _network(config),
        "max_length": model.max_length,
        **provenance.model_dump(),
        "scores": config.scores,
        "targets": [_target(field, config.domain) for field in model.fields],
    }


def _network(config: Config) -> str:
    """``transformer, width 256, depth 6, heads 8``; of what is made of two, the part that the family is named for."""
    model: Any = config.model
    part = {"vae": "decoder", "diffusion": "denoiser"}.get(config.family)
    main = getattr(model, part) if part else model
    heads = f", heads {main.heads}" if config.family != "gan" else ""
    latents = getattr(model, "vae", model)
    of_latents = f", {latents.latents} latents of {latents.latent_dim}" if hasattr(latents, "latents") else ""
    return f"{config.family}, width {main.dim}, depth {main.depth}{heads}{of_latents}"


def _target(field: Any, domain: str) -> dict[str, Any]:
    """A target's name, unit and meaning, and what the training corpus held of it."""
    from genesis import registry

    known = registry.domain(domain).properties.get(field.name)
    spread = "one of " + ", ".join(field.values) if field.kind == "category" else _spread(field.quantiles)
    return {
        "name": field.name,
        "corpus": spread,
        "unit": getattr(known, "unit", ""),
        "about": known.about if known is not None else "a column of the training file; not measured",
    }


def _spread(quantiles: tuple[float, ...]) -> str:
    """The middle and the central nine tenths of the corpus."""
    last = len(quantiles) - 1
    low, middle, high = (quantiles[round(q * last)] for q in (0.05, 0.5, 0.95))
    return f"{number(middle)} (90 % within {number(low)} to {number(high)})"


def _scores(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in list(scores.items())[:4])


def _size(path: Path) -> int:
    weights = path / WEIGHTS
    return weights.stat().st_size if weights.is_file() else 0

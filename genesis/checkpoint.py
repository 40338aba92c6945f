"""Checkpoints: ``config.json`` and ``model.safetensors`` in a folder that is whole or not there.

No code is ever executed by loading one: no pickle. Before memory is taken, the header must list exactly the tensors of
the model that the config describes, with their shapes, in a file of exactly that size; after reading, every value must
be finite.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genesis.data.whole import Whole
from genesis.errors import CheckpointError, GenesisError
from genesis.models.denoiser import DiffusionConfig, LatentDiffusion
from genesis.models.gan import GANConfig, LatentGAN
from genesis.models.grid import GridVAE, GridVAEConfig
from genesis.models.masked import MaskedConfig, MaskedDiffusion
from genesis.models.transformer import Transformer, TransformerConfig
from genesis.models.vae import VAE, VAEConfig

FORMAT = 1
MAX_CONFIG_BYTES = 4 << 20
MAX_PARAMETERS = 4_000_000_000  # 16 GB in float32: a larger model needs another way of loading
DTYPES = {"F32": 4, "BF16": 2, "F16": 2}  # bytes of a value

Family = Literal["transformer", "vae", "diffusion", "gan", "masked"]
Model = Transformer | VAE | GridVAE | LatentDiffusion | LatentGAN | MaskedDiffusion


def _kind(model: Any) -> Any:
    """The family a model's config says it is of; one that says nothing is a transformer's."""
    return model.get("kind", "transformer") if isinstance(model, dict) else getattr(model, "kind", "transformer")


ModelConfig = Annotated[
    Annotated[TransformerConfig, Tag("transformer")]
    | Annotated[VAEConfig, Tag("vae")]
    | Annotated[GridVAEConfig, Tag("grid")]
    | Annotated[DiffusionConfig, Tag("diffusion")]
    | Annotated[GANConfig, Tag("gan")]
    | Annotated[MaskedConfig, Tag("masked")],
    Discriminator(_kind),
]


class Provenance(BaseModel):
    """Where the weights came from."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    corpus: str
    licence: str
    items: int
    items_seen: int = 0
    steps: int = 0
    seed: int = 0
    genesis: str = ""
    torch: str = ""
    device: str = ""
    trained: str = ""  # ISO date
    begun_from: str = ""  # the model whose weights the training began with
    keys_of: tuple[str, ...] = Field(default=(), max_length=16)  # presets whose training items were seen too


class Config(BaseModel):
    """``config.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    format: int = FORMAT
    family: Family = "transformer"
    domain: str
    vocab: tuple[str, ...] = Field(max_length=65_536)
    model: ModelConfig
    provenance: Provenance
    scores: dict[str, float] = {}

    @model_validator(mode="after")
    def _agrees(self) -> Config:
        kind = {"grid": "vae"}.get(_kind(self.model), _kind(self.model))  # the VAE of grids is one of the family too
        if kind != self.family:
            raise ValueError(f"the family is {self.family}, and the model is of {kind}")
        return self


def build(config: Config) -> Model:
    """The untrained network a config describes."""
    match config.model:
        case TransformerConfig():
            return Transformer(config.model)
        case VAEConfig():
            return VAE(config.model)
        case GridVAEConfig():
            return GridVAE(config.model)
        case DiffusionConfig():
            return LatentDiffusion(config.model)
        case GANConfig():
            return LatentGAN(config.model)
        case MaskedConfig():
            return MaskedDiffusion(config.model)


def save(model: nn.Module, config: Config, target: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write a checkpoint folder, whole or not at all; one that is there is replaced."""
    weights = {name: p.detach().to("cpu", dtype).contiguous() for name, p in model.state_dict().items()}
    broken = [name for name, weight in weights.items() if not weight.isfinite().all()]
    if broken:
        raise GenesisError(f"{target}: not saved, for the weights hold NaN or infinity ({_some(broken)}); train again")
    with Whole(target, "config.json") as part:
        save_file(weights, part / "model.safetensors", metadata={"format": "pt", "family": config.family})
        (part / "config.json").write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")


def load(path: Path, device: torch.device | str = "cpu") -> tuple[Model, Config]:
    """Model in float32 eval mode, and its config. CheckpointError says what is wrong with the folder."""
    config = read_config(path)
    with torch.device("meta"):
        model = build(config)
    count = sum(p.numel() for p in model.parameters())
    if count > MAX_PARAMETERS:
        raise CheckpointError(
            f"{path}: the config describes {count:,} parameters; this version loads at most {MAX_PARAMETERS:,}"
        )
    weights = read_tensors(path / "model.safetensors", model.state_dict())
    # a copy even of float32: the tensors of a safetensors file are a window on it, and break when it is truncated
    model.load_state_dict({name: w.to(torch.float32, copy=True) for name, w in weights.items()}, assign=True)
    model.fill_tables()
    return model.to(device).eval(), config


def read_config(path: Path) -> Config:
    """Validate ``config.json`` alone: cheap enough for listings."""
    file = path / "config.json"
    if not file.is_file():
        raise CheckpointError(f"{path}: no checkpoint here (config.json is missing)")
    try:
        size = file.stat().st_size
        if size > MAX_CONFIG_BYTES:
            raise CheckpointError(f"{file}: {size:,} bytes; a config has at most {MAX_CONFIG_BYTES:,}")
        raw = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(raw, dict) and raw.get("format") != FORMAT:
            raise CheckpointError(
                f"{path}: checkpoint format {raw.get('format')!r:.40}; this version reads {FORMAT}. "
                "Train it again or install the version that wrote it"
            )
        json.dumps(raw, ensure_ascii=False).encode()  # half a surrogate pair could be read, and printed never
        config = Config.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = (
            ".".join(str(part) for part in first["loc"] if part not in (*get_args(Family), "grid")) or "the whole file"
        )
        raise CheckpointError(f"{file}: not a genesis config ({place!r:.80}: {first['msg']:.200})") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: not readable as JSON ({error!s:.200})") from None
    if len(config.vocab) > config.model.vocab:
        raise CheckpointError(f"{file}: {len(config.vocab)} tokens for a network of {config.model.vocab}")
    return config


def read_tensors(file: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a safetensors file, after its header has been found to hold exactly the expected ones."""
    _check_header(file, expected)
    try:
        weights = load_file(file)
    except Exception as error:  # safetensors raises its own type for every kind of damage
        raise CheckpointError(f"{file}: damaged ({error!s:.200}); copy it again") from None
    for name, tensor in expected.items():  # its parser may have read the header in another way than ours
        if name not in weights or weights[name].shape != tensor.shape:
            raise CheckpointError(f"{file}: damaged ({name} is not what the header says); copy it again")
        if not weights[name].isfinite().all():
            raise CheckpointError(f"{file}: {name} holds NaN or infinity; the training that wrote it went wrong")
    return weights


def _check_header(file: Path, expected: Mapping[str, Tensor]) -> None:
    header, length, size = _header(file, 65_536 + sum(256 + len(name) for name in expected))
    missing, foreign = expected.keys() - header.keys(), header.keys() - expected.keys()
    if missing or foreign:
        raise CheckpointError(
            f"{file}: tensors do not fit the config; missing: {_some(missing)}, not known: {_some(foreign)}"
        )
    total = 0
    for name, tensor in expected.items():
        entry = header[name]
        shape, dtype = (entry.get("shape"), entry.get("dtype")) if isinstance(entry, dict) else (None, None)
        if shape != list(tensor.shape):
            raise CheckpointError(f"{file}: {name} has shape {shape!r:.80}, the config says {list(tensor.shape)}")
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise CheckpointError(f"{file}: {name} holds {dtype!r:.40}; a checkpoint holds {', '.join(DTYPES)}")
        total += DTYPES[dtype] * tensor.numel()
    if 8 + length + total != size:
        raise CheckpointError(
            f"{file}: truncated or damaged ({size:,} bytes, the header promises {8 + length + total:,})"
        )


def _header(file: Path, most: int) -> tuple[dict[str, Any], int, int]:
    """The header's table of tensors, its length in bytes, and the size of the file."""
    if not file.is_file():
        raise CheckpointError(f"{file.parent}: no weights here ({file.name} is missing)")
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size - 8:
                raise CheckpointError(
                    f"{file}: truncated or not safetensors (header of {length:,} bytes in a file of {size:,})"
                )
            if length > most:  # before it is parsed: a header of 10^6 empty tensors took 1.9 GB
                raise CheckpointError(f"{file}: a header of {length:,} bytes; this model's has at most {most:,}")
            header = json.loads(stream.read(length))
    except (OSError, struct.error, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: not readable as safetensors ({error!s:.200})") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{file}: not readable as safetensors (the header is no table)")
    header.pop("__metadata__", None)
    return header, length, size


def _some(names: Iterable[str]) -> str:
    """The first few of a list of names, which may come from a hostile file."""
    ordered = sorted(names)
    return ", ".join(f"{name!r:.60}" for name in ordered[:3]) + (" ..." if len(ordered) > 3 else "") or "none"

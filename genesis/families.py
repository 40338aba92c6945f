"""The families of models: what each is trained as, and how each draws. One word in Python, flag and checkpoint.

transformer  one token after the other (``models/transformer.py``)
vae          a latent from a Gaussian, written by a decoder (``models/vae.py``)
diffusion    a latent from noise, over the latents of a VAE (``models/denoiser.py``)
gan          a latent from a game, over the latents of a VAE (``models/gan.py``)
masked       all tokens at once, the surest first (``models/masked.py``)
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from genesis import ops
from genesis.checkpoint import Config, Family, Model, ModelConfig
from genesis.data.batches import collate
from genesis.data.encoded import Encoded
from genesis.decoding.constraint import SPECIALS
from genesis.decoding.continuous import ContinuousDecoder
from genesis.decoding.foreign import Causal, CausalDecoder, Painter, PainterDecoder
from genesis.decoding.latent import LatentDecoder, Start
from genesis.decoding.loop import Decoder
from genesis.decoding.masked import MaskedDecoder
from genesis.domain import Begun
from genesis.errors import UsageError
from genesis.models.denoiser import DenoiserConfig, DiffusionConfig, LatentDiffusion
from genesis.models.gan import GANConfig, LatentGAN
from genesis.models.grid import GridVAE, GridVAEConfig
from genesis.models.masked import MaskedConfig, MaskedDiffusion
from genesis.models.transformer import Size, Transformer, TransformerConfig
from genesis.models.vae import BLUR, VAE, VAEConfig
from genesis.nn.conditioner import ConditionField

OVER_LATENTS = ("diffusion", "gan")  # what needs a VAE that was trained before
WITH_LATENTS = ("vae", *OVER_LATENTS)
GUIDED = ("transformer", "diffusion", "masked")  # what can extrapolate from unconditional to conditional
WALKING = ("diffusion", "masked")  # what takes a number of steps
AnyDecoder = Decoder | ContinuousDecoder | LatentDecoder | MaskedDecoder | PainterDecoder
SEEN = 4_096  # items whose latents give the scale of a prior
AT_ONCE = 256  # items encoded together


def shape(
    family: Family,
    size: Size,
    vocab: int,
    room: int,
    fields: tuple[ConditionField, ...],
    vae: Config | None,
    grid: tuple[int, int, int] | None = None,
) -> ModelConfig:
    """The config of a new model for sequences of ``room`` positions.

    ``vae`` is the checkpoint's that a prior needs: of a VAE, or of another prior over one.

    ``grid``: rows, columns and numbers at a place, where the items are grids.
    """
    if grid and family not in WITH_LATENTS:
        raise UsageError(f"family={family} writes sequences, and these items are grids; take {', '.join(WITH_LATENTS)}")
    model = vae.model if vae else None
    match family, model.vae if isinstance(model, DiffusionConfig | GANConfig) else model:
        case "vae", None if grid:
            return GridVAEConfig.of(size, vocab - len(SPECIALS), grid, fields)
        case "transformer", None:
            return TransformerConfig.of(size, vocab, room, fields)
        case "vae", None:
            return VAEConfig.of(size, vocab, room, fields)
        case "vae", VAEConfig() as of:
            return of.rewritten(size, fields)
        case "masked", None:
            return MaskedConfig.of(size, vocab, room, fields)
        case "diffusion", (VAEConfig() | GridVAEConfig()) as of:
            denoiser = DenoiserConfig.of(size, of.latents, of.latent_dim, fields)
            if isinstance(of, GridVAEConfig):
                return DiffusionConfig(vae=of, denoiser=denoiser)
            # finer noise than the blur is not seen
            return DiffusionConfig(vae=of, denoiser=denoiser, log_sigma=math.log(BLUR), correlated=True)
        case "gan", (VAEConfig() | GridVAEConfig()) as of:
            return GANConfig.of(size, of, fields)
    if family in OVER_LATENTS:
        what = f"this is a checkpoint of {vae.family}" if vae else "none was given"
        raise UsageError(f"family={family} is trained over the latents of a VAE, and {what}; train one, then give vae=")
    raise UsageError(
        f"family={family} takes no vae=; a diffusion, a GAN and another decoder are trained over the latents of a VAE"
    )


def take_over(model: Model, before: Model | Causal | Painter, corpus: Encoded) -> None:
    """Give a prior the weights of a VAE, or of another prior's, and the scale of its latents on the corpus.

    A VAE is given the latents of the other alone, which then stay as they are.
    """
    assert isinstance(model, VAE | LatentDiffusion | LatentGAN)
    vae = before.vae if isinstance(before, LatentDiffusion | LatentGAN) else before
    assert isinstance(vae, VAE | GridVAE)
    if isinstance(model, VAE):
        assert isinstance(vae, VAE)
        for mine, theirs in zip(model.latent_parts, vae.latent_parts, strict=True):
            mine.load_state_dict(theirs.state_dict())
        model.freeze()
        return
    model.vae.load_state_dict(vae.state_dict())
    model.vae.fill_tables()
    model.measure(latents_of(vae, corpus, np.flatnonzero(~corpus.held_out)[:SEEN]))


@torch.inference_mode()
def latents_of(vae: VAE | GridVAE, corpus: Encoded, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Tensor:
    """``[N, L, K]``: a draw from q(z | x) of the given rows of a corpus, on the CPU."""
    device = vae.prior_head.weight.device
    torch.manual_seed(0)
    parts = []
    for first in range(0, len(rows), AT_ONCE):
        q = vae.encode(collate(corpus, rows[first : first + AT_ONCE]).tokens.to(device))
        parts.append(q.sample(torch.randn_like(q.mu)).cpu())
    return torch.cat(parts)


def decoder(model: Model | Causal | Painter, vocab: int) -> AnyDecoder:
    """What draws from a model; of a transformer, recorded steps over slots where the kernels run, else the loop."""
    match model:
        case Transformer():
            device, of = model.embed.weight.device, model.config
            widths = {"token_sampler": vocab, "decode_attention": of.dim // of.heads, "modulated_norm": of.dim}
            if device.type == "cuda" and all(ops.path(op, device, width)[0] for op, width in widths.items()):
                return ContinuousDecoder(model, vocab)
            return Decoder(model, vocab)
        case MaskedDiffusion():
            return MaskedDecoder(model, vocab)
        case Causal():
            return CausalDecoder(model)
        case Painter():
            return PainterDecoder(model)
        case _:
            return LatentDecoder(model, vocab)


def start(model: Model | Causal | Painter, begun: Begun) -> Start:
    """What a diffusion over grids goes on from; UsageError where this model cannot."""
    of = model.vae.config if isinstance(model, LatentDiffusion) else None
    shape = model.shape if isinstance(model, Painter) else of.shape if isinstance(of, GridVAEConfig) else None
    if shape is None:
        raise UsageError("what is given is gone on from by a diffusion over grids; this model is of another family")
    if isinstance(model, Painter) and not model.config.fields:
        raise UsageError(f"{type(model.pipeline).__name__} goes on from nothing that is given; leave it out")
    if tuple(begun.item.shape) != shape:
        raise UsageError(
            f"what is given is {'x'.join(map(str, begun.item.shape))} numbers, this model's items are "
            f"{'x'.join(map(str, shape))} (height, width, channels)"
        )
    tokens = begun.item.long().flatten() + len(SPECIALS)
    if begun.keep is None:
        return Start(tokens, begun.strength)
    keep = begun.keep[..., None].expand(shape)
    if not isinstance(of, GridVAEConfig):
        return Start(tokens, begun.strength, keep.flatten())
    rows, columns = (n << of.halvings for n in of.cells)
    low, left = (rows - of.height) // 2, (columns - of.width) // 2
    whole = torch.ones(rows, columns, dtype=torch.bool)
    whole[low : low + of.height, left : left + of.width] = begun.keep
    cell = 1 << of.halvings
    kept = whole.unflatten(0, (-1, cell)).unflatten(2, (-1, cell)).all(3).all(1).flatten()
    return Start(tokens, begun.strength, keep.flatten(), kept)


def check_drawing(
    config: Config, guidance: float, steps: int = 0, sampler: str = "", blur: float | None = None
) -> None:
    """Refuse what a model of this family cannot be asked for."""
    family = config.family
    if guidance != 1 and not config.model.fields:
        raise UsageError("guidance needs a model trained with properties; this one has none")
    if guidance != 1 and family not in GUIDED:
        raise UsageError(
            f"guidance={guidance:g} extrapolates, which a model of the family {family} cannot; leave it at 1, or use "
            f"one of {', '.join(GUIDED)}"
        )
    if (steps or sampler) and family not in WALKING:
        raise UsageError(f"steps and sampler belong to {' and '.join(WALKING)}; this model is of the family {family}")
    of = config.model
    vae = of.vae if isinstance(of, DiffusionConfig | GANConfig) else of
    if blur is not None and not isinstance(vae, VAEConfig):
        raise UsageError("blur is seen through by the decoder of a VAE of sequences; this model has none, leave it out")
    if steps == 1 and family == "diffusion":
        raise UsageError("steps=1: a sampler needs at least 2")

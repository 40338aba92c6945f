"""Items from latents: z is drawn from a prior, then written as tokens by the VAE's decoder.

B  items    L  latent vectors    K  numbers in each    P  properties    S  steps
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from genesis import rng
from genesis.decoding.constraint import BOS, EOS, Constraint
from genesis.decoding.loop import Decoded, Decoder, bucket
from genesis.decoding.sampling import Rules
from genesis.diffusion.preconditioning import Denoise, guided
from genesis.diffusion.samplers import SAMPLERS
from genesis.diffusion.schedules import karras
from genesis.errors import UsageError, suggest
from genesis.models.denoiser import LatentDiffusion
from genesis.models.gan import LatentGAN
from genesis.models.grid import GridVAE
from genesis.models.vae import VAE
from genesis.nn.conditioner import CategoryField, ConditionField

STEPS, SAMPLER = 20, "dpmpp_2m"
LOWEST, HIGHEST = 0.01, 80.0  # noise levels of sampling, for latents of unit variance
BLURRING = -1  # the step of a walk whose noise blurs its end
ROWS = 16  # grids painted together: one shape, so that a grid is the same bits whatever stands beside it


@dataclass(frozen=True, slots=True)
class Start:
    """What a diffusion goes on from: ``tokens [T]`` of a grid without ``<bos>`` and ``<eos>``.

    ``strength`` from 0 to 1 chooses the noise to begin at; ``keep [T]`` bool says which tokens stay, and
    ``kept [L]`` bool which latent vectors lie among them alone.
    """

    tokens: Tensor
    strength: float = 1.0
    keep: Tensor | None = None
    kept: Tensor | None = None


class LatentDecoder:
    """A VAE, or a prior over one, made ready for drawing."""

    def __init__(self, model: VAE | GridVAE | LatentDiffusion | LatentGAN, vocab: int) -> None:
        self.model = model
        self.vae = model if isinstance(model, VAE | GridVAE) else model.vae
        self.device = self.vae.prior_head.weight.device
        self.tokens = None if isinstance(self.vae, GridVAE) else Decoder(self.vae.decoder, vocab)
        known = {_meaning(field): column for column, field in enumerate(model.config.fields)}
        # the column of each of the VAE's own conditions, where the prior was trained with the same one
        self.told = tuple(known.get(_meaning(field)) for field in self.vae.config.fields)

    def decode(
        self,
        values: Tensor,
        items: Tensor,
        seed: int,
        rules: Rules,
        constraint: Constraint | None = None,
        guidance: float = 1.0,
        shared: bool = False,
        start: Start | None = None,
    ) -> Decoded:
        """Draw one sequence for each row of ``values [B, P]`` and item index ``items [B]``."""
        z = self.latents(values, items, seed, rules, guidance, start)
        blur = self.model.config.blur if rules.blur is None else rules.blur
        made = self.write(z, items, seed, rules, constraint, blur, values, guidance, shared)
        if start and start.keep is not None:
            kept = torch.where(start.keep.to(self.device), start.tokens.to(self.device), made.tokens)
            made = replace(made, tokens=kept)
        return made

    @torch.inference_mode()
    def latents(
        self,
        values: Tensor,
        items: Tensor,
        seed: int,
        rules: Rules,
        guidance: float = 1.0,
        start: Start | None = None,
    ) -> Tensor:
        """``[B, L, K]``: the latent of each item."""
        device, asked = self.device, len(items)
        fill = torch.arange(bucket(asked)) % asked  # products of few rows round differently
        values, items = values[fill].to(device), items[fill].to(device)
        shape = (self.vae.config.latents, self.vae.config.latent_dim)

        def noise(step: int, width: int = shape[0] * shape[1]) -> Tensor:
            return rng.normal(seed, items, step, width)

        if guidance != 1 and not isinstance(self.model, LatentDiffusion):
            raise UsageError(f"guidance={guidance:g} needs a model that can extrapolate: a transformer or a diffusion")
        if isinstance(self.model, VAE | GridVAE):
            z = self.model.prior(values).sample(noise(0).unflatten(-1, shape))
        elif isinstance(self.model, LatentGAN):
            z = self.model.restored(self.model.generate(noise(0, self.model.config.noise), values))
        else:
            name = rules.sampler or SAMPLER
            if name not in SAMPLERS:
                raise UsageError(f"no sampler {name!r}; {suggest(name, SAMPLERS)}")
            sigmas = karras(rules.steps or STEPS, LOWEST, HIGHEST).to(device)
            absent = torch.full_like(values, float("nan"))
            denoise = guided(self.model.denoise(values), self.model.denoise(absent), guidance)
            x = noise(0).unflatten(-1, shape)
            if start is None:
                x = sigmas[0] * x
            else:
                z = (self.read(framed(start.tokens)) - self.model.mean) / self.model.std
                first = min(round((1 - start.strength) * (len(sigmas) - 1)), len(sigmas) - 2)
                sigmas = sigmas[first:]
                x = z + sigmas[0] * x
                if start.kept is not None:
                    denoise = _keeping(denoise, z, start.kept.to(device)[:, None])
            x = SAMPLERS[name](denoise, x, sigmas, lambda step: noise(1 + step).unflatten(-1, shape))
            z = self.model.restored(x)
        return z[:asked]

    @torch.inference_mode()
    def write(
        self,
        z: Tensor,
        items: Tensor,
        seed: int,
        rules: Rules,
        constraint: Constraint | None = None,
        blur: float = 0.0,
        values: Tensor | None = None,
        guidance: float = 1.0,
        shared: bool = False,
    ) -> Decoded:
        """The sequence of each latent ``[B, L, K]``, which the decoder reads through ``blur``, told of ``values``.

        A sharp latent says all there is to say, so that only one that is blurred is written with ``guidance``.
        """
        z = z.to(self.device)
        if blur:
            noise = rng.normal(seed, items.to(self.device), BLURRING, z[0].numel()).view_as(z)
            z = z + blur * noise * (1 if isinstance(self.vae, GridVAE) else self.vae.width())
        if isinstance(self.vae, GridVAE):
            return self._painted(z)
        assert self.tokens is not None
        told = torch.full((len(z), len(self.vae.config.fields)), float("nan"), device=self.device)
        for own, column in enumerate(self.told):
            if column is not None and values is not None:
                told[:, own] = values[:, column].to(self.device)
        fill = torch.arange(bucket(len(z))) % len(z)  # products of few rows round differently
        prefix = self.vae.prefix(z[fill], z.new_full((len(fill),), blur))[: len(z)]
        alike = shared or values is None
        return self.tokens.decode(
            told, items, seed, rules, constraint, guidance if blur else 1.0, shared=alike, prefix=prefix
        )

    def _painted(self, z: Tensor) -> Decoded:
        """The grids of latents, as sequences that all end."""
        assert isinstance(self.vae, GridVAE)
        fill = torch.arange(-(-len(z) // ROWS) * ROWS) % len(z)
        parts = z[fill].to(self.device).split(ROWS)
        finite = z.isfinite().all(-1).all(-1)
        tokens = torch.cat([self.vae.tokens(part.nan_to_num()) for part in parts])[: len(z)]
        length = torch.full((len(z),), tokens.shape[1], device=tokens.device)
        return Decoded(tokens, length, finite, tokens.new_full((len(z),), float("nan"), dtype=torch.float32))

    @torch.inference_mode()
    def read(self, tokens: Tensor) -> Tensor:
        """``[B, L, K]``: the mean latent of ``tokens [B, T]`` (``<bos> ... <eos>``, padded with 0)."""
        fill = torch.arange(bucket(len(tokens))) % len(tokens)
        return self.vae.encode(tokens[fill].to(self.device)).mu[: len(tokens)]


def framed(tokens: Tensor) -> Tensor:
    """``[1, T + 2]``: ``<bos> tokens <eos>``."""
    return torch.cat((tokens.new_tensor([BOS]), tokens, tokens.new_tensor([EOS])))[None]


def _meaning(field: ConditionField) -> tuple[str, ...]:
    """What a value of a field says, whatever corpus the field was measured on."""
    return (field.kind, field.name, *(field.values if isinstance(field, CategoryField) else ()))


def _keeping(denoise: Denoise, z: Tensor, kept: Tensor) -> Denoise:
    """A denoiser that knows the latents ``z`` where ``kept [L, 1]``: the walk fills in the others around them."""

    def known(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.where(kept, z, denoise(x, sigma))

    return known

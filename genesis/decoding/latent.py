"""Items from latents: z is drawn from a prior, then written as tokens by the VAE's decoder.

B  items    L  latent vectors    K  numbers in each    P  properties    S  steps
"""

from __future__ import annotations

import torch
from torch import Tensor

from genesis import rng
from genesis.decoding.constraint import Constraint
from genesis.decoding.loop import Decoded, Decoder, bucket
from genesis.decoding.sampling import Rules
from genesis.diffusion.preconditioning import guided
from genesis.diffusion.samplers import SAMPLERS
from genesis.diffusion.schedules import karras
from genesis.errors import UsageError, suggest
from genesis.models.denoiser import LatentDiffusion
from genesis.models.gan import LatentGAN
from genesis.models.vae import VAE

STEPS, SAMPLER = 20, "dpmpp_2m"
LOWEST, HIGHEST = 0.01, 80.0  # noise levels of sampling, for latents of unit variance


class LatentDecoder:
    """A VAE, or a prior over one, made ready for drawing."""

    def __init__(self, model: VAE | LatentDiffusion | LatentGAN, vocab: int) -> None:
        self.model = model
        self.vae = model if isinstance(model, VAE) else model.vae
        self.tokens = Decoder(self.vae.decoder, vocab)

    def decode(
        self,
        values: Tensor,
        items: Tensor,
        seed: int,
        rules: Rules,
        constraint: Constraint | None = None,
        guidance: float = 1.0,
        shared: bool = False,
    ) -> Decoded:
        """Draw one sequence for each row of ``values [B, P]`` and item index ``items [B]``."""
        return self.write(self.latents(values, items, seed, rules, guidance), items, seed, rules, constraint)

    @torch.inference_mode()
    def latents(self, values: Tensor, items: Tensor, seed: int, rules: Rules, guidance: float = 1.0) -> Tensor:
        """``[B, L, K]``: the latent of each item."""
        device, asked = self.tokens.device, len(items)
        fill = torch.arange(bucket(asked)) % asked  # products of few rows round differently
        values, items = values[fill].to(device), items[fill].to(device)
        shape = (self.vae.config.latents, self.vae.config.latent_dim)

        def noise(step: int, width: int = shape[0] * shape[1]) -> Tensor:
            return rng.normal(seed, items, step, width)

        if guidance != 1 and not isinstance(self.model, LatentDiffusion):
            raise UsageError(f"guidance={guidance:g} needs a model that can extrapolate: a transformer or a diffusion")
        if isinstance(self.model, VAE):
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
            x = sigmas[0] * noise(0).unflatten(-1, shape)
            x = SAMPLERS[name](denoise, x, sigmas, lambda step: noise(1 + step).unflatten(-1, shape))
            z = self.model.restored(x)
        return z[:asked]

    @torch.inference_mode()
    def write(self, z: Tensor, items: Tensor, seed: int, rules: Rules, constraint: Constraint | None = None) -> Decoded:
        """The sequence of each latent ``[B, L, K]``."""
        nothing = z.new_empty(len(z), 0)
        return self.tokens.decode(
            nothing, items, seed, rules, constraint, shared=True, prefix=self.vae.prefix(z.to(self.tokens.device))
        )

    @torch.inference_mode()
    def read(self, tokens: Tensor) -> Tensor:
        """``[B, L, K]``: the mean latent of ``tokens [B, T]`` (``<bos> ... <eos>``, padded with 0)."""
        fill = torch.arange(bucket(len(tokens))) % len(tokens)
        return self.vae.encode(tokens[fill].to(self.tokens.device)).mu[: len(tokens)]

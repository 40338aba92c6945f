"""A GAN prior p(z | c) over the latents of a VAE: a generator against a critic, in one loss.

The game is R3GAN's (Huang et al. 2024, arXiv 2501.05441): the relativistic pairing loss of Jolicoeur-Martineau (2019)

    L_critic    = E softplus(D(G(n)) - D(x)) + gamma/2 E |grad D(x)|^2 + gamma/2 E |grad D(G(n))|^2
    L_generator = E softplus(D(x) - D(G(n)))

with both zero-centred gradient penalties (R1 and R2, Mescheder et al. 2018), which make it converge locally; residual
networks without normalisation. Both players step on the same batch at once: each term's gradient reaches its own
player only, so that a GAN trains with the same loop as everything else.

B  batch    N  width of a sample    M  numbers of noise    P  properties    C  condition width
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.func import functional_call

from genesis.models.denoiser import AnyVAE, OverLatents
from genesis.models.transformer import Size
from genesis.models.vae import BLUR
from genesis.nn.conditioner import Conditioner, ConditionField

# width, residual blocks, numbers of noise, condition width
SIZES = {
    "tiny": (64, 2, 32, 32),
    "micro": (256, 2, 64, 32),
    "mini": (384, 3, 96, 48),
    "small": (512, 4, 128, 64),
    "base": (1_024, 4, 128, 128),
    "large": (2_048, 6, 256, 256),
}
GAMMA = 1.0  # of the gradient penalties
SLOPE = 0.2  # of the leaky rectifier below zero


class GANConfig(BaseModel):
    """A GAN prior with the VAE it belongs to."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)
    kind: Literal["gan"] = "gan"
    vae: AnyVAE
    dim: int = Field(ge=8, le=8_192)
    depth: int = Field(ge=1, le=64)
    noise: int = Field(ge=1, le=4_096)
    cond_dim: int = Field(ge=8, le=8_192)
    gamma: float = Field(default=GAMMA, ge=0, le=1_000)
    blur: float = Field(default=BLUR, ge=0, le=1_000)  # at which the VAE's decoder reads what is made
    fields: tuple[ConditionField, ...] = Field(default=(), max_length=256)

    @classmethod
    def of(cls, size: Size, vae: AnyVAE, fields: tuple[ConditionField, ...]) -> GANConfig:
        """The one dial: everything else follows from ``size``."""
        dim, depth, noise, cond_dim = SIZES[size]
        return cls(vae=vae, dim=dim, depth=depth, noise=noise, cond_dim=cond_dim, fields=fields)

    @property
    def vocab(self) -> int:
        return self.vae.vocab

    @property
    def max_length(self) -> int:
        return self.vae.max_length


class Player(nn.Module):
    """A residual network without normalisation, ``[B, given]`` and ``values [B, P]`` to ``[B, wanted]``."""

    def __init__(
        self, given: int, wanted: int, dim: int, depth: int, cond_dim: int, fields: tuple[ConditionField, ...]
    ) -> None:
        super().__init__()
        self.conditioner = Conditioner(fields, cond_dim)
        self.enter = nn.Linear(given + cond_dim, dim)
        self.up = nn.ModuleList(nn.Linear(dim, dim) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(dim, dim) for _ in range(depth))
        self.out = nn.Linear(dim, wanted)
        if not self.enter.weight.is_meta:
            for layer in self.down:  # every residual branch starts at nothing (Fixup, Zhang et al. 2019)
                nn.init.zeros_(layer.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor, values: Tensor) -> Tensor:
        y = self.enter(torch.cat((x, self.conditioner(values)), -1))
        for up, down in zip(self.up, self.down, strict=True):
            y = y + down(F.leaky_relu(up(F.leaky_relu(y, SLOPE)), SLOPE))
        out: Tensor = self.out(F.leaky_relu(y, SLOPE))
        return out


class Game(nn.Module):
    """Generator and critic over samples ``[B, N]``."""

    def __init__(
        self,
        width: int,
        dim: int,
        depth: int,
        noise: int,
        cond_dim: int,
        fields: tuple[ConditionField, ...] = (),
        gamma: float = GAMMA,
    ) -> None:
        super().__init__()
        self.noise, self.gamma = noise, gamma
        self.generator = Player(noise, width, dim, depth, cond_dim, fields)
        self.critic = Player(width, 1, dim, depth, cond_dim, fields)
        self.figures: dict[str, Tensor] = {}

    def fill_tables(self) -> None:
        self.generator.conditioner.fill_tables()
        self.critic.conditioner.fill_tables()

    def loss(self, real: Tensor, values: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
        """Both players' losses over ``real [B, N]``, ``noise [B, M]``, summed with ``weight [B]`` an item.

        Where gradients are off (a look at held-out items) the penalties are left out.
        """
        made = self.generator(noise, values)
        penalty = real.new_zeros(len(real))
        seen_real, seen_made = real.detach(), made.detach()
        learning = torch.is_grad_enabled()
        if learning:
            seen_real.requires_grad_()
            seen_made.requires_grad_()
        at_real, at_made = self.critic(seen_real, values)[:, 0], self.critic(seen_made, values)[:, 0]
        if learning:
            for score, at in ((at_real, seen_real), (at_made, seen_made)):
                (slope,) = torch.autograd.grad(score.sum(), at, create_graph=True)
                penalty = penalty + slope.square().sum(-1)
        critic = F.softplus(at_made - at_real)
        still = {name: p.detach() for name, p in self.critic.named_parameters()}
        judged_made = functional_call(self.critic, still, (made, values))[:, 0]
        judged_real = at_real.detach()
        generator = F.softplus(judged_real - judged_made)
        with torch.no_grad():
            count = weight.sum().clamp(min=1)
            kept = weight > 0
            self.figures = {
                "critic": (critic * weight).sum() / count,
                "generator": (generator * weight).sum() / count,
                "penalty": (penalty * weight).sum() / count,
                # of what is made, as a share of what is real: near 0 the generator says one thing to everybody
                "spread": (made[kept].var(0).sum() / real[kept].var(0).sum().clamp(min=1e-9)).sqrt(),
            }
        total: Tensor = ((critic + generator + self.gamma / 2 * penalty) * weight).sum()
        return total


class LatentGAN(OverLatents):
    """p(z | c) as a game over standardised latents."""

    betas = (0.0, 0.99)  # of Adam: momentum carries a player past the other (R3GAN's settings)

    def __init__(self, config: GANConfig) -> None:
        super().__init__(config.vae)
        self.config = config
        width = config.vae.latents * config.vae.latent_dim
        self.game = Game(width, config.dim, config.depth, config.noise, config.cond_dim, config.fields, config.gamma)

    def fill_tables(self) -> None:
        """Compute the buffers, which follow from the config and are not stored in a checkpoint."""
        self.vae.fill_tables()
        self.game.fill_tables()

    def generate(self, noise: Tensor, values: Tensor) -> Tensor:
        """``[B, L, K]``: standardised latents from ``noise [B, M]``."""
        out: Tensor = self.game.generator(noise, values)
        made: Tensor = out.unflatten(-1, (self.config.vae.latents, self.config.vae.latent_dim))
        return made

    def loss(self, tokens: Tensor, values: Tensor) -> Tensor:
        """The game on the latents of a batch; padding rows count for nothing."""
        z = self.latents(tokens).flatten(1)
        with torch.autocast(z.device.type, enabled=False):  # squared gradients need more than eight bits
            noise = torch.randn(len(z), self.config.noise, device=z.device)
            loss: Tensor = self.game.loss(z.float(), values, noise, (tokens[:, 0] != 0).float())
        self.figures = self.game.figures
        return loss

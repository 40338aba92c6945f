"""A model with its optimizer and the moving average of its weights: what a step changes, and a checkpoint holds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from genesis.data.batches import Batch
from genesis.decoding.loop import fast_dtype
from genesis.domain import PAD
from genesis.errors import CheckpointError
from genesis.nn.block import leave_out
from genesis.train.config import TrainConfig, averaging
from genesis.train.folder import Tensors
from genesis.train.group import Group
from genesis.train.layout import Repeated, Sharded

BETAS = (0.9, 0.95)  # the second is the language-model habit: 0.999 remembers the warm-up for too long


class Objective(nn.Module):
    """The sum of nats over a batch, divided by a given number of tokens: what DDP, FSDP and compile wrap."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, values: Tensor, normaliser: Tensor) -> Tensor:
        nats = cast(Callable[[Tensor, Tensor], Tensor], self.model.loss)
        return nats(tokens, values) / normaliser


@runtime_checkable
class Paced(Protocol):
    """A model whose loss changes in the course of a training."""

    def pace(self, done: float) -> None:
        """The share ``done`` of the training is over."""
        ...


class SkippingAdamW(torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter 2019) that changes nothing while ``found_inf`` is 1.

    This is how ``torch.amp.GradScaler`` skips a step inside the fused kernel: nobody waits for the device to say.
    """

    found_inf: Tensor


class Learner:
    """Takes steps on ``model`` in place, or, with ``shard``, on a copy spread over the group's devices (FSDP2)."""

    def __init__(self, model: nn.Module, config: TrainConfig, group: Group, shard: bool = False) -> None:
        self.config, self.group = config, group
        self.model = (copy.deepcopy(model) if shard else model).to(group.device).train()
        leave_out(self.model, config.dropout)
        self.objective = Objective(self.model)
        self.layout = Sharded(group) if shard else Repeated(group)
        together = self.layout.place(self.objective)
        self._training_loss: Callable[..., Tensor] = _compiled(together) if config.compile else together
        self.parameters = dict(self.model.named_parameters())
        self.average = {name: p.detach().clone().float() for name, p in self.parameters.items()}
        self.optimizer = _optimizer(self.model, config)
        self.streak = torch.zeros((), device=group.device)  # steps in a row whose gradient was not finite
        self.worst = torch.zeros((), device=group.device)

    def pace(self, done: float) -> None:
        if isinstance(self.model, Paced):
            self.model.pace(done)

    def step(self, batch: Batch, count: int, rate: float) -> Tensor:
        """One step on a batch of all processes together; its loss in nats a token, still on the device.

        A step whose gradient is not finite changes no weight; ``worst`` counts how many came in a row.
        """
        rank, world, device = self.group.rank, self.group.world, self.group.device
        for settings in self.optimizer.param_groups:
            settings["lr"] = rate
        torch.manual_seed(_seed(self.config.seed, count, rank))  # noise that a model draws follows from the step
        # DDP and FSDP average gradients over processes; the factor makes that the sum the whole batch asks for
        normaliser = torch.full((), _targets(batch) / world, device=device)
        with self._precision():
            loss = self._training_loss(
                _send(batch.tokens[rank::world], device), _send(batch.values[rank::world], device), normaliser
            )
        torch.autograd.backward(loss)
        finite = self._clip().isfinite()
        self.optimizer.found_inf = (~finite).float()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._blend(averaging(count, self.config))
        self.streak = torch.where(finite, 0.0, self.streak + 1)
        self.worst = torch.maximum(self.worst, self.streak)
        return self.group.mean(loss.detach())

    def figures(self) -> dict[str, float]:
        """What the model says of its last batch, beside the loss."""
        said: Mapping[str, Tensor] = getattr(self.model, "figures", {})
        return {name: float(value) for name, value in said.items()}

    @torch.no_grad()
    def held_out(self, watch: Sequence[Batch]) -> float:
        """Nats a token of the averaged weights on held-out items, all conditions absent."""
        saved = {name: self.layout.local(p).detach().clone() for name, p in self.parameters.items()}
        total, one = 0.0, torch.ones((), device=self.group.device)
        self.model.eval()
        self.pace(1.0)
        torch.manual_seed(self.config.seed)  # the same noise at every look
        for name, p in self.parameters.items():
            self.layout.local(p).copy_(self.layout.local(self.average[name]))
        for batch in watch:
            absent = torch.full_like(batch.values, float("nan"))
            with self._precision():
                total += float(
                    self.objective(_send(batch.tokens, self.group.device), _send(absent, self.group.device), one)
                )
        for name, p in self.parameters.items():
            self.layout.local(p).copy_(saved[name])
        self.model.train()
        return total / sum(map(_targets, watch))

    @torch.no_grad()
    def finish(self, model: nn.Module) -> None:
        """Give the averaged weights to the caller's model."""
        for name, p in model.to(self.group.device).named_parameters():
            p.copy_(self.layout.full(self.average[name]))

    def tensors(self) -> Tensors:
        """Everything a checkpoint holds, on the CPU; all processes must ask."""
        names: dict[Tensor, str] = {p: name for name, p in self.parameters.items()}
        return {
            "model": {name: self.layout.full(p).cpu().contiguous() for name, p in self.parameters.items()},
            "average": {name: self.layout.full(a).cpu().contiguous() for name, a in self.average.items()},
            "optimizer": {
                f"{moment}.{names[p]}": self.layout.full(value).cpu().contiguous()
                for p, entry in self.optimizer.state.items()
                for moment, value in entry.items()
            },
        }

    @torch.no_grad()
    def restore(self, saved: Tensors) -> None:
        """Take over what :meth:`tensors` gave, also to another number of processes."""
        for kind in ("model", "average"):
            shapes = {name: tuple(t.shape) for name, t in saved[kind].items()}
            mine = {name: tuple(p.shape) for name, p in self.parameters.items()}
            if shapes != mine:
                differing = sorted(n for n in shapes | mine if shapes.get(n) != mine.get(n))
                raise CheckpointError(
                    f"this run was begun with another model ({differing[0]} was {shapes.get(differing[0])}, now "
                    f"{mine.get(differing[0])}); use that size, or another --out"
                )
        for name, p in self.parameters.items():
            self.layout.local(p).copy_(self.layout.local(self.layout.like(saved["model"][name], p)))
            self.layout.local(self.average[name]).copy_(self.layout.local(self.layout.like(saved["average"][name], p)))
        for key, value in saved["optimizer"].items():
            moment, _, name = key.partition(".")
            p = self.parameters[name]
            self.optimizer.state[p][moment] = (
                value.clone().to(p.device) if moment == "step" else self.layout.like(value, p)
            )

    def _precision(self) -> AbstractContextManager[Any]:
        device, asked = self.group.device, self.config.precision
        bf16 = asked == "bf16" or (asked == "auto" and fast_dtype(device) == torch.bfloat16)
        return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()

    def _clip(self) -> Tensor:
        """Scale the gradient to a norm of at most ``clip``; the norm it had."""
        parameters = list(self.parameters.values())
        norm = self.layout.full(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
        nn.utils.clip_grads_with_norm_(parameters, self.config.clip, norm)
        return norm

    @torch.no_grad()
    def _blend(self, decay: float) -> None:
        weights = [self.layout.local(p).detach().float() for p in self.parameters.values()]
        torch._foreach_lerp_([self.layout.local(a) for a in self.average.values()], weights, 1 - decay)


def _optimizer(model: nn.Module, config: TrainConfig) -> SkippingAdamW:
    """Only the matrices of linear layers decay: gains, biases and embeddings have no scale to lose."""
    matrices = {module.weight for module in model.modules() if isinstance(module, nn.Linear)}
    groups = [
        {"params": [p for p in model.parameters() if p in matrices], "weight_decay": config.weight_decay},
        {"params": [p for p in model.parameters() if p not in matrices], "weight_decay": 0.0},
    ]
    betas = getattr(model, "betas", BETAS)  # a game asks for its own
    return SkippingAdamW(groups, lr=config.learning_rate, betas=betas, fused=True)


def _seed(seed: int, step: int, rank: int) -> int:
    """A seed of its own for every step and process."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1)


def _compiled(objective: nn.Module) -> Callable[..., Tensor]:
    """One graph a batch shape; widths are multiples of eight, so a corpus has a handful."""
    torch._dynamo.config.recompile_limit = 64
    compiled: Callable[..., Tensor] = torch.compile(objective, dynamic=False)
    return compiled


def _targets(batch: Batch) -> int:
    """Tokens of a batch that are predicted."""
    return int((batch.tokens[:, 1:] != PAD).sum())


def _send(x: Tensor, device: torch.device) -> Tensor:
    """To the device without waiting for what it is busy with."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)

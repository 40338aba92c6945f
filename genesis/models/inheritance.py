"""Begin with the weights of another model: fine-tuning, also on other properties or in a changed network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from genesis.models.denoiser import LatentDiffusion
from genesis.models.transformer import Transformer
from genesis.models.vae import VAE
from genesis.nn.conditioner import CategoryField, Conditioner, ConditionField, NumberField

Pairs = list[tuple[int, int]]  # rows that go together, the child's first
Heir = Transformer | VAE | LatentDiffusion  # what can begin with the weights of another of its kind


def same_scale(fields: Sequence[ConditionField], parent: Sequence[ConditionField]) -> tuple[ConditionField, ...]:
    """``fields`` with the mean and deviation the parent knows a number by: its weights read standardised values."""
    scale = {f.name: {"mean": f.mean, "std": f.std} for f in parent if isinstance(f, NumberField)}
    return tuple(f.model_copy(update=scale.get(f.name, {})) if isinstance(f, NumberField) else f for f in fields)


@torch.no_grad()
def inherit(model: Heir, parent: Heir) -> float:
    """Copy what fits of ``parent`` into ``model``, and tell which share of the model's numbers that is.

    A tensor is taken where name and shape agree; positions as far as both reach; rows of a property by the property's
    name, those of a label by the label. The rest keeps its initial values. A transformer becomes the decoder of a VAE;
    a diffusion takes over what walks, and keeps its own VAE with the scale of its latents.
    """
    pairs: list[tuple[nn.Module, nn.Module, str]] = []  # with what of the first is another pair's
    match model, parent:
        case VAE(), VAE():
            pairs = [(model, parent, "decoder."), (model.decoder, parent.decoder, "")]
        case VAE(), Transformer():
            pairs = [(model.decoder, parent, "")]
        case LatentDiffusion(), LatentDiffusion():
            pairs = [(model.denoiser, parent.denoiser, "")]
        case Transformer(), Transformer():
            pairs = [(model, parent, "")]
    return sum(_taken(*pair) for pair in pairs) / sum(p.numel() for p in model.parameters())


def _taken(model: nn.Module, parent: nn.Module, but: str) -> int:
    """How many numbers of ``model`` are the parent's now; those of names that begin with ``but`` are left alone."""
    before, own = parent.state_dict(), model.state_dict()
    taken = 0
    names, rows = _correspondence(model, parent)
    for name, tensor in own.items():
        if but and name.startswith(but):
            continue
        theirs = before.get(names.get(name, name))
        if theirs is None or theirs.shape[1:] != tensor.shape[1:]:
            continue
        if name in rows:
            for at, was in rows[name]:
                tensor[at] = theirs[was]
                taken += tensor[at].numel()
        elif theirs.shape == tensor.shape:
            tensor.copy_(theirs)
            taken += tensor.numel()
    return taken


def _correspondence(model: nn.Module, parent: nn.Module) -> tuple[dict[str, str], dict[str, Pairs]]:
    """Tensors that have another name in the parent, and the rows that go together where they do not go as a whole."""
    mine, theirs = _fields(model), _fields(parent)
    numbers = _pairs(
        [f.name for f in mine if isinstance(f, NumberField)], [f.name for f in theirs if isinstance(f, NumberField)]
    )
    names: dict[str, str] = {}
    rows = {
        "conditioner.absent": _pairs([(f.kind, f.name) for f in mine], [(f.kind, f.name) for f in theirs]),
        "conditioner.numbers": numbers,
        "account.contribution.weight": numbers,
        "account.contribution.bias": numbers,
    }
    if isinstance(model, Transformer) and isinstance(parent, Transformer):
        both = min(model.config.max_length, parent.config.max_length)
        rows["position.weight"] = [(i, i) for i in range(both)]
    known = {f.name: (i, f) for i, f in enumerate(f for f in theirs if isinstance(f, CategoryField))}
    for i, field in enumerate(f for f in mine if isinstance(f, CategoryField)):
        name = f"conditioner.categories.{i}.weight"
        at, was = known.get(field.name, (-1, None))
        names[name] = f"conditioner.categories.{at}.weight"
        rows[name] = _pairs(field.values, was.values) if was else []
    return names, rows


def _fields(model: nn.Module) -> tuple[ConditionField, ...]:
    return cast(Conditioner, model.conditioner).fields


def _pairs(mine: Sequence[object], theirs: Sequence[object]) -> Pairs:
    at = {value: i for i, value in enumerate(theirs)}
    return [(i, at[value]) for i, value in enumerate(mine) if value in at]

"""Begin with the weights of another model: fine-tuning, also on other properties or in a changed network."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from genesis.models.transformer import Transformer
from genesis.models.vae import VAE
from genesis.nn.conditioner import CategoryField, ConditionField, NumberField

Pairs = list[tuple[int, int]]  # rows that go together, the child's first
Heir = Transformer | VAE  # what can begin with the weights of another of its kind


def same_scale(fields: Sequence[ConditionField], parent: Sequence[ConditionField]) -> tuple[ConditionField, ...]:
    """``fields`` with the mean and deviation the parent knows a number by: its weights read standardised values."""
    scale = {f.name: {"mean": f.mean, "std": f.std} for f in parent if isinstance(f, NumberField)}
    return tuple(f.model_copy(update=scale.get(f.name, {})) if isinstance(f, NumberField) else f for f in fields)


@torch.no_grad()
def inherit(model: Heir, parent: Heir) -> float:
    """Copy what fits of ``parent`` into ``model``, and tell which share of the model's numbers that is.

    A tensor is taken where name and shape agree; positions as far as both reach; rows of a property by the property's
    name, those of a label by the label. The rest keeps its initial values.
    """
    before, own = parent.state_dict(), model.state_dict()
    taken = 0
    names, rows = _correspondence(model, parent)
    for name, tensor in own.items():
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
    return taken / sum(p.numel() for p in model.parameters())


def _correspondence(model: Heir, parent: Heir) -> tuple[dict[str, str], dict[str, Pairs]]:
    """Tensors that have another name in the parent, and the rows that go together where they do not go as a whole."""
    mine, theirs = model.config.fields, parent.config.fields
    numbers = _pairs(
        [f.name for f in mine if isinstance(f, NumberField)], [f.name for f in theirs if isinstance(f, NumberField)]
    )
    tables = ("position.weight", "decoder.position.weight")
    own, before = model.state_dict(), parent.state_dict()
    names: dict[str, str] = {}
    rows = {
        **{name: [(i, i) for i in range(min(len(own[name]), len(before[name])))] for name in tables if name in own},
        "conditioner.absent": _pairs([(f.kind, f.name) for f in mine], [(f.kind, f.name) for f in theirs]),
        "conditioner.numbers": numbers,
        "account.contribution.weight": numbers,
        "account.contribution.bias": numbers,
    }
    known = {f.name: (i, f) for i, f in enumerate(f for f in theirs if isinstance(f, CategoryField))}
    for i, field in enumerate(f for f in mine if isinstance(f, CategoryField)):
        name = f"conditioner.categories.{i}.weight"
        at, was = known.get(field.name, (-1, None))
        names[name] = f"conditioner.categories.{at}.weight"
        rows[name] = _pairs(field.values, was.values) if was else []
    return names, rows


def _pairs(mine: Sequence[object], theirs: Sequence[object]) -> Pairs:
    at = {value: i for i, value in enumerate(theirs)}
    return [(i, at[value]) for i, value in enumerate(mine) if value in at]

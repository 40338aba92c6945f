"""Properties as the network receives them: any subset of numbers and categories, the rest absent.

B  batch    P  properties    F  features of a number    C  condition width
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from genesis.nn.text import TextEncoder, TextField

FREQUENCIES = 6  # octaves of the Fourier features: the longest wave is 8 standard deviations, the shortest 1/4 of one
FAR = 8  # standard deviations: values beyond are taken for this far


class NumberField(BaseModel):
    """A number, standardised by the training corpus's mean and standard deviation."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)
    kind: Literal["number"] = "number"
    name: str
    mean: float = Field(ge=-1e30, le=1e30)
    std: float = Field(ge=1e-30, le=1e30)  # with room to neither underflow nor overflow in float32
    quantiles: tuple[float, ...]  # of the training corpus, evenly spaced: 0, 1/n, ..., 1


class CategoryField(BaseModel):
    """One of a closed list; its condition value is the index in ``values``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["category"] = "category"
    name: str
    values: tuple[str, ...] = Field(min_length=1)


ConditionField = Annotated[NumberField | CategoryField | TextField, Field(discriminator="kind")]


def embedding(rows: int, width: int) -> nn.Embedding:
    """A table that is not filled yet: torch's own would fill it even on the meta device, with 1.3 s of imports."""
    table: nn.Embedding = nn.Embedding.from_pretrained(torch.empty(rows, width), freeze=False)
    return table


class Conditioner(nn.Module):
    """``values [B, P]`` (NaN: absent) to a condition vector ``[B, C]``.

    A number enters as itself and as Fourier features (Tancik et al. 2020), so that near values can be told apart; an
    absent property enters as a learned vector of its own, so that "not asked" is never confused with "zero".
    """

    columns: Tensor  # of the numbers; a buffer, since a list would be copied to the device at every step
    mean: Tensor
    std: Tensor

    def __init__(self, fields: Sequence[ConditionField], width: int) -> None:
        super().__init__()
        self.fields = tuple(fields)
        self.category_columns = [i for i, f in enumerate(fields) if isinstance(f, CategoryField)]
        self.register_buffer("columns", None, persistent=False)
        self.register_buffer("mean", None, persistent=False)
        self.register_buffer("std", None, persistent=False)
        self.numbers = nn.Parameter(
            torch.empty(sum(isinstance(f, NumberField) for f in fields), 1 + 2 * FREQUENCIES, width)
        )
        self.categories = nn.ModuleList(embedding(len(f.values), width) for f in fields if isinstance(f, CategoryField))
        self.texts = nn.ModuleDict({f.name: TextEncoder(f, width) for f in fields if isinstance(f, TextField)})
        self.absent = nn.Parameter(torch.empty(len(fields), width))
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        if not self.absent.is_meta:
            self.fill_tables()
            self._initialise()

    def _initialise(self) -> None:
        if self.numbers.numel():
            nn.init.normal_(self.numbers, std=self.numbers.shape[1] ** -0.5)
        for category in self.categories.parameters():
            nn.init.normal_(category)
        for text in self.texts.values():
            cast(TextEncoder, text).initialise()
        if self.absent.numel():
            nn.init.normal_(self.absent, std=0.02)

    def fill_tables(self) -> None:
        """Compute the buffers, which follow from the fields and are not stored in a checkpoint."""
        numbers = {i: f for i, f in enumerate(self.fields) if isinstance(f, NumberField)}
        self.columns = torch.tensor(list(numbers), dtype=torch.int64)
        self.mean = torch.tensor([f.mean for f in numbers.values()])
        self.std = torch.tensor([f.std for f in numbers.values()])
        for text in self.texts.values():
            cast(TextEncoder, text).fill_tables()

    def tell(self, name: str, texts: Sequence[str]) -> None:
        """The texts that the condition values of the field ``name`` are places among."""
        if name in self.texts:
            cast(TextEncoder, self.texts[name]).tell(texts)

    def standardised(self, values: Tensor) -> Tensor:
        """``[B, N]``: the numbers of ``values [B, P]`` in standard deviations from the mean, NaN if absent."""
        return (values[:, self.columns] - self.mean) / self.std

    def forward(self, values: Tensor) -> Tensor:
        missing = values.isnan()
        c = missing.to(self.absent.dtype) @ self.absent
        x = self.standardised(values).nan_to_num().clamp(-FAR, FAR)[..., None]
        waves = x * (2.0 ** torch.arange(FREQUENCIES, device=x.device) * (math.pi / 4))
        features = torch.cat((x, waves.sin(), waves.cos()), -1)  # [B, P, F]
        features = features * ~missing[:, self.columns, None]
        c = c + features.flatten(1) @ self.numbers.flatten(0, 1)
        for column, labels in zip(self.category_columns, self.categories, strict=True):
            index = values[:, column].nan_to_num().long()
            c = c + labels(index) * ~missing[:, column, None]
        for column, field in enumerate(self.fields):
            if field.name in self.texts:
                said = self.texts[field.name](values[:, column].nan_to_num().long())
                c = c + said * ~missing[:, column, None]
        out: Tensor = self.mlp(c)
        return out

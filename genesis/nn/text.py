"""Texts as conditions: words cut into pieces, read by a small transformer, and averaged.

It is trained with what it conditions. Pieces are the words of the training texts that occur often enough, and single
characters for all others, so that any text in these characters can be read.

B  batch    N  texts    S  pieces of the longest text    C  condition width
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from genesis.nn.block import Block, rotary_table

OFTEN = 2  # times that a word of the training texts stands there at least
MOST = 4_000  # words that are pieces
DEPTH, HEADS = 2, 4
WORD = re.compile(r"[^\W_]+|[^\w\s]")


class TextField(BaseModel):
    """A text: the pieces that are known, ``<pad>`` first, and how many of them are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["text"] = "text"
    name: str
    pieces: tuple[str, ...] = Field(min_length=2, max_length=65_536)
    room: int = Field(ge=1, le=1_024)

    @classmethod
    def of(cls, name: str, texts: Sequence[str]) -> TextField:
        """The pieces of training texts, with room for a quarter more than the longest."""
        words = Counter(word for text in texts for word in _words(text))
        often = [word for word, count in words.most_common(MOST) if count >= OFTEN and len(word) > 1]
        letters = sorted({c for word in words for c in word})
        known = cls(name=name, pieces=("", *letters, *often), room=1_024)
        longest = max((len(known.pieces_of(text)) for text in texts), default=1)
        return known.model_copy(update={"room": longest + max(1, longest // 4)})

    def pieces_of(self, text: str) -> list[int]:
        """Places among ``pieces``; ValueError for a text that is empty, too long, or in letters never seen."""
        places = {piece: i for i, piece in enumerate(self.pieces)}
        out: list[int] = []
        for word in _words(text):
            unknown = next((c for c in word if c not in places), None) if word not in places else None
            if unknown:
                raise ValueError(f"this model has never read {unknown!r}; write it in other characters")
            out += [places[word]] if word in places else [places[c] for c in word]
        if not out:
            raise ValueError("the text is empty; say what is wanted")
        if len(out) > self.room:
            raise ValueError(f"{len(out)} words and parts of words; this model reads at most {self.room}")
        return out


class TextEncoder(nn.Module):
    """``index [B]`` of texts to condition vectors ``[B, C]``. The texts are told before, as many as there are."""

    told: Tensor  # [N, S] places among the pieces, padded with 0
    cos: Tensor
    sin: Tensor

    def __init__(self, field: TextField, width: int) -> None:
        super().__init__()
        self.field, self.head_dim = field, max(4, width // HEADS // 2 * 2)
        dim = self.head_dim * HEADS
        self.embed = nn.Embedding.from_pretrained(torch.empty(len(field.pieces), dim), freeze=False)
        self.blocks = nn.ModuleList(Block(dim, HEADS, HEADS, 2 * dim, None) for _ in range(DEPTH))
        self.out = nn.Linear(dim, width)
        for name in ("told", "cos", "sin"):
            self.register_buffer(name, None, persistent=False)

    def initialise(self) -> None:
        nn.init.normal_(self.embed.weight, std=0.5)

    def fill_tables(self) -> None:
        self.cos, self.sin = rotary_table(self.field.room, self.head_dim)
        self.told = torch.zeros(1, self.field.room, dtype=torch.int64)

    def tell(self, texts: Sequence[str]) -> None:
        """The texts that an index counts from now on."""
        rows = [self.field.pieces_of(text) for text in texts]
        padded = [row + [0] * (self.field.room - len(row)) for row in rows]
        self.told = torch.tensor(padded, dtype=torch.int64, device=self.embed.weight.device)

    def forward(self, index: Tensor) -> Tensor:
        tokens = self.told[index.clamp(0, len(self.told) - 1)]
        keep = tokens != 0
        seen = torch.cat((torch.ones_like(keep[:, :1]), keep[:, 1:]), 1)  # a row of nothing looks at its first place
        x = self.embed(tokens)
        branch = gate = None
        for block in cast(Sequence[Block], self.blocks):
            m = block.modulation(x)
            x, branch = block(x, branch, gate, m, self.cos, self.sin, keep=seen)
            gate = m.gate_f
        if branch is not None:
            x = x + branch
        mean = (x * keep[..., None]).sum(1) / keep.sum(1, keepdim=True).clamp(min=1)
        out: Tensor = self.out(mean)
        return out


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())

"""What goes together: property vectors of training items, from which a target borrows what was not asked for.

B  items of a batch    P  properties    M  profiles kept
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genesis.data.encoded import Encoded
from genesis.errors import CheckpointError
from genesis.nn.conditioner import ConditionField, NumberField
from genesis.nn.text import TextField

PROFILES = "profiles.npy"
KEPT = 20_000  # a megabyte for thirteen properties; four of them then find neighbours within 0.1 standard deviations
NEAREST = 8  # profiles to choose from, so that items asked for the same do not all borrow the same
OTHER_LABEL = 1e6  # squared distance of another label: no number makes up for it


class Profiles:
    """``[M, P]`` measured properties of training items.

    A network that is told four of thirteen properties has to guess how the other nine go with them, token by token and
    without knowing how it will end; one that is told all thirteen can plan. The joint distribution is known: the
    training corpus is a sample of it. So each item borrows what was not asked for from a training item that has nearly
    what was (a nearest-neighbour draw from p(rest | asked)), and keeps what was asked for as it is.
    """

    def __init__(self, values: NDArray[np.float32], fields: Sequence[ConditionField]) -> None:
        self.values = values
        self.scale = np.array([f.std if isinstance(f, NumberField) else 1.0 for f in fields], np.float32)
        self.labels = np.array([not isinstance(f, NumberField) for f in fields])
        self.texts = np.array([isinstance(f, TextField) for f in fields], bool)

    @classmethod
    def sample(cls, corpus: Encoded, fields: Sequence[ConditionField], seed: int) -> Profiles | None:
        """An even sample of what is trained on, of items that have every property; None where there are none.

        ``corpus`` has the columns of ``fields``.
        """
        rows = np.random.default_rng(seed).permutation(np.flatnonzero(~corpus.held_out))[: 2 * KEPT]
        values = np.asarray(corpus.values[np.sort(rows)], np.float32)
        values = values[np.isfinite(values).all(1)][:KEPT]
        return cls(values, fields) if values.size else None

    @classmethod
    def read(cls, folder: Path, fields: Sequence[ConditionField]) -> Profiles | None:
        """The profiles beside the weights in ``folder``, or None where the model has none."""
        file = folder / PROFILES
        if not file.exists():
            return None
        try:
            values = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{file}: not readable as a numpy array ({error!s:.200}); copy it again") from None
        if values.dtype != np.float32 or values.ndim != 2 or values.shape[1] != len(fields):
            raise CheckpointError(f"{file}: {values.dtype} of shape {values.shape}; float32 [M, {len(fields)}] is read")
        if not 1 <= len(values) <= KEPT or not np.isfinite(values).all():
            raise CheckpointError(f"{file}: {len(values):,} rows, 1 to {KEPT:,} finite ones are read; copy it again")
        return cls(np.array(values), fields)

    def write(self, folder: Path) -> None:
        np.save(folder / PROFILES, self.values)

    def fill(self, values: Tensor, u: Tensor) -> Tensor:
        """``values [B, P]`` with NaN replaced from a near profile; ``u [B]`` in (0, 1) chooses among the nearest.

        A text is neither borrowed nor compared: its number is a place among the texts asked for. What goes with one is
        not known, so nothing is borrowed where a text is all that is asked for.
        """
        asked = values.numpy()
        given = ~np.isnan(asked[0])
        if self.texts[given].any() and self.texts[given].all():
            return values
        given &= ~self.texts
        wanted, known = asked[:, given] / self.scale[given], self.values[:, given] / self.scale[given]
        numbers = ~self.labels[given]
        a, b = wanted[:, numbers], known[:, numbers]
        far = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)[None]  # [B, M]
        for column in np.flatnonzero(~numbers):
            far += OTHER_LABEL * (wanted[:, column, None] != known[None, :, column])
        nearest = min(NEAREST, len(b))
        limit = np.partition(far, nearest - 1, axis=1)[:, nearest - 1]
        chosen = np.empty(len(asked), np.int64)
        for row, draw in enumerate(u.numpy()):
            close = np.flatnonzero(far[row] <= limit[row])  # labels alone leave many that are equally near
            close = close[np.lexsort((close, far[row, close]))]
            chosen[row] = close[int(draw * len(close))]
        borrowed = torch.from_numpy(self.values[chosen]).masked_fill(torch.from_numpy(self.texts), torch.nan)
        return torch.where(values.isnan(), borrowed, values)

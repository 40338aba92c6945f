"""ChemNet's activations of molecules, and their Gaussian: what the Frechet ChemNet distance compares.

Preuer et al., 2018, "Frechet ChemNet Distance": canonical SMILES, one symbol of 35 at each of 350 positions (divided
by 35), two convolutions of stride 2, then two LSTMs, each reading its input backwards; the last state is the result.
The weights are those of ``fcd_torch`` 1.0.7, and so are the activations, to rounding.

Most of the 350 positions are empty. An LSTM that reads backwards meets the empty end first, in the same steps for
every molecule: those steps are taken once, when the weights are loaded.

    B  batch    P  positions of the first LSTM that are not empty, of 88    N  molecules
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genesis.errors import InputError, ResourceError
from genesis.metrics.frechet import Gaussian, Moments
from genesis.metrics.threads import on_each_core

WEIGHTS = "ChemNet_v0.13_pretrained.pt"
WEIGHTS_SHA256 = "a36658cc7c94d3c728eacd7ed2d2f104753bb2fde742c2817daefe9533a28080"
# fmt: off
SYMBOLS = (
    "C", "N", "O", "H", "F", "Cl", "P", "B", "Br", "S", "I", "Si", "#", "(", ")", "+", "-", "1", "2", "3", "4", "5",
    "6", "7", "8", "=", "[", "]", "@", "c", "n", "o", "s", "X", ".",
)
# fmt: on
UNKNOWN, END = SYMBOLS.index("X"), SYMBOLS.index(".")
LENGTH, HALVED, QUARTERED = 350, 175, 88
FEATURES = 512
BATCH = 128  # of similar length; the LSTM's workspace is 92 MB, and larger batches are not faster

_IDS = {symbol: i for i, symbol in enumerate(SYMBOLS)}
_SYMBOL = re.compile(r".[ril]|.")  # ChemNet's own rule: a character before r, i or l is one symbol with it


def find_weights(folder: Path | None = None) -> Path:
    """The weight file in a folder, or else in an installed ``fcd_torch``, which is not imported."""
    if folder is not None and (folder / WEIGHTS).is_file():
        return folder / WEIGHTS
    package = importlib.util.find_spec("fcd_torch")
    for place in (package.submodule_search_locations or ()) if package is not None else ():
        if (Path(place) / WEIGHTS).is_file():
            return Path(place) / WEIGHTS
    where = f"in {folder} or " if folder is not None else ""
    raise ResourceError(f"{WEIGHTS} is not {where}in an installed fcd_torch; run `genesis data fetch chemnet`")


def symbols(smiles: str) -> list[int]:
    """The symbol at each position up to the end mark, at most 350; of a mixture ChemNet reads the first component."""
    ids = [_IDS.get(symbol, UNKNOWN) for symbol in _SYMBOL.findall(smiles.partition(".")[0])]
    return [*ids[: LENGTH - 1], END]


class ChemNet:
    """The network, ready to run on the CPU."""

    def __init__(self, path: Path) -> None:
        raw = path.read_bytes()
        found = hashlib.sha256(raw).hexdigest()
        if found != WEIGHTS_SHA256:  # torch.load is given no file but this one
            raise InputError(f"{path} has SHA-256 {found}, not {WEIGHTS_SHA256}; run `genesis data fetch chemnet`")
        (_, first), (_, second), (_, third), (_, fourth) = torch.load(io.BytesIO(raw), weights_only=True)
        self._kernels: tuple[Tensor, Tensor] = (first[0]["weight"], second[0]["weight"])
        self._first, self._second = _lstm(third), _lstm(fourth)
        self._empty, self._states = self._read_empty()

    @torch.inference_mode()
    def _read_empty(self) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The first LSTM over empty positions: its outputs ``[88, 128]``, and its state after 0, 1, ... 88 of them."""
        width = self._first.hidden_size
        states = [(torch.zeros(1, 1, width), torch.zeros(1, 1, width))]
        outputs = []
        for _ in range(QUARTERED):
            output, state = self._first(torch.zeros(1, 1, self._first.input_size), states[-1])
            outputs.append(output[0, 0])
            states.append(state)
        return torch.stack(outputs), states

    @torch.inference_mode()
    def activations(self, smiles: Sequence[str]) -> Tensor:
        """``[B, 512]`` float32 of canonical SMILES; alike in length is fast, as the longest decides the work."""
        ids = [symbols(text) for text in smiles]
        occupied = min((max(map(len, ids)) // 2 + 1) // 2 + 1, QUARTERED)
        x = torch.zeros(len(ids), len(SYMBOLS), 4 * occupied + 2)
        for row, positions in enumerate(ids):
            x[row, positions, range(len(positions))] = 1 / len(SYMBOLS)
        x = F.selu(F.conv1d(F.pad(x, (1, 1)), self._kernels[0], stride=2))
        x[:, :, HALVED:] = 0
        x = F.selu(F.conv1d(F.pad(x, (1, 0)), self._kernels[1], stride=2))  # [B, 32, P]
        empty = QUARTERED - occupied
        hidden, cell = (state.expand(-1, len(ids), -1).contiguous() for state in self._states[empty])
        x, _ = self._first(x.permute(2, 0, 1).flip(0), (hidden, cell))
        x = torch.cat([x.flip(0), self._empty[:empty].flip(0)[:, None].expand(-1, len(ids), -1)])  # [88, B, 128]
        last: Tensor = self._second(x)[1][0][0]
        return last

    def gaussian(self, smiles: Sequence[str], progress: Callable[[int], None] | None = None) -> Gaussian:
        """Mean and covariance of the activations of ``[N]`` canonical SMILES."""
        by_length = sorted(smiles, key=len)
        batches = (by_length[start : start + BATCH] for start in range(0, len(by_length), BATCH))
        moments = Moments(FEATURES)
        done = 0
        for activations in on_each_core(self.activations, batches):
            moments.add(activations)
            done += len(activations)
            if progress is not None:
                progress(done)
        return moments.gaussian()


def _lstm(layer: tuple[dict[str, Tensor], dict[str, int], object]) -> nn.LSTM:
    weights, shape, _ = layer
    lstm = nn.LSTM(shape["input_size"], shape["hidden_size"])
    lstm.load_state_dict(weights)
    return lstm.eval()

"""Two small classifiers of Fashion-MNIST, trained on its training set alone: what images are judged by.

``features`` gives the features whose Frechet distance is taken, ``labels`` says what an image shows. They differ in
architecture and seed, and no generator ever sees either. ``benchmarks/images_judges.py`` trains them.

N  images
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from genesis.errors import ResourceError
from genesis_domains.images.image import Pixels

Name = Literal["features", "labels"]
FOLDER = Path(__file__).parent / "judges"
SHA256 = {
    "features": "",
    "labels": "",
}
FEATURES = 64  # numbers of the layer before the last of ``features``
AT_ONCE = 500


class Features(nn.Module):
    """Three convolutions of stride 2, then the mean over places: what is there and not where."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 32, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(64, FEATURES, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.out = nn.Linear(FEATURES, 10)

    def look(self, x: Tensor) -> Tensor:
        """``[N, 64]`` of ``x [N, 1, 28, 28]``."""
        seen: Tensor = self.net(x)
        return seen.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(F.dropout(self.look(x), 0.1, self.training))
        return out


class Labels(nn.Module):
    """The plain network of LeCun et al. 1998 grown up: two convolutions with pooling and two layers that see places."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


def untrained(name: Name) -> nn.Module:
    return Features() if name == "features" else Labels()


def network_input(pixels: Pixels) -> Tensor:
    """``[N, 1, 28, 28]`` from -1 to 1, of numbers ``[N, 28, 28, 1]``."""
    return torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1


@cache
def judge(name: Name) -> nn.Module:
    """A trained classifier, its hash checked."""
    file = FOLDER / f"{name}.safetensors"
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != SHA256[name]:
        raise ResourceError(f"{file}: missing or not the listed one; install the package again")
    network = untrained(name)
    network.load_state_dict({k: v.float() for k, v in load_file(file).items()})
    return network.eval()


@torch.inference_mode()
def features(pixels: Pixels) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """``[N, 64]`` of numbers ``[N, 28, 28, 1]``."""
    network = judge("features")
    assert isinstance(network, Features)
    parts = [network.look(x) for x in network_input(pixels).split(AT_ONCE)]
    return torch.cat(parts).double().numpy()


@torch.inference_mode()
def labels(pixels: Pixels) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """``[N]`` the class that each of the numbers ``[N, 28, 28, 1]`` shows."""
    return torch.cat([judge("labels")(x).argmax(1) for x in network_input(pixels).split(AT_ONCE)]).numpy()

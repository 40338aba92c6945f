"""Two small classifiers of Fashion-MNIST, trained on its training set alone: what images are judged by.

``features`` gives the features whose Frechet distance is taken, ``labels`` says what an image shows. They differ in
architecture and seed, and no generator ever sees either. ``benchmarks/images_judges.py`` trains them.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from genesis.errors import ResourceError
from genesis_domains.images.image import Pixels

Name = Literal["features", "labels"]
FOLDER = Path(__file__).parent / "judges"
SHA256 = {
    "features": "48ced86146755a42ec8f831a1eacb716327a3969f4bb82ef4e2eb27682a20a70",
    "labels": "8d819e9140c1da1b9c98f0b0030ae14d523039fc7df5387f9f1f734d68cdea5b",
}
AT_ONCE = 500


def untrained(name: Name) -> nn.Sequential:
    """``[N, 1, 28, 28]`` to logits ``[N, 10]``.

    ``features`` averages over places before its last layer: what is there and not where. ``labels`` is the network of
    LeCun et al. 1998 grown up: convolutions with pooling, then layers that see places.
    """
    if name == "features":
        return nn.Sequential(
            nn.Conv2d(1, 32, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 10),
        )  # fmt: skip
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10),
    )  # fmt: skip


def network_input(pixels: Pixels) -> Tensor:
    """``[N, 1, 28, 28]`` from -1 to 1, of numbers ``[N, 28, 28, 1]``."""
    return torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1


@cache
def judge(name: Name) -> nn.Sequential:
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
    look = judge("features")[:-2]
    return torch.cat([look(x) for x in network_input(pixels).split(AT_ONCE)]).double().numpy()


@torch.inference_mode()
def labels(pixels: Pixels) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """``[N]`` the class that each of the numbers ``[N, 28, 28, 1]`` shows."""
    return torch.cat([judge("labels")(x).argmax(1) for x in network_input(pixels).split(AT_ONCE)]).numpy()

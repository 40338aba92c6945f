"""Images against Fashion-MNIST, by the classifiers of ``judge.py``.

N  images
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from genesis.errors import UsageError
from genesis.metrics.coverage import density_coverage
from genesis.metrics.frechet import Gaussian, Moments, frechet_distance
from genesis_domains.images import files, judge
from genesis_domains.images.corpora import FASHION
from genesis_domains.images.image import Image, Pixels

MOST = 5_000  # images of each side for density and coverage, which compare all pairs
Features = np.ndarray[tuple[int, int], np.dtype[np.float64]]


def evaluate(items: Sequence[Image | None], reference: str, corpus: Callable[[str], Path]) -> dict[str, float]:
    """Figures of the items that are 28 x 28 and grey; None counts as invalid.

    label right         share whose label, where one was asked for, the independent classifier gives too
    label right, real   the same of the test set
    Frechet             distance of features from those of the training set, squared; beside it that of the test set,
                        as many as there are items: what no model is expected to be below
    density, coverage   Naeem et al. 2020, among test images
    nearest, mean       mean absolute difference of a pixel to the nearest training image, of 255; beside it the real
    """
    if reference != "fashion-mnist":
        raise UsageError(f"reference {reference!r}: images are compared with fashion-mnist")
    valid = [item for item in items if item is not None and item.shape == (28, 28, 1)]
    scores = {"valid": len(valid) / len(items)} if items else {}
    if len(valid) < 2:
        return scores
    train, test = (files.read(corpus(reference) / f"{split}.jsonl").items for split in ("train", "test"))
    for name, group in (("", valid), (", real", test)):
        said = judge.labels(_pixels(group))
        asked = [
            (int(n), FASHION.index(item.label)) for n, item in zip(said, group, strict=True) if item.label in FASHION
        ]
        if asked:
            scores[f"label right{name}"] = float(np.mean([n == wanted for n, wanted in asked]))
    made, known, held = (judge.features(_pixels(group)) for group in (valid, train, test))
    scores["Frechet"] = frechet_distance(_gaussian(made), _gaussian(known))
    scores["Frechet, real"] = frechet_distance(_gaussian(held[: len(made)]), _gaussian(known))
    found = density_coverage(held[:MOST].astype(np.float32), made[:MOST].astype(np.float32))
    scores |= {"density": found.density, "coverage": found.coverage}
    for name, group in (("nearest, mean", valid), ("nearest, mean, real", test)):
        scores[name] = float(_nearest(_pixels(group[:500]), _pixels(train)).mean())
    return scores


def _pixels(items: Sequence[Image]) -> Pixels:
    return np.stack([item.pixels for item in items])


def _gaussian(features: Features) -> Gaussian:
    moments = Moments(features.shape[1])
    moments.add(torch.from_numpy(features))
    return moments.gaussian()


def _nearest(a: Pixels, b: Pixels) -> Features:
    """``[N]`` mean absolute difference of each of ``a`` to the nearest of ``b``."""
    flat, others = (torch.from_numpy(x.reshape(len(x), -1)).float() for x in (a, b))
    found: Features = (torch.cdist(flat, others, p=1).amin(1) / flat.shape[1]).numpy()
    return found

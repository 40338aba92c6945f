"""Corpora of images, compiled from the files that were fetched into JSON lines."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from genesis.errors import InputError
from genesis_domains.images import files
from genesis_domains.images.image import Image, Pixels

FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
SPLITS = {"train": "train", "test": "t10k"}


def build(members: Mapping[str, Path], target: Path) -> None:
    """``train.jsonl`` and ``test.jsonl`` of an IDX corpus."""
    by_name = {path.name.removesuffix(".gz"): path for path in members.values()}
    for split, stem in SPLITS.items():
        images = idx(by_name[f"{stem}-images-idx3-ubyte"])
        labels = idx(by_name[f"{stem}-labels-idx1-ubyte"])
        pairs = zip(images, labels.tolist(), strict=True)
        items = [Image.of(pixels[..., None], FASHION[label]) for pixels, label in pairs]
        files.write(items, target / f"{split}.jsonl", {})


def idx(path: Path) -> Pixels:
    """The array of an IDX file of bytes (LeCun's format): 0, 0, 8, dimensions, then each as four bytes."""
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    if data[:3] != b"\0\0\x08":
        raise InputError(f"{path}: not an IDX file of bytes")
    shape = np.frombuffer(data, ">u4", data[3], 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)

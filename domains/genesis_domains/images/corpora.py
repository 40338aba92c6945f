"""Corpora of images, compiled from the files that were fetched into JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from genesis.errors import InputError
from genesis_domains.images import files
from genesis_domains.images.image import Image, Pixels, opened, unpacked

FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CLASSES = {"fashion-mnist": FASHION, "mnist": tuple(map(str, range(10)))}
SPLITS = {"train": "train", "test": "t10k"}
STYLES = {"img/twitter/64": "twemoji", "img/google/64": "noto", "assets": "fluent3d"}  # by the folder in a package
EMOJI = 32  # pixels of a side


def build(corpus: str, members: Mapping[str, Path], target: Path) -> None:
    """``train.jsonl`` and ``test.jsonl`` of an IDX corpus, ``all.jsonl`` of emoji."""
    if corpus == "emoji":
        return files.write(list(emoji(members)), target / "all.jsonl", {})
    data = {PurePosixPath(path).name: place for path, place in members.items()}
    for split, stem in SPLITS.items():
        images, labels = (idx(data[f"{stem}-{kind}-ubyte"].read_bytes()) for kind in ("images-idx3", "labels-idx1"))
        pairs = zip(images, labels.tolist(), strict=True)
        items = [Image.of(pixels[..., None], CLASSES[corpus][label]) for pixels, label in pairs]
        files.write(items, target / f"{split}.jsonl", {})


def emoji(members: Mapping[str, Path]) -> Iterator[Image]:
    """Each emoji of emojibase without skin tones, in the styles that draw it: `STYLE emoji of NAME`, its group."""
    # packages disagree on whether a name says that a sign is shown in colour (fe0f)
    found = {path.replace("-fe0f", ""): place for path, place in members.items()}
    messages, data = (json.loads(found[f"en/{name}.json"].read_bytes()) for name in ("messages", "data"))
    names = {group["order"]: group["message"] for group in messages["groups"]}
    for entry in data:
        for folder, style in STYLES.items():
            stem = f"{folder}/{entry['hexcode'].lower().replace('-fe0f', '')}"
            if picture := found.get(f"{stem}.png", found.get(f"{stem}.webp")):
                pixels = unpacked(opened(picture.read_bytes()), EMOJI, 3)
                yield Image.of(pixels, names.get(entry.get("group"), ""), f"{style} emoji of {entry['label']}")


def idx(data: bytes) -> Pixels:
    """The array of an IDX file of bytes (LeCun's format): 0, 0, 8, dimensions, then each as four bytes."""
    if data[:3] != b"\0\0\x08":
        raise InputError("not an IDX file of bytes; fetch it again")
    shape = np.frombuffer(data, ">u4", data[3], 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)

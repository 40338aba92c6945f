"""Corpora of images, compiled from the files that were fetched into JSON lines."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

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
    data = (pair for path in members.values() for pair in contents(path))
    if corpus == "emoji":
        return files.write(list(emoji(data)), target / "all.jsonl", {})
    by_name = dict(data)
    for split, stem in SPLITS.items():
        images, labels = (idx(by_name[f"{stem}-{kind}-ubyte"]) for kind in ("images-idx3", "labels-idx1"))
        pairs = zip(images, labels.tolist(), strict=True)
        items = [Image.of(pixels[..., None], CLASSES[corpus][label]) for pixels, label in pairs]
        files.write(items, target / f"{split}.jsonl", {})


def contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """The name and the bytes of each file of a package of npm (``.tgz``), or of the one file, unpacked."""
    if path.suffix != ".tgz":
        data = path.read_bytes()
        yield path.name.removesuffix(".gz"), gzip.decompress(data) if path.suffix == ".gz" else data
        return
    with tarfile.open(path) as archive:
        for entry in archive:
            if stream := archive.extractfile(entry):
                yield entry.name.removeprefix("package/").removeprefix("data/"), stream.read()


def emoji(data: Iterator[tuple[str, bytes]]) -> Iterator[Image]:
    """Each emoji of emojibase without skin tones, in the styles that draw it: `STYLE emoji of NAME`, its group."""
    # packages disagree on whether a name says that a sign is shown in colour (fe0f)
    found = {name.replace("-fe0f", ""): part for name, part in data if name.endswith((".png", ".webp", ".json"))}
    names = {group["order"]: group["message"] for group in json.loads(found["en/messages.json"])["groups"]}
    for entry in json.loads(found["en/data.json"]):
        for folder, style in STYLES.items():
            stem = f"{folder}/{entry['hexcode'].lower().replace('-fe0f', '')}"
            if picture := found.get(f"{stem}.png", found.get(f"{stem}.webp")):
                pixels = unpacked(opened(picture), EMOJI, 3)
                yield Image.of(pixels, names.get(entry.get("group"), ""), f"{style} emoji of {entry['label']}")


def idx(data: bytes) -> Pixels:
    """The array of an IDX file of bytes (LeCun's format): 0, 0, 8, dimensions, then each as four bytes."""
    if data[:3] != b"\0\0\x08":
        raise InputError("not an IDX file of bytes; fetch it again")
    shape = np.frombuffer(data, ">u4", data[3], 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)

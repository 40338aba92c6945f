"""Figures of images: the judges are the listed ones, and a set compared with itself is as good as real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genesis.data import fetch
from genesis.errors import GenesisError, ResourceError, UsageError
from genesis_domains.images import DOMAIN, files, judge
from genesis_domains.images.corpora import FASHION
from genesis_domains.images.image import Image


def blobs(count: int, seed: int) -> list[Image]:
    """Soft spots of light, each with a class of its own number."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:28, :28]
    out = []
    for i in range(count):
        (a, b), width = rng.uniform(6, 22, 2), rng.uniform(2, 7)
        light = 255 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * width**2))
        out.append(Image.of(light.astype(np.uint8)[..., None], FASHION[i % 10]))
    return out


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    files.write(blobs(60, 0), folder / "train.jsonl", {})
    files.write(blobs(40, 1), folder / "test.jsonl", {})
    return lambda name: folder


def test_the_test_set_itself_is_as_good_as_real(corpus):
    found = DOMAIN.evaluate(blobs(40, 1), "fashion-mnist", corpus)
    assert found["Frechet"] == pytest.approx(found["Frechet, real"])
    assert found["label right"] == found["label right, real"]
    assert found["nearest, mean"] == pytest.approx(found["nearest, mean, real"])
    assert found["coverage"] == 1
    assert found["valid"] == 1


def test_training_images_are_near_and_noise_is_far(corpus):
    rng = np.random.default_rng(3)
    noise = [Image.of(rng.integers(0, 256, (28, 28, 1), np.uint8)) for _ in range(30)]
    copied, wild = (DOMAIN.evaluate(items, "fashion-mnist", corpus) for items in (blobs(60, 0), [*noise, None, None]))
    assert copied["nearest, mean"] == 0
    assert copied["Frechet"] == pytest.approx(0, abs=1e-6)
    assert wild["Frechet"] > 10 * wild["Frechet, real"]
    assert wild["coverage"] < 0.2
    assert wild["valid"] == pytest.approx(30 / 32)
    assert "label right" not in wild


def test_what_it_is_not_compared_with(corpus):
    with pytest.raises(UsageError, match="fashion-mnist"):
        DOMAIN.evaluate([], "moses", corpus)


def test_a_judge_with_other_weights_is_refused(tmp_path, monkeypatch):
    (tmp_path / "labels.safetensors").write_bytes(b"nothing")
    monkeypatch.setattr(judge, "FOLDER", tmp_path)
    judge.judge.cache_clear()
    with pytest.raises(ResourceError, match="not the listed one"):
        judge.judge("labels")
    judge.judge.cache_clear()


def test_the_independent_judge_knows_real_clothes():
    try:
        folder: Path = fetch.cached("fashion-mnist")
    except GenesisError:
        pytest.skip("needs `genesis data fetch fashion-mnist`")
    items = files.read(folder / "test.jsonl").items
    said = judge.labels(np.stack([item.pixels for item in items]))
    right = np.mean([FASHION[n] == item.label for n, item in zip(said, items, strict=True)])
    assert right == pytest.approx(0.9228, abs=0.002)

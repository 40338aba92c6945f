"""Images from the command line and from Python, with networks of seconds: what is given, kept, refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil

import genesis
from genesis.cli.app import run
from genesis.drawing import Request
from genesis.engine import Engine
from genesis.errors import UsageError
from genesis.train import TrainConfig
from genesis_domains.images import files
from genesis_domains.images.image import Image

SIDE = 8


def bars() -> list[Image]:
    """Lying and standing bars of light, 24 of each."""
    out = []
    for i in range(48):
        pixels = np.zeros((SIDE, SIDE, 1), np.uint8)
        at, light = i // 2 % 6, 255 - i
        if i % 2:
            pixels[at : at + 2] = light
        else:
            pixels[:, at : at + 2] = light
        name = "lying" if i % 2 else "standing"
        out.append(Image.of(pixels, name, f"a {name} bar"))
    return out


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("bars") / "bars.jsonl"
    files.write(bars(), target, {})
    return target


@pytest.fixture(scope="module")
def vae(corpus: Path) -> Path:
    out = corpus.parent / "vae"
    config = TrainConfig(items=48 * 60, batch_tokens=2_048, learning_rate=4e-3)
    Engine.train("images", corpus, out, size="tiny", family="vae", config=config)
    return out / "model"


@pytest.fixture(scope="module")
def engine(corpus: Path, vae: Path) -> Engine:
    out = corpus.parent / "diffusion"
    config = TrainConfig(items=48 * 60, batch_tokens=2_048, learning_rate=4e-3)
    return Engine.train("images", corpus, out, size="tiny", family="diffusion", vae=vae, config=config)


def test_it_makes_images_of_the_shape_it_learned(engine):
    hits = engine.generate(5, {"label": "lying"}, seed=1)
    assert {image.shape for image in hits.items} == {(SIDE, SIDE, 1)}
    assert engine.shape == (SIDE, SIDE, 1)
    assert set(engine.properties) == {"label", "prompt"}


def test_a_seed_gives_the_same_images_in_any_batch(engine):
    asked = engine.targets({"label": "lying"})
    keys = [[d.key for d in engine.draw(20, Request(seed=3), asked, batch_size=size, workers=1)] for size in (1, 7, 20)]
    assert keys[0] == keys[1] == keys[2]


def test_a_prompt_is_a_text_of_ones_own(engine):
    one = engine.generate(2, {"prompt": "a lying bar"}, seed=1)
    other = engine.generate(2, {"prompt": "bar a a lying"}, seed=1)
    assert [image.key for image in one.items] != [image.key for image in other.items]
    for text, reason in (("", "empty"), ("a bar " * 200, "at most"), ("a lying bär", "never read 'ä'")):
        with pytest.raises(UsageError, match=reason):
            engine.generate(1, {"prompt": text})
    with pytest.raises(UsageError, match="lying"):
        engine.generate(1, {"label": "lyin"})


@pytest.fixture(scope="module")
def photo(corpus: Path) -> Path:
    target = corpus.parent / "photo.png"
    target.write_bytes(bars()[5].png())
    return target


def distance(a: Image, b: Image) -> float:
    return float(np.abs(a.pixels.astype(int) - b.pixels).mean())


def test_an_image_to_go_on_from_stays_the_nearer_the_less_may_change(engine, photo):
    def mean(strength: float) -> float:
        hits = engine.generate(6, given={"from": str(photo), "strength": strength}, seed=2)
        return float(np.mean([distance(image, files.one(photo)) for image in hits.items]))

    assert mean(0.1) < mean(1.0)


def test_what_the_mask_leaves_black_stays_to_the_bit(engine, photo, tmp_path):
    mask = np.zeros((SIDE, SIDE, 1), np.uint8)
    mask[:, 4:] = 255
    (tmp_path / "mask.png").write_bytes(Image.of(mask).png())
    hits = engine.generate(4, given={"inpaint": str(photo), "mask": str(tmp_path / "mask.png")}, seed=2)
    for image in hits.items:
        assert np.array_equal(image.pixels[:, :4], files.one(photo).pixels[:, :4])
    assert len({image.key for image in hits.items}) == 4


def test_what_is_given_and_does_not_fit(engine, photo, tmp_path):
    (tmp_path / "large.png").write_bytes(Image.of(np.zeros((9, 9, 1), np.uint8)).png())
    (tmp_path / "black.png").write_bytes(Image.of(np.zeros((SIDE, SIDE, 1), np.uint8)).png())
    large, black = str(tmp_path / "large.png"), str(tmp_path / "black.png")
    for given, reason in (
        ({"from": large}, "9x9x1 numbers, this model's items are 8x8x1"),
        ({"from": str(photo), "strength": 0}, "above 0"),
        ({"from": str(photo), "mask": black}, "belongs to --inpaint"),
        ({"inpaint": str(photo)}, "needs --mask"),
        ({"inpaint": str(photo), "mask": large}, "9x9, --inpaint 8x8"),
        ({"inpaint": str(photo), "mask": black}, "no white place"),
        ({"inpaint": str(photo), "from": large}, "one of"),
        ({"sketch": large}, "'sketch' cannot be given; known: from, inpaint, mask, strength"),
    ):
        with pytest.raises(UsageError, match=reason):
            engine.generate(1, given=given)


def test_a_way_between_two_images_begins_and_ends_at_them(engine, photo, tmp_path):
    other = tmp_path / "other.png"
    other.write_bytes(bars()[8].png())
    hits = engine.interpolate(str(photo), str(other), 4)
    ends = [files.one(photo), files.one(other)]
    assert [hits.items[0].key, hits.items[-1].key] == [end.key for end in ends]
    assert 3 <= len(hits.items) <= 4


def test_a_vae_draws_and_a_transformer_is_no_model_of_grids(corpus, vae, tmp_path):
    drawn = genesis.load(vae).generate(3, seed=1)
    assert len({image.key for image in drawn.items}) == 3
    with pytest.raises(UsageError, match="these items are grids"):
        Engine.train("images", corpus, tmp_path / "no", size="tiny", family="transformer", config=TrainConfig(items=8))


def test_the_command_writes_images_with_what_was_asked(vae, tmp_path):
    target = tmp_path / "out.jsonl"
    assert run(["images", "--model", str(vae), "--label", "lying", "-n", "3", "-o", str(target), "-q"]) == 0
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["asked_label"] for row in rows] == ["lying"] * 3
    assert [image.label for image in files.read(target).items] == ["lying"] * 3
    sheet = tmp_path / "sheet.png"
    assert run(["images", "--model", str(vae), "-n", "30", "-o", str(sheet), "-q"]) == 0
    with Pil.open(sheet) as picture:
        assert picture.size == (6 * (SIDE + 2) + 2, 5 * (SIDE + 2) + 2)

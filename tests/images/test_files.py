"""Reading and writing images: folders, archives, labels and captions, and files that mean harm."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import struct
import tarfile
import time
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil

from genesis import prepare
from genesis.data import packages, sources
from genesis.errors import EncodeError, InputError, UsageError
from genesis_domains.images import DOMAIN, corpora, files
from genesis_domains.images.image import MAX_BYTES, Image, opened, unpacked


def png(colour: tuple[int, ...] | int, side: int = 12, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Pil.new(mode, (side, side), colour).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two reds and a blue in folders of their names."""
    for name, colour in (("red/a.png", (255, 0, 0)), ("red/b.png", (250, 5, 5)), ("blue/c.png", (0, 0, 255))):
        place = tmp_path / "in" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(colour))
    return tmp_path / "in"


def test_a_folder_names_its_images(folder):
    items = files.read(folder).items
    assert [item.label for item in items] == ["blue", "red", "red"]
    assert {item.shape for item in items} == {(12, 12, 3)}
    assert items[0].pixels[0, 0].tolist() == [0, 0, 255]


def test_captions_say_more_than_folders(folder):
    lines = [
        {"file": "red/a.png", "prompt": "a red square"},
        {"file_name": "blue/c.png", "text": "sea", "label": "water"},
    ]
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = {item.prompt: item.label for item in files.read(folder).items}
    assert found == {"sea": "water", "a red square": "", "": "red"}
    for wrong in (b"nonsense", b'{"file": "\xff.png"}', b"[1]"):
        (folder / "captions.jsonl").write_bytes(wrong)
        with pytest.raises(InputError, match="captions, line 1"):
            files.read(folder)


def test_an_archive_whose_captions_or_images_do_not_unpack(tmp_path):
    for name, size, reason in (
        ("captions.jsonl", MAX_BYTES + 1, "more than 10,485,760 bytes"),
        ("a.png", 400, "damaged"),
    ):
        target = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, bytes(size))
            archive.writestr("good.png", png((1, 2, 3)))
        if size < MAX_BYTES:  # spoil the deflated bytes, which begin after the header and the name
            data = bytearray(target.read_bytes())
            data[30 + len(name)] = 0xFF
            target.write_bytes(data)
            assert reason in files.read(target).rejected[0].reason
        else:
            with pytest.raises(InputError, match=reason):
                files.read(target)


def test_images_of_many_shapes_become_one(folder):
    (folder / "red" / "wide.png").write_bytes(png(7, 30, "L"))
    assert {item.shape for item in files.read(folder).items} == {(64, 64, 3)}


def test_the_middle_of_a_wide_picture_is_kept_and_what_is_transparent_is_white():
    picture = Pil.new("RGBA", (40, 20), (0, 0, 0, 0))
    picture.paste((255, 0, 0, 255), (15, 5, 25, 15))
    pixels = unpacked(picture, 20, None)
    assert pixels.shape == (20, 20, 3)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[10, 10].tolist() == [255, 0, 0]


@pytest.mark.parametrize("name", ["out.jsonl", "out.zip", "out"])
def test_what_is_written_reads_back_with_its_words(tmp_path, name):
    rng = np.random.default_rng(0)
    items = [Image.of(rng.integers(0, 256, (9, 9, 3), np.uint8), f"l{i}", f"picture {i}") for i in range(3)]
    files.write(items, tmp_path / name, {"asked": [1, 2, 3]})
    back = files.read(tmp_path / name).items
    assert [(b.key, b.label, b.prompt) for b in back] == [(i.key, i.label, i.prompt) for i in items]
    if name == "out":
        with pytest.raises(UsageError, match="no empty folder"):
            files.write(items, tmp_path / name, {})


def test_one_image_is_a_picture_of_its_own(tmp_path):
    item = Image.of(np.arange(81, dtype=np.uint8).reshape(9, 9, 1))
    files.write([item], tmp_path / "one.png", {})
    assert files.one(tmp_path / "one.png") == item


def noisy() -> bytes:
    return Image.of(np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)).png()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more than its few bytes hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no readable"),
        (b"GIF89a" + bytes(20), "no readable|damaged|pixels"),
        (noisy()[:-200], "damaged"),
        (bomb(60_000, 60_000), "3600000000 pixels"),
        (bomb(9_000, 9_000), "9000x9000 pixels; at most 16,000,000"),
        (bytes(MAX_BYTES + 1), "at most 10,485,760"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no readable"),
    ],
    ids=["empty", "gif", "short", "bomb", "large", "long", "postscript"],
)
def test_a_bad_file_is_refused_in_a_second_and_says_why(data, reason):
    began = time.monotonic()
    with pytest.raises(EncodeError, match=reason):
        unpacked(opened(data), None, None)
    assert time.monotonic() - began < 1


def test_channels_that_are_not_modelled():
    out = io.BytesIO()
    Pil.new("CMYK", (8, 8)).save(out, "JPEG")
    with pytest.raises(EncodeError, match="CMYK; grey, RGB and RGBA"):
        opened(out.getvalue())
    with pytest.raises(EncodeError, match="2 channels"):
        Image.of(np.zeros((4, 4, 2), np.uint8))
    with pytest.raises(EncodeError, match="4x5 pixels; an image is a square"):
        Image.of(np.zeros((5, 4, 1), np.uint8))


def test_bad_rows_and_archives(tmp_path):
    lines = tmp_path / "a.jsonl"
    good = json.dumps({"image": base64.b64encode(png(3, 5, "L")).decode()})
    lines.write_text(f'{good}\n{{"image": 5}}\n\n[]\n{good}\n')
    reading = files.read(lines)
    assert (len(reading.items), [one.row for one in reading.rejected]) == (2, [2, 4])
    broken = tmp_path / "a.zip"
    broken.write_bytes(b"PK\x03\x04 and nothing")
    with pytest.raises(InputError, match=r"not a readable \.zip"):
        files.read(broken)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("x/one.png", png((9, 9, 9)))
        archive.writestr("x/two.png", b"nothing")
    reading = files.read(tmp_path / "b.zip")
    assert [item.label for item in reading.items] == ["x"]
    assert reading.rejected[0].text == "x/two.png"
    (tmp_path / "empty").mkdir()
    for missing in ("empty", "none", "a.doc"):
        with pytest.raises(InputError):
            files.read(tmp_path / missing)


def test_idx_files_become_lines(tmp_path):
    """LeCun's format by hand: two pictures of 28 x 28 and their classes."""
    pixels = np.arange(2 * 784, dtype=np.uint8).reshape(2, 28, 28)
    members = {}
    for stem in ("train", "t10k"):
        images, labels = tmp_path / f"{stem}-images-idx3-ubyte", tmp_path / f"{stem}-labels-idx1-ubyte"
        images.write_bytes(b"\0\0\x08\x03" + struct.pack(">III", 2, 28, 28) + pixels.tobytes())
        labels.write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 2) + bytes([9, 0]))
        members |= {images.name: images, labels.name: labels}
    DOMAIN.build("fashion-mnist", members, tmp_path)
    items = files.read(tmp_path / "test.jsonl").items
    assert [item.label for item in items] == ["Ankle boot", "T-shirt/top"]
    assert np.array_equal(items[1].pixels[..., 0], pixels[1])
    with pytest.raises(InputError, match="not an IDX file"):
        corpora.idx(b"PK\x03\x04")


def package(target, contents):
    """An archive of npm: everything lies in ``package/``."""
    with tarfile.open(target, "w:gz") as archive:
        for name, data in contents.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return target


def test_emoji_of_several_packages_become_lines_with_prompts(tmp_path):
    """Styles whose file names disagree about fe0f; a sign without a picture, and a picture without a sign."""
    red, blue = (Image.of(np.full((64, 64, 3), colour, np.uint8)) for colour in ((255, 0, 0), (0, 0, 255)))
    data = [
        {"hexcode": "2764-FE0F", "label": "red heart", "group": 0},
        {"hexcode": "1F1E6", "label": "regional indicator A"},
        {"hexcode": "1F499", "label": "blue heart", "group": 8},
    ]
    groups = {"groups": [{"order": 0, "message": "smileys & emotion"}, {"order": 8, "message": "symbols"}]}
    members = {
        "a": package(
            tmp_path / "a.tgz", {"img/twitter/64/2764-fe0f.png": red.png(), "img/twitter/64/1f40c.png": red.png()}
        ),
        "b": package(
            tmp_path / "b.tgz", {"assets/2764.png": red.png(), "assets/1f499.png": blue.png(), "README.md": b""}
        ),
        "c": package(
            tmp_path / "c.tgz",
            {"en/data.json": json.dumps(data).encode(), "en/messages.json": json.dumps(groups).encode()},
        ),
    }
    with packages.opened(members, tmp_path / "emoji") as inside:
        DOMAIN.build("emoji", inside, tmp_path)
    items = files.read(tmp_path / "all.jsonl").items
    assert [(item.prompt, item.label) for item in items] == [
        ("twemoji emoji of red heart", "smileys & emotion"),
        ("fluent3d emoji of red heart", "smileys & emotion"),
        ("fluent3d emoji of blue heart", "symbols"),
    ]
    assert all(item.shape == (32, 32, 3) for item in items)
    assert items[2].pixels[0, 0].tolist() == [0, 0, 255]


def test_mnist_is_read_out_of_its_package(tmp_path, monkeypatch):
    pixels = np.arange(784, dtype=np.uint8)
    contents = {}
    for stem in ("train", "t10k"):
        contents[f"data/{stem}-images-idx3-ubyte"] = b"\0\0\x08\x03" + struct.pack(">III", 1, 28, 28) + pixels.tobytes()
        contents[f"data/{stem}-labels-idx1-ubyte"] = b"\0\0\x08\x01" + struct.pack(">I", 1) + bytes([7])
    data = package(tmp_path / "x.tgz", contents).read_bytes()
    member = sources.Member("x.tgz", len(data), hashlib.sha256(data).hexdigest())
    fetched = sources.Package("npm", "x", "1", (member,), member.size, member.sha256)
    corpus = replace(sources.get("mnist"), packages=(fetched,))
    monkeypatch.setenv("GENESIS_CACHE", str(tmp_path))
    monkeypatch.setitem(sources.CORPORA, "mnist", corpus)
    folder = tmp_path / "corpora" / corpus.folder
    folder.mkdir(parents=True)
    (folder / "x.tgz").write_bytes(data)
    (item,) = files.read(prepare.built("mnist") / "train.jsonl").items
    assert list(folder.parent.iterdir()) == [folder]  # nothing of the package is left beside it
    assert item.label == "7"
    assert item.data == pixels.tobytes()


def test_a_target_that_cannot_be_written(tmp_path):
    with pytest.raises(UsageError, match=r"\.jsonl, \.zip, a folder"):
        DOMAIN.check_target(tmp_path / "a.txt")
    with pytest.raises(UsageError, match="its folder is not there"):
        DOMAIN.check_target(tmp_path / "none" / "a.zip")

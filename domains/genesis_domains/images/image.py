"""One image: a square of at most 64 x 64 places, grey or red-green-blue, 8 bits a number."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pil
from PIL import ImageOps

from genesis.errors import EncodeError

Pixels = NDArray[np.uint8]  # [H, W, C]

SIDE = 64  # pixels of the largest image that is modelled here
LARGEST = 1_024  # pixels of the largest that is an item: other libraries' models make such
MAX_BYTES, MAX_PIXELS = 10 << 20, 16_000_000  # of a file, before it is unpacked
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # a parser for every format of Pillow is a door for every format
GAP = 2  # pixels between two images of a sheet
GREY, COLOUR = ("1", "L"), ("RGB", "RGBA", "P", "LA", "PA")


@dataclass(frozen=True, slots=True)
class Image:
    """Numbers ``[H, W, C]`` as bytes, and what the image came with: a label and a caption, empty where it has none."""

    data: bytes
    shape: tuple[int, int, int]
    label: str = ""
    prompt: str = ""

    @classmethod
    def of(cls, pixels: Pixels, label: str = "", prompt: str = "") -> Image:
        """From numbers ``[H, W, C]``; EncodeError when that is no square of a size that is modelled."""
        height, width, channels = pixels.shape
        if channels not in (1, 3):
            raise EncodeError(f"{channels} channels; an image has 1 (grey) or 3 (red, green, blue)")
        if not 0 < height == width <= LARGEST:
            raise EncodeError(f"{width}x{height} pixels; an image is a square of at most {LARGEST}x{LARGEST}")
        return cls(pixels.tobytes(), (height, width, channels), label, prompt)

    @property
    def pixels(self) -> Pixels:
        return np.frombuffer(self.data, np.uint8).reshape(self.shape)

    @property
    def key(self) -> str:
        """Shape and hash of the numbers."""
        return f"{'x'.join(map(str, self.shape))}:{hashlib.blake2b(self.data, digest_size=16).hexdigest()}"

    def pil(self) -> Pil.Image:
        return Pil.fromarray(self.pixels[..., 0] if self.shape[2] == 1 else self.pixels)

    def png(self) -> bytes:
        out = io.BytesIO()
        self.pil().save(out, "PNG")
        return out.getvalue()


def opened(data: bytes) -> Pil.Image:
    """A picture of a file, its header read and nothing unpacked; EncodeError for what will not be unpacked."""
    if len(data) > MAX_BYTES:
        raise EncodeError(f"{len(data):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        picture = Pil.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:  # every plug-in of Pillow has errors of its own
        raise EncodeError(f"no readable {', '.join(FORMATS)} ({str(error).split('<')[0].strip():.60})") from None
    if picture.width * picture.height > MAX_PIXELS:
        raise EncodeError(f"{picture.width}x{picture.height} pixels; at most {MAX_PIXELS:,} are unpacked")
    if picture.mode not in GREY + COLOUR:
        raise EncodeError(f"its channels are {picture.mode}; grey, RGB and RGBA are read. Convert it")
    return picture


def unpacked(picture: Pil.Image, side: int | None, channels: int | None) -> Pixels:
    """Numbers ``[H, W, C]``, transparent places white; the largest square of the middle scaled to ``side``.

    ``side`` None: as it is where it is a square of at most 64, else 64. ``channels`` None: as it is.
    """
    try:
        picture.load()
        picture = ImageOps.exif_transpose(picture)
    except Exception as error:
        raise EncodeError(f"damaged ({error!s:.60})") from None
    channels = channels or channels_of(picture)
    if picture.mode in ("RGBA", "P", "LA", "PA"):
        whole = picture.convert("RGBA")
        picture = Pil.alpha_composite(Pil.new("RGBA", whole.size, "white"), whole)
    picture = picture.convert("L" if channels == 1 else "RGB")
    side = side or (picture.width if picture.width == picture.height <= SIDE else SIDE)
    if picture.size != (side, side):
        picture = ImageOps.fit(picture, (side, side), Pil.Resampling.LANCZOS)
    pixels = np.asarray(picture, np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def channels_of(picture: Pil.Image) -> int:
    return 1 if picture.mode in GREY else 3


def draw_sheet(items: Sequence[Image], target: Path) -> None:
    """A sheet as near to a square as it goes, a row after the other; one image is a file of its own numbers."""
    if len(items) == 1:
        items[0].pil().save(target)
        return
    columns = math.ceil(math.sqrt(len(items)))
    side = max(max(item.shape[:2]) for item in items) + GAP
    sheet = Pil.new("RGB", (columns * side + GAP, math.ceil(len(items) / columns) * side + GAP), "white")
    for i, item in enumerate(items):
        sheet.paste(item.pil(), (GAP + i % columns * side, GAP + i // columns * side))
    sheet.save(target)

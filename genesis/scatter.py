"""A map of items as a picture: a dot at the ``x, y`` of each, coloured by a property from 5th to 95th percentile."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from genesis.errors import UnknownProperty, UsageError
from genesis.hits import Hits, sign_png
from genesis.table import number

SIDE, EDGE, DOT = 900, 60, 5  # pixels of the square, of its margin, and of a dot's radius
LOW, MIDDLE, HIGH = (59, 76, 192), (221, 221, 221), (180, 4, 38)  # Moreland's cool to warm (2009)
GREY = (90, 90, 90)


def check_scatter(target: Path) -> None:
    """UsageError now if ``scatter`` could not write there later."""
    if target.suffix.lower() != ".png":
        raise UsageError(f"cannot draw a map into {target.name}; allowed: .png")
    if not target.resolve().parent.is_dir():
        raise UsageError(f"{target}: its folder is not there")


def scatter(hits: Hits, colour: str, target: Path) -> None:
    """Draw ``hits`` of ``Engine.explore``, which measured ``x`` and ``y``; whole or not at all."""
    check_scatter(target)
    if colour not in hits.measured:
        raise UnknownProperty(colour, hits.measured, "this map")
    values = np.asarray(hits.measured[colour], np.float64)
    low, high = np.percentile(values, [5, 95])
    shade = np.clip((values - low) / max(1e-12, high - low), 0, 1)
    place = np.stack([_scaled(hits.measured["x"]), 1 - _scaled(hits.measured["y"])], 1) * (SIDE - 2 * EDGE) + EDGE
    image = Image.new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(image)
    for (x, y), s in zip(place.tolist(), shade.tolist(), strict=True):
        pen.ellipse((x - DOT, y - DOT, x + DOT, y + DOT), fill=_colour(s))
    pen.text((EDGE, SIDE - EDGE // 2), f"{colour}: blue {number(low)}, red {number(high)}", fill=GREY)
    part = target.with_name(f".{target.stem}.{os.getpid()}.{secrets.token_hex(4)}.png")
    try:
        image.save(part)
        sign_png(part, hits.origin())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _scaled(values: list[float]) -> NDArray[np.float64]:
    x = np.asarray(values, np.float64)
    scaled: NDArray[np.float64] = (x - x.min()) / max(1e-12, float(np.ptp(x)))
    return scaled


def _colour(share: float) -> tuple[int, int, int]:
    (a, b), t = ((LOW, MIDDLE), 2 * share) if share < 0.5 else ((MIDDLE, HIGH), 2 * share - 1)
    red, green, blue = (round(p + t * (q - p)) for p, q in zip(a, b, strict=True))
    return red, green, blue

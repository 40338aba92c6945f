"""Many images in one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image as Pil

from genesis_domains.images.image import Image

GAP = 2  # pixels between two images


def draw(items: Sequence[Image], target: Path) -> None:
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

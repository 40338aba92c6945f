"""Piano rolls: time to the right, pitch upwards, a colour a track; PNG, or SVG when the target says so."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image, ImageDraw, ImageFont

from genesis_domains.music.score import TICKS, Score
from genesis_domains.music.sound import replace

COLOURS = ("#1f5fa8", "#c8442b", "#2f8a4c", "#8a4fa8", "#b8860b", "#2f8f9d", "#a83f6f", "#5f6f2f")
PAPER, BAR, BEAT, OCTAVE, INK = "#ffffff", "#b8b8b8", "#ececec", "#e0e0e8", "#505050"
MARGIN, LINE, GAP = 12, 16, 16  # pixels round a roll, of a line of text, between two rolls
HEIGHT = 5  # of a semitone
WIDEST, QUARTER = 1_400, 14  # pixels of a roll at most; of a quarter note where there is room
SPARE = 2  # semitones above and below


@dataclass(slots=True)
class _Drawing:
    """Rectangles and lines of text, in pixels from the upper left."""

    width: int
    height: int
    boxes: list[tuple[float, float, float, float, str]] = field(default_factory=list)  # x, y, width, height, colour
    texts: list[tuple[float, float, str]] = field(default_factory=list)

    def png(self) -> bytes:
        image = Image.new("RGB", (self.width, self.height), PAPER)
        pen = ImageDraw.Draw(image)
        for x, y, width, height, colour in self.boxes:
            pen.rectangle((x, y, x + max(width, 1) - 1, y + max(height, 1) - 1), fill=colour)
        font = ImageFont.load_default(12)
        for x, y, text in self.texts:
            pen.text((x, y), text, fill=INK, font=font)
        out = io.BytesIO()
        image.save(out, "PNG")
        return out.getvalue()

    def svg(self) -> bytes:
        size = f'width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}"'
        parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', _box(0, 0, self.width, self.height, PAPER)]
        parts += [_box(*box) for box in self.boxes]
        parts += [
            f'<text x="{x:g}" y="{y + 12:g}" font-family="sans-serif" font-size="12" fill="{INK}">{escape(text)}</text>'
            for x, y, text in self.texts
        ]
        return "\n".join([*parts, "</svg>\n"]).encode()


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{max(width, 1):g}" height="{max(height, 1):g}" fill="{colour}"/>'


def draw(scores: Sequence[Score], captions: Sequence[str], target: Path) -> None:
    """The scores below one another, each under its caption; the file is written whole or not at all."""
    longest = max(score.end for score in scores)
    tick = min(QUARTER / TICKS, (WIDEST - 2 * MARGIN) / longest)
    ranges = [_range(score) for score in scores]
    lines = [caption.split("\n") if caption else [] for caption in captions]
    heights = [
        LINE * len(text) + HEIGHT * (high - low + 1) + GAP for text, (low, high) in zip(lines, ranges, strict=True)
    ]
    width = max(int(longest * tick), 320) + 2 * MARGIN
    drawing = _Drawing(width, sum(heights) + 2 * MARGIN - GAP)
    top = float(MARGIN)
    for score, text, span, height in zip(scores, lines, ranges, heights, strict=True):
        for number, line in enumerate(text):
            drawing.texts.append((MARGIN, top + number * LINE, line))
        _roll(drawing, score, span, top + LINE * len(text), tick)
        top += height
    replace(target, drawing.svg() if target.suffix.lower() == ".svg" else drawing.png())


def _range(score: Score) -> tuple[int, int]:
    pitches = [note.pitch for track in score.tracks for note in track.notes]
    return min(pitches) - SPARE, max(pitches) + SPARE


def _roll(drawing: _Drawing, score: Score, span: tuple[int, int], top: float, tick: float) -> None:
    low, high = span
    height = HEIGHT * (high - low + 1)
    for pitch in range(low, high + 1):
        if pitch % 12 == 0:
            drawing.boxes.append((MARGIN, top + HEIGHT * (high - pitch), score.end * tick, HEIGHT, OCTAVE))
    bars = set(score.starts)
    for at in sorted({*range(0, score.end, TICKS), *bars}):
        drawing.boxes.append((MARGIN + at * tick, top, 1, height, BAR if at in bars else BEAT))
    for number, track in reversed(list(enumerate(score.tracks))):
        for note in track.notes:
            x, y = MARGIN + note.onset * tick, top + HEIGHT * (high - note.pitch)
            drawing.boxes.append((x, y, max(note.duration * tick - 1, 1), HEIGHT - 1, COLOURS[number]))

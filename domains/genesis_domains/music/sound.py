"""Scores as audio: symusic's synthesiser with the SoundFont that comes inside pretty_midi, to 16-bit stereo WAV."""

from __future__ import annotations

import io
import os
import secrets
import wave
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import symusic
from numpy.typing import NDArray

from genesis.errors import GenesisError, ResourceError, UsageError
from genesis_domains.music import midi
from genesis_domains.music.score import Score

RATE = 44_100  # samples a second
GAP = 1.0  # seconds between two scores
LONGEST = 3_600.0  # seconds of a file
FONT = "TimGM6mb.sf2"  # GPL-2: used where pretty_midi installed it, never copied
PEAK = 0.9


@cache
def _synthesizer() -> Any:
    found = find_spec("pretty_midi")
    font = Path(found.origin).parent / FONT if found is not None and found.origin else None
    if font is None or not font.is_file():
        raise ResourceError(f"no {FONT}: sound needs the package pretty_midi; run `pip install pretty_midi`")
    return symusic.Synthesizer(str(font), RATE)


def seconds(score: Score) -> float:
    """How long the score lasts."""
    return score.end / 24 * 60 / (score.tempo or 120)


def render(score: Score) -> NDArray[np.float32]:
    """``[2, samples]`` between -1 and 1."""
    samples: NDArray[np.float32] = np.asarray(
        _synthesizer().render(symusic.Score.from_midi(midi.to_midi(score)), stereo=True), np.float32
    )
    return samples


def wav(scores: Sequence[Score]) -> bytes:
    """The scores one after the other as a WAV file, at one loudness."""
    total = sum(map(seconds, scores))
    if total > LONGEST:
        raise UsageError(f"{total:,.0f} seconds of sound; at most {LONGEST:,.0f} are written into one file")
    gap = np.zeros((2, int(GAP * RATE)), np.float32)
    parts = [part for score in scores for part in (render(score), gap)][:-1]
    samples = np.concatenate(parts, 1)
    loudest = float(np.abs(samples).max())
    levels = (samples * (PEAK / loudest if loudest > 0 else 0) * 32_767).astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(levels.T.tobytes())
    return out.getvalue()


def write(scores: Sequence[Score], target: Path) -> None:
    """A WAV file, whole or not at all."""
    replace(target, wav(scores))


def replace(target: Path, content: bytes) -> None:
    """Give a file its content at once."""
    part = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(content)
        os.replace(part, target)
    except OSError as error:
        raise GenesisError(f"could not write {target}: {error.strerror or error}; the file was not changed") from None
    finally:
        part.unlink(missing_ok=True)

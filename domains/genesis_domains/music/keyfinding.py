"""Which key the notes are in: correlation with key profiles (Krumhansl 1990, chapter 4).

The profiles are those of Aarden (2003) for major and minor, fitted to the Essen folk songs, as music21 lists them.
A score is asked as a whole: 24 correlations of how long each pitch class sounds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genesis_domains.music.score import DRUMS, Track

_MAJOR = (
    17.7661,
    0.145624,
    14.9265,
    0.160186,
    19.8049,
    11.3587,
    0.291248,
    22.062,
    0.145624,
    8.15494,
    0.232998,
    4.95122,
)
_MINOR = (18.2648, 0.737619, 14.0499, 16.8599, 0.702494, 14.4362, 0.702494, 18.6161, 4.56621, 1.93186, 7.37619, 1.75623)


def _profiles() -> NDArray[np.float64]:
    """``[24, 12]``, a row a key, each of mean 0 and length 1."""
    rows = np.array([np.roll(profile, tonic) for profile in (_MAJOR, _MINOR) for tonic in range(12)])
    rows -= rows.mean(1, keepdims=True)
    normed: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return normed


PROFILES = _profiles()


def weights(tracks: tuple[Track, ...]) -> NDArray[np.float64]:
    """``[12]``: ticks that each pitch class sounds, drums left out."""
    found = np.zeros(12)
    for track in tracks:
        if track.program != DRUMS:
            for note in track.notes:
                found[note.pitch % 12] += note.duration
    return found


def find_key(tracks: tuple[Track, ...]) -> int:
    """The key whose profile correlates best; C major for drums alone."""
    sounding = weights(tracks)
    return int(np.argmax(PROFILES @ (sounding - sounding.mean())))

"""What training sees of a score: parts that fit, at tempi and on instruments near the stated ones.

Transposition needs nothing here: pitches are written from the tonic, so every key is the same sequence. Which variant
a part becomes is a stable hash of its notes, so that an encoded corpus is always the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from genesis_domains.music.cutting import cut
from genesis_domains.music.names import program_of
from genesis_domains.music.score import TEMPI, Score

KEPT = 0.5  # share of the scores that keep their own instruments
MOST_PARTS = 4  # of one score: more of the same work would drown the short tunes
STRETCH = 0.15  # a stated tempo is changed by at most so much

# what plays a tune, a set of voices, or the voice of a song: any of them can be asked for later
MELODIC = tuple(
    program_of(name)
    for name in (
        "violin", "fiddle", "viola", "cello", "flute", "piccolo", "recorder", "whistle", "oboe", "english-horn",
        "clarinet", "bassoon", "alto-sax", "trumpet", "horn", "trombone", "voice", "accordion", "harmonica", "bagpipe",
        "piano", "harpsichord", "guitar", "banjo", "harp", "organ", "vibraphone", "music-box",
    )
)  # fmt: skip
CHORAL = tuple(program_of(name) for name in ("organ", "strings", "piano", "brass", "voice", "recorder", "harpsichord"))
SUNG = tuple(program_of(name) for name in ("voice", "choir"))


def training(score: Score, limit: int) -> Iterator[Score]:
    """The parts of a score, each as one variant; of a long score ``MOST_PARTS``, from its opening to its close."""
    parts = list(cut(score, limit))
    if len(parts) > MOST_PARTS:
        parts = [parts[i * (len(parts) - 1) // (MOST_PARTS - 1)] for i in range(MOST_PARTS)]
    for part in parts:
        yield varied(part)


def varied(score: Score) -> Score:
    """The same notes at a tempo within 15 % of the stated one, and for half of the scores on other instruments."""
    digest = hashlib.blake2b(score.key_text().encode(), digest_size=16).digest()
    draws = [int.from_bytes(digest[i : i + 4], "big") / 2**32 for i in range(0, 16, 4)]
    tempo = score.tempo
    if tempo is not None:
        tempo = min(max(round(tempo * (1 + STRETCH * (2 * draws[0] - 1))), TEMPI[0]), TEMPI[1])
    tracks = score.tracks
    if draws[1] >= KEPT:
        programs = {track.program for track in tracks}
        if len(tracks) == 1 and len(set(n.onset for n in tracks[0].notes)) == len(tracks[0].notes):
            tracks = (tracks[0]._replace(program=_one_of(MELODIC, draws[2])),)
        elif len(programs) == 1 and programs <= {*SUNG}:
            tracks = tuple(track._replace(program=_one_of(CHORAL, draws[2])) for track in tracks)
        elif tracks[0].program in SUNG:
            tracks = (tracks[0]._replace(program=_one_of(MELODIC, draws[2])), *tracks[1:])
    return replace(score, tempo=tempo, tracks=tracks)


def _one_of(programs: Sequence[int], draw: float) -> int:
    return programs[int(draw * len(programs))]

"""A score as a JSON object: what a line of ``.jsonl`` holds, exactly.

    {"score": {"key": "G minor", "tempo": 90, "bars": [["4/4", 16]], "tracks": [{"instrument": "violin",
     "notes": [[onset, pitch, duration, velocity], ...]}], "chords": [[onset, root, quality]], "style": "irish", ...}}

Times are in ticks, 24 a quarter note; a velocity of 80 may be left out. What stands beside ``score`` are columns.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from typing import Any

from genesis.errors import EncodeError
from genesis_domains.music.names import KEYS, METERS, PROGRAMS, QUALITIES
from genesis_domains.music.properties import MOST_BARS
from genesis_domains.music.score import VELOCITY, Harmony, Note, Origin, Score, Track, tidy

Json = dict[str, Any]


def to_json(score: Score) -> Json:
    """The object of a score; what was not stated is left out."""
    out: Json = {"key": KEYS[score.key]}
    if score.tempo is not None:
        out["tempo"] = score.tempo
    out["bars"] = [[METERS[meter], len(list(alike))] for meter, alike in groupby(score.meters)]
    out["tracks"] = [
        {
            "instrument": PROGRAMS[track.program],
            "notes": [list(note[:3] if note.velocity == VELOCITY else note) for note in track.notes],
        }
        for track in score.tracks
    ]
    if score.harmonies:
        out["chords"] = [[h.onset, h.root, QUALITIES[h.quality]] for h in score.harmonies]
    return out | {name: value for name, value in asdict(score.origin).items() if value}


def from_json(found: Json) -> Score:
    """The score of an object; EncodeError says what is wrong with it."""
    try:
        meters: list[int] = []
        for name, count in found["bars"]:
            if not 0 < count <= MOST_BARS - len(meters):
                raise EncodeError(f"{count} bars; at most {MOST_BARS:,} are modelled")
            meters += [METERS.index(name)] * count
        tracks = tuple(
            Track(PROGRAMS.index(track["instrument"]), tidy([Note(*map(int, note)) for note in track["notes"]]))
            for track in found["tracks"]
        )
        chords = tuple(
            Harmony(int(onset), int(root) % 12, QUALITIES.index(q)) for onset, root, q in found.get("chords", ())
        )
        names = Origin.__dataclass_fields__
        origin = Origin(**{name: str(value) for name, value in found.items() if name in names})
        tempo = found.get("tempo")
        score = Score(
            tracks, tuple(meters), KEYS.index(found["key"]), None if tempo is None else int(tempo), chords, origin
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise EncodeError(f"not a score: {type(error).__name__}: {str(error)[:80]}") from None
    return score.check()


def line(score: Score, columns: Json) -> str:
    """A line of a file of scores."""
    return json.dumps({"score": to_json(score), **columns}, separators=(",", ":"), ensure_ascii=False)

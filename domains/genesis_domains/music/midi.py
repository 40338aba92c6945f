"""Standard MIDI files through symusic: bytes to scores and back, and pretty_midi objects at the public edge.

Times are rounded to the grid of 24 ticks a quarter. A performance keeps its first tempo only. A file that no musician
wrote (10^9 ticks, thousands of tracks) is refused by its size, before memory is taken for it.
"""

from __future__ import annotations

import io
import math
import re
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import symusic

from genesis.errors import EncodeError
from genesis_domains.music.keyfinding import find_key
from genesis_domains.music.names import (
    MAJOR,
    METERS,
    PROGRAMS,
    QUALITIES,
    bar_ticks,
    meter_of,
    meter_of_ticks,
    signature,
)
from genesis_domains.music.properties import MOST_BARS
from genesis_domains.music.score import (
    DRUMS,
    HIGHEST,
    LOWEST,
    MAX_TRACKS,
    TEMPI,
    TICKS,
    Harmony,
    Note,
    Origin,
    Score,
    Track,
    level,
    tidy,
    trimmed,
)

if TYPE_CHECKING:
    from pretty_midi import PrettyMIDI

LARGEST = 8 << 20  # bytes of a file that is read
MOST_NOTES = 100_000
MOST_CHUNKS = 1_000  # tracks of a file, empty ones among them
WRITTEN = 480  # ticks a quarter of the files that are written
_CHORD = re.compile(rf"chord ([A-G][b#]?)({'|'.join(map(re.escape, sorted(QUALITIES, key=len, reverse=True)))})")


def from_midi(content: bytes, origin: Origin | None = None) -> Score:
    """The score of a MIDI file's bytes; EncodeError says why there is none."""
    if not content.startswith(b"MThd"):
        raise EncodeError("not a MIDI file: it does not begin with MThd")
    if len(content) > LARGEST:
        raise EncodeError(f"{len(content):,} bytes; a MIDI file of at most {LARGEST:,} is read")
    if content.count(b"MTrk") > MOST_CHUNKS:
        raise EncodeError(f"more than {MOST_CHUNKS:,} tracks; at most {MAX_TRACKS} with notes are modelled")
    try:
        found = symusic.Score.from_midi(content)
    except Exception as error:  # symusic passes on what its parser met
        raise EncodeError(f"not a MIDI file that symusic can read: {str(error)[:100]}") from None
    if found.ticks_per_quarter < 1:
        raise EncodeError(f"{found.ticks_per_quarter} ticks a quarter note")
    if found.note_num() > MOST_NOTES:
        raise EncodeError(f"{found.note_num():,} notes; at most {MOST_NOTES:,} are read")
    if len(found.time_signatures) > MOST_BARS:
        raise EncodeError(f"{len(found.time_signatures):,} changes of meter; at most {MOST_BARS:,} bars are modelled")
    sounding = [track for track in found.tracks if track.note_num()]
    if not sounding:
        raise EncodeError("no notes")
    if len(sounding) > MAX_TRACKS:
        raise EncodeError(f"{len(sounding)} tracks with notes; at most {MAX_TRACKS} are modelled")
    tpq = found.ticks_per_quarter
    tracks = tuple(_track(track, tpq) for track in sounding)
    meters = _meters([(_grid(s.time, tpq), s.numerator, s.denominator) for s in found.time_signatures], tracks)
    if not all(math.isfinite(tempo.qpm) for tempo in found.tempos):
        raise EncodeError("a tempo of no time at all for a quarter note")
    tempi = [round(tempo.qpm) for tempo in found.tempos if tempo.time == 0]
    tempo = tempi[0] if tempi and TEMPI[0] <= tempi[0] <= TEMPI[1] else None
    keys = [sign for sign in found.key_signatures if -7 <= sign.key <= 7]
    key = _key(keys[0].key, bool(keys[0].tonality)) if keys else find_key(tracks)
    end = sum(map(bar_ticks, meters))
    chords = {_grid(m.time, tpq): match for m in found.markers if (match := _CHORD.fullmatch(m.text))}
    harmonies = tuple(
        Harmony(onset, _pitch_class(match[1]), QUALITIES.index(match[2]))
        for onset, match in sorted(chords.items())
        if onset < end
    )
    return trimmed(Score(tracks, meters, key, tempo, harmonies, origin or Origin())).check()


def to_midi(score: Score) -> bytes:
    """A MIDI file of format 1 with the notated key, the meters, the tempo and the chord symbols as markers."""
    scale = WRITTEN // TICKS
    out = symusic.Score(WRITTEN)
    if score.tempo is not None:
        out.tempos.append(symusic.Tempo(0, float(score.tempo)))
    out.key_signatures.append(symusic.KeySignature(0, signature(score.key), int(score.key >= 12)))
    places = zip(score.starts, score.meters, strict=False)
    for meter, alike in groupby(places, key=lambda place: place[1]):
        numerator, denominator = map(int, METERS[meter].split("/"))
        out.time_signatures.append(symusic.TimeSignature(next(alike)[0] * scale, numerator, denominator))
    for harmony in score.harmonies:
        name = f"chord {MAJOR[harmony.root]}{QUALITIES[harmony.quality]}"
        out.markers.append(symusic.TextMeta(harmony.onset * scale, name))
    for track in score.tracks:
        drums = track.program == DRUMS
        made = symusic.Track(name=PROGRAMS[track.program], program=0 if drums else track.program, is_drum=drums)
        for note in track.notes:
            made.notes.append(symusic.Note(note.onset * scale, note.duration * scale, note.pitch, note.velocity))
        out.tracks.append(made)
    content: bytes = out.dumps_midi()
    return content


def to_pretty_midi(score: Score) -> PrettyMIDI:
    """The score as pretty_midi has it, read from the file that would be written."""
    import pretty_midi

    return pretty_midi.PrettyMIDI(io.BytesIO(to_midi(score)))


def from_pretty_midi(midi: PrettyMIDI) -> Score:
    """The score of a pretty_midi object."""
    written = io.BytesIO()
    midi.write(written)
    return from_midi(written.getvalue())


def _track(track: symusic.core.TrackTick, tpq: int) -> Track:
    columns = track.notes.numpy()
    pitches = columns["pitch"].astype(np.int64)
    if pitches.min() < LOWEST or pitches.max() > HIGHEST:
        odd = int(pitches.min() if pitches.min() < LOWEST else pitches.max())
        raise EncodeError(f"pitch {odd}; {LOWEST} to {HIGHEST} are modelled")
    # ends are rounded, not lengths, so that what was legato stays so
    onsets = _ticks(columns["time"], tpq)
    ends = _ticks(columns["time"].astype(np.int64) + columns["duration"], tpq)
    if onsets.min() < 0 or ends.max() > MOST_BARS * 12 * TICKS:
        raise EncodeError(f"a note ends after {int(ends.max()) // TICKS:,} quarter notes; too long to be modelled")
    lengths = np.maximum(ends - onsets, 1)
    rows = zip(onsets.tolist(), pitches.tolist(), lengths.tolist(), columns["velocity"].tolist(), strict=True)
    notes = [Note(onset, pitch, length, level(velocity)) for onset, pitch, length, velocity in rows]
    return Track(DRUMS if track.is_drum else track.program, tidy(notes))


def _ticks(times: np.ndarray, tpq: int) -> np.ndarray:
    ticks: np.ndarray = (times.astype(np.int64) * (2 * TICKS) + tpq) // (2 * tpq)
    return ticks


def _grid(time: int, tpq: int) -> int:
    return (int(time) * 2 * TICKS + tpq) // (2 * tpq)


def _meters(changes: list[tuple[int, int, int]], tracks: tuple[Track, ...]) -> tuple[int, ...]:
    """Bars to the last note. A change inside a bar cuts it short, when a meter of that length exists."""
    end = max(note.end for track in tracks for note in track.notes)
    stated = {time: (n, d) for time, n, d in changes if time < end}
    stated.setdefault(0, (4, 4))
    places = sorted(stated)
    out: list[int] = []
    clock = 0
    for place, following in zip(places, [*places[1:], end], strict=True):
        numerator, denominator = stated[place]
        meter = meter_of(numerator, denominator)
        if meter is None:
            raise EncodeError(f"the meter {numerator}/{denominator} is not modelled")
        while clock < following:
            length = bar_ticks(meter)
            own: int | None = meter
            if clock + length > following and following != end:
                length = following - clock
                own = meter_of_ticks(length)
            if own is None:
                raise EncodeError(f"the meter changes after {length} ticks of a bar of {METERS[meter]}")
            out.append(own)
            clock += length
            if len(out) > MOST_BARS:
                raise EncodeError(f"more than {MOST_BARS:,} bars")
    return tuple(out)


def _key(sharps: int, minor: bool) -> int:
    """The key of a signature with so many sharps."""
    major = sharps * 7 % 12
    return 12 + (major + 9) % 12 if minor else major


def _pitch_class(name: str) -> int:
    letters = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
    return (letters[name[0]] + name.count("#") - name[1:].count("b")) % 12

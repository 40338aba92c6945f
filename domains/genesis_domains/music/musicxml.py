"""MusicXML and .mxl as scores: what sounds, and nothing of how it looks.

A staff is a track, so that a piano has two. Written notes of transposing instruments become sounding ones; grace notes
and cues are left out, repeats are not written out.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from genesis.errors import EncodeError
from genesis_domains.music.bars import Bars, Measure, Written
from genesis_domains.music.keyfinding import find_key
from genesis_domains.music.names import CHORD_KINDS, QUALITIES
from genesis_domains.music.score import DRUMS, TEMPI, Harmony, Origin, Score, Track, tidy, trimmed

LARGEST = 64 << 20  # bytes of a file that is read, unpacked
_DECIMAL = re.compile(r"[+-]?\d{1,12}(\.\d{0,12})?")
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_BEATS: dict[str, Fraction] = {
    "whole": Fraction(4),
    "half": Fraction(2),
    "quarter": Fraction(1),
    "eighth": Fraction(1, 2),
    "16th": Fraction(1, 4),
}


@dataclass(slots=True)
class _Part:
    """One part: what stands in its measures, by place in the measure, and what holds from one to the next."""

    program: int
    notes: list[tuple[int, int, Fraction, Fraction, int, bool, bool]] = field(default_factory=list)
    # measure, staff, onset in it, length, pitch, stops, starts
    lengths: list[Fraction] = field(default_factory=list)
    meters: list[tuple[int, int] | None] = field(default_factory=list)
    chords: list[tuple[int, Fraction, int, int]] = field(default_factory=list)  # measure, onset, root, quality
    divisions: int = 1
    transposed: int = 0
    tempo: Fraction | None = None


def from_musicxml(content: bytes, origin: Origin, programs: Sequence[int] = ()) -> Score:
    """The score of a file's bytes; ``programs`` names the instruments of the tracks where the file is not to."""
    try:
        root = ElementTree.fromstring(unzipped(content))
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise EncodeError(f"not MusicXML: {error}") from None
    if root.tag != "score-partwise":
        raise EncodeError(f"<{root.tag}> is not <score-partwise>, the MusicXML that is read")
    named = {str(part.get("id")): _program(part) for part in root.iterfind("part-list/score-part")}
    try:
        parts = [_part(part, named.get(str(part.get("id")), 0)) for part in root.iterfind("part")]
    except (ArithmeticError, ValueError, KeyError) as error:
        raise EncodeError(f"damaged MusicXML: {type(error).__name__}: {str(error)[:60]}") from None
    return _score(parts, origin, programs)


def unzipped(content: bytes) -> bytes:
    """The MusicXML in an .mxl archive; what is no archive is MusicXML already."""
    if len(content) > LARGEST:
        raise EncodeError(f"more than {LARGEST:,} bytes; MusicXML of at most so many is read")
    if not content.startswith(b"PK"):
        return content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if not name.startswith("META-INF")]
            name = next((name for name in names if name.endswith((".xml", ".musicxml"))), None)
            if name is None:
                raise EncodeError("an .mxl archive without MusicXML in it")
            if archive.getinfo(name).file_size > LARGEST:
                raise EncodeError(f"{name} unpacks to more than {LARGEST:,} bytes")
            return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise EncodeError(f"not an .mxl archive: {error}") from None


def _program(part: Element) -> int:
    if part.findtext("midi-instrument/midi-channel") == "10":
        return DRUMS
    text = part.findtext("midi-instrument/midi-program") or ""
    return int(text) - 1 if text.isdecimal() and 1 <= int(text) <= 128 else 0


def _part(element: Element, program: int) -> _Part:
    part = _Part(program)
    for number, measure in enumerate(element.iterfind("measure")):
        part.meters.append(None)
        cursor = onset = furthest = Fraction(0)
        for event in measure:
            if event.tag == "note":
                if event.find("grace") is not None:
                    continue
                length = _quarters(event, part)
                if event.find("chord") is None:
                    onset, cursor = cursor, cursor + length
                _note(event, part, number, onset, length)
            elif event.tag == "backup":
                cursor = max(cursor - _quarters(event, part), Fraction(0))
            elif event.tag == "forward":
                cursor += _quarters(event, part)
            elif event.tag == "attributes":
                _attributes(event, part)
            elif event.tag in ("direction", "sound") and part.tempo is None:
                part.tempo = _tempo(event)
            elif event.tag == "harmony":
                _harmony(event, part, number, cursor)
            furthest = max(furthest, cursor)
        part.lengths.append(furthest)
    return part


def _quarters(event: Element, part: _Part) -> Fraction:
    return _number(event.findtext("duration") or "0") / part.divisions


def _number(text: str) -> Fraction:
    """A decimal number without an exponent, which could stand for more digits than there is memory."""
    if not _DECIMAL.fullmatch(text.strip()):
        raise ValueError(f"{text[:20]!r} is no number")
    return Fraction(text)


def _note(event: Element, part: _Part, measure: int, onset: Fraction, length: Fraction) -> None:
    pitch = event.find("pitch")
    if pitch is None or event.find("cue") is not None:
        return
    octave, alter = int(pitch.findtext("octave", "4")), round(float(pitch.findtext("alter") or 0))
    sounding = 12 * (octave + 1) + _STEPS[pitch.findtext("step", "")] + alter + part.transposed
    ties = {tie.get("type") for tie in event.iterfind("tie")}
    staff = int(event.findtext("staff") or 1)
    part.notes.append((measure, staff, onset, length, sounding, "stop" in ties, "start" in ties))


def _attributes(event: Element, part: _Part) -> None:
    if divisions := event.findtext("divisions"):
        part.divisions = int(divisions)
    time = event.find("time")
    if time is not None and (beats := time.findtext("beats")) and (unit := time.findtext("beat-type")):
        part.meters[-1] = sum(int(number) for number in beats.split("+")), int(unit)
    transpose = event.find("transpose")
    if transpose is not None:
        octaves = int(transpose.findtext("octave-change") or 0)
        part.transposed = 12 * octaves + int(transpose.findtext("chromatic") or 0)


def _tempo(event: Element) -> Fraction | None:
    """Quarter notes a minute."""
    sound = event if event.tag == "sound" else event.find("sound")
    if sound is not None and sound.get("tempo"):
        return _number(str(sound.get("tempo")))
    mark = event.find("direction-type/metronome")
    if mark is None or mark.findtext("beat-unit") not in _BEATS:
        return None
    beat = _BEATS[mark.findtext("beat-unit", "")]
    beat *= Fraction(3, 2) if mark.find("beat-unit-dot") is not None else 1
    count = mark.findtext("per-minute") or ""
    return beat * int(count) if count.isdecimal() and len(count) < 6 else None


def _harmony(event: Element, part: _Part, measure: int, onset: Fraction) -> None:
    step, kind = event.findtext("root/root-step"), CHORD_KINDS.get(event.findtext("kind") or "")
    if step in _STEPS and kind is not None:
        root = _STEPS[step] + round(float(event.findtext("root/root-alter") or 0))
        part.chords.append((measure, onset, root % 12, QUALITIES.index(kind)))


def _score(parts: Sequence[_Part], origin: Origin, programs: Sequence[int]) -> Score:
    if not any(part.notes for part in parts):
        raise EncodeError("no notes")
    count = max(len(part.lengths) for part in parts)
    measures, starts = [], []
    start = Fraction(0)
    for number in range(count):
        held = [part for part in parts if number < len(part.lengths)]
        length = max(part.lengths[number] for part in held)
        measures.append(Measure(start, length, next((m for p in held if (m := p.meters[number])), None)))
        starts.append(start)
        start += length
    bars = Bars(measures)
    tracks: list[Track] = []
    for part in parts:
        for staff in sorted({note[1] for note in part.notes}):
            written = sorted(
                Written(starts[measure] + onset, length, pitch, stops, begins)
                for measure, where, onset, length, pitch, stops, begins in part.notes
                if where == staff
            )
            notes = tidy(bars.notes(written))
            program = programs[min(len(tracks), len(programs) - 1)] if programs else part.program
            if notes:
                tracks.append(Track(program, notes))
    chords = {
        bars.tick(starts[m] + onset): (root, quality) for part in parts for m, onset, root, quality in part.chords
    }
    tempo = next((round(part.tempo) for part in parts if part.tempo is not None), None)
    score = Score(
        tuple(tracks),
        tuple(bars.meters),
        find_key(tuple(tracks)),
        tempo if tempo is not None and TEMPI[0] <= tempo <= TEMPI[1] else None,
        tuple(Harmony(tick, *chords[tick]) for tick in sorted(chords)),
        origin,
    )
    return trimmed(score).check()

"""ABC and Humdrum through music21, and MusicXML written by it: the one module that asks for music21.

Repeats are not written out; grace notes are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby, pairwise
from typing import Any

from genesis.errors import EncodeError, ResourceError
from genesis_domains.music.bars import Bars, Measure, Written
from genesis_domains.music.keyfinding import find_key
from genesis_domains.music.names import CHORD_KINDS, METERS, PROGRAMS, QUALITIES, signature
from genesis_domains.music.score import DRUMS, TEMPI, TICKS, Harmony, Origin, Score, Track, tidy, trimmed

LARGEST = 16 << 20  # bytes of a file that is read


def library() -> Any:
    """music21, or ResourceError with the command that installs it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import music21
    except ImportError:
        raise ResourceError(
            "ABC and Humdrum are read, and MusicXML is written, with music21; "
            'run `pip install "genesis-engine[notation]"`'
        ) from None
    return music21


def parse(content: bytes, kind: str) -> list[Any]:
    """The music21 scores in a file's content; ``kind`` is abc or humdrum. ABC may hold many tunes."""
    m21 = library()
    if len(content) > LARGEST:
        raise EncodeError(f"{len(content):,} bytes; written music of at most {LARGEST:,} is read")
    text = content.decode("utf-8", "replace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = m21.converter.parseData(text, format=kind)
        except Exception as error:  # music21 raises whatever its parser met
            raise EncodeError(f"music21 cannot read it: {type(error).__name__}: {str(error)[:120]}") from None
    return list(found.scores) if isinstance(found, m21.stream.Opus) else [found]


def score_of(found: Any, origin: Origin, programs: Sequence[int] = ()) -> Score:
    """The score of one music21 score; ``programs`` names the instruments of its parts where the file does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _score_of(found, origin, programs)


def _score_of(found: Any, origin: Origin, programs: Sequence[int]) -> Score:
    parts = [(part, flat) for part in found.parts for flat in (part.flatten(),) if flat.notes]
    if not parts:
        raise EncodeError("no notes")
    bars = Bars(list(_measures(found.parts[0])))
    tracks: list[Track] = []
    harmonies: dict[int, Harmony] = {}
    for number, (part, flat) in enumerate(parts):
        program = programs[min(number, len(programs) - 1)] if programs else _program(part)
        tracks.append(Track(program, tidy(bars.notes(_written(flat.notes)))))
        harmonies |= {h.onset: h for h in _harmonies(flat, bars)}
    tracks = [track for track in tracks if track.notes]
    key = find_key(tuple(tracks))
    chords = tuple(harmonies[onset] for onset in sorted(harmonies))
    return trimmed(Score(tuple(tracks), tuple(bars.meters), key, _tempo(found), chords, origin)).check()


def _measures(part: Any) -> Iterator[Measure]:
    """The printed measures of a part."""
    printed = list(part.getElementsByClass("Measure"))
    if not printed:
        return
    starts = [Fraction(measure.offset) for measure in printed]
    for measure, start, end in zip(printed, starts, [*starts[1:], Fraction(part.highestTime)], strict=True):
        stated = measure.timeSignature
        yield Measure(start, end - start, None if stated is None else (stated.numerator, stated.denominator))


def _written(elements: Any) -> Iterator[Written]:
    """The printed notes of a part, one for each note of a chord."""
    for element in elements:
        if element.duration.isGrace or "ChordSymbol" in element.classes or "Unpitched" in element.classes:
            continue
        onset, length = Fraction(element.offset), Fraction(element.quarterLength)
        for one in element.notes if element.isChord else (element,):
            if hasattr(one, "pitch"):
                tie = one.tie.type if one.tie else ""
                yield Written(
                    onset, length, int(one.pitch.midi), tie in ("stop", "continue"), tie in ("start", "continue")
                )


def _program(part: Any) -> int:
    instrument = part.getInstrument(returnDefault=False)
    program = getattr(instrument, "midiProgram", None)
    if getattr(instrument, "midiChannel", None) == 9:
        return PROGRAMS.index("drums")
    return int(program) if program is not None and 0 <= program < 128 else 0


def _tempo(found: Any) -> int | None:
    """The first metronome mark in quarter notes a minute."""
    for mark in found.recurse().getElementsByClass("MetronomeMark"):
        beats = mark.getQuarterBPM()
        if beats is not None and TEMPI[0] <= (tempo := round(float(beats))) <= TEMPI[1]:
            return tempo
    return None


def _harmonies(flat: Any, bars: Bars) -> Iterator[Harmony]:
    for symbol in flat.getElementsByClass("ChordSymbol"):
        quality = CHORD_KINDS.get(symbol.chordKind)
        root = symbol.root()
        if quality is not None and root is not None:
            yield Harmony(bars.tick(Fraction(symbol.offset)), root.pitchClass, QUALITIES.index(quality))


def to_musicxml(score: Score) -> bytes:
    """The score as MusicXML 4, a part for each track, written by music21."""
    m21 = library()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = m21.stream.Score()
        out.metadata = m21.metadata.Metadata(title=score.origin.style or "genesis")
        for number, track in enumerate(score.tracks):
            out.insert(0, _part(m21, score, track, first=number == 0))
        content: bytes = m21.musicxml.m21ToXml.GeneralObjectExporter(out).parse()
    return content


def _part(m21: Any, score: Score, track: Track, first: bool) -> Any:
    part = m21.stream.Part()
    drums = track.program == DRUMS
    played = m21.instrument.UnpitchedPercussion() if drums else m21.instrument.instrumentFromMidiProgram(track.program)
    played.midiChannel = 9 if drums else None
    part.insert(0, played)
    part.insert(0, m21.key.KeySignature(signature(score.key)))
    if first and score.tempo is not None:
        part.insert(0, m21.tempo.MetronomeMark(number=score.tempo))
    for meter, places in groupby(zip(score.starts, score.meters, strict=False), key=lambda place: place[1]):
        part.insert(Fraction(next(places)[0], TICKS), m21.meter.TimeSignature(METERS[meter]))
    alike: dict[tuple[int, int], list[int]] = {}
    for note in track.notes:
        alike.setdefault((note.onset, note.duration), []).append(note.pitch)
    for (onset, duration), pitches in sorted(alike.items()):
        made = m21.note.Note(pitches[0]) if len(pitches) == 1 else m21.chord.Chord(pitches)
        made.quarterLength = Fraction(duration, TICKS)
        part.insert(Fraction(onset, TICKS), made)
    if any(a[0] + a[1] > b[0] for a, b in pairwise(sorted(alike))):
        part.makeVoices(inPlace=True, fillGaps=True)
    part.makeMeasures(inPlace=True)
    part.makeTies(inPlace=True)
    return part

"""MusicXML, ABC and Humdrum: bars that add up, notes that sound, music21 as the oracle of what is written."""

from __future__ import annotations

import io
import time
import zipfile
from fractions import Fraction

import music21
import pytest

from genesis.errors import EncodeError
from genesis_domains.music import musicxml, notation
from genesis_domains.music.bars import Bars, Measure, Written
from genesis_domains.music.keyfinding import find_key
from genesis_domains.music.names import KEYS, METERS, PROGRAMS
from genesis_domains.music.score import Note, Origin, Score

Q = Fraction
TUNE = """X:1
T:The Test
M:6/8
L:1/8
K:G
D|GAB cBA|"Em"d2B "D7"A3|{g}GAB (3cde f|g6:|
X:2
T:Another
M:4/4
L:1/4
K:Am
A B c d|e4-|e2 z2|]
"""


def bars(*measures: tuple[Fraction | int, tuple[int, int] | None]) -> Bars:
    start, out = Q(0), []
    for length, meter in measures:
        out.append(Measure(start, Q(length), meter))
        start += Q(length)
    return Bars(out)


def names(found: Bars) -> list[str]:
    return [METERS[meter] for meter in found.meters]


def test_a_pickup_stands_at_the_end_of_a_whole_bar():
    found = bars((1, (4, 4)), (4, None), (4, None))
    assert names(found) == ["4/4"] * 3
    assert found.tick(Q(0)) == 72
    assert found.tick(Q(1)) == 96


def test_a_bar_that_a_repeat_sign_cut_is_one_bar():
    found = bars((4, (4, 4)), (3, None), (1, None), (4, None))
    assert names(found) == ["4/4"] * 3
    assert found.tick(Q(7)) == 96 + 72
    assert found.tick(Q(8)) == 192


def test_a_short_bar_is_filled_with_silence():
    found = bars((4, (4, 4)), (2, None), (4, None))
    assert names(found) == ["4/4"] * 3
    assert found.tick(Q(6)) == 192


def test_a_long_measure_becomes_a_bar_of_its_own_meter_or_several():
    assert names(bars((4, (4, 4)), (5, None), (4, None))) == ["4/4", "5/4", "4/4"]
    assert names(bars((2, (2, 4)), (13, None))) == ["2/4"] + ["2/4"] * 7


def test_meters_that_are_not_modelled_and_music_without_bars_are_refused():
    with pytest.raises(EncodeError, match="the meter 4/64 is not modelled"):
        bars((4, (4, 64)))
    with pytest.raises(EncodeError, match="no measures"):
        Bars([])
    with pytest.raises(EncodeError, match="more than 4,000 bars"):
        bars((4, (4, 4)), (10**9, None))


def test_tied_notes_are_one_and_ties_to_nothing_end():
    found = bars((4, (4, 4)), (4, None))
    begun, ended = Written(Q(2), Q(2), 60, False, True), Written(Q(4), Q(1), 60, True, False)
    assert found.notes([begun, ended, Written(Q(6), Q(1), 62, False, True)]) == [Note(48, 60, 72), Note(144, 62, 24)]


def test_abc_with_pickups_triplets_chords_and_grace_notes():
    one, two = (notation.score_of(found, Origin(source="t")) for found in notation.parse(TUNE.encode(), "abc"))
    assert [METERS[m] for m in one.meters] == ["6/8"] * 5
    first = one.tracks[0].notes
    assert first[0] == Note(60, 62, 12)  # the pickup, at the end of its bar
    assert [n.duration for n in first if n.duration == 8] == [8, 8, 8]
    assert KEYS[one.key] == "G major"
    assert [h.root for h in one.harmonies] == [4, 2]
    assert [(n.onset, n.duration) for n in two.tracks[0].notes][-1] == (96, 96 + 48)


def test_what_music21_cannot_read_is_said():
    (empty,) = notation.parse(b"X:1\nM:4/4\nL:1/4\nK:C\nz4|\n", "abc")
    with pytest.raises(EncodeError, match="no notes"):
        notation.score_of(empty, Origin())
    with pytest.raises(EncodeError, match="at most"):
        notation.parse(b" " * (notation.LARGEST + 1), "abc")


COMMON = "<time><beats>4</beats><beat-type>4</beat-type></time>"


def xml(measures: str, attributes: str = f"<divisions>2</divisions>{COMMON}") -> bytes:
    return (
        '<score-partwise><part-list><score-part id="P1"><midi-instrument id="i"><midi-program>41</midi-program>'
        f'</midi-instrument></score-part></part-list><part id="P1"><measure><attributes>{attributes}</attributes>'
        f"{measures}</measure></part></score-partwise>"
    ).encode()


def a_note(step: str, octave: int, duration: object, more: str = "") -> str:
    pitch = f"<pitch><step>{step}</step><octave>{octave}</octave></pitch>"
    return f"<note>{more}{pitch}<duration>{duration}</duration></note>"


def test_musicxml_notes_chords_voices_and_what_does_not_sound():
    content = xml(
        a_note("C", 5, 4) + a_note("E", 5, 4, "<chord/>") + a_note("B", 4, 1, "<grace/>") + a_note("D", 5, 4)
        + "<backup><duration>8</duration></backup>" + a_note("G", 3, 8)
        + '<direction><sound tempo="72"/></direction>'
    )  # fmt: skip
    score = musicxml.from_musicxml(content, Origin())
    (track,) = score.tracks
    assert [n[:3] for n in track.notes] == [(0, 76, 48), (0, 72, 48), (0, 55, 96), (48, 74, 48)]
    assert PROGRAMS[track.program] == "violin"
    assert score.tempo == 72


def test_musicxml_of_a_transposing_instrument_sounds_as_it_sounds():
    down = "<transpose><chromatic>-2</chromatic><octave-change>-1</octave-change></transpose>"
    score = musicxml.from_musicxml(xml(a_note("D", 5, 4), f"<divisions>1</divisions>{COMMON}{down}"), Origin())
    assert score.tracks[0].notes[0].pitch == 60


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_xml", ".xml"), content)
    return out.getvalue()


BOMB = b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + b"".join(
    b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(12)
) + b"]><score-partwise>&m;</score-partwise>"  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not MusicXML"),
        (b"<a/>", "<a> is not <score-partwise>"),
        (b"<score-partwise/>", "no notes"),
        (b"PK\3\4 cut", "not an .mxl archive"),
        (zipped(a=b"x"), "without MusicXML"),
        (zipped(a_xml=b" " * (musicxml.LARGEST + 1)), "unpacks to more than"),
        (xml(a_note("C", 5, "1e999999999")), "is no number"),
        (xml(a_note("C", 5, "nan")), "is no number"),
        (xml(a_note("C", 5, 10**11)), "more than 4,000 bars"),
        (xml(a_note("C", 99, 4)), "pitch 1200; 21 to 108"),
        (xml(a_note("H", 5, 4)), "damaged MusicXML: KeyError"),
        (xml(a_note("C", 5, 4), "<divisions>0</divisions>"), "damaged MusicXML: ZeroDivisionError"),
        (BOMB, "not MusicXML"),
    ],
)
def test_hostile_musicxml_is_refused_at_once(content, said):
    began = time.process_time()
    with pytest.raises(EncodeError, match=said):
        musicxml.from_musicxml(content, Origin())
    assert time.process_time() - began < 1


def test_musicxml_that_is_written_is_read_by_music21_and_by_us(duet, hand):
    for score in (duet, *hand[:3], *[s for s in hand if len(s.tracks) == 3][:1]):
        content = notation.to_musicxml(score)
        back = musicxml.from_musicxml(content, Origin())
        assert sounding(back) == sounding(score)
        assert [METERS[m] for m in back.meters] == [METERS[m] for m in score.meters]
        assert back.tempo == score.tempo
        found = music21.converter.parseData(content.decode(), format="musicxml")
        begun = [note for note in found.flatten().notes if not note.tie or note.tie.type == "start"]
        pitches = sorted(pitch.midi for note in begun for pitch in note.pitches)
        assert pitches == sorted(n.pitch for track in score.tracks for n in track.notes)


def sounding(score: Score) -> list[list[tuple[int, ...]]]:
    return [[tuple(n[:3]) for n in track.notes] for track in score.tracks]


@pytest.mark.parametrize("work", ["bach/bwv66.6.mxl", "bach/bwv253.mxl"])
def test_the_key_is_the_one_that_music21_finds(work):
    path = music21.common.getCorpusFilePath() / work
    if not path.is_file():
        pytest.skip("music21 was installed without its corpus")
    score = musicxml.from_musicxml(path.read_bytes(), Origin())
    found = music21.converter.parse(path).analyze("key.aarden")
    assert KEYS[score.key] == f"{found.tonic.name.replace('-', 'b')} {found.mode}"
    assert len(score.tracks) == 4


def test_drums_alone_are_in_c_major_for_want_of_another(hand):
    drums = next(s for s in hand if [PROGRAMS[t.program] for t in s.tracks] == ["drums"])
    assert KEYS[find_key(drums.tracks)] == "C major"

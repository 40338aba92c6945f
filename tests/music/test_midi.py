"""MIDI in and out, with pretty_midi as the independent reader, and files that nobody would write."""

from __future__ import annotations

import random
import struct
import time

import pretty_midi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesis.errors import EncodeError
from genesis_domains.music import midi
from genesis_domains.music.names import KEYS, METERS, PROGRAMS, bar_ticks, program_of
from genesis_domains.music.score import DRUMS, Harmony, Note, Score, Track, tidy, trimmed

END = b"\0\xff\x2f\0"


def number(n: int) -> bytes:
    """A variable-length quantity."""
    out = [n & 127]
    while n := n >> 7:
        out.append((n & 127) | 128)
    return bytes(reversed(out))


def a_file(*tracks: bytes, division: int = 480, count: int | None = None) -> bytes:
    head = struct.pack(">4sIHHH", b"MThd", 6, 1, len(tracks) if count is None else count, division)
    return head + b"".join(struct.pack(">4sI", b"MTrk", len(track)) + track for track in tracks)


def a_note(ticks: int = 480) -> bytes:
    return b"\0\x90\x3c\x50" + number(ticks) + b"\x80\x3c\0"


@st.composite
def scores(draw: st.DrawFn) -> Score:
    """Scores as files can hold them: every note of a track on a pitch of its own time."""
    meters = tuple(draw(st.lists(st.integers(0, len(METERS) - 1), min_size=1, max_size=4)))
    end = sum(map(bar_ticks, meters))
    tracks = []
    for program in draw(st.lists(st.sampled_from([0, 40, 73, DRUMS]), min_size=1, max_size=3)):
        loud = st.sampled_from([8, 80, 120])
        rows = st.tuples(st.integers(0, end - 1), st.integers(30, 90), st.integers(1, 60), loud)
        notes = tidy([Note(o, p, min(d, end - o), v) for o, p, d, v in draw(st.lists(rows, min_size=1, max_size=12))])
        tracks.append(Track(program, notes))
    key, tempo = draw(st.integers(0, 23)), draw(st.none() | st.integers(20, 309))
    return trimmed(Score(tuple(tracks), meters, key, tempo))


@settings(max_examples=80)
@given(scores())
def test_a_file_that_was_written_reads_as_the_same_notes(score):
    back = midi.from_midi(midi.to_midi(score))
    assert back.tracks == score.tracks
    assert (back.key, back.tempo) == (score.key, score.tempo)
    assert sum(map(bar_ticks, back.meters)) >= back.tracks[0].notes[-1].end


@settings(max_examples=40)
@given(scores())
def test_pretty_midi_reads_the_same_notes(score):
    read = midi.to_pretty_midi(score)
    assert read.resolution == 480
    for track, found in zip(score.tracks, read.instruments, strict=True):
        assert found.is_drum == (track.program == DRUMS)
        assert found.is_drum or found.program == track.program
        heard = sorted((read.time_to_tick(n.start), read.time_to_tick(n.end), n.pitch, n.velocity) for n in found.notes)
        assert heard == sorted((n.onset * 20, n.end * 20, n.pitch, n.velocity) for n in track.notes)


def test_pretty_midi_reads_the_meter_the_key_the_tempo_and_the_chords(duet):
    score = Score(duet.tracks, duet.meters, KEYS.index("Bb minor"), 66, (Harmony(0, 10, 1), Harmony(96, 5, 2)))
    read = midi.to_pretty_midi(score)
    (change,) = read.time_signature_changes
    assert (change.numerator, change.denominator, change.time) == (4, 4, 0)
    (key,) = read.key_signature_changes
    assert pretty_midi.key_number_to_key_name(key.key_number) == "Bb minor"
    assert read.get_tempo_changes()[1] == pytest.approx([66], abs=1e-3)
    back = midi.from_midi(midi.to_midi(score))
    assert back == score


def test_pretty_midi_objects_come_in_and_go_out(duet):
    assert midi.from_pretty_midi(midi.to_pretty_midi(duet)).tracks == duet.tracks


def test_times_are_rounded_to_the_grid_and_legato_stays_legato():
    played = pretty_midi.PrettyMIDI(initial_tempo=120)
    violin = pretty_midi.Instrument(40)
    for i in range(8):
        start = i * 0.5 + 0.004
        violin.notes.append(pretty_midi.Note(79, 60 + i, start, start + 0.5))
    played.instruments.append(violin)
    (track,) = midi.from_pretty_midi(played).tracks
    assert [note[:3] for note in track.notes] == [(i * 24, 60 + i, 24) for i in range(8)]
    assert {note.velocity for note in track.notes} == {80}


def test_a_change_of_meter_inside_a_bar_cuts_it():
    change = b"\0\xff\x58\x04\x04\x02\x18\x08" + number(960) + b"\xff\x58\x04\x03\x02\x18\x08"
    score = midi.from_midi(a_file(change + END, a_note(480 * 5) + END))
    assert [METERS[meter] for meter in score.meters] == ["2/4", "3/4"]


HOSTILE = {
    "no file at all": (b"", "does not begin with MThd"),
    "a header and no more": (b"MThd", "not a MIDI file that symusic can read"),
    "text": (b"hello" * 100, "does not begin with MThd"),
    "cut short": (a_file(a_note() * 1_000 + END)[:3_000], "symusic can read"),
    "a thousand million ticks": (a_file((number(0xFFFFFFF) + b"\xff\x01\0") * 40 + a_note() + END),
                                 "a note ends after 4,473,925 quarter notes"),
    "a note without end": (a_file(a_note(0xFFFFFFF) + END), "a note ends after 559,240 quarter notes"),
    "no tempo": (a_file(b"\0\xff\x51\x03\0\0\0" + a_note() + END), "a tempo of no time at all"),
    "a hundred thousand tracks": (a_file(*[END] * 100_000, count=65_535), "more than 1,000 tracks"),
    "tracks with a note each": (a_file(*[a_note() + END] * 60_000), "more than 1,000 tracks"),
    "nine tracks": (a_file(*[a_note() + END] * 9), "9 tracks with notes; at most 8"),
    "no ticks a quarter": (a_file(a_note() + END, division=0), "0 ticks a quarter note"),
    "frames a second": (a_file(a_note() + END, division=0xE728), "symusic can read"),
    "a meter of nothing": (a_file(b"\0\xff\x58\x04\0\x02\x18\x08" + a_note() + END), "the meter 0/4 is not modelled"),
    "a meter of 255": (a_file(b"\0\xff\x58\x04\xff\xff\x18\x08" + a_note() + END), "the meter 255/"),
    "a meter at every tick": (a_file(b"\x01\xff\x58\x04\x04\x02\x18\x08" * 200_000 + a_note() + END),
                              "200,000 changes of meter"),
    "a million notes": (a_file(a_note(1) * 900_000 + END), "900,000 notes; at most 100,000"),
    "a long message": (a_file(b"\0\xf0" + number(0xFFFFFFF) + b"abc" + END), "symusic can read"),
    "no notes": (a_file(END), "no notes"),
    "a pitch below the piano": (a_file(b"\0\x90\x05\x50\x60\x80\x05\0" + END), "pitch 5; 21 to 108"),
    "nine megabytes": (b"MThd" + bytes(9 << 20), "8,388,608 is read"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_at_once(name):
    content, said = HOSTILE[name]
    began = time.process_time()
    with pytest.raises(EncodeError, match=said):
        midi.from_midi(content)
    assert time.process_time() - began < 1


def mutated(rng: random.Random, content: bytes) -> bytes:
    """A few bytes changed, cut out, doubled, or the end cut off."""
    out = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(out))
        kind = rng.randrange(5)
        if kind == 0:
            out[at] = rng.randrange(256)
        elif kind == 1:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del out[at : at + rng.randint(1, 8)]
        elif kind == 3:
            out[at:at] = out[at : at + rng.randint(1, 40)]
        else:
            out[at : at + 4] = rng.choice([b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\xff\xff\xff\xff"])
        if len(out) < 20:
            break
    return bytes(out[: rng.randint(8, len(out))] if rng.random() < 0.1 else out)


def fuzz(scores: list[Score], files: int, seed: int) -> None:
    rng = random.Random(seed)
    whole = [midi.to_midi(score) for score in scores]
    read = 0
    for _ in range(files):
        content = mutated(rng, rng.choice(whole))
        began = time.process_time()
        try:
            score = midi.from_midi(content)
        except EncodeError:
            pass
        else:
            read += 1
            assert midi.from_midi(midi.to_midi(score)).tracks == score.tracks
        assert time.process_time() - began < 1
    assert 0 < read < files


def test_mutated_files_give_a_score_or_a_clear_error(hand):
    fuzz(hand, 400, 0)


@pytest.mark.slow
def test_two_thousand_mutated_files(hand):
    fuzz(hand, 2_000, 1)


def test_names_are_general_midi():
    for program in (0, 40, 73, 105):
        spoken = pretty_midi.program_to_instrument_name(program).lower()
        assert PROGRAMS[program].split("-")[0] in spoken
    assert program_of("fiddle") == pretty_midi.instrument_name_to_program("Fiddle")

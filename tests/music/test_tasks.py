"""What can be asked beyond properties, through the engine: what is given stays note for note."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pretty_midi
import pytest

from genesis.errors import InputError, UsageError
from genesis_domains.music import DOMAIN, files
from genesis_domains.music.names import KEYS, METERS, PROGRAMS
from genesis_domains.music.score import TICKS, Score
from genesis_domains.music.sheet import tones
from genesis_domains.music.tasks import GIVEN, task


def notes(score: Score, track: int, first: int, last: int) -> set[tuple[int, ...]]:
    start, end = score.starts[first], score.starts[last]
    return {note for note in score.tracks[track].notes if start <= note.onset < end}


def one(engine, target=None, **given):
    (found,) = engine.generate(1, target, given=given).items
    return found


def test_a_continuation_begins_with_what_is_given(engine, duet):
    hits = engine.generate(3, {"bars": 4}, given={"continue": duet})
    assert len(hits) == 3
    for score in hits:
        assert score.meters == duet.meters + duet.meters[-1:] * 4
        assert (score.key, score.tempo) == (duet.key, duet.tempo)
        for track in (0, 1):
            assert notes(score, track, 0, 8) == set(duet.tracks[track].notes)
            assert notes(score, 0, 8, 12) | notes(score, 1, 8, 12)


def test_a_continuation_through_files_as_pretty_midi_reads_them(engine, duet, tmp_path):
    opening, out = tmp_path / "opening.mid", tmp_path / "whole.mid"
    DOMAIN.write([duet], opening, {})
    engine.generate(1, {"bars": 2}, given={"continue": str(opening)}).write(out)
    before, after = pretty_midi.PrettyMIDI(str(opening)), pretty_midi.PrettyMIDI(str(out))

    def heard(midi: pretty_midi.PrettyMIDI, track: int) -> set[tuple[float, ...]]:
        return {(round(n.start, 6), round(n.end, 6), n.pitch, n.velocity) for n in midi.instruments[track].notes}

    for track in (0, 1):
        assert heard(before, track) <= heard(after, track)
    assert after.get_end_time() > before.get_end_time()


def test_an_infill_changes_its_cell_and_nothing_else(engine, duet):
    for score in engine.generate(4, {"bars": (3, 5)}, given={"infill": duet, "track": 2}):
        assert score.tracks[0] == duet.tracks[0]
        assert notes(score, 1, 0, 2) == notes(duet, 1, 0, 2)
        assert notes(score, 1, 5, 8) == notes(duet, 1, 5, 8)
        assert all(note.end <= score.starts[5] for note in notes(score, 1, 2, 5))


def test_an_infill_without_a_track_frees_all_of_them(engine, duet):
    hits = engine.generate(4, {"bars": 3.0}, given={"infill": duet})
    assert any(notes(score, 0, 2, 3) != notes(duet, 0, 2, 3) for score in hits)
    assert all(notes(score, 0, 3, 8) == notes(duet, 0, 3, 8) for score in hits)


def test_a_harmony_keeps_the_melody_and_adds_three_voices(engine, duet):
    score = one(engine, harmonize=duet)
    assert score.tracks[0] == duet.tracks[0]
    assert 1 < len(score.tracks) <= 4
    assert {track.program for track in score.tracks} == {duet.tracks[0].program}


def test_an_accompaniment_keeps_everything_and_follows_the_chords(engine, duet):
    score = one(engine, accompany=duet, instruments="guitar, bass", chords="C F | G7")
    assert score.tracks[:2] == duet.tracks
    assert {PROGRAMS[track.program] for track in score.tracks[2:]} <= {"guitar", "bass"}
    assert [h.onset for h in score.harmonies][:3] == [0, 48, 96]
    for track in score.tracks[2:]:
        for note in track.notes:
            if note.onset % TICKS == 0:
                chord = max((h for h in score.harmonies if h.onset <= note.onset), key=lambda h: h.onset)
                assert note.pitch % 12 in tones(chord)


def test_a_variation_keeps_whole_cells(engine, duet):
    hits = engine.generate(6, given={"vary": duet, "strength": 0.3})
    kept = [
        notes(score, track, bar, bar + 1) == notes(duet, track, bar, bar + 1)
        for score in hits for track in (0, 1) if track < len(score.tracks)
        for bar in range(min(8, len(score.meters)))
    ]  # fmt: skip
    assert 0.4 < np.mean(kept) < 1
    assert len({score.key_text() for score in hits}) == 6


@pytest.mark.parametrize("form", ["AABA", "ABAC", "AAAA"])
def test_equal_letters_are_equal_music(engine, form):
    for score in engine.generate(2, {"bars": 2, "meter": "3/4", "key": "D minor"}, given={"form": form}):
        sections = []
        for at in range(len(form)):
            first = at * 2
            last = min(first + 2, len(score.meters))
            sections.append({n._replace(onset=n.onset - score.starts[first]) for n in notes(score, 0, first, last)})
        for i, a in enumerate(form):
            for j, b in enumerate(form):
                assert (sections[i] == sections[j]) or a != b
        assert {METERS[meter] for meter in score.meters} == {"3/4"}
        assert KEYS[score.key] == "D minor"


def test_a_piece_longer_than_the_network_is_written_in_runs(engine):
    (score,) = engine.generate(1, {"bars": 60}, given={"instruments": "violin,cello"})
    assert 56 <= len(score.meters) <= 60  # silent bars at the end are no part of a score
    assert {PROGRAMS[track.program] for track in score.tracks} <= {"violin", "cello"}


def test_chords_alone_make_a_piece_of_their_length(engine):
    score = one(engine, {"instrument": "piano"}, chords="Dm G7 C Am")
    assert len(score.meters) == 4
    assert KEYS[score.key] == "C major"
    assert len(score.harmonies) == 4


def test_the_same_seed_gives_the_same_music_in_any_batch(engine, duet):
    given = {"vary": duet, "strength": 0.5}
    whole = engine.generate(5, given=given, seed=7)
    assert engine.generate(5, given=given, seed=7, batch_size=2).keys == whole.keys
    assert engine.generate(5, given=given, seed=8).keys != whole.keys


WRONG = [
    ({"continue": "a.mid", "vary": "b.mid"}, {}, "continue and vary do not go together"),
    ({"form": "AxB"}, {}, "form 'AxB': write a letter a section"),
    ({"form": "AB", "strength": "1"}, {}, "strength does not go with form; allowed are chords, instruments"),
    ({"chords": "Dm H7"}, {}, "'H7' is no chord that is known"),
    ({"chords": "|"}, {}, "no chord in"),
    ({"instruments": "kazoo"}, {}, "no instrument 'kazoo'"),
    ({"instruments": ",".join(["piano"] * 9)}, {}, "9 instruments; 1 to 8"),
    ({"form": "A" * 600}, {"bars": 8}, "600 sections of 8 bars; at most 4,000"),
    ({"form": "AB"}, {"bars": [2, 4]}, "for one target at a time"),
    ({"form": "AB"}, {"bars": (2, 4)}, "bars=2:4: one number is needed here"),
]


@pytest.mark.parametrize(("given", "target", "said"), WRONG)
def test_requests_that_make_no_sense_teach(given, target, said):
    with pytest.raises(UsageError, match=said):
        task(given, target)


@pytest.mark.parametrize(
    ("given", "target", "said"),
    [
        ({"infill": None}, {}, "infill needs the bars to write"),
        ({"infill": None}, {"bars": (5, 12)}, "bars 5:12: what is given has the bars 1 to 8"),
        ({"infill": None, "track": "3"}, {"bars": 2}, "track 3: what is given has the tracks 1 to 2"),
        ({"vary": None, "strength": "2"}, {}, "strength 2: a number above 0"),
        ({"vary": None, "strength": "much"}, {}, "strength much: a number above 0"),
        ({"continue": None}, {"key": "F major"}, "key=F major: what is given is in C major"),
        ({"continue": None}, {"meter": "3/4"}, "meter=3/4: what is given is in 4/4"),
        ({"accompany": None, "instruments": ",".join(["piano"] * 7)}, {}, "at most 8"),
    ],
)
def test_requests_that_do_not_fit_what_is_given_teach(duet, given, target, said):
    with pytest.raises(UsageError, match=said):
        task({name: duet if value is None else value for name, value in given.items()}, target)


def test_a_file_of_several_scores_or_of_none_is_refused(tmp_path, duet):
    many = tmp_path / "many.jsonl"
    files.write([duet, replace(duet, tempo=90)], many, {})
    with pytest.raises(UsageError, match="holds 2 scores"):
        task({"continue": str(many)}, {})
    broken = tmp_path / "broken.mid"
    broken.write_bytes(b"MThd")
    with pytest.raises(InputError, match=r"broken.mid: not a MIDI file"):
        task({"vary": str(broken)}, {})


def test_every_kind_is_explained():
    assert all(text and "\n" not in text for text in GIVEN.values())

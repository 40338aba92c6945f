"""Files and folders of scores, lines of JSON, pictures and sounds."""

from __future__ import annotations

import io
import json
import time
import wave
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from genesis.errors import EncodeError, InputError, UsageError
from genesis_domains.music import DOMAIN, files, midi, picture, records, sound
from genesis_domains.music.names import METERS
from genesis_domains.music.score import Harmony, Origin, Score
from tests.music.conftest import line

COMMON = METERS.index("4/4")


def test_a_line_holds_a_score_exactly(hand):
    for score in hand:
        text = records.line(score, {"note": "x"})
        back = records.from_json(json.loads(text)["score"])
        assert back == score
        assert back.origin == score.origin


def test_origins_and_chords_stay_in_a_line(duet):
    score = replace(duet, harmonies=(Harmony(0, 2, 3),), origin=Origin("irish", "NN", "a.abc", "free", "f", "opening"))
    back = records.from_json(json.loads(records.line(score, {}))["score"])
    assert (back, back.origin) == (score, score.origin)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, "KeyError: 'bars'"),
        ({"key": "H major", "bars": [["4/4", 1]], "tracks": []}, "not a score: ValueError"),
        ({"key": "C major", "bars": [["4/4", 10**9]], "tracks": []}, "1000000000 bars; at most 4,000"),
        ({"key": "C major", "bars": [["4/4", 1]], "tracks": [{"instrument": "piano", "notes": [[0, 60]]}]},
         "TypeError"),
        ({"key": "C major", "bars": [["4/4", 1]], "tracks": [{"instrument": "piano", "notes": [[0, 60, 1e400]]}]},
         "OverflowError"),
        ({"key": "C major", "bars": 5, "tracks": []}, "TypeError"),
    ],
)  # fmt: skip
def test_objects_that_are_no_scores(found, said):
    with pytest.raises(EncodeError, match=said):
        records.from_json(found)


def test_a_folder_names_the_style(tmp_path, duet):
    (tmp_path / "polka").mkdir()
    for number in range(3):
        (tmp_path / "polka" / f"{number}.mid").write_bytes(midi.to_midi(duet))
    (tmp_path / "polka" / "notes.txt").write_text("no music")
    (tmp_path / "bad.mid").write_bytes(b"MThd")
    found = DOMAIN.read(tmp_path)
    assert [score.origin.style for score in found.items] == ["polka"] * 3
    assert [(r.text, r.reason[:15]) for r in found.rejected] == [("bad.mid", "not a MIDI file")]
    alone = DOMAIN.read(tmp_path / "polka")
    assert {score.origin.style for score in alone.items} == {"polka"}


def test_parts_of_a_large_file_are_the_whole(tmp_path, duet):
    lines = tmp_path / "many.jsonl"
    scores = [replace(duet, tempo=20 + i % 280) for i in range(files.BATCH + 7)]
    files.write(scores, lines, {"number": list(range(len(scores)))})
    parts = list(files.batches(lines))
    assert [len(part.items) for part in parts] == [files.BATCH, 7]
    whole = files.read(lines)
    assert whole.items == scores
    assert whole.columns["number"] == list(range(len(scores)))


def test_a_folder_is_written_with_a_report(tmp_path, hand):
    target = tmp_path / "tunes"
    files.write(hand[:3], target, {"key": ["a", "b", "c"]})
    report = json.loads((target / "report.json").read_text())
    assert [(row["file"], row["key"]) for row in report] == [("0000.mid", "a"), ("0001.mid", "b"), ("0002.mid", "c")]
    assert [s.tracks for s in files.read(target).items] == [s.tracks for s in hand[:3]]
    with pytest.raises(UsageError, match="the folder is not empty"):
        files.check_target(target)


@pytest.mark.parametrize(
    ("name", "count", "said"),
    [
        ("x.mp3", 1, r"cannot write 'x.mp3'; allowed: .mid, .midi, .musicxml, .jsonl"),
        ("x.mid", 2, "x.mid holds one score, and 2 are to be written; give a folder or a .jsonl"),
        ("gone/x.mid", 1, "folder .* is not there; make it first"),
        ("a file", 2, "it is a file; give a folder"),
    ],
)
def test_targets_are_refused_before_the_work(tmp_path, name, count, said):
    (tmp_path / "a file").touch()
    with pytest.raises(UsageError, match=said):
        files.check_target(tmp_path / name, count)


def test_sources_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="--column x: files of scores have no columns"):
        files.read(tmp_path, "x")
    with pytest.raises(InputError, match="no scores in it"):
        files.read(tmp_path)
    with pytest.raises(InputError, match=r"cannot read .*gone.mid: No such file"):
        files.read(tmp_path / "gone.mid")
    (tmp_path / "x.doc").touch()
    with pytest.raises(InputError, match=r"unknown suffix '\.doc'"):
        files.read(tmp_path / "x.doc")
    (tmp_path / "x.jsonl").touch()
    with pytest.raises(InputError, match=r"x.jsonl holds no scores"):
        files.read(tmp_path / "x.jsonl")


def test_a_picture_has_a_rectangle_for_each_note(tmp_path, duet):
    target = tmp_path / "roll.svg"
    picture.draw([duet], ["eight bars\nasked: none & <nothing>"], target)
    root = ElementTree.parse(target).getroot()
    boxes = [b for b in root.iter("{http://www.w3.org/2000/svg}rect") if b.get("fill") in picture.COLOURS[:2]]
    assert len(boxes) == duet.notes
    assert [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")] == ["eight bars", "asked: none & <nothing>"]
    picture.draw([duet] * 3, [""] * 3, tmp_path / "roll.png")
    with Image.open(tmp_path / "roll.png") as image:
        assert image.width <= picture.WIDEST
        assert len(image.getcolors(1 << 16) or []) > 4


def test_a_wav_lasts_as_long_as_the_music_and_is_heard(duet):
    content = sound.wav([duet])
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 44_100, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert sound.seconds(duet) == pytest.approx(8 * 4 * 60 / 100)
    assert len(samples) / 44_100 >= sound.seconds(duet) - 0.5
    level = np.abs(samples.astype(float)).max(1)
    assert level.max() == pytest.approx(0.9 * 32_767, rel=1e-3)


def test_concert_pitch_is_440():
    samples = sound.render(Score((line([69], 96, "flute"),), (COMMON,), 0, 60))[0, 44_100 : 2 * 44_100]
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))  # a line a hertz
    assert spectrum.argmax() / 440 == pytest.approx(round(spectrum.argmax() / 440), abs=0.01)


@pytest.mark.slow
def test_three_minutes_become_sound_in_a_second():
    score = Score((line([60, 64, 67, 72] * 90, program="piano"),), (COMMON,) * 90, 0, 120)
    sound.wav([score])
    began = time.process_time()
    sound.wav([score])
    assert sound.seconds(score) == 180
    assert time.process_time() - began < 1


def test_an_hour_of_sound_is_refused(duet):
    with pytest.raises(UsageError, match=r"3,8\d\d seconds of sound; at most 3,600"):
        sound.wav([duet] * 200)

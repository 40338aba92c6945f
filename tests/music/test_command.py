"""`genesis music`: the flags that the domain adds, the files that come out, and the errors."""

from __future__ import annotations

import json
import wave

import pretty_midi
import pytest
from PIL import Image

from genesis.cli.app import run
from genesis_domains.music import DOMAIN
from genesis_domains.music.names import PROGRAMS


@pytest.fixture
def music(engine, tmp_path, capsys, monkeypatch):
    """Run `genesis music` with the tiny network in an empty folder; the exit code and what it said."""
    engine.save(tmp_path / "tiny" / "model")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["music", "--model", "tiny", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_one_command_gives_midi_musicxml_sound_and_a_picture(music, tmp_path):
    code, _, err = music(
        "--style", "irish", "--bars", "2", "--key", "G minor", "--meter", "3/4", "--tempo", "90", "--instrument",
        "violin", "--tracks", "1", "--out", "a.mid", "--out", "a.musicxml", "--audio", "a.wav", "--picture", "a.png",
    )  # fmt: skip
    assert code == 0, err
    read = pretty_midi.PrettyMIDI("a.mid")
    (change,) = read.time_signature_changes
    assert (change.numerator, change.denominator) == (3, 4)
    assert read.get_tempo_changes()[1] == pytest.approx([90], abs=0.01)
    assert PROGRAMS[read.instruments[0].program] == "violin"
    assert DOMAIN.read(tmp_path / "a.musicxml").items[0].notes == DOMAIN.read(tmp_path / "a.mid").items[0].notes
    with wave.open("a.wav") as sound, Image.open("a.png") as picture:
        assert sound.getnframes() > 44_100
        assert picture.text["genesis:seed"] == "0"


def test_one_item_is_made_where_a_file_takes_no_more(music):
    assert music("--bars", "2", "--out", "a.mid")[0] == 0
    code, _, err = music("--bars", "2", "--count", "2", "--out", "b.mid")
    assert code == 2
    assert "b.mid holds one score, and 2 are to be written" in err


def test_what_is_given_is_finished(music, duet, tmp_path):
    DOMAIN.write([duet], tmp_path / "theme.mid", {})
    assert music("--continue", "theme.mid", "--bars", "2", "--out", "long.mid")[0] == 0
    assert len(DOMAIN.read(tmp_path / "long.mid").items[0].meters) in (9, 10)
    assert music("--infill=theme.mid", "--bars", "3:4", "--track", "2", "--out", "filled.mid")[0] == 0
    filled = DOMAIN.read(tmp_path / "filled.mid").items[0]
    assert filled.tracks[0] == duet.tracks[0]
    assert music("--form", "AAB", "--bars", "2", "--count", "2", "--out", "tunes")[0] == 0
    assert len(json.loads((tmp_path / "tunes" / "report.json").read_text())) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--style", "polka"), "style='polka': not a label; known: bach-chorale, irish"),
        (("--style", "irish:1,polka:1"), "'polka' is not a label"),
        (("--instrument", "kazoo"), "instrument='kazoo': not a label"),
        (("--bars", "0"), "bars=0: impossible; bars lies within 1 to"),
        (("--bars", "4000"), "4000 bars take at least 4005 tokens, and this model has room for 400"),
        (("--chords", "Dm X7"), "'X7' is no chord that is known"),
        (("--continue", "gone.mid"), "cannot read gone.mid: No such file"),
        (("--continue",), "--continue: a value is missing"),
        (("--form", "A", "--vary", "x.mid"), "vary and form do not go together"),
    ],
)
def test_errors_teach(music, arguments, said):
    code, out, err = music(*arguments)
    assert code in (2, 3)
    assert said in err
    assert out == ""


def test_the_help_names_what_can_be_asked_and_given(capsys):
    assert run(["music", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--style, --part, --key, --meter" in said
    assert "What can be given" in said
    assert "--infill" in said

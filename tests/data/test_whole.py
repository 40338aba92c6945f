"""A folder that is whole or not there, whoever is killed or in the way."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from genesis.data.whole import Whole
from genesis.errors import UsageError


def fill(target: Path, text: str) -> None:
    with Whole(target, "marker") as part:
        assert part.parent == target.parent
        (part / "marker").write_text(text)


def test_it_appears_and_is_replaced_whole(tmp_path):
    target = tmp_path / "deep" / "er" / "thing"
    fill(target, "one")
    (target / "left over").touch()
    fill(target, "two")
    assert [p.name for p in target.iterdir()] == ["marker"]
    assert (target / "marker").read_text() == "two"
    assert [p.name for p in target.parent.iterdir()] == ["thing"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_was_there_stays_when_writing_fails(tmp_path, error):
    fill(tmp_path / "thing", "one")

    def fail() -> None:
        with Whole(tmp_path / "thing", "marker") as part:
            (part / "marker").write_text("two")
            raise error

    with pytest.raises(error):
        fail()
    assert (tmp_path / "thing" / "marker").read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["thing"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_not_ours_is_not_deleted(tmp_path, kind):
    target = tmp_path / "photos"
    if kind == "folder":
        target.mkdir()
        (target / "summer.jpg").write_text("precious")
    else:
        target.write_text("precious")
    with pytest.raises(UsageError, match=r"photos: something else stands there \(no marker in it\)"):
        fill(target, "one")
    assert (target / "summer.jpg" if kind == "folder" else target).read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]


def test_what_came_meanwhile_is_not_deleted_either(tmp_path):
    writer = Whole(tmp_path / "thing", "marker")
    writer.__enter__()
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "summer.jpg").touch()
    with pytest.raises(UsageError):
        writer.__exit__(None)
    assert (tmp_path / "thing" / "summer.jpg").exists()


def test_an_empty_folder_is_nobodys(tmp_path):
    (tmp_path / "thing").mkdir()
    fill(tmp_path / "thing", "one")
    assert (tmp_path / "thing" / "marker").exists()


def test_a_killed_writer_leaves_no_target_and_the_next_one_sweeps(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from genesis.data.whole import Whole\n"
        "with Whole(Path(sys.argv[1]), 'marker') as part:\n"
        "    (part / 'marker').write_text('one'); print('in', flush=True); time.sleep(60)"
    )
    target = tmp_path / "thing"
    with subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "in\n"
        alive = next(tmp_path.glob(".thing.*.part"))
        fill(target, "two")  # a second writer leaves the living one alone
        assert alive.exists()
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert (target / "marker").read_text() == "two"
    fill(tmp_path / "other", "one")
    assert alive.exists()  # another target's business
    fill(target, "three")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "thing"]


def test_leftovers_of_another_machine_are_left_alone(tmp_path):
    foreign = tmp_path / ".thing.elsewhere.1.part"
    foreign.mkdir()
    fill(tmp_path / "thing", "one")
    assert foreign.exists()

"""``genesis batch``: from the flags and the plan file to a library, and what each command says."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from genesis.batch import columns, local, shards
from genesis.batch.plan import Plan
from genesis.cli import generate
from genesis.cli.app import run

Call = Callable[..., "Outcome"]


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run ``genesis batch`` in an empty folder, with workers in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "Processes", lambda workers, device: local.Inline())
    monkeypatch.setattr(shards.os, "fsync", lambda handle: None)

    def command(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = run(["batch", *arguments])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return command


@pytest.fixture
def some(model: Path) -> list[str]:
    """Sixty molecules of the tiny model."""
    flags = f"molecules --model {model} -n 60 --shard 32 --batch-size 16 --measure logp,rings --device cpu"
    return flags.split()


def test_a_library_from_flags_to_parquet(call: Call, some: list[str], tmp_path: Path) -> None:
    done = call(*some, "-t", "logp=1:3", "--sweep", "mol_weight=150,200:300", "--out", "lib")
    assert (done.code, done.out) == (0, "")
    assert "returned  60" in done.err
    assert "screen    0      of a listed family" in done.err
    assert done.err.splitlines()[-1].split() == ["200:300", "30"], "the combinations of the sweep"
    table = pq.read_table(tmp_path / "lib")
    assert len(table) == 60 == len(set(table["item"].to_pylist()))
    assert table["asked_mol_weight_low"].to_pylist()[:2] == [150.0, 200.0]
    status = call("status", "lib")
    assert status.out.splitlines()[0].split() == ["state", "complete"]
    said = json.loads(call("status", "lib", "--json").out)
    assert (said["complete"], said["returned"], said["shards"], said["groups"]) == (True, 60, 2, [30, 30])
    assert call("verify", "lib").out == "lib: every byte and every item as it was written\n"
    again = call("resume", "lib", "--json", "--quiet")
    assert (again.code, again.err) == (0, "")
    assert json.loads(again.out)["hash"] == said["hash"]
    assert call(*some, "-t", "logp=1:3", "--sweep", "mol_weight=150,200:300", "--out", "lib", "-q").code == 0


def test_a_plan_file_and_flags_over_it(call: Call, model: Path, tmp_path: Path) -> None:
    text = f"domain: molecules\nmodel: {model}\ncount: 30\nshard: 16\ntarget: {{logp: 2:3}}\nmeasure: [logp]\nseed: 5\n"
    (tmp_path / "plan.yaml").write_text(text)
    dry = call("plan.yaml", "--seed", "6", "--dry-run")
    rows = {line.split()[0]: line.split()[1:] for line in dry.out.splitlines() if line}
    assert rows["seed"] == ["6", "flag"]
    assert rows["target"] == ["logp=2:3", "file"]
    assert rows["temperature"] == ["1", "default"]
    assert rows["indices"] == ["30", "2", "shards", "of", "16"]
    assert rows["licence"] == ["CC0", "model"]
    assert not (tmp_path / "library").exists()
    guess = json.loads(call("plan.yaml", "--dry-run", "--json").out)["estimate"]
    assert guess["indices"] == 30
    assert guess["seconds"] > 0 < guess["bytes"]
    assert call("plan.yaml", "-q").code == 0
    assert pq.read_table(tmp_path / "library")["asked_logp_high"].to_pylist() == [3.0] * 30


def test_ranges_are_drawn_and_then_committed(call: Call, some: list[str], tmp_path: Path) -> None:
    first = call(*some, "--out", "lib", "--range", "0:32")
    assert first.code == 0
    assert first.err.splitlines()[-1] == ("genesis: indices 0 to 32 are drawn; `genesis batch resume lib` commits them")
    assert "interrupted" in call("status", "lib").out
    assert not list((tmp_path / "lib").glob("*.parquet"))
    assert call("resume", "lib", "-q").code == 0
    assert len(pq.read_table(tmp_path / "lib")) == 60


def test_export_writes_the_formats_of_the_domain(call: Call, some: list[str], tmp_path: Path) -> None:
    from PIL import Image
    from rdkit import Chem

    call(*some, "--out", "lib", "-q")
    assert call("export", "lib", "--format", "sdf", "--out", "sdf").out == "sdf\n"
    names = sorted(path.name for path in (tmp_path / "sdf").iterdir())
    assert names == ["part-00000.sdf", "part-00001.sdf"]
    found = [mol for name in names for mol in Chem.SDMolSupplier(str(tmp_path / "sdf" / name))]
    assert [Chem.MolToSmiles(mol) for mol in found] == pq.read_table(tmp_path / "lib")["item"].to_pylist()
    assert found[0].GetProp("licence") == "CC0"
    assert call("export", "lib", "--format", "png", "--out", "png").code == 0
    with Image.open(tmp_path / "png" / "part-00001.png") as image:
        assert image.text["genesis:model"] == "tiny"
    assert call("export", "lib", "--format", "xyz", "--out", "xyz").code == 2
    assert call("export", "lib").err == (
        "genesis: error: --format is missing; give one that the domain writes, such as --format sdf\n"
    )


def test_a_library_of_tunes_to_midi(call: Call, music: Path, tmp_path: Path) -> None:
    from symusic import Score

    made = call(
        *f"music --model {music} -n 12 --shard 8 --batch-size 8 --bars 1 --sweep style=air,reel --out lib".split(),
        "--device", "cpu",
    )  # fmt: skip
    assert made.code == 0, made.err
    table = pq.read_table(tmp_path / "lib")
    assert table["asked_style"].to_pylist() == [("air", "reel")[i % 2] for i in table["index"].to_pylist()]
    assert table["bars"].to_pylist() == [1] * 12
    assert "style" not in table.column_names, "a label that is asked for and cannot be measured"
    assert call("verify", "lib").code == 0
    assert call("export", "lib", "--format", "mid", "--out", "midi").code == 0
    written = {int(path.stem): path for path in (tmp_path / "midi").glob("part-*/*.mid")}
    assert sorted(written) == table["index"].to_pylist()
    for row in table.select(["index", "lowest", "highest"]).to_pylist():
        pitches = [note.pitch for track in Score(written[row["index"]]).tracks for note in track.notes]
        assert (min(pitches), max(pitches)) == (row["lowest"], row["highest"])
    assert json.loads((tmp_path / "midi" / "origin.json").read_text())["licence"] == "CC0"
    assert call("export", "lib", "--format", "jsonl", "--out", "lines").code == 0
    assert sum(len(path.read_text().splitlines()) for path in (tmp_path / "lines").iterdir()) == 12
    assert call("export", "lib", "--format", "png", "--out", "png").code == 0
    assert call("music", "--model", str(music), "--measure", "style").err.startswith(
        "genesis: error: unknown property 'style' for the domain 'music'"
    )


def test_every_flag_of_the_generating_command_is_a_setting(call: Call, model: Path, tmp_path: Path) -> None:
    """A plan file with each of them; those that are left say how to run and where to put it, which no plan decides."""
    settings = {
        "domain": "molecules", "count": 20, "model": str(model), "target": {"logp": "1:3"}, "seed": 3,
        "temperature": 0.9, "top_k": 50, "top_p": 0.99, "min_p": 0.001, "guidance": 1.5, "keep_best": 2,
        "constrained": False, "screen": False, "batch_size": 8, "measure": ["rings"], "shard": 16,
        "sweep": {"mol_weight": [150, "200:300"]},
    }  # fmt: skip
    assert settings.keys() == Plan.model_fields.keys()
    (tmp_path / "plan.yaml").write_text(json.dumps(settings))  # JSON is YAML
    done = call("plan.yaml", "--dry-run", "--json", "--device", "cpu")
    assert done.code == 0, done.err
    understood = json.loads(done.out)["settings"]
    assert {name: given["value"] for name, given in understood.items()} == settings | {"model": "tiny"}
    assert {given["from"] for given in understood.values()} == {"file"}
    said = {"target": "target_property", "constrained": "no_constraint"}
    of_plan = {said.get(name, name) for name in settings}
    flags = set(inspect.signature(generate.command("molecules")).parameters) - {"ctx"}
    running = {"out", "picture", "audio", "json", "report", "device", "workers", "dry_run", "quiet", "debug"}
    # of one item at hand, and of other families
    alone = {"given", "like", "similarity", "steps", "sampler", "blur", "candidates"}
    assert flags == (of_plan & flags) | running | alone


def test_a_property_is_a_flag_as_in_the_generating_command(call: Call, some: list[str], tmp_path: Path) -> None:
    assert call(*some, "--logp", "1:3", "--out", "lib", "-q").code == 0
    assert json.loads((tmp_path / "lib" / "_plan.json").read_text())["plan"]["target"] == {"logp": "1:3"}
    (tmp_path / "plan.yaml").write_text("domain: molecules\n")
    assert call("plan.yaml", *some[1:], "--logp=1:3", "--out", "lib", "-q").code == 0
    assert "--lgp" in call(*some, "--lgp", "1").err
    (tmp_path / "wrong.yaml").write_text("domain: [molecules]\n")
    assert call("wrong.yaml", "--logp", "1").code == 2


def test_an_interruption_is_130_and_says_how_to_go_on(
    call: Call, some: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self: local.Inline, seconds: float) -> list[local.Outcome]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(local.Inline, "wait", stopped)
        done = call(*some, "--out", "lib")
    assert done.code == 130
    assert done.err == "genesis: interrupted; what was finished is kept, and `genesis batch resume lib` goes on\n"
    assert call("resume", "lib", "-q").code == 0


def test_a_damaged_library_is_exit_code_5(call: Call, some: list[str], tmp_path: Path) -> None:
    call(*some, "--out", "lib", "-q")
    shard = tmp_path / "lib" / "part-00001.parquet"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    done = call("verify", "lib")
    assert done.code == 5
    assert done.out.startswith("part-00001.parquet: ")
    assert done.err.startswith("genesis: error: lib: 1 things are wrong; a shard that is removed is drawn again by")
    shard.unlink()
    assert call("resume", "lib", "-q").code == 0
    assert call("verify", "lib").code == 0


def test_a_shortfall_is_said_after_everything_is_kept(call: Call, some: list[str], tmp_path: Path) -> None:
    done = call(*some, "--temperature", "0", "--out", "lib")
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("genesis: error: only 1 of 60: 304 draws gave no more valid, distinct")
    assert len(pq.read_table(tmp_path / "lib")) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("nonsense", 2, "unknown domain 'nonsense'"),
        ("nothing.yaml", 3, "nothing.yaml: not readable"),
        ("molecules --model nowhere", 4, "no model 'nowhere'"),
        ("molecules --count 0", 2, "'--count' / '-n'"),
        ("molecules --range 5", 2, "--range 5: write FIRST:LAST, such as 0:1000000"),
        ("molecules --range 9:3", 2, "--range 9:3: write FIRST:LAST"),
        ("molecules -t logp=3:2", 2, "the range is empty"),
        ("molecules --sweep logp", 2, "--sweep 'logp': not understood"),
        ("molecules -t logp=1 --sweep logp=1,2", 2, "logp is a target and in the sweep"),
        ("molecules --out file", 2, "file is a file; name a folder"),
        ("molecules --out full", 2, "full is not empty and holds no run"),
        ("status nowhere", 3, "nowhere: no batch run here"),
        ("resume nowhere", 3, "nowhere: no batch run here"),
        ("verify nowhere", 3, "nowhere: no batch run here"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    call: Call, model: Path, tmp_path: Path, arguments: str, code: int, said: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    given = arguments.split()
    if given[0] == "molecules" and "--model" not in given:
        given += ["--model", str(model)]
    done = call(*given)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert done.err.startswith("genesis: error: ")
    assert done.err.count("\n") == 1


def test_without_pyarrow_it_says_what_to_install(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    columns.arrow.cache_clear()
    done = call("molecules")
    columns.arrow.cache_clear()
    assert done.code == 4
    assert done.err == ('genesis: error: batch runs write Parquet; run `pip install "genesis-engine[parquet]"`\n')


def test_help_names_what_can_be_made(call: Call) -> None:
    said = call("--help").out
    assert "DOMAIN|PLAN.yaml|COMMAND" in said
    assert "genesis batch molecules --count 1000000" in said
    assert "--sweep" in call("molecules", "--help").out

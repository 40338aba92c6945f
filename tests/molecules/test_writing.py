"""Writing molecules: every format round trip, and no half-written output."""

from __future__ import annotations

import csv
import errno
import json
import lzma
import math
import os
import random
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rdkit import Chem

from genesis.domain import Reading, Rejected
from genesis.errors import GenesisError, UsageError
from genesis_domains.molecules import writing
from genesis_domains.molecules.files import check_target, read, write, write_rejected
from genesis_domains.molecules.molecule import Molecule

SMILES = [
    "CCO",
    "c1ccccc1",
    "CC(=O)Oc1ccccc1C(=O)O",
    "N[C@@H](C)C(=O)O",
    "F/C=C/F",
    "[NH3+]CC(=O)[O-]",
    "[2H]C([2H])([2H])O",
    "[Na+].[Cl-]",
    "*c1ccncc1",
    "C[N+](C)(C)C",
    "C1CC2CCC1C2",
    "O=C1NC(=O)c2ccccc21",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "[O-][Cl+3]([O-])([O-])O",
    "C[C@H]1CC[C@@H](C)CC1",
    "[13CH4]",
    "Cl[Pt](Cl)(<-[NH3])<-[NH3]",
    # steroid-like cage whose stereo the first 2-D drawing loses
    "CC[C@@H](C)C(=O)O[C@H]1[C@H](O)[C@H]2[C@@H](C[NH+]3C[C@@H](C)CC[C@H]3[C@@]2(C)O)[C@@H]2C[C@]34O[C@]5(O)[C@@H]"
    "(OC(=O)[C@@](C)(O)CC)CC[C@@]3(C)[C@@H]5[C@@H](OC(C)=O)[C@@H](OC(C)=O)[C@H]4[C@@]21O",
]
MOLECULES = [Molecule.from_smiles(s) for s in SMILES]
FORMATS = [".smi", ".csv", ".tsv", ".parquet", ".jsonl", ".sdf"]


def smiles_of(reading: Reading) -> list[str]:
    return [item.smiles for item in reading.items]


def flat(text: str | None) -> str | None:
    """What a format of one line a row keeps of a text."""
    return None if text is None else " ".join(text.splitlines()) or None


@pytest.mark.parametrize("suffix", FORMATS)
def test_round_trip_of_every_format(tmp_path: Path, suffix: str) -> None:
    names = [f"m {i}" for i in range(len(MOLECULES))]
    qed = [None if i == 3 else i / 7 for i in range(len(MOLECULES))]
    write(MOLECULES, tmp_path / f"x{suffix}", {"name": names, "qed": qed})
    reading = read(tmp_path / f"x{suffix}")
    assert smiles_of(reading) == [m.smiles for m in MOLECULES]
    assert reading.rejected == []
    assert reading.columns["name"] == names
    if suffix == ".smi":
        assert list(reading.columns) == ["name"]
        return
    assert list(reading.columns) == ["name", "qed"]
    assert [None if math.isnan(v) else v for v in reading.columns["qed"]] == qed
    assert os.listdir(tmp_path) == [f"x{suffix}"]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(lambda t: f"t{t}")
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.sampled_from(MOLECULES), st.none() | TEXT, st.none() | FINITE), min_size=1, max_size=6)
)
def test_any_cells_round_trip(
    tmp_path: Path, suffix: str, rows: list[tuple[Molecule, str | None, float | None]]
) -> None:
    items, texts, numbers = (list(column) for column in zip(*rows, strict=True))
    write(items, tmp_path / f"x{suffix}", {"a, \"b\"\t'c'": texts, "n": numbers})
    reading = read(tmp_path / f"x{suffix}")
    assert smiles_of(reading) == [item.smiles for item in items]
    found_texts, found_numbers = (reading.columns.get(n) for n in reading.columns)
    keeps_lines = suffix in (".parquet", ".jsonl")
    assert found_texts == [t if keeps_lines else flat(t) for t in texts]
    if any(n is not None for n in numbers):
        assert [None if math.isnan(n) else n for n in found_numbers] == numbers  # type: ignore[union-attr]
    else:
        assert found_numbers == [None] * len(rows)


PRINTABLE = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=12).map(lambda t: f"t{t}t")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(PRINTABLE | st.sampled_from(["$$$$", ">  <x>", "M  END", "a\nb", "  ", ""]), min_size=1, max_size=4)
)
def test_any_sdf_field_round_trips(tmp_path: Path, texts: list[str]) -> None:
    items = MOLECULES[: len(texts)]
    write(items, tmp_path / "x.sdf", {"note": texts, "name": texts})
    reading = read(tmp_path / "x.sdf")
    assert smiles_of(reading) == [item.smiles for item in items]
    kept = [(flat(t) or "").strip() or None for t in texts]
    found = reading.columns.get("note", [None] * len(texts))
    assert [t and t.strip() for t in found] == kept


def test_stereo_survives_the_drawing_of_an_sdf(tmp_path: Path, shared: Path) -> None:
    with lzma.open(shared / "data" / "zinc250k" / "zinc250k_props.csv.xz", "rt") as lines:
        rows = random.Random(0).sample([r["smiles"] for r in csv.DictReader(lines)][::50], 250)
    items = [Molecule.from_smiles(s) for s in rows]
    assert sum("@" in item.smiles for item in items) > 50
    write(items, tmp_path / "x.sdf", {})
    assert smiles_of(read(tmp_path / "x.sdf")) == [item.smiles for item in items]


def test_a_molecule_that_no_drawing_can_say_carries_its_smiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_block", lambda item, title: (Chem.MolToMolBlock(item.mol), False))
    write(MOLECULES[:1], tmp_path / "x.sdf", {})
    assert read(tmp_path / "x.sdf").columns == {"smiles": ["CCO"]}


def test_sdf_has_flat_coordinates_and_rdkit_reads_its_fields(tmp_path: Path) -> None:
    write(
        MOLECULES[:3], tmp_path / "x.sdf", {"name": ["a", "b", "c"], "qed": [0.5, 0.25, None], "bad<na>me": [1, 2, 3]}
    )
    found = list(Chem.SDMolSupplier(str(tmp_path / "x.sdf")))
    assert [m.GetProp("_Name") for m in found] == ["a", "b", "c"]
    assert [m.GetPropsAsDict() for m in found] == [
        {"qed": 0.5, "bad na me": 1},
        {"qed": 0.25, "bad na me": 2},
        {"bad na me": 3},
    ]
    for mol in found:
        positions = mol.GetConformer().GetPositions()
        assert np.ptp(positions[:, :2]) > 1
        assert not positions[:, 2].any()


def test_values_of_every_kind(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "i": np.array([1, 2]),
        "f": np.array([0.1, np.nan], np.float32),
        "b": [True, np.False_],
        "big": [2**80, 1],
        "inf": [math.inf, 2.5],
        "mixed": ["x", 3],
        "lone": ["\ud800x", None],
    }
    for suffix in (".csv", ".parquet", ".jsonl"):
        write(MOLECULES[:2], tmp_path / f"x{suffix}", columns)
        found = read(tmp_path / f"x{suffix}").columns
        assert found["i"] == [1.0, 2.0]
        assert found["f"][0] == float(np.float32(0.1))
        assert math.isnan(found["f"][1])
        assert found["b"] == ["true", "false"]
        assert found["big"] == [str(2**80), "1"]
        assert math.isnan(found["inf"][0])
        assert found["mixed"] == ["x", "3"]
        assert found["lone"] == ["?x", None]
    for line in (tmp_path / "x.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_column_called_smiles_keeps_its_values(tmp_path: Path) -> None:
    write(MOLECULES[:2], tmp_path / "x.csv", {"smiles": ["given", "so"], "smiles.2": ["y", "z"]})
    assert (tmp_path / "x.csv").read_text().splitlines()[0] == "smiles,smiles.2,smiles.2.2"
    assert read(tmp_path / "x.csv").columns == {"smiles.2": ["given", "so"], "smiles.2.2": ["y", "z"]}


def test_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write(MOLECULES[:2], "-", {"v": [1.5, None]})
    assert capfdbinary.readouterr().out == b"smiles,v\nCCO,1.5\nc1ccccc1,\n"
    write(MOLECULES[:1], Path("-"), {"v": [1.5]}, suffix=".jsonl")
    assert capfdbinary.readouterr().out == b'{"smiles": "CCO", "v": 1.5}\n'
    with pytest.raises(
        UsageError, match=r"cannot write .parquet to standard output; allowed: .smi, .csv, .tsv, .jsonl, .sdf$"
    ):
        write(MOLECULES[:1], "-", {}, suffix=".parquet")


def test_targets_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"is a folder; give a file, such as .*molecules.csv"):
        check_target(tmp_path)
    with pytest.raises(
        UsageError, match=r"cannot write .docx to x.docx; allowed: .smi, .csv, .tsv, .parquet, .jsonl, .sdf$"
    ):
        check_target(tmp_path / "x.docx")
    with pytest.raises(UsageError, match=r"cannot write a name without a suffix to x"):
        check_target(tmp_path / "x")
    with pytest.raises(UsageError, match=r"folder .*gone is not there; make it"):
        check_target(tmp_path / "gone" / "x.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UsageError, match=r"pipe.csv is no ordinary file"):
        check_target(tmp_path / "pipe.csv")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UsageError, match=r"may not be written by this user"):
        check_target(tmp_path / "x.csv")


def test_good_targets(tmp_path: Path) -> None:
    assert check_target(tmp_path / "x.CSV") == ".csv"
    assert check_target("-") == ".csv"
    assert check_target("-", ".jsonl") == ".jsonl"
    assert os.listdir(tmp_path) == []


def test_columns_of_another_length(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"column 'v' has 3 values for 2 molecules"):
        write(MOLECULES[:2], tmp_path / "x.csv", {"v": [1, 2, 3]})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"what was here")
    # random text, which Parquet cannot squeeze under the limit
    texts = [random.Random(i).randbytes(200).hex() for i in range(400)]
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, old[1]))
    try:
        with pytest.raises(
            GenesisError, match=rf"could not write .*x{suffix}: File too large; the file was not changed"
        ) as caught:
            write(MOLECULES[:1] * 400, path, {"name": texts})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert caught.value.exit_code == 1
    assert path.read_bytes() == b"what was here"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_the_last_steps_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str) -> None:
    def fails(*args: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fails)
    with pytest.raises(GenesisError, match=rf"could not write .*: {os.strerror(number)}; the file was not changed"):
        write(MOLECULES[:1], tmp_path / "x.csv", {})
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(MOLECULES[:1], tmp_path / "x.sdf", {})
    assert os.listdir(tmp_path) == []


def test_a_link_keeps_pointing(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    write(MOLECULES[:1], tmp_path / "link.csv", {})
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "smiles\nCCO\n"


def test_rejected_rows_have_their_own_file(tmp_path: Path) -> None:
    reading = Reading(rejected=[Rejected(3, "C1CC", "a reason, with a comma"), Rejected(9, "a\nb", "x")])
    path = write_rejected(reading, tmp_path / "out.parquet")
    assert path == tmp_path / "out.rejected.csv"
    assert path.read_text() == 'row,text,reason\n3,C1CC,"a reason, with a comma"\n9,a b,x\n'
    assert write_rejected(Reading(), tmp_path / "none.csv") is None
    assert not (tmp_path / "none.rejected.csv").exists()

"""Files that are damaged, hostile or no use: one clear error or a rejected row, in bounded time and memory."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rdkit import Chem

from genesis.domain import Reading
from genesis.errors import InputError
from genesis_domains.molecules import files
from genesis_domains.molecules.files import batches, read, write
from genesis_domains.molecules.molecule import Molecule

SMILES = ["CCO", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O", "N[C@@H](C)C(=O)O", "F/C=C/F", "[NH3+]CC(=O)[O-]", "C1CC2CCC1C2"]
MOLECULES = [Molecule.from_smiles(s) for s in SMILES]
BLOCK = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))


def smiles_of(reading: Reading) -> list[str]:
    return [item.smiles for item in reading.items]


def reasons(reading: Reading) -> dict[int, str]:
    return {r.row: r.reason for r in reading.rejected}


def put(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("x.smi", b"", r"x.smi holds no molecules"),
        ("x.csv", b"", r"x.csv is empty"),
        ("x.csv", b"\n\n", r"x.csv is empty"),
        ("x.csv", b"smiles,v\n", r"x.csv holds no molecules"),
        ("x.jsonl", b"\n", r"x.jsonl holds no molecules"),
        ("x.sdf", b"\n\n", r"x.sdf holds no molecules"),
        ("x.csv", "smiles\nC\n".encode("utf-16"), r"x.csv is UTF-16 text; save it as UTF-8"),
        ("x.csv.gz", b"smiles\nC\n", r"x.csv.gz is called .gz but does not begin like one"),
        (
            "x.smi.gz",
            gzip.compress(b"CCO\n" * 99, mtime=0)[:-9],
            r"x.smi.gz is damaged or cut short: Compressed file ended",
        ),
        ("x.smi.gz", gzip.compress(b"CCO\n" * 99, mtime=0)[:30] + b"zz" * 9, r"x.smi.gz is damaged or cut short"),
        ("x.smi.xz", lzma.compress(b"CCO\n" * 99)[:-9], r"x.smi.xz is damaged or cut short"),
        ("x.smi.bz2", bz2.compress(b"CCO\n" * 99)[:-9], r"x.smi.bz2 is damaged or cut short"),
        (
            "x.xlsx",
            b"PK",
            r"x.xlsx: no reader for .xlsx; allowed: .smi, .smiles, .txt, .csv, .tsv, .parquet, .jsonl, .sdf",
        ),
        ("x", b"CCO", r"x: no reader for a name without a suffix"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, data: bytes, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        read(put(tmp_path / name, data))
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*gone.csv: No such file"):
        read(tmp_path / "gone.csv")
    with pytest.raises(InputError, match="is a folder; give a file"):
        read(tmp_path)


def peak_of(work: Callable[[], Any]) -> float:
    """MB that Python holds at most during some work."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".smi", ".csv", ".tsv", ".jsonl", ".sdf"])
def test_a_row_of_a_hundred_megabytes(tmp_path: Path, suffix: str) -> None:
    write(MOLECULES[:2], tmp_path / f"x{suffix}", {})
    data = (tmp_path / f"x{suffix}").read_bytes()
    with gzip.open(tmp_path / f"x{suffix}.gz", "wb", 1) as out:
        out.write(data)
        for _ in range(100):
            out.write(b"C" * 1_000_000)
        out.write(b"\n$$$$\n" if suffix == ".sdf" else b"\nCC\n")
    found: list[Reading] = []
    assert peak_of(lambda: found.append(read(tmp_path / f"x{suffix}.gz"))) < 10
    assert len(found[0].items) == (3 if suffix in (".smi", ".csv", ".tsv") else 2)
    assert "more than 1,000,000 bytes" in found[0].rejected[0].reason
    assert suffix == ".sdf" or found[0].rejected[0].text == "C" * 200


def test_many_large_rows_in_bounded_memory(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "x.csv.gz", "wt", 1) as out:
        out.write("smiles,note\n")
        for _ in range(300):
            out.write(f"C,{'n' * 120_000}\n{'C' * 100_000},\n")
    rows = 0

    def count() -> None:
        nonlocal rows
        for part in batches(tmp_path / "x.csv.gz", workers=1):
            rows += len(part.items) + len(part.rejected)
            assert all(0 < len(r.text) <= files.TEXT_KEPT for r in part.rejected)

    assert peak_of(count) < 50  # the file is 66 MB
    assert rows == 600


def test_an_sdf_record_of_many_lines(tmp_path: Path) -> None:
    comments = ">  <x>\n" + "line of text\n" * 100_000
    reading = read(put(tmp_path / "x.sdf", f"{BLOCK}{comments}\n$$$$\n{BLOCK}$$$$\n"))
    assert smiles_of(reading) == ["CCO"]
    assert reasons(reading) == {1: "a record of more than 1,000,000 bytes"}


def test_a_changed_bit_of_parquet_is_never_another_molecule(tmp_path: Path) -> None:
    write(MOLECULES, tmp_path / "x.parquet", {"v": [i / 7 for i in range(len(MOLECULES))]})
    good = read(tmp_path / "x.parquet")
    data = (tmp_path / "x.parquet").read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    refused = 0
    for at in range(4, footer, 2):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        try:
            assert read(put(tmp_path / "y.parquet", bytes(changed))) == good
        except InputError:
            refused += 1
    assert refused > 0.8 * len(range(4, footer, 2))


def test_too_many_fields(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"smiles": "C", **{f"f{i}_{j}": 1 for j in range(30)}}) for i in range(40))
    with pytest.raises(InputError, match=r"x.jsonl has more than 1,000 different fields"):
        read(put(tmp_path / "x.jsonl", lines))
    field = "".join(f">  <f{j}>\n1\n\n" for j in range(1001))
    with pytest.raises(InputError, match=r"x.sdf has more than 1,000 different fields"):
        read(put(tmp_path / "x.sdf", f"{BLOCK}{field}$$$$\n"))


def mutated(random_: random.Random, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(random_.randrange(1, 6)):
        at = random_.randrange(len(found))
        kind = random_.randrange(4)
        if kind == 0:
            found[at] = random_.randrange(256)
        elif kind == 1:
            del found[at : at + random_.randrange(1, 40)]
        elif kind == 2:
            start = random_.randrange(len(found))
            found[at:at] = found[start : start + random_.randrange(1, 200)]
        else:
            found[at : at + 1] = random_.choice([b"999", b"-1", b"\n", b"\0", b"$$$$\n", b'"', b",", b"V3000", b"\xff"])
        found = found or bytearray(b"x")
    return bytes(found)


@pytest.mark.parametrize(
    ("suffix", "cases"),
    [(".sdf", 500), (".csv", 150), (".smi", 100), (".jsonl", 100), (".parquet", 100), (".csv.gz", 50)],
)
def test_mutated_files(tmp_path: Path, suffix: str, cases: int) -> None:
    plain = "." + suffix.split(".")[1]
    write(MOLECULES[:4], tmp_path / f"a{plain}", {"name": ["a", "b c", "d", "é"], "v": [1.5, None, 1e9, -4]})
    data = (tmp_path / f"a{plain}").read_bytes()
    data = gzip.compress(data) if suffix.endswith(".gz") else data
    random_ = random.Random(suffix)
    good, messages = 0, list[str]()
    for _ in range(cases):
        path = put(tmp_path / f"b{suffix}", mutated(random_, data))
        try:
            reading = read(path, workers=1)
        except InputError as error:
            messages.append(str(error))
            continue
        good += len(reading.items)
        assert all(len(cells) == len(reading.items) for cells in reading.columns.values())
        for item in reading.items:
            Molecule.from_smiles(item.smiles)
        for rejected in reading.rejected:
            assert rejected.reason
            assert "\n" not in rejected.reason
    assert good > 0 or suffix == ".csv.gz"
    assert not any("\n" in message for message in messages)

"""Reading molecules: every row is a molecule or a reason."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from genesis.domain import Reading
from genesis.errors import GenesisError, InputError, ResourceError, UsageError
from genesis_domains.molecules import files, records
from genesis_domains.molecules.files import batches, check_target, read, typed
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


def test_smiles_lines(tmp_path: Path) -> None:
    path = put(
        tmp_path / "x.smi", "\ufeffSMILES name\nCCO ethanol, pure\n\n# note\nC1CC\tring\nN[C@@H](C)C(=O)O |&1:1|\r\nO"
    )
    reading = read(path)
    assert smiles_of(reading) == ["CCO", "C[C@H](N)C(=O)O", "O"]
    assert reading.columns == {"name": ["ethanol, pure", None, None]}
    assert reasons(reading) == {5: "not SMILES: the brackets, branches or ring bonds do not match"}
    assert reading.rejected[0].text == "C1CC"


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
def test_compression_is_known_by_its_first_bytes(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    suffix = {gzip.compress: ".gz", lzma.compress: ".xz", bz2.compress: ".bz2"}[pack]
    data = pack(b"smiles,v\nCCO,1\n")
    for name in (f"x.csv{suffix}", "x.csv"):
        assert read(put(tmp_path / name, data)).columns == {"v": [1.0]}


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("id,SMILES,x", "SMILES"),
        ("canonical_smiles,Smiles,x", "Smiles"),
        ("x,Canonical_SMILES,y", "Canonical_SMILES"),
        ('"x","smiles"', "smiles"),
        ("x;smiles;y", "smiles"),
    ],
)
def test_the_smiles_column_is_found(tmp_path: Path, header: str, chosen: str) -> None:
    names = header.replace('"', "").replace(";", ",").split(",")
    delimiter = ";" if ";" in header else ","
    row = delimiter.join("CCO" if name == chosen else "7" for name in names)
    reading = read(put(tmp_path / "x.csv", f"{header}\n{row}\n"))
    assert smiles_of(reading) == ["CCO"]
    assert set(reading.columns) == set(names) - {chosen}


def test_a_column_by_name(tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", "smiles,product\nCCO,CC=O\n")
    reading = read(path, "Product")
    assert smiles_of(reading) == ["CC=O"]
    assert reading.columns == {"smiles": ["CCO"]}
    with pytest.raises(
        InputError, match=r"x.csv has no column 'prodct'; did you mean 'product'\? known: product, smiles$"
    ):
        read(path, "prodct")
    with pytest.raises(UsageError, match=r"column 'a' was asked for, but x.smi has no columns"):
        read(put(tmp_path / "x.smi", "CCO\n"), "a")


def test_no_smiles_column_lists_what_there_is(tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", "a,b," + ",".join(f"c{i}" for i in range(50)) + "\n1,2\n")
    with pytest.raises(
        InputError,
        match=r"no column called smiles; name the one that holds them with --column: a, b, c0.* and 32 more$",
    ):
        read(path)
    junk = put(tmp_path / "junk.csv", bytes(range(1, 256)) * 30)
    with pytest.raises(InputError) as caught:
        read(junk)
    assert len(str(caught.value)) < 1200
    assert str(caught.value).isprintable()


def test_columns_of_numbers_become_floats(tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", "smiles,n,id,t,e,n\nC,1e-3,007,a,,5\nCC,,008,b,,6.\nCCC,-.5,009,,,+7\n")
    columns = read(path).columns
    assert list(columns) == ["n", "id", "t", "e", "n.2"]
    assert columns["n"][0] == 1e-3
    assert math.isnan(columns["n"][1])
    assert columns["id"] == ["007", "008", "009"]
    assert columns["t"] == ["a", "b", None]
    assert columns["e"] == [None, None, None]
    assert columns["n.2"] == [5.0, 6.0, 7.0]


@pytest.mark.parametrize("cell", ["1_000", "12345678901234567890", "0x10", "1,5", ">10", "--1", "1e", "٣", "1 2"])
def test_what_is_not_a_number(cell: str) -> None:
    assert typed([cell, "1"]) == [cell, "1"]


@settings(max_examples=200)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15) + 1, 10**15 - 1))
def test_every_number_that_python_writes_is_read(value: float) -> None:
    assert typed([repr(value)]) == [value]


def test_bad_rows_of_a_table(tmp_path: Path) -> None:
    path = put(
        tmp_path / "x.csv",
        "smiles,name\nCCO,a\nxyz,b\n,c\nCO\nC,d,e\nN,f,,\n\nc1cccc1,g\n"
        'O,"an "odd" one"\nCC N,h\nC\0C,i\nC\xe9,j\nS,"two\nlines"\n'.encode("latin-1"),
    )
    reading = read(path)
    assert smiles_of(reading) == ["CCO", "CO", "N", "S"]
    assert reading.columns == {"name": ["a", None, "f", "two\nlines"]}
    found = reasons(reading)
    assert found.pop(2).startswith("not SMILES")
    assert found.pop(3) == "an empty SMILES"
    assert found.pop(5) == "3 cells in a row, 2 columns in the header"
    assert found.pop(7).startswith("Can't kekulize")
    assert found.pop(8).startswith("the row cannot be taken apart: ',' expected after '\"'")
    assert found.pop(9) == "not SMILES: more text after a space"
    assert found.pop(10) == "not SMILES: characters that are not printable ASCII"
    assert found.pop(11) == "not SMILES: characters that are not printable ASCII"
    assert found == {}


def test_an_open_quote_does_not_swallow_rows_silently(tmp_path: Path) -> None:
    rows = "".join(f"C,n{i}\n" for i in range(60))
    reading = read(put(tmp_path / "x.csv", f'smiles,name\nCCO,"open\n{rows}CC,closed"\nN,x\n'))
    assert smiles_of(reading) == ["N"]
    assert reasons(reading) == {1: "the row runs over 62 lines: a quote is not closed"}
    unclosed = read(put(tmp_path / "y.csv", f'smiles,name\nCC,x\nCCO,"open\n{rows}'))
    assert smiles_of(unclosed) == ["CC"]
    assert "unexpected end of data" in unclosed.rejected[0].reason


def test_bad_rows_of_json_lines(tmp_path: Path) -> None:
    lines = [
        '{"smiles": "CCO", "v": 1}',
        '{"smiles": "CC", "w": [1, {"a": 2}], "v": true}',
        "{bad",
        "[1]",
        '{"v": 2}',
        '{"smiles": 7}',
        "[" * 100_000,
        f'{{"smiles": "C", "v": {"9" * 6000}}}',
        '{"smiles": "C", "v": null}',
    ]
    reading = read(put(tmp_path / "x.jsonl", "\n".join(lines)))
    assert smiles_of(reading) == ["CCO", "CC", "C"]
    assert reading.columns == {"v": ["1", "true", None], "w": [None, "[1, {'a': 2}]", None]}
    found = reasons(reading)
    assert found[3].startswith("not JSON: Expecting property name")
    assert found[4] == "a JSON list where an object was expected"
    assert found[5] == "column 'smiles' is empty"
    assert found[6] == "column 'smiles' is not text"
    assert found[7].startswith("not JSON: maximum recursion")
    assert found[8].startswith("not JSON: Exceeds the limit")


def test_parquet_columns(tmp_path: Path) -> None:
    pa, pq = records.pyarrow()
    table = pa.table(
        {
            "SMILES": pa.array(["CCO", None, "bad", "O"]).dictionary_encode(),
            "i": pa.array([1, 2, 3, None], pa.int8()),
            "d": pa.array([0, 1, 2, 3], pa.date32()),
            "l": [[1], [], None, [2, 3]],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    reading = read(tmp_path / "x.parquet")
    assert smiles_of(reading) == ["CCO", "O"]
    assert reading.columns["i"][0] == 1.0
    assert math.isnan(reading.columns["i"][1])
    assert reading.columns["d"] == ["1970-01-01", "1970-01-04"]
    assert reading.columns["l"] == ["[1]", "[2, 3]"]
    assert set(reasons(reading)) == {2, 3}
    with pytest.raises(InputError, match=r"x.parquet has no column 'smile'; known: SMILES, d, i, l"):
        read(tmp_path / "x.parquet", "smile")
    with pytest.raises(InputError, match=r"n.parquet is not a readable Parquet file: "):
        read(put(tmp_path / "n.parquet", b"PAR1 and nothing else"))


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "x.parquet", b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ResourceError, match=r'pip install "genesis-engine\[parquet\]"'):
        read(path)
    with pytest.raises(ResourceError, match=r"or use \.csv"):
        check_target(path)


def test_sdf_records(tmp_path: Path) -> None:
    broken = BLOCK.replace("  3  2", "  4  2", 1)
    hypervalent = Chem.MolToMolBlock(Chem.MolFromSmiles("C(C)(C)(C)(C)C", sanitize=False), kekulize=False)
    v3000 = Chem.MolToV3KMolBlock(Chem.MolFromSmiles("c1ccccc1"))
    field = ">  <logp>\r\n1.5\r\n\r\n> 7 <two lines>\r\na\r\nb\r\n\r\n"
    text = f"{BLOCK}{field}$$$$\n{broken}$$$$\n{hypervalent}$$$$\n$$$$\n{v3000}$$$$\njunk\n$$$$\nlast{BLOCK}"
    reading = read(put(tmp_path / "x.sdf", text))
    assert smiles_of(reading) == ["CCO", "c1ccccc1", "CCO"]
    assert reading.columns["name"] == [None, None, "last"]
    assert reading.columns["two lines"] == ["a\nb", None, None]
    assert reading.columns["logp"][0] == 1.5
    found = reasons(reading)
    assert set(found) == {2, 3, 4, 6}
    assert found[2] == "not a mol block that RDKit can read"
    assert found[3].startswith("Explicit valence for atom # 0 C, 5")
    assert found[6] == "not a mol block: its fourth line does not count atoms and bonds"


def test_a_mol_file(tmp_path: Path) -> None:
    assert smiles_of(read(put(tmp_path / "x.mol", BLOCK))) == ["CCO"]


def test_hydrogens_and_three_dimensions(tmp_path: Path) -> None:
    from rdkit.Chem import rdDistGeom

    mol = Chem.AddHs(Chem.MolFromSmiles("C[C@H](N)C(=O)O"))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    item = read(put(tmp_path / "x.sdf", Chem.MolToMolBlock(mol))).items[0]
    assert item.smiles == "C[C@H](N)C(=O)O"
    assert item.mol.GetNumConformers() == 0


def dense(atoms: int, v3000: bool) -> str:
    """The complete graph on dummy atoms, which have no valence limit: RDKit's ring search takes 5 s for 40."""
    pairs = [(i, j) for i in range(1, atoms + 1) for j in range(1, i)]
    if not v3000:
        lines = [f"{atoms:3d}{len(pairs):3d}  0  0  0  0  0  0  0  0999 V2000"]
        lines += ["    0.0000    0.0000    0.0000 *   0  0"] * atoms
        lines += [f"{i:3d}{j:3d}  1  0" for i, j in pairs]
        return "\n".join(["", "", "", *lines, "M  END\n"])
    lines = [
        "  0  0  0  0  0  0  0  0  0  0999 V3000",
        "M  V30 BEGIN CTAB",
        f"M  V30 COUNTS {atoms} {len(pairs)} 0 0 0",
    ]
    lines += ["M  V30 BEGIN ATOM", *(f"M  V30 {i} * 0 0 0 0" for i in range(1, atoms + 1)), "M  V30 END ATOM"]
    lines += ["M  V30 BEGIN BOND", *(f"M  V30 {n} 1 {i} {j}" for n, (i, j) in enumerate(pairs, 1)), "M  V30 END BOND"]
    return "\n".join(["", "", "", *lines, "M  V30 END CTAB", "M  END\n"])


@pytest.mark.parametrize(("atoms", "v3000"), [(40, False), (100, True)])
def test_blocks_that_would_take_minutes_are_refused_first(tmp_path: Path, atoms: int, v3000: bool) -> None:
    begun = time.monotonic()
    reading = read(put(tmp_path / "x.sdf", dense(atoms, v3000)))
    assert reasons(reading) == {1: f"{atoms * (atoms - 1) // 2} bonds between {atoms} atoms: no molecule"}
    assert time.monotonic() - begun < 1


def test_too_many_atoms(tmp_path: Path) -> None:
    block = BLOCK.replace("  3  2  0  0  0  0  0  0  0  0999 V2000", "  0  0  0  0  0  0  0  0  0  0999 V3000")
    reading = read(put(tmp_path / "x.sdf", block + "M  V30 COUNTS 90000 1 0 0 0\nM  END\n"))
    assert reasons(reading) == {1: "90000 atoms; at most 2000 are read"}


SDF_HEAD = f"{BLOCK}>  <v>\n1\n\n$$$$\n"


@pytest.mark.parametrize(
    ("data", "columns"),
    [
        (b"CCO first\n", {"name": ["first"]}),
        (b"\xef\xbb\xbfsmiles,v\nCCO,1\n", {"v": [1.0]}),
        (b'"v"\t"SMILES"\n1\tCCO\n', {"v": [1.0]}),
        (b'{"smiles": "CCO", "v": 1}\n', {"v": [1.0]}),
        (SDF_HEAD.encode(), {"v": [1.0]}),
        (gzip.compress(b"smiles,v\nCCO,1\n", mtime=0), {"v": [1.0]}),
    ],
)
def test_standard_input(data: bytes, columns: Mapping[str, Sequence[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    reading = read("-")
    assert smiles_of(reading) == ["CCO"]
    assert reading.columns == columns


def test_standard_input_by_column_and_as_parquet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"a,b\n1,CCO\n")))
    assert smiles_of(read(Path("-"), "b")) == ["CCO"]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"PAR1....")))
    with pytest.raises(InputError, match="Parquet cannot be read from standard input"):
        read("-")


def test_a_named_pipe(tmp_path: Path) -> None:
    import threading

    os.mkfifo(tmp_path / "pipe")
    thread = threading.Thread(target=(tmp_path / "pipe").write_text, args=("smiles,v\nCCO,1\n",))
    thread.start()
    assert read(tmp_path / "pipe").columns == {"v": [1.0]}
    thread.join()


def many(path: Path, count: int) -> Path:
    lines = (
        f"{SMILES[i % len(SMILES)]},{i},{'x' if i % 7 else 'y'}" if i % 100 else "C1CC,0,bad" for i in range(count)
    )
    return put(path, "smiles,i,t\n" + "\n".join(lines) + "\n")


def test_batches_are_the_file_in_order(tmp_path: Path) -> None:
    path = many(tmp_path / "x.csv", 4_500)
    parts = list(batches(path, workers=1))
    assert [len(p.items) + len(p.rejected) for p in parts] == [2000, 2000, 500]
    assert [r.row for p in parts for r in p.rejected] == list(range(1, 4_500, 100))
    whole = read(path, workers=1)
    assert [m.smiles for p in parts for m in p.items] == smiles_of(whole)
    assert whole.columns["i"] == [float(i) for i in range(4_500) if i % 100]
    assert [cell for p in parts for cell in p.columns["i"]] == [str(i) for i in range(4_500) if i % 100]


@pytest.mark.slow
def test_workers_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ALONE", files.BATCH)
    path = many(tmp_path / "x.csv", 6_500)
    assert read(path, workers=2) == read(path, workers=1)


def test_a_worker_that_dies_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures.process import BrokenProcessPool

    def dies(*args: Any) -> Any:
        next(args[1])
        raise BrokenProcessPool
        yield

    monkeypatch.setattr(files, "ALONE", files.BATCH)
    monkeypatch.setattr(files, "in_order", dies)
    with pytest.raises(GenesisError, match=r"a process that read x.csv ended at or after row 2001; a script needs"):
        read(many(tmp_path / "x.csv", 4_500))


@pytest.mark.parametrize(
    ("name", "items", "rejected"),
    [("freesolv", 642, 0), ("bbbp", 2_039, 11), ("clintox", 1_480, 4), ("bace", 1_513, 0)],
)
def test_real_tables(shared: Path, name: str, items: int, rejected: int) -> None:
    reading = read(shared / "data" / "moleculenet" / f"{name}.csv.xz")
    assert (len(reading.items), len(reading.rejected)) == (items, rejected)
    numeric = {n for n, cells in reading.columns.items() if isinstance(cells[0], float)}
    assert numeric >= {"freesolv": {"expt", "calc"}, "bbbp": {"p_np"}, "clintox": {"CT_TOX"}, "bace": {"pIC50"}}[name]

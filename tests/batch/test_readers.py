"""A library is a data set to whoever reads Parquet: the folder as it is, manifest and drafts beside the shards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest


@pytest.fixture
def library(make_plan: Callable[..., Any], run_here: Callable[..., Any], tmp_path: Path) -> Path:
    """Two shards, and a draft that nobody took."""
    made, _ = run_here(make_plan(count=40, target={"logp": "1:3"}, measure=["logp", "rings"]), tmp_path / "lib")
    (made.folder / "_drafts" / "part-00007.draft").write_bytes(b"half a")
    folder: Path = made.folder
    return folder


@pytest.fixture
def rows(library: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(library).to_pylist()
    assert len(found) == 40
    return found


def test_pandas(library: Path, rows: list[dict[str, Any]]) -> None:
    pandas = pytest.importorskip("pandas", reason="an extra")
    frame = pandas.read_parquet(library)
    assert frame["item"].tolist() == [row["item"] for row in rows]
    assert frame["rings"].dtype == "int64"
    assert frame["logp"].mean() == pytest.approx(sum(row["logp"] for row in rows) / 40)


def test_duckdb(library: Path, rows: list[dict[str, Any]]) -> None:
    duckdb = pytest.importorskip("duckdb", reason="not a dependency")
    query = f"select count(distinct item_key), min(len(tokens)), max(asked_logp_high) from '{library}/*.parquet'"
    assert duckdb.sql(query).fetchall() == [(40, min(len(row["tokens"]) for row in rows), 3.0)]


def test_polars(library: Path, rows: list[dict[str, Any]]) -> None:
    polars = pytest.importorskip("polars", reason="not a dependency")
    frame = polars.scan_parquet(library / "*.parquet").sort("index").collect()
    assert frame["item"].to_list() == [row["item"] for row in rows]
    assert frame["item_key"].to_list() == [row["item_key"] for row in rows]
    assert frame["novel"].to_list() == [row["novel"] for row in rows]


def test_rdkit_reads_every_item(library: Path, rows: list[dict[str, Any]]) -> None:
    from rdkit import Chem

    for row in rows:
        mol = Chem.MolFromSmiles(row["item"])
        assert Chem.MolToSmiles(mol) == row["item"]
        assert mol.GetRingInfo().NumRings() == row["rings"]

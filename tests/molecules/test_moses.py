"""The reference statistics: only the published pickles are opened, and only by name."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genesis.errors import InputError, ResourceError
from genesis_domains.molecules import moses as module
from genesis_domains.molecules.moses import SHA256, MosesReference, Split, checked, read_statistics


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("opened",)


def npy(value: object) -> io.BytesIO:
    """A ``.npy`` stream with a pickled object, in the names numpy 1 wrote."""
    array = np.array(None, object)
    array[()] = value
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    file.write(pickle.dumps(array, protocol=2).replace(b"numpy._core", b"numpy.core"))
    file.seek(0)
    return file


def statistics() -> dict[str, Any]:
    """Three molecules' worth of a file of MOSES."""
    return {
        "FCD": {"mu": np.arange(4, dtype=np.float32), "sigma": np.eye(4)},
        "SNN": {"fps": np.eye(3, 16, dtype=np.uint8)[::-1] + np.eye(3, 16, k=4, dtype=np.uint8)},
        "Frag": {"frag": Counter({"CC": 3, "c1ccccc1": 1})},
        "Scaf": {"scaf": Counter({"c1ccc(-c2ccccc2)cc1": 2})},
        **{name: {"values": [1.0, 2.0, 3.0]} for name in ("logP", "SA", "QED", "weight")},
    }


def test_the_five_names_of_the_statistics_are_read() -> None:
    found = read_statistics(npy(statistics()))
    assert found["Frag"]["frag"] == Counter({"CC": 3, "c1ccccc1": 1})
    assert (found["SNN"]["fps"] == statistics()["SNN"]["fps"]).all()


@pytest.mark.parametrize("planted", [Evil(), {"FCD": Evil()}, [Path()]])
def test_any_other_name_is_refused_before_it_is_used(
    planted: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"the pickle names \w+\.\w+, which MOSES's statistics do not"):
        read_statistics(npy(planted))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_changed_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"mcf.csv is not in .*; run `genesis data fetch moses`"):
        checked(tmp_path, "mcf.csv")
    (tmp_path / "mcf.csv").write_text("names,smarts\n")
    with pytest.raises(InputError, match=f"mcf.csv has SHA-256 [0-9a-f]{{64}}, not {SHA256['mcf.csv']}"):
        checked(tmp_path, "mcf.csv")


def test_a_changed_pickle_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "test_stats.npz", "w") as archive:
        archive.writestr("stats.npy", npy(Evil()).getvalue())
    monkeypatch.setattr(module, "read_statistics", lambda file: pytest.fail("opened"))
    with pytest.raises(InputError, match=r"test_stats.npz has SHA-256"):
        module._split(tmp_path, tmp_path, "test")


def same(a: Split, b: Split) -> bool:
    return (
        a.fragments == b.fragments
        and a.scaffolds == b.scaffolds
        and bool((a.fingerprints == b.fingerprints).all())
        and bool((a.activations.mean == b.activations.mean).all() and (a.activations.cov == b.activations.cov).all())
        and all((a.values[name] == b.values[name]).all() for name in a.values)
    )


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    split = module._from_statistics(statistics())
    module._write(split, tmp_path / "test.npz")
    assert same(module._read(tmp_path / "test.npz"), split)
    assert [file.name for file in tmp_path.iterdir()] == ["test.npz"]
    assert np.bitwise_count(split.fingerprints).sum(1).tolist() == [2, 2, 2]
    with np.load(tmp_path / "test.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind in "fiu" for name in arrays)


def test_a_damaged_preparation_says_so(tmp_path: Path) -> None:
    (tmp_path / "test.npz").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(InputError, match=r"test.npz is damaged .*; delete it, and it is made again"):
        module._split(tmp_path, tmp_path, "test")


def test_the_published_statistics(moses: Path, tmp_path: Path) -> None:
    """Sizes and a few entries of the split of held-out scaffolds, read from the pickle itself."""
    split = module._split(moses, tmp_path, "test_scaffolds")
    assert split.activations.count == len(split.fingerprints) == 176_225
    assert tuple(split.activations.cov.shape) == (512, 512)
    assert split.fragments["[5*]N[5*]"] == 123_282
    assert split.scaffolds["c1ccc2ncccc2c1"] == 3_778
    assert (len(split.fragments), len(split.scaffolds)) == (13_137, 44_885)
    bits = np.bitwise_count(split.fingerprints).sum(1)
    assert (np.diff(bits.astype(int)) >= 0).all()
    assert float(split.values["weight"].mean()) == pytest.approx(307, abs=5)
    assert {value.shape for value in split.values.values()} == {(176_225,)}


@pytest.mark.slow
def test_opening_prepares_once(moses: Path, tmp_path: Path) -> None:
    """The training set is 1.6 million rows: its canonical keys take minutes, and only the first time."""
    folder = tmp_path / "moses"
    shutil.copytree(moses, folder, ignore=shutil.ignore_patterns("prepared"))
    heard: list[str] = []
    first = MosesReference.open(folder, progress=lambda done, total, stage: heard.append(stage))
    assert 1_584_600 <= len(first.known) <= 1_584_663
    assert set(heard) == {"training keys"}
    for pickled in folder.glob("*_stats.npz"):
        pickled.unlink()
    again = MosesReference.open(folder, progress=lambda *at: pytest.fail("prepared twice"))
    assert same(first.test, again.test)
    assert same(first.test_scaffolds, again.test_scaffolds)

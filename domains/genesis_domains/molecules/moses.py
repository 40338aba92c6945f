"""The reference side of the MOSES benchmark (Polykovskiy et al., 2020): its two test sets as statistics of 2019.

The statistics come as pickles. A pickle can run code, so each is opened only when its SHA-256 is the published one,
by a reader that knows five names, and written once as plain arrays beside it.

    N  reference molecules    D  features, 512    W  bytes a fingerprint, 128
"""

from __future__ import annotations

import codecs
import hashlib
import os
import pickle
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from genesis.errors import InputError, ResourceError
from genesis.metrics.frechet import Gaussian
from genesis.metrics.sets import KeySet
from genesis_domains.molecules.filters import read_smarts
from genesis_domains.molecules.profile import MEASURES
from genesis_domains.molecules.training import build_training_keys, read_smiles
from genesis_domains.molecules.workers import Progress

SHA256 = {
    "train.csv.gz": "786f0313aa6b9ba5514df685f885742a70ea8d86f1a4fa48115f7f80a634265c",
    "test_stats.npz": "ded25073225a895d4ed17bf1d4223d27560e87ff4cb85786346ca1cc8efa03d3",
    "test_scaffolds_stats.npz": "7b7aba6c1474634a019bebf16f389d554cb9dd1021dfc8c1d1e54430a9f0e7f8",
    "mcf.csv": "f4a2bfacb4cb8877295eb2a4b4e61ec9770a26388f1331e5dc9c193d22dd5f89",
    "wehi_pains.csv": "d762e5420ec70f06d7e41d336cae6f67e2feb0eddf05c6171192a332726d296f",
}
TRAINING_MOLECULES = 1_584_663
ALLOWED = {
    ("_codecs", "encode"): codecs.encode,
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "Counter"): Counter,
}


@dataclass(frozen=True, slots=True)
class Split:
    """What MOSES keeps of one test set."""

    activations: Gaussian  # ChemNet's, [D]
    fingerprints: NDArray[np.uint8]  # [N, W], sorted by number of bits
    fragments: Mapping[str, int]
    scaffolds: Mapping[str, int]
    values: Mapping[str, NDArray[np.float64]]  # [N] of each of MEASURES


@dataclass(frozen=True, slots=True)
class MosesReference:
    """The two test sets, the training set and the filters; ``prepared`` is the folder of what was made from them."""

    test: Split
    test_scaffolds: Split
    known: KeySet
    smarts: tuple[str, ...]
    train: Path
    prepared: Path

    @classmethod
    def open(
        cls, folder: Path, prepared: Path | None = None, *, workers: int = 2, progress: Progress | None = None
    ) -> MosesReference:
        """Read the fetched files of ``folder``; the first call prepares them, in about two minutes on two cores."""
        prepared = folder / "prepared" if prepared is None else prepared
        prepared.mkdir(parents=True, exist_ok=True)
        keys = prepared / "train_keys.npy"
        train = checked(folder, "train.csv.gz")
        for name in ("mcf.csv", "wehi_pains.csv"):
            checked(folder, name)
        if not keys.is_file():
            smiles = read_smiles(train)
            build_training_keys(smiles, keys, workers=workers, progress=progress, total=TRAINING_MOLECULES)
        return cls(
            _split(folder, prepared, "test"),
            _split(folder, prepared, "test_scaffolds"),
            KeySet(keys),
            read_smarts(folder),
            train,
            prepared,
        )


def checked(folder: Path, name: str) -> Path:
    """The path of a fetched file whose SHA-256 is the one listed above."""
    path = folder / name
    if not path.is_file():
        raise ResourceError(f"{name} is not in {folder}; run `genesis data fetch moses`")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256[name]:
        raise InputError(f"{path} has SHA-256 {found}, not {SHA256[name]}; run `genesis data fetch moses` again")
    return path


class StatisticsUnpickler(pickle.Unpickler):
    """Reads MOSES's statistics, and refuses any name but the five in them."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise InputError(f"the pickle names {module}.{name}, which MOSES's statistics do not; it was not opened")
        return ALLOWED[module, name]


def read_statistics(file: IO[bytes]) -> dict[str, dict[str, Any]]:
    """The object inside a ``.npy`` stream, through ``StatisticsUnpickler``."""
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    statistics: dict[str, dict[str, Any]] = StatisticsUnpickler(file, encoding="latin1").load().item()
    return statistics


def _split(folder: Path, prepared: Path, name: str) -> Split:
    path = prepared / f"{name}.npz"
    if not path.is_file():
        with zipfile.ZipFile(checked(folder, f"{name}_stats.npz")) as archive, archive.open("stats.npy") as file:
            _write(_from_statistics(read_statistics(file)), path)
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is damaged ({error}); delete it, and it is made again") from error


def _from_statistics(statistics: dict[str, dict[str, Any]]) -> Split:
    fingerprints = np.packbits(statistics["SNN"]["fps"], axis=1)
    order = np.argsort(np.bitwise_count(fingerprints).sum(1, dtype=np.int64), kind="stable")
    mean, cov = (torch.from_numpy(statistics["FCD"][name]).double() for name in ("mu", "sigma"))
    return Split(
        Gaussian(mean, cov, len(fingerprints)),
        fingerprints[order],
        statistics["Frag"]["frag"],
        statistics["Scaf"]["scaf"],
        {name: np.asarray(statistics[name]["values"], np.float64) for name in MEASURES},
    )


def _write(split: Split, target: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "mean": split.activations.mean.numpy(),
        "cov": split.activations.cov.numpy(),
        "fingerprints": split.fingerprints,
        **split.values,
    }
    for name, counts in (("fragments", split.fragments), ("scaffolds", split.scaffolds)):
        arrays[name] = np.frombuffer("\n".join(counts).encode("ascii"), np.uint8)
        arrays[f"{name}_counts"] = np.fromiter(counts.values(), np.int64, len(counts))
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    partial.replace(target)


def _read(path: Path) -> Split:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        counts = {
            name: dict(
                zip(
                    arrays[name].tobytes().decode("ascii").split("\n"),
                    arrays[f"{name}_counts"].tolist(),
                    strict=True,
                )
            )
            for name in ("fragments", "scaffolds")
        }
        fingerprints = arrays["fingerprints"]
        return Split(
            Gaussian(torch.from_numpy(arrays["mean"]), torch.from_numpy(arrays["cov"]), len(fingerprints)),
            fingerprints,
            counts["fragments"],
            counts["scaffolds"],
            {name: arrays[name] for name in MEASURES},
        )

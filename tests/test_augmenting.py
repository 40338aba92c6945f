"""Synthetic items for labelled data: labels of its rows, no near copies, and provenance in every row."""

from __future__ import annotations

import csv
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import DataStructs
from rdkit.Chem import MolFromSmiles, rdFingerprintGenerator

from genesis import registry
from genesis.augmenting import Labelled
from genesis.checkpoint import Config, Provenance
from genesis.cli import augment as command
from genesis.cli.app import run
from genesis.engine import Engine
from genesis.errors import InputError, UsageError
from genesis.models.transformer import Transformer, TransformerConfig
from genesis.nn.conditioner import NumberField
from genesis_domains.images.image import Image
from genesis_domains.molecules.smiles import IDS, VOCAB

ROWS = [("CCO", 1.5), ("CCN", 2.5), ("CCCC", None), ("c1ccccc1", 4.0), ("CC(=O)O", 0.5), ("CCOC", 3.0)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "measured.csv"
    lines = ["smiles,activity,note"] + [f"{s},{'' if y is None else y},kept" for s, y in ROWS]
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(scope="module")
def engine() -> Engine:
    torch.manual_seed(0)
    fields = (NumberField(name="activity", mean=2, std=1, quantiles=(0, 1, 2, 3, 4)),)
    model = Transformer(TransformerConfig.of("tiny", 272, 24, fields)).eval()
    with torch.no_grad():
        for token in ("C", "N", "O", "=C", "(", ")", "1"):  # otherwise every element is as likely as carbon
            model.head.bias[IDS[token]] += 5
        model.head.bias[2] += 4  # short ones: some are in the data set
    provenance = Provenance(corpus="none", licence="CC0", items=0)
    return Engine(model, Config(domain="molecules", vocab=VOCAB, model=model.config, provenance=provenance))


def similarity(a: str, b: str) -> float:
    """Written beside the domain's: Morgan fingerprints of radius 2 and 1,024 bits."""
    morgan = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    return float(DataStructs.TanimotoSimilarity(*(morgan.GetFingerprint(MolFromSmiles(s)) for s in (a, b))))


def test_labels_are_those_of_rows_that_have_them(engine, data):
    hits = engine.augment(data, ["activity"], 40, seed=2)
    assert len(hits) == 40
    given = {y for _, y in ROWS if y is not None}
    assert set(hits.asked["activity"]) <= given
    assert len(set(hits.asked["activity"])) > 2
    again = engine.augment(data, ["activity"], 40, seed=2)
    assert (again.keys, again.asked) == (hits.keys, hits.asked)
    assert engine.augment(data, ["activity"], 40, seed=3).keys != hits.keys


def test_no_item_is_a_near_copy(engine, data):
    hits = engine.augment(data, ["activity"], 60, near=0.5)
    own = [s for s, _ in ROWS]
    apart = [max(similarity(a, b) for b in own if b != a) for a in own]
    limit = np.quantile(apart, 0.5)
    nearest = [max(similarity(key, s) for s in own) for key in hits.keys]
    assert nearest == pytest.approx(hits.measured["nearest"], abs=1e-6)
    assert max(nearest) < limit
    report = hits.report()
    assert report.refused
    assert "valid, and not accepted" in str(report)
    assert report.drawn >= 60 + report.refused


def test_what_is_near_where_items_do_not_compare(data):
    class Plain:
        """A domain that knows only whether two items are the same."""

        key = staticmethod(str)

    plain = Labelled(Plain(), ["a", "b"], {"y": [1.0, 2.0]})
    assert plain.near(0.5, 0) == 1.0
    assert plain.nearest(["b", "c"]) == [1.0, 0.0]


def test_the_command_writes_both_files_and_says_where_items_come_from(engine, data, tmp_path, capsys):
    engine.save(tmp_path / "model")
    out = tmp_path / "augmented"
    arguments = [
        "augment",
        "molecules",
        str(data),
        "--label",
        "activity",
        "-n",
        "12",
        "--model",
        str(tmp_path / "model"),
    ]
    assert run([*arguments, "--out", str(out), "--quiet"]) == 0
    assert [Path(line).name for line in capsys.readouterr().out.split()] == [
        "synthetic.csv", "together.csv", "report.json",
    ]  # fmt: skip
    made, both = (
        list(csv.DictReader((out / name).read_text().splitlines())) for name in ("synthetic.csv", "together.csv")
    )
    assert [row["synthetic"] for row in both] == ["0"] * 6 + ["1"] * 12
    assert {row["synthetic"] for row in made} == {"1"}
    assert {row["licence"] for row in made} == {"CC0"}
    assert [row["activity"] for row in both[:6]] == ["" if y is None else str(y) for _, y in ROWS]
    assert [row["note"] for row in both] == ["kept"] * 6 + [""] * 12
    assert [row["activity"] for row in both[6:]] == [row["activity"] for row in made]
    assert json.loads((out / "report.json").read_text())["returned"] == 12


def test_without_a_model_one_is_trained_on_the_data(tmp_path):
    images, rng = registry.domain("images"), np.random.default_rng(0)
    pixels = rng.integers(0, 255, (15, 8, 8, 1)).astype(np.uint8)
    labels = [str(i % 2) for i in range(30)]
    items = [Image.of(pixels[i // 2], label) for i, label in enumerate(labels)]  # twins: near copies are copies
    images.write(items, tmp_path / "photos.jsonl", {})
    arguments = ["--label", "label", "-n", "3", "--items", "60", "--out", str(tmp_path / "out"), "--quiet"]
    assert run(["augment", "images", str(tmp_path / "photos.jsonl"), *arguments]) == 0
    both = images.read(tmp_path / "out" / "together.jsonl").items
    assert [item.label for item in both[:30]] == labels
    assert {item.label for item in both[30:]} <= {"0", "1"}
    assert len(both) == 33
    assert (tmp_path / "out" / "model" / "model" / "config.json").exists()


def test_bad_requests_say_what_is_wrong(engine, data):
    with pytest.raises(InputError, match="no column 'aktivity'; did you mean 'activity'"):
        engine.augment(data, ["aktivity"], 5)
    with pytest.raises(UsageError, match=r"cannot be asked for 'note'.*--target-property note"):
        engine.augment(data, ["note"], 5)
    with pytest.raises(UsageError, match="no label is named"):
        engine.augment(data, [], 5)
    with pytest.raises(UsageError, match="near=1"):
        engine.augment(data, ["activity"], 5, near=1)
    data.write_text("smiles,activity\nCCO,\n")
    with pytest.raises(InputError, match="no row has all of activity"):
        engine.augment(data, ["activity"], 5)


def test_the_command_has_the_defaults_of_the_method():
    asked, method = (inspect.signature(f).parameters for f in (command.augment, Engine.augment))
    assert asked["near"].default == method["near"].default

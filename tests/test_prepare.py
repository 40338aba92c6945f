"""From a file to an encoded corpus."""

import numpy as np
import pytest

from genesis.errors import InputError, UsageError
from genesis.metrics.sets import KeySet, held_out
from genesis.nn.conditioner import CategoryField, NumberField
from genesis.prepare import KEYS, REJECTED, prepare
from genesis_domains.molecules.molecule import Molecule
from genesis_domains.molecules.smiles import VOCAB

ALCOHOLS = ["C" * n + "O" for n in range(1, 41)]


def write(path, rows):
    path.write_text("\n".join(["SMILES,pic50,series", *rows]) + "\n")
    return path


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "a.csv", [f"{s},{i / 10},{'odd' if i % 2 else 'even'}" for i, s in enumerate(ALCOHOLS)])


def test_items_tokens_and_values_agree_with_the_file(source, tmp_path):
    made = prepare("molecules", source, tmp_path / "e", targets=["pic50"], workers=1)
    assert len(made.encoded) == 40
    names = made.encoded.properties
    for i, smiles in enumerate(ALCOHOLS):
        start, end = made.encoded.offsets[i : i + 2]
        assert "".join(VOCAB[t] for t in made.encoded.tokens[start:end]) == smiles
        assert made.encoded.values[i, names.index("pic50")] == pytest.approx(i / 10)
        assert made.encoded.values[i, names.index("heavy_atoms")] == i + 2
    assert [bool(x) for x in made.encoded.held_out] == [held_out(Molecule.from_smiles(s).smiles) for s in ALCOHOLS]
    known = KeySet(tmp_path / "e" / KEYS)
    assert known.contains([*ALCOHOLS, "c1ccccc1"]).tolist() == [True] * 40 + [False]


def test_fields_describe_the_spread_and_leave_out_what_never_varies(source, tmp_path):
    fields = {
        f.name: f for f in prepare("molecules", source, tmp_path / "e", targets=["pic50", "series"], workers=1).fields
    }
    assert isinstance(fields["pic50"], NumberField)
    assert fields["pic50"].mean == pytest.approx(1.95, abs=1e-6)
    assert fields["pic50"].quantiles[0] == 0
    assert fields["pic50"].quantiles[50] == pytest.approx(1.95)
    assert fields["series"] == CategoryField(name="series", values=("even", "odd"))
    assert "rings" not in fields


def test_missing_cells_are_absent_conditions(tmp_path):
    source = write(tmp_path / "a.csv", ["CCO,1,x", "CCCO,,y", "CCCCO,3,"])
    made = prepare("molecules", source, tmp_path / "e", targets=["pic50", "series"], workers=1)
    columns = [made.encoded.properties.index(n) for n in ("pic50", "series")]
    assert np.isnan(made.encoded.values[1, columns[0]])
    assert np.isnan(made.encoded.values[2, columns[1]])


def test_an_item_is_written_in_several_orders(tmp_path):
    """Other sequences of the same molecules with the same values, held out together; and always the same ones."""
    molecules = ["C[C@H](N)C(=O)Oc1ccc2[nH]ccc2c1", "C[N+](C)(C)CC(=O)[O-]", "C", *ALCOHOLS[:20]]
    source = write(tmp_path / "a.csv", [f"{s},1,x" for s in molecules])
    made, again = (prepare("molecules", source, tmp_path / n, workers=w, spellings=4) for n, w in (("e", 1), ("f", 2)))
    encoded = made.encoded
    texts = [encoded.tokens[a:b] for a, b in zip(encoded.offsets, encoded.offsets[1:], strict=False)]
    found = [Molecule.from_smiles("".join(VOCAB[t] for t in text)).smiles for text in texts]
    assert list(dict.fromkeys(found)) == [Molecule.from_smiles(s).smiles for s in molecules]
    assert found.count(Molecule.from_smiles(molecules[0]).smiles) == 4
    assert found.count("C") == 1  # there is one way to write it
    assert len({bytes(text) for text in texts}) == len(texts)
    for smiles in set(found):
        rows = [i for i, one in enumerate(found) if one == smiles]
        assert (encoded.values[rows] == encoded.values[rows[0]]).all()
        assert len({bool(encoded.held_out[i]) for i in rows}) == 1
    assert np.array_equal(encoded.tokens, again.encoded.tokens)
    with pytest.raises(UsageError, match="spellings=2: text are written in one way"):
        prepare("text", source, tmp_path / "g", spellings=2)


def test_the_same_question_is_answered_once(source, tmp_path):
    first = prepare("molecules", source, tmp_path / "e", workers=1)
    stamp = (tmp_path / "e" / "tokens.u16").stat().st_mtime_ns
    assert len(prepare("molecules", source, tmp_path / "e", workers=1).encoded) == len(first.encoded)
    assert (tmp_path / "e" / "tokens.u16").stat().st_mtime_ns == stamp
    other = prepare("molecules", source, tmp_path / "e", targets=["pic50"], workers=1)
    assert "pic50" in other.encoded.properties


def test_a_share_is_a_stable_choice(source, tmp_path):
    half = prepare("molecules", source, tmp_path / "half", share=0.5, workers=1)
    more = prepare("molecules", source, tmp_path / "more", share=0.8, workers=1)
    sizes = [set(p.encoded.values[:, p.encoded.properties.index("heavy_atoms")].tolist()) for p in (half, more)]
    assert 10 < len(half.encoded) < 30
    assert sizes[0] < sizes[1]


def test_processes_change_nothing(tmp_path):
    source = tmp_path / "many.smi"
    source.write_text("\n".join(f"{'C' * (1 + i % 30)}{'N' * (i % 3)}O" for i in range(5_000)))
    one = prepare("molecules", source, tmp_path / "one", workers=1)
    two = prepare("molecules", source, tmp_path / "two", workers=2)
    assert np.array_equal(one.encoded.tokens, two.encoded.tokens)
    assert np.array_equal(one.encoded.values, two.encoded.values)


def test_bad_rows_are_listed_and_fatal_only_beyond_the_share(tmp_path):
    source = write(tmp_path / "a.csv", ["CCO,1,x"] * 8 + ["no molecule,1,x", "C(C)(C)(C)(C)C,1,x"])
    made = prepare("molecules", source, tmp_path / "e", max_rejected=0.25, workers=1)
    assert made.rejected == 2
    lines = (tmp_path / "e" / REJECTED).read_text().splitlines()
    assert lines[0] == "row,text,reason"
    assert lines[1].startswith("9,no molecule,")
    with pytest.raises(
        InputError, match=r"2 of 10 rows are no items, more than the allowed share of 0.1; the first is row 9"
    ):
        prepare("molecules", source, tmp_path / "f", workers=1)


@pytest.mark.parametrize(
    ("rows", "arguments", "kind", "text"),
    [
        (["CCO,1,x"], {"targets": ["pic5"]}, InputError, "no column 'pic5'; did you mean 'pic50'"),
        (["CCO,1,x", "CCCO,high,x"], {"targets": ["pic50"]}, InputError, "begins with numbers and then holds 'high'"),
        ([f"CCO,1,{i}x" for i in range(1001)], {"targets": ["series"]}, InputError, "more than 1000 different texts"),
    ],
)
def test_columns_that_cannot_be_targets(tmp_path, rows, arguments, kind, text):
    with pytest.raises(kind, match=text):
        prepare("molecules", write(tmp_path / "a.csv", rows), tmp_path / "e", workers=1, **arguments)
    assert not (tmp_path / "e").exists()


def test_a_column_may_not_shadow_a_measured_property(tmp_path):
    with pytest.raises(UsageError, match="the column 'qed' has the name of a measured property"):
        prepare("molecules", write(tmp_path / "a.csv", ["CCO,1,x"]), tmp_path / "e", targets=["qed"], workers=1)


@pytest.mark.parametrize(("source", "text"), [("nowhere.csv", "no such file"), ("mose", "did you mean 'moses'")])
def test_a_source_that_is_not_there(tmp_path, source, text):
    with pytest.raises(InputError, match=text):
        prepare("molecules", source, tmp_path / "e")

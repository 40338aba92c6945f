"""The corpus on disk: what goes in comes out, and what is damaged says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genesis.data.encoded import Row, open_encoded, write
from genesis.errors import InputError, UsageError
from genesis.metrics.sets import held_out

META = {"properties": ["qed", "logp"], "vocab_hash": "v", "corpus": "toy", "licence": "none"}


def row(tokens, values=(0.5, np.nan), out=False) -> Row:
    return Row(np.array(tokens, np.uint16), np.array(values, np.float32), out)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write([row([5, 6, 7]), row([], out=True), row([65_535], (np.inf, -0.0))], tmp_path / "corpus", META)
    return tmp_path / "corpus"


rows = st.lists(
    st.builds(
        Row,
        hnp.arrays(np.uint16, st.integers(0, 20)),
        hnp.arrays(np.float32, 2, elements=st.floats(width=32, allow_nan=True)),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=20)
@given(rows)
def test_round_trip(tmp_path_factory, rows):
    written = write(iter(rows), tmp_path_factory.mktemp("encoded") / "corpus", META)
    read = open_encoded(written.path)
    assert len(read) == len(rows)
    assert read.properties == ("qed", "logp")
    assert read.longest == max(len(r.tokens) for r in rows)
    for i, r in enumerate(rows):
        np.testing.assert_array_equal(read.tokens[read.offsets[i] : read.offsets[i + 1]], r.tokens)
        assert read.values[i].tobytes() == r.values.tobytes()
        assert read.held_out[i] == r.held_out
        assert read.lengths[i] == len(r.tokens)


def test_select_takes_named_columns_in_order(corpus):
    encoded = open_encoded(corpus)
    assert encoded.select(("qed", "logp")) is encoded
    assert encoded.select(("logp",)).values.tobytes() == encoded.values[:, 1:].tobytes()
    swapped = encoded.select(["logp", "qed"])
    assert swapped.properties == ("logp", "qed")
    assert swapped.values.tobytes() == encoded.values[:, ::-1].tobytes()
    assert encoded.select(()).values.shape == (3, 0)


def test_no_property_at_all(tmp_path):
    encoded = write([row([5], ())], tmp_path / "corpus", {**META, "properties": []})
    assert encoded.values.shape == (1, 0)


def test_nothing_to_write(tmp_path):
    with pytest.raises(InputError, match="the corpus has no usable item"):
        write([], tmp_path / "corpus", META)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tokens.u16", "offsets.i64", "values.f32", "held_out.u8"])
@pytest.mark.parametrize("change", [-1, 1, None])
def test_files_of_another_size_are_refused(corpus, name, change):
    file = corpus / name
    content = file.read_bytes()
    if change is None:
        file.unlink()
        message = "not an encoded corpus"
    else:
        file.write_bytes(content[:-1] if change < 0 else content + b"\0")
        message = rf"{name}: {len(content) + change} bytes, expected {len(content)}; prepare it again"
    with pytest.raises(InputError, match=message):
        open_encoded(corpus)


def test_another_format_is_refused_before_anything_else(corpus):
    (corpus / "meta.json").write_text(json.dumps({"format": 7}))
    with pytest.raises(InputError, match="encoded format 7; this version reads 1"):
        open_encoded(corpus)


@pytest.mark.parametrize(
    "meta",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        "{}",
        '{"format": 1}',
        '{"format": 1, "items": "x", "tokens": 4, "properties": []}',
        '{"format": 1, "items": 3, "tokens": 4, "properties": 5}',
        '{"format": 1, "items": -1, "tokens": 4, "properties": []}',
        '{"format": 1, "items": 1e999, "tokens": 4, "properties": []}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_meta_is_an_input_error(corpus, meta):
    (corpus / "meta.json").write_bytes(meta if isinstance(meta, bytes) else meta.encode())
    with pytest.raises(InputError, match="prepare it again"):
        open_encoded(corpus)


@pytest.mark.parametrize("offsets", [(0, 4, 3, 4), (1, 3, 3, 4), (0, 3, 3, 5), (0, -1, 3, 4)])
def test_places_out_of_order_are_refused(corpus, offsets):
    (corpus / "offsets.i64").write_bytes(np.array(offsets, "<i8").tobytes())
    with pytest.raises(InputError, match="places of items out of order"):
        open_encoded(corpus)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(InputError, match="not an encoded corpus"):
        open_encoded(tmp_path / "nowhere")


def test_a_failing_source_leaves_the_old_corpus(corpus):
    def broken():
        yield row([1])
        raise OSError("the disk went away")

    before = {p.name: p.read_bytes() for p in corpus.iterdir()}
    with pytest.raises(OSError, match="the disk went away"):
        write(broken(), corpus, META)
    assert {p.name: p.read_bytes() for p in corpus.iterdir()} == before
    assert [p.name for p in corpus.parent.iterdir()] == ["corpus"]


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match="something else stands there"):
        write([row([1])], tmp_path, META)
    assert (tmp_path / "thesis.tex").exists()


def test_a_killed_writer_leaves_no_corpus(tmp_path):
    code = (
        "import sys, numpy as np; from pathlib import Path; from genesis.data.encoded import Row, write\n"
        "def rows():\n"
        "    for i in range(10**9):\n"
        "        if i == 5_000: print('going', flush=True)\n"
        "        yield Row(np.array([5, 6], np.uint16), np.array([1, 2], np.float32), False)\n"
        f"write(rows(), Path(sys.argv[1]), {META!r})"
    )
    target = tmp_path / "corpus"
    with subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "going\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    with pytest.raises(InputError, match="not an encoded corpus"):
        open_encoded(target)
    assert len(write([row([1])], target, META)) == 1
    assert os.listdir(tmp_path) == ["corpus"]


def test_held_out_is_a_stable_share_of_the_keys():
    keys = [f"C{i}" for i in range(40_000)]
    marks = [held_out(key) for key in keys]
    assert 0.0035 < sum(marks) / len(marks) < 0.0065
    assert [key for key, mark in zip(keys, marks, strict=True) if mark][:3] == ["C188", "C361", "C365"]
    assert sum(held_out(key, 0.5) for key in keys) / len(keys) == pytest.approx(0.5, abs=0.01)
    assert all(held_out(key, 0.5) for key, mark in zip(keys, marks, strict=True) if mark)  # a larger share adds only
    assert not held_out("anything", 0)
    assert held_out("anything", 1)

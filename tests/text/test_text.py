"""Texts through files, windows of training, and what can be given: prompts, patterns, schemas, gaps."""

from __future__ import annotations

import json
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import genesis
from genesis.checkpoint import Config, Provenance
from genesis.cli.app import run
from genesis.engine import Engine
from genesis.errors import EncodeError, InputError, UsageError
from genesis.models.masked import MaskedConfig, MaskedDiffusion
from genesis.models.transformer import Transformer, TransformerConfig
from genesis.nn.conditioner import CategoryField
from genesis_domains.text import DOMAIN, files, schema
from genesis_domains.text.domain import TRAINED, Text
from genesis_domains.text.spelling import BYTES, learned


@pytest.fixture(scope="module")
def engine() -> Engine:
    """A tiny untrained network: the automaton alone gives its texts a form."""
    torch.manual_seed(0)
    fields = (CategoryField(name="style", values=("plain", "verse")),)
    model = Transformer(TransformerConfig.of("tiny", 272, 120, fields)).eval()
    provenance = Provenance(corpus="none", licence="CC0", items=0)
    return Engine(model, Config(domain="text", vocab=BYTES.vocab, model=model.config, provenance=provenance))


def texts(engine: Engine, count: int = 6, **given: str) -> list[str]:
    found = [item.text for item in engine.generate(count, given=given, seed=1, workers=1).items]
    assert found
    return found


@settings(max_examples=100)
@given(st.text(min_size=1, max_size=200))
def test_any_text_is_its_bytes(text):
    try:
        tokens = DOMAIN.encode(Text(text))
    except EncodeError:
        assert any(0xD800 <= ord(c) < 0xE000 for c in text)
        return
    assert bytes(token - 3 for token in tokens.tolist()) == text.encode()
    assert DOMAIN.decode(tokens) == Text(text)


@settings(max_examples=60)
@given(st.text("ab é\n🍎", min_size=1, max_size=1_500))
def test_windows_of_training_fit_and_lose_nothing_but_line_ends(text):
    pieces = [piece.text for piece in DOMAIN.augment(Text(text, "s"))]
    assert all(0 < len(piece.encode()) <= TRAINED for piece in pieces)
    assert "".join(pieces).replace("\n", "") == text.replace("\n", "")


def test_a_text_begins_with_its_prompt(engine):
    for text in texts(engine, prompt="Once, a Käse"):
        assert text.startswith("Once, a Käse")


@pytest.mark.parametrize("pattern", [r"[A-Z][a-z]{2,8}( [A-Z]\.)? [A-Z][a-z]+", r"\d{4}-\d{2}-\d{2}", "(ja|nein|ü{3})"])
def test_a_pattern_is_matched_by_all_of_them(engine, pattern):
    assert all(re.fullmatch(pattern, text) for text in texts(engine, 3, pattern=pattern))
    assert all(
        re.fullmatch("At: (?:" + pattern + ")", text) for text in texts(engine, 3, prompt="At: ", pattern=pattern)
    )


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 8},
        "age": {"type": "integer"},
        "kind": {"enum": ["cat", "dog"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
    },
    "required": ["name", "kind"],
}


def test_a_schema_is_obeyed_by_all_of_them(engine, tmp_path):
    file = tmp_path / "pet.json"
    file.write_text(json.dumps(SCHEMA))
    for text in texts(engine, 12, json_schema=str(file)):
        pet = json.loads(text)
        assert {"name", "kind"} <= pet.keys() <= {"name", "age", "kind", "tags"}
        assert 1 <= len(pet["name"]) <= 8
        assert pet["kind"] in ("cat", "dog")
        assert type(pet.get("age", 0)) is int
        assert all(type(tag) is bool for tag in pet.get("tags", ()))
        assert len(pet.get("tags", ())) <= 2


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"type": "thing"}, r"\$: type 'thing'"),
        ({"$ref": "#"}, r"type None"),
        ({"type": "object", "properties": {"a": {"type": "string", "format": "date"}}}, r"\$\.a: 'format'"),
        ({"type": "string", "minLength": 3, "maxLength": 1}, "whole numbers in order"),
        ([], "an object is needed"),
    ],
)
def test_a_schema_that_is_not_understood(value, reason):
    with pytest.raises(UsageError, match=reason):
        schema.of(value)


def test_gaps_are_filled_and_what_stands_around_them_stays(engine):
    for text in texts(engine, infill="The [...5] is [...]!"):
        found = re.fullmatch(r"(?s)The (.{5}) is (.{1,40})!", text)
        assert found, text


@pytest.mark.parametrize(
    ("given_", "reason"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": "x" * 200}, "200 tokens, and this model has room for 118"),
        ({"prompt": "x" * 1_000_000}, "1,000,000 bytes; at most 8,190"),
        ({"prompt": "half \ud800"}, "not UTF-8"),
        ({"pattern": "("}, "not a regular expression"),
        ({"pattern": "(x{900}){900}"}, "too large"),
        ({"pattern": "a{150}"}, "the shortest text takes 150 tokens"),
        ({"pattern": "a", "infill": "[...]"}, "do not go together"),
        ({"infill": "no gap"}, "no gap"),
        ({"infill": "[...5000]"}, "at most 1,000"),
        ({"promt": "a"}, "'promt' cannot be given"),
    ],
)
def test_what_cannot_be_given_is_said_at_once(engine, given_, reason):
    with pytest.raises(UsageError, match=reason):
        engine.generate(1, given=given_)


def test_files_of_every_kind(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n%\nthree\n")
    assert [t.text for t in files.read(tmp_path / "a.txt").items] == ["one\ntwo", "three"]
    assert [t.text for t in files.read(tmp_path / "a.txt", "line").items] == ["one", "two", "%", "three"]
    (tmp_path / "in" / "haiku").mkdir(parents=True)
    (tmp_path / "in" / "haiku" / "b.csv").write_text("id,text\n1,frog\n2,\n3,pond\n")
    reading = files.read(tmp_path / "in")
    assert [(t.text, t.style) for t in reading.items] == [("frog", "haiku"), ("pond", "haiku")]
    assert [(one.row, one.reason) for one in reading.rejected] == [(2, "the text is empty")]
    (tmp_path / "latin.txt").write_bytes("Grüße".encode("latin1"))
    with pytest.raises(InputError, match=r"not UTF-8 \(byte 0xfc at 2\).*iconv"):
        files.read(tmp_path / "latin.txt")
    with pytest.raises(InputError, match="unknown suffix"):
        files.read(tmp_path / "in" / "haiku" / "b.doc")


def test_a_txt_cannot_hold_its_own_separator(tmp_path):
    with pytest.raises(UsageError, match="line '%'"):
        files.write([Text("a\n%\nb")], tmp_path / "a.txt", {})
    assert not list(tmp_path.iterdir())


def test_a_corpus_is_made_of_whole_speeches(tmp_path):
    speeches = [f"SPEAKER {i}:\n" + "word " * (200 + i) for i in range(40)]
    (tmp_path / "input.txt").write_text("\n\n".join(speeches))
    DOMAIN.build("shakespeare", {"input.txt": tmp_path / "input.txt"}, tmp_path)
    items = files.read(tmp_path / "all.jsonl").items
    assert len(items) > 5
    assert {item.style for item in items} == {"shakespeare"}
    assert all(item.text.startswith("SPEAKER") for item in items)
    assert sum(item.text.count("SPEAKER") for item in items) == 40


def test_the_command(engine, tmp_path, capsys):
    engine.save(tmp_path / "tiny")
    command = ["text", "--model", str(tmp_path / "tiny"), "--style", "verse", "-n", "2", "-q"]
    assert run([*command, "--pattern", "[a-z]{3}", "-o", str(tmp_path / "out.jsonl")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert all(re.fullmatch("[a-z]{3}", row["text"]) for row in rows)
    assert [row["asked_style"] for row in rows] == ["verse"] * 2
    assert run(["text", "--model", str(tmp_path / "tiny"), "--style", "vers", "-q"]) == 2
    assert "did you mean 'verse'" in capsys.readouterr().err


VERSE = ["the cat sat on the mat", "the dog sat on the log", "the cat and the dog"] * 20


def test_a_vocabulary_that_is_learned_spells_any_text_in_fewer_tokens():
    pytest.importorskip("tokenizers", reason='pip install "genesis-engine[text]"')
    vocab = learned(VERSE, 275)
    assert len(vocab) == 275 == len(set(vocab))
    assert vocab[: len(BYTES.vocab)] == BYTES.vocab
    domain = DOMAIN.speaking(vocab)
    for text in (VERSE[0], "a Käse, 🍎\n"):
        tokens = domain.encode(Text(text))
        assert domain.decode(tokens) == Text(text)
        assert domain.spelling.bytes_of(tokens.tolist()) == text.encode()
    assert len(domain.encode(Text(VERSE[0]))) < len(VERSE[0]) / 2
    for wrong in (200, len(BYTES.vocab), 10**6):
        with pytest.raises(UsageError, match="a learned one has"):
            learned(VERSE, wrong)


def test_a_model_is_trained_in_a_vocabulary_of_its_own(tmp_path):
    pytest.importorskip("tokenizers", reason='pip install "genesis-engine[text]"')
    (tmp_path / "verse.txt").write_text("\n\n".join(f"{line} {i}" for i, line in enumerate(VERSE)))
    arguments = ["--size", "tiny", "--items", "60", "--vocabulary", "280", "--out", str(tmp_path / "run"), "--quiet"]
    assert run(["train", "text", str(tmp_path / "verse.txt"), *arguments]) == 0
    engine = genesis.load(tmp_path / "run")
    assert len(engine.config.vocab) == 280 == len(engine.domain.spec.vocab)
    hits = engine.generate(3, given={"prompt": "the cat", "pattern": "[ a-z]{3,9}"})
    assert all(re.fullmatch("the cat[ a-z]{3,9}", item.text) for item in hits.items)
    assert run(["train", "molecules", str(tmp_path / "verse.txt"), *arguments[2:]]) != 0


def test_a_masked_diffusion_fills_a_gap_by_what_stands_on_both_sides():
    """Words of which the first letter follows from the last: what no model that reads from the left can know."""
    torch.manual_seed(0)
    model = MaskedDiffusion(MaskedConfig.of("tiny", 272, 16, ()))
    words = [DOMAIN.encode(Text(word)) for word in ("xoo1", "yoo2")]
    batch = torch.stack([torch.cat((torch.tensor([1]), words[i % 2], torch.tensor([2]))) for i in range(32)])
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        torch.autograd.backward(model.loss(batch, torch.empty(32, 0)) / 32)
        optimizer.step()
    provenance = Provenance(corpus="none", licence="CC0", items=0)
    config = Config(domain="text", family="masked", vocab=BYTES.vocab, model=model.config, provenance=provenance)
    engine = Engine(model.eval(), config)
    for template, word in (("[...1]oo1", "xoo1"), ("[...1]oo2", "yoo2"), ("x[...2]1", "xoo1")):
        assert {item.text for item in engine.generate(1, given={"infill": template}, seed=1).items} == {word}
    assert all(text.endswith("oo1") for text in texts(engine, 3, infill="[...]oo1"))
    with pytest.raises(UsageError, match="fills gaps"):
        engine.generate(1, given={"prompt": "x"})
    with pytest.raises(UsageError, match="room for 16"):
        engine.generate(1, given={"infill": "x[...100]"})

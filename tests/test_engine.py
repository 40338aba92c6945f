"""The engine on a tiny untrained network: the grammar alone makes its molecules valid."""

import subprocess
import sys

import pytest
import torch
from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors

import genesis
from genesis.checkpoint import Config, Provenance
from genesis.decoding.continuous import ContinuousDecoder
from genesis.decoding.loop import Decoder
from genesis.drawing import Request, checked_beside
from genesis.engine import Engine
from genesis.errors import CheckpointError, UnknownProperty, UsageError
from genesis.metrics.sets import KeySet
from genesis.models.transformer import Transformer, TransformerConfig
from genesis.nn.conditioner import NumberField
from genesis.targets import Targets
from genesis.train import TrainConfig
from genesis_domains.molecules.smiles import IDS, VOCAB

FIELDS = (
    NumberField(name="logp", mean=2, std=1, quantiles=(-2, 1, 2, 3, 6)),
    NumberField(name="mol_weight", mean=300, std=30, quantiles=(150, 280, 300, 320, 500)),
    NumberField(name="pic50", mean=6, std=1, quantiles=(4, 5, 6, 7, 8)),
)


@pytest.fixture(scope="module")
def engine() -> Engine:
    torch.manual_seed(0)
    model = Transformer(TransformerConfig.of("tiny", 272, 48, FIELDS)).eval()
    with torch.no_grad():
        for token in ("C", "N", "O", "=C", "(", ")", "1"):  # otherwise every element is as likely as carbon
            model.head.bias[IDS[token]] += 5
    config = Config(
        domain="molecules",
        vocab=VOCAB,
        model=model.config,
        provenance=Provenance(corpus="none", licence="CC0", items=0),
    )
    return Engine(model, config)


def test_items_are_valid_distinct_and_measured(engine):
    hits = engine.generate(40, seed=3)
    assert len(hits) == 40 == len(set(hits.keys))
    for item, logp, weight in zip(hits.items, hits.measured["logp"], hits.measured["mol_weight"], strict=True):
        mol = Chem.MolFromSmiles(item.smiles)
        assert Chem.MolToSmiles(mol) == item.smiles
        assert logp == pytest.approx(Crippen.MolLogP(mol))
        assert weight == pytest.approx(Descriptors.MolWt(mol))
    report = hits.report()
    assert (report.asked, report.returned, report.seed, report.licence) == (40, 40, 3, "CC0")
    assert report.drawn >= 40
    assert report.valid == 1.0  # by construction


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_batch_size_changes_nothing(engine, batch_size):
    one = engine.generate(20, {"logp": (1, 3)}, batch_size=batch_size)
    whole = engine.generate(20, {"logp": (1, 3)})
    assert (one.keys, one.log_prob, one.measured) == (whole.keys, whole.log_prob, whole.measured)


def test_processes_change_nothing(engine):
    one = engine.generate(30, {"logp": 2.0}, seed=1, workers=1, batch_size=8)
    two = engine.generate(30, {"logp": 2.0}, seed=1, workers=2, batch_size=8)
    assert one.keys == two.keys
    assert one.log_prob == two.log_prob
    assert one.measured == two.measured


def test_processes_need_no_main_guard(engine, tmp_path):
    engine.save(tmp_path / "model")
    script = tmp_path / "script.py"
    script.write_text(
        f"import genesis\nengine = genesis.load({str(tmp_path / 'model')!r})\n"
        "print(len(engine.generate(12, workers=2, batch_size=6)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "12", done.stderr


def test_without_the_constraint_the_raw_rate_is_reported(engine):
    hits = engine.generate(4, constrained=False)
    report = hits.report()
    assert report.valid < 1
    assert report.drawn <= 4 * 4 + 64
    assert report.returned == len(hits) <= 4
    assert bool(report.shortfall) == (report.returned < 4)


def test_draw_keeps_every_index(engine):
    targets = Targets.check(None, engine.config.model.fields, engine.domain.properties)
    drawn = list(engine.draw(50, Request(constrained=False), targets))
    assert [d.index for d in drawn] == list(range(50))
    assert any(d.item is None for d in drawn)
    assert all((d.item is None) == (d.key is None) for d in drawn)


def test_keep_best_keeps_the_closest(engine):
    plain = engine.generate(60, {"logp": 1.0})
    best = engine.generate(10, {"logp": 1.0}, keep_best=6)
    errors = sorted(abs(x - 1.0) for x in plain.measured["logp"])
    assert sorted(abs(x - 1.0) for x in best.measured["logp"]) == errors[:10]
    assert best.report().keep_best == 6
    assert best.index == sorted(best.index)


def test_novelty_comes_from_the_keys_beside_the_weights(engine, tmp_path):
    engine.save(tmp_path / "m")
    first = genesis.load(tmp_path / "m").generate(10, measure=())  # of the weights as stored, in bfloat16
    assert first.report().novel is None
    KeySet.build(first.keys[:4], tmp_path / "m" / "training_keys.npy")
    again = genesis.load(tmp_path / "m").generate(10, measure=())
    assert again.keys == first.keys
    assert again.novel == [False] * 4 + [True] * 6
    assert again.report().novel == 0.6


def test_novelty_knows_what_the_presets_named_beside_the_keys_have_seen(engine, tmp_path):
    """Weights that began as a preset's have seen its corpus, whose keys are not repeated."""
    shipped = genesis.load("molecules-moses", "cpu")
    seen = next(
        hit.key for hit in shipped.draw(40, Request(), shipped.targets(None)) if shipped.known.contains([hit.key])
    )
    for named, finds in (((), False), (("molecules-moses",), True)):
        provenance = engine.config.provenance.model_copy(update={"keys_of": named})
        Engine(engine.model, engine.config.model_copy(update={"provenance": provenance})).save(tmp_path / "m")
        KeySet.build(["CCO"], tmp_path / "m" / "training_keys.npy")
        assert genesis.load(tmp_path / "m", "cpu").known.contains(["CCO", seen]).tolist() == [True, finds]
    provenance = provenance.model_copy(update={"keys_of": ("molecules-gone",)})
    Engine(engine.model, engine.config.model_copy(update={"provenance": provenance})).save(tmp_path / "m")
    KeySet.build(["CCO"], tmp_path / "m" / "training_keys.npy")
    with pytest.raises(CheckpointError, match="it has seen what the preset 'molecules-gone' has, which is not here"):
        _ = genesis.load(tmp_path / "m", "cpu").known


def test_a_saved_engine_is_the_same_engine(engine, tmp_path):
    engine.save(tmp_path / "m")
    loaded = genesis.load(tmp_path / "m")
    assert loaded.properties == ("logp", "mol_weight", "pic50")
    assert loaded.name == "m"
    # weights are stored in bfloat16; what was loaded twice is equal to the bit
    assert loaded.generate(8).keys == genesis.load(tmp_path / "m").generate(8).keys


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"count": 0}, UsageError, "each must be at least 1"),
        ({"count": 1, "temperature": float("nan")}, UsageError, "temperature=nan"),
        ({"count": 1, "top_p": 0.0}, UsageError, "top_p=0.0"),
        ({"count": 1, "seed": -1}, UsageError, "seed=-1"),
        ({"count": 1, "keep_best": 2}, UsageError, "keep_best chooses the items closest to the targets"),
        (
            {"count": 1, "keep_best": 2, "target": {"pic50": 7.0}},
            UsageError,
            "'pic50' is known from the training file only",
        ),
        ({"count": 1, "measure": ["lgp"]}, UnknownProperty, "did you mean 'logp'"),
        ({"count": 1, "target": {"qed": 0.5}}, UsageError, "not trained on 'qed'"),
    ],
)
def test_what_cannot_be_meant_is_refused(engine, arguments, kind, text):
    with pytest.raises(kind, match=text):
        engine.generate(**arguments)


def test_interruption_keeps_what_is_finished(engine):
    def stop(done, total, what):
        if done >= 8:
            raise KeyboardInterrupt

    hits = engine.generate(500, batch_size=64, workers=1, on_progress=stop)
    assert 8 <= len(hits) < 500
    assert hits.report().interrupted
    assert "interrupted" in hits.report().shortfall


def test_train_on_a_file_and_ask_for_its_column(tmp_path):
    rows = [f"{'C' * n}O,{n}" for n in range(1, 25)] + ["c1ccccc1C(=O)N,7", "not a molecule,3"]
    source = tmp_path / "library.csv"
    source.write_text("SMILES,pic50\n" + "\n".join(rows) + "\n")
    config = TrainConfig(items=200, batch_tokens=256, precision="fp32", every=5)
    engine = Engine.train("molecules", source, tmp_path / "run", targets=["pic50"], size="tiny", config=config)
    assert "pic50" in engine.properties
    assert "stereo_centers" not in engine.properties  # it never varies here, so it cannot be asked for
    assert (tmp_path / "run" / "encoded" / "rejected.csv").read_text().count("\n") == 2
    hits = genesis.load(tmp_path / "run").generate(5, target={"pic50": 8.0})
    assert len(hits) == 5
    assert hits.report().corpus == "library.csv"
    assert hits.report().model == "run"
    assert hits.report().novel is not None
    more = tmp_path / "more.csv"
    more.write_text("SMILES,dose\n" + "\n".join(f"{'C' * n}N,{n % 5}" for n in range(1, 25)) + "\n")
    tuned = Engine.train(
        "molecules", more, tmp_path / "tuned", targets=["dose"], size="tiny", config=config, begin_with=tmp_path / "run"
    )
    assert "dose" in tuned.properties
    assert "pic50" not in tuned.properties  # the new file has no such column
    provenance = tuned.config.provenance
    assert (provenance.corpus, provenance.items_seen) == ("library.csv then more.csv", 400)
    assert provenance.begun_from.startswith("run, trained ")
    before = genesis.load(tmp_path / "run").known
    seen = [key for key in (f"{'C' * n}O" for n in range(1, 25)) if before.contains([key])]
    assert len(seen) > 12
    assert tuned.known.contains(seen).all()  # what the weights saw before is not novel either
    assert len(tuned.known) > len(before)
    with pytest.raises(UsageError, match="64 wide, the size small is 256"):
        Engine.train("molecules", more, tmp_path / "wide", begin_with=tmp_path / "run")


def test_recorded_slots_with_checks_beside_them_draw_the_same_items(engine):
    """The way of a GPU, run on a CPU: 16 and 8 slots, the molecules' automaton, two processes that check."""
    loop, slots = Engine(engine.model, engine.config), Engine(engine.model, engine.config)
    loop.decoder = Decoder(engine.model, len(VOCAB), torch.float32)
    slots.decoder = ContinuousDecoder(engine.model, len(VOCAB), torch.float32, (16, 8))
    request, targets = Request(seed=3, measure=("logp",)), engine.targets({"logp": (1, 3)})
    expected = list(loop.draw(60, request, targets, workers=1))
    found = list(checked_beside(slots, [(0, 25), (25, 60)], request, targets, workers=2, share=10))
    assert [(d.index, d.key, d.measured, d.tokens) for d in found] == [
        (d.index, d.key, d.measured, d.tokens) for d in expected
    ]
    assert all(d.key is not None for d in found)
    assert [d.log_prob for d in found] == pytest.approx([d.log_prob for d in expected], abs=1e-3)


def test_completing_keeps_what_is_given(engine):
    hits = engine.complete("[*:1]c1ccccc1", 12, {"logp": 3.0}, seed=2)
    benzene = Chem.MolFromSmarts("c1ccccc1")
    assert len(hits) == 12
    assert all(Chem.MolFromSmiles(key).HasSubstructMatch(benzene) for key in hits.keys)
    again = engine.complete("[*:1]c1ccccc1", 12, {"logp": 3.0}, seed=2, batch_size=5)
    assert again.keys == hits.keys


@pytest.mark.parametrize(
    ("given", "how", "message"),
    [
        ("", {}, "complete\\(\\) needs what is given"),
        ("CCO", {}, "no attachment point"),
        ({"complete": "[*:1]C", "superstructure": "C"}, {}, "do not go together"),
        ({"tail": "CC"}, {}, "'tail' cannot be given; known: complete, superstructure"),
        ("[*:1]" + "C" * 60, {}, "takes 63 tokens, and this model writes at most 47"),
        ("[*:1]CCO", {"constrained": False}, "leave the constraint on"),
        ("[*:1]c1ccccc1", {"target": {"mol_weight": 50.0}}, "mol_weight=50: what is given has 72"),
    ],
)
def test_what_cannot_be_completed(engine, given, how, message):
    with pytest.raises(UsageError, match=message):
        engine.complete(given, 2, **how)


def test_a_superstructure_names_no_place(engine):
    hits = engine.complete({"superstructure": "C1CC1"}, 6, seed=1)
    ring = Chem.MolFromSmarts("C1CC1")
    assert all(Chem.MolFromSmiles(key).HasSubstructMatch(ring) for key in hits.keys)

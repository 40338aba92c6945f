"""Latents of a tiny untrained VAE: its grammar alone makes the molecules valid, so that ways and maps can be tested."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from genesis.checkpoint import Config, Provenance
from genesis.cli.app import run
from genesis.decoding.latent import LatentDecoder
from genesis.engine import Engine
from genesis.errors import UsageError
from genesis.exploring import GREEDY, likeliest
from genesis.models.transformer import Transformer, TransformerConfig
from genesis.models.vae import VAE, VAEConfig
from genesis.nn.conditioner import NumberField
from genesis.scatter import scatter
from genesis_domains.molecules import DOMAIN
from genesis_domains.molecules.smiles import IDS, VOCAB

FIELDS = (NumberField(name="logp", mean=2, std=1, quantiles=(-2, 1, 2, 3, 6)),)
FROM, TO = "CCO", "C1CCCCC1N"


def engine_of(model: VAE | Transformer, family: str) -> Engine:
    provenance = Provenance(corpus="none", licence="CC0", items=0)
    return Engine(
        model, Config(domain="molecules", family=family, vocab=VOCAB, model=model.config, provenance=provenance)
    )


@pytest.fixture(scope="module")
def engine() -> Engine:
    torch.manual_seed(0)
    model = VAE(VAEConfig.of("tiny", 272, 24, FIELDS)).eval()
    with torch.no_grad():
        for token in ("C", "N", "O", "=C", "(", ")", "1"):  # otherwise every element is as likely as carbon
            model.decoder.head.bias[IDS[token]] += 3
        model.decoder.head.bias[2] += 2
        model.decoder.head.weight *= 20  # what z says decides between them
        for block in model.decoder.layers:
            block.out.weight *= 30
    return engine_of(model, "vae")


@pytest.fixture(scope="module")
def folder(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vae") / "model"
    engine.save(path)
    return path


def tanimoto(a: str, b: str) -> float:
    morgan = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    return DataStructs.TanimotoSimilarity(*(morgan.GetFingerprint(Chem.MolFromSmiles(s)) for s in (a, b)))


def test_encoding_is_of_each_item_alone(engine: Engine) -> None:
    items = [DOMAIN.parse(text) for text in (FROM, TO, "C")]
    z = engine.encode(items)
    assert z.shape == (3, 4, 16)
    torch.testing.assert_close(engine.encode(items[1:2])[0], z[1], atol=1e-5, rtol=1e-5)
    back = engine.decode(z)
    assert all(item is not None for item in back)
    assert [i and i.smiles for i in engine.decode(z[1:])] == [i and i.smiles for i in back[1:]]


def test_every_step_of_a_way_is_another_item(engine: Engine) -> None:
    hits = engine.interpolate(FROM, TO, 5, seed=1)
    keys = hits.keys
    assert keys[0] == "CCO"
    assert keys[-1] == "NC1CCCCC1"
    assert len(keys) == len(set(keys)) == 5
    measured = hits.measured
    assert measured["position"] == [0, 0.25, 0.5, 0.75, 1]
    assert measured["similarity_to_first"] == pytest.approx([tanimoto(keys[0], key) for key in keys])
    assert measured["similarity_to_last"] == pytest.approx([tanimoto(keys[-1], key) for key in keys])
    before = [1.0, *(tanimoto(a, b) for a, b in itertools.pairwise(keys))]
    assert measured["similarity_to_step_before"] == pytest.approx(before)
    assert engine.interpolate(FROM, TO, 5, seed=1).keys == keys
    assert engine.interpolate(FROM, TO, 2).keys == [keys[0], keys[-1]]


def test_analogues_lie_at_the_distance_asked_for(engine: Engine) -> None:
    hits = engine.analogues(TO, 3, similarity=(0.02, 0.9), seed=2)
    assert 0 < len(hits) <= 3
    assert all(0.02 <= tanimoto(TO, key) <= 0.9 for key in hits.keys)
    assert hits.measured["similarity"] == pytest.approx([tanimoto(TO, key) for key in hits.keys])
    assert "NC1CCCCC1" not in hits.keys


def test_the_likeliest_sequence_is_searched_for_where_it_is_in_doubt(engine: Engine) -> None:
    """No draw at any temperature is likelier than what is found, and what greedy gives is kept where it is the best."""
    decoder = engine.decoder
    assert isinstance(decoder, LatentDecoder)
    torch.manual_seed(1)
    z = 3 * torch.randn(40, 4, 16)
    constraint = DOMAIN.constraint(24)
    greedy = decoder.write(z, torch.arange(40), 0, GREEDY, constraint)
    found = likeliest(decoder, z, 0, constraint)
    again = likeliest(decoder, z, 0, constraint)
    assert torch.equal(found.tokens, again.tokens)
    sure = greedy.ended & (greedy.log_prob > math.log(0.5))
    better = found.log_prob > greedy.log_prob + 1e-4
    assert better.any()
    assert not (better & sure).any()
    assert (found.log_prob >= greedy.log_prob - 1e-4)[greedy.ended].all()
    for row in (~better).nonzero()[:, 0].tolist():
        assert torch.equal(found.tokens[row, : greedy.length[row]], greedy.tokens[row, : greedy.length[row]])
    few = likeliest(decoder, z[:3], 0, constraint)  # a latent's sequence is its own
    assert [few.tokens[i, :n].tolist() for i, n in enumerate(few.length.tolist())] == [
        found.tokens[i, :n].tolist() for i, n in enumerate(found.length[:3].tolist())
    ]


def test_a_map_is_of_different_items_about_their_middle(engine: Engine, tmp_path: Path) -> None:
    hits = engine.explore(24, seed=0)
    assert 3 <= len(hits) == len(set(hits.keys)) <= 24
    x, y = (torch.tensor(hits.measured[name]) for name in ("x", "y"))
    assert float(x.mean()) == pytest.approx(0, abs=1e-6)
    assert float(x.var()) >= float(y.var()) > 0
    assert float((x * y).mean()) == pytest.approx(0, abs=1e-4)  # main axes are at right angles
    scatter(hits, "logp", tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as image:
        assert len(image.getcolors(1 << 20) or []) > 3
        assert "seed" in str(image.info)
    with pytest.raises(UsageError, match="unknown property 'logq' for this map; did you mean 'logp'"):
        scatter(hits, "logq", tmp_path / "map.png")
    with pytest.raises(UsageError, match=r"cannot draw a map into map.svg; allowed: .png"):
        scatter(hits, "logp", tmp_path / "map.svg")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.interpolate(FROM, TO, 1), "steps=1: a way has at least its two ends"),
        (lambda e: e.interpolate(FROM, "OCC", 4), "are the same item; give two different ones"),
        (lambda e: e.interpolate(FROM, "C1CC", 4), "'C1CC': not SMILES"),
        (lambda e: e.interpolate(FROM, "C" * 40, 4), "40 tokens; this model reads at most 23"),
        (lambda e: e.interpolate(FROM, "", 4), "an empty SMILES"),
        (lambda e: e.analogues(FROM, similarity=(0.7, 0.4)), r"similarity=0.7:0.4: a range within 0 to 1"),
        (lambda e: e.analogues(FROM, similarity=(0.4, 1.4)), r"similarity=0.4:1.4"),
        (lambda e: e.analogues(FROM, 0), "count=0: at least 1"),
        (lambda e: e.explore(2), "count=2: a map needs at least 3 items"),
        (lambda e: e.encode([]), "no items to encode"),
        (lambda e: e.decode(torch.zeros(2, 3)), r"latents of shape \(2, 3\); this model's are \[N, 4, 16\]"),
        (lambda e: e.complete("[*:1]C", 2), "finished by a transformer or a masked diffusion; this is a vae"),
    ],
)
def test_what_cannot_be_meant(engine: Engine, call: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call(engine)  # type: ignore[operator]


def test_a_model_without_latents_says_what_is_needed() -> None:
    plain = engine_of(Transformer(TransformerConfig.of("tiny", 272, 24, FIELDS)).eval(), "transformer")
    with pytest.raises(UsageError, match=r"needs a model with latents .* this is a transformer\. Train one"):
        plain.encode([DOMAIN.parse("C")])


def test_from_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", str(folder), "--device", "cpu"]
    way, picture = tmp_path / "way.csv", tmp_path / "way.png"
    assert run(["interpolate", FROM, TO, *model, "--steps", "3", "--out", str(way), "--picture", str(picture)]) == 0
    assert len(way.read_text().splitlines()) == 4
    assert "similarity_to_first" in way.read_text().splitlines()[0]
    assert picture.stat().st_size > 0
    assert run(["explore", *model, "--count", "12", "--picture", str(tmp_path / "map.png"), "--colour", "qed"]) == 0
    assert (tmp_path / "map.png").stat().st_size > 0
    assert run(["molecules", *model, "-n", "1", "--like", TO, "--similarity", "0.02:0.95"]) == 0
    capsys.readouterr()
    for arguments, message in (
        (["interpolate", FROM, TO, *model, "--steps", "1"], "steps=1"),
        (["molecules", *model, "--similarity", "0.4:0.7"], "give that too"),
        (["molecules", *model, "--like", TO, "--similarity", "near"], "write similarity=NUMBER or"),
        (["molecules", *model, "--like", TO, "-t", "logp=2"], "--target-property does not go together with --like"),
        (["molecules", *model, "--complete", "[*:1]C"], "finished by a transformer"),
        (["molecules", *model, "--guidance", "2"], "which a model of the family vae cannot"),
    ):
        assert run(arguments) == 2
        assert message in capsys.readouterr().err


def test_log_probabilities_are_not_made_up(engine: Engine) -> None:
    assert all(math.isnan(p) for p in engine.interpolate(FROM, TO, 2).log_prob)

"""Every family through one engine: train, save, load, draw with and without targets, the same items in any batch."""

from __future__ import annotations

import copy
import json
import math
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch

import genesis
from genesis import rng
from genesis.checkpoint import Family
from genesis.decoding.latent import LatentDecoder
from genesis.decoding.sampling import Rules
from genesis.engine import Engine
from genesis.errors import CheckpointError, UsageError
from genesis.models.vae import VAE
from genesis.train import TrainConfig

OTHERS: tuple[Family, ...] = ("vae", "diffusion", "gan", "masked")
SHORT = TrainConfig(items=400, batch_tokens=1_024, precision="fp32", every=100)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chains of carbon with a few oxygens: 128 molecules."""
    path = tmp_path_factory.mktemp("source") / "chains.smi"
    tails = ("", "O", "N", "F", "Cl", "C(=O)O", "OC", "C#N")
    path.write_text("\n".join("C" * n + tail for n in range(1, 17) for tail in tails) + "\n")
    return path


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory, source: Path) -> dict[str, Engine]:
    """One tiny model of each family, as loaded from its folder."""
    root = tmp_path_factory.mktemp("families")
    found = {}
    for family in OTHERS:
        vae = root / "vae" if family in ("diffusion", "gan") else None
        Engine.train("molecules", source, root / family, size="tiny", family=family, vae=vae, config=SHORT)
        found[family] = genesis.load(root / family, "cpu")
    return found


def raw(engine: Engine, count: int, target: Any = None, batch_size: int = 64, **how: Any) -> list[tuple[int, ...]]:
    """What the network wrote, valid or not."""
    targets = engine.targets(target)
    out: list[tuple[int, ...]] = []
    for first in range(0, count, batch_size):
        items = torch.arange(first, min(first + batch_size, count))
        decoded = engine.decoder.decode(
            targets.values(items, 5), items, 5, Rules(), None, how.get("guidance", 1.0), shared=targets.alike
        )
        out += [tuple(decoded.tokens[i, :n].tolist()) for i, n in enumerate(decoded.length.tolist())]
    return out


@pytest.mark.parametrize("family", OTHERS)
def test_a_checkpoint_says_its_family_and_draws(engines: dict[str, Engine], family: Family) -> None:
    engine = engines[family]
    assert engine.config.family == family
    assert engine.config.provenance.items_seen in range(400, 464)  # the last batch ends the run
    assert "logp" in engine.properties
    hits = engine.generate(5, seed=1, temperature=0.7)
    assert hits.report().constrained == (family != "masked")
    assert all(math.isfinite(p) and p < 0 for p in hits.log_prob)


@pytest.mark.parametrize("target", [None, {"logp": 2.0}])
@pytest.mark.parametrize("family", OTHERS)
def test_the_same_items_whatever_the_batch(engines: dict[str, Engine], family: Family, target: Any) -> None:
    whole = raw(engines[family], 24, target)
    assert raw(engines[family], 24, target, batch_size=7) == whole
    assert raw(engines[family], 3, target, batch_size=1) == whole[:3]
    assert len(set(whole)) > 5


@pytest.mark.parametrize("family", ["diffusion", "masked"])
def test_guidance_and_steps_change_what_is_drawn(engines: dict[str, Engine], family: Family) -> None:
    engine, target = engines[family], {"logp": 2.0}
    if isinstance(engine.decoder, LatentDecoder):  # a tiny decoder writes the same of either latent
        values, items = torch.full((9, len(engine.properties)), 2.0), torch.arange(9)
        plain, guided = (engine.decoder.latents(values, items, 0, Rules(), w) for w in (1.0, 2.0))
        assert not torch.equal(plain, guided)
    else:
        assert raw(engine, 20, target) != raw(engine, 20, target, guidance=2.0)
    few = engine.generate(4, seed=2, steps=3, sampler="random" if family == "masked" else "ancestral")
    assert few.report().drawn >= 4
    with pytest.raises(UsageError, match=r"no (sampler|order of unmasking) .rk45.; known: "):
        engine.generate(2, sampler="rk45")


@pytest.mark.parametrize(
    ("family", "how", "message"),
    [
        ("vae", {"guidance": 2.0}, "guidance=2 extrapolates, which a model of the family vae cannot"),
        ("gan", {"guidance": 2.0}, "of the family gan cannot; leave it at 1, or use one of transformer, diffusion"),
        ("vae", {"steps": 5}, "steps and sampler belong to diffusion and masked; this model is of the family vae"),
        ("gan", {"sampler": "heun"}, "belong to diffusion and masked"),
        ("diffusion", {"steps": 1}, "steps=1: a sampler needs at least 2"),
        ("masked", {"blur": 1.0}, "blur is seen through by the decoder of a VAE of sequences; this model has none"),
        ("vae", {"blur": -1.0}, "blur=-1.0: Input should be greater than or equal to 0"),
    ],
)
def test_what_a_family_cannot_be_asked(engines: dict[str, Engine], family: str, how: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        engines[family].generate(2, {"logp": 1.0}, **how)


@pytest.mark.parametrize("family", ["vae", "diffusion", "gan"])
def test_blur_changes_what_is_written_and_only_by_itself(engines: dict[str, Engine], family: Family) -> None:
    engine = engines[family]
    model: Any = copy.deepcopy(engine.model)
    torch.manual_seed(0)
    for p in (model if family == "vae" else model.vae).parameters():  # after so short a training no latent is heard
        p.data += 0.2 * torch.randn_like(p)
    decoder = LatentDecoder(model, len(engine.config.vocab))
    items, values = torch.arange(24), torch.full((24, len(engine.properties)), 2.0)

    def written(blur: float | None, rows: slice = slice(None), guidance: float = 1.0) -> list[list[int]]:
        z = decoder.latents(values, items, 5, Rules())[rows]
        level = decoder.model.config.blur if blur is None else blur
        out = decoder.write(z, items[rows], 5, Rules(), None, level, values[rows], guidance)
        return [out.tokens[i, :n].tolist() for i, n in enumerate(out.length.tolist())]

    for blur in (None, 0.0, 2.5):
        out = decoder.decode(values, items, 5, Rules(blur=blur))
        assert written(blur) == [out.tokens[i, :n].tolist() for i, n in enumerate(out.length.tolist())]
    assert written(0.0) != written(2.5) != written(25.0)
    part = slice(7, 12)  # an item is the same whatever stands beside it
    assert written(2.5, part) == written(2.5)[part]
    assert written(2.5, part, 3.0) == written(2.5, guidance=3.0)[part] != written(2.5, part)
    assert written(0.0, guidance=3.0) == written(0.0)  # what is sharp is not argued with


def test_the_decoder_is_told_of_what_it_knows(engines: dict[str, Engine], source: Path, tmp_path: Path) -> None:
    """A prior with a column of its own, and with its properties in other places than the VAE has them."""
    table = tmp_path / "doses.csv"
    rows = [f"{line},{number % 7}" for number, line in enumerate(source.read_text().split())]
    table.write_text("SMILES,dose\n" + "\n".join(rows) + "\n")
    made = Engine.train(
        "molecules", table, tmp_path / "run", targets=["dose"], size="tiny", family="diffusion",
        vae=engines["vae"].path, config=SHORT,
    )  # fmt: skip
    decoder = made.decoder
    assert isinstance(decoder, LatentDecoder)
    own, theirs = engines["vae"].properties, made.properties
    assert "dose" in theirs
    assert "dose" not in own
    assert [theirs[column] for column in decoder.told] == list(own)


def test_guidance_on_an_unconditional_checkpoint(source: Path, tmp_path: Path) -> None:
    same = tmp_path / "same.smi"
    same.write_text("CCO\n" * 60)
    engine = Engine.train("molecules", same, tmp_path / "run", size="tiny", family="masked", config=SHORT)
    assert engine.properties == ()
    with pytest.raises(UsageError, match="guidance needs a model trained with properties; this one has none"):
        engine.generate(1, guidance=2.0)


@pytest.mark.parametrize(
    ("family", "vae", "message"),
    [
        ("diffusion", None, "family=diffusion is trained over the latents of a VAE, and none was given"),
        ("gan", "masked", "this is a checkpoint of masked; train one, then give vae="),
        (
            "masked",
            "vae",
            "family=masked takes no vae=; a diffusion, a GAN and another decoder are trained over the lat",
        ),
    ],
)
def test_what_a_family_is_trained_over(
    engines: dict[str, Engine], source: Path, tmp_path: Path, family: Family, vae: str | None, message: str
) -> None:
    path = engines[vae].path if vae else None
    with pytest.raises(UsageError, match=message):
        Engine.train("molecules", source, tmp_path / "run", size="tiny", family=family, vae=path, config=SHORT)


def test_a_gan_is_not_compiled(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gradient penalties cannot be compiled"):
        Engine.train("molecules", source, tmp_path, family="gan", config=TrainConfig(compile=True))


def test_a_vae_begins_with_another(engines: dict[str, Engine], source: Path, tmp_path: Path) -> None:
    nothing = SHORT.model_copy(update={"items": 1, "learning_rate": 1e-9, "ema": 0.0})
    how: Any = {"size": "tiny", "family": "vae", "config": nothing}
    for before in ("vae", "diffusion"):  # of a prior it is the VAE
        made = Engine.train("molecules", source, tmp_path / before, begin_with=engines[before].path, **how)
        for name, weight in engines["vae"].model.state_dict().items():
            torch.testing.assert_close(made.model.state_dict()[name], weight, atol=1e-6, rtol=0)
        assert made.config.provenance.begun_from.startswith(f"{before}, trained ")
    with pytest.raises(UsageError, match="a diffusion in another; this is a masked, wanted is a vae"):
        Engine.train("molecules", source, tmp_path / "not", begin_with=engines["masked"].path, **how)


def test_another_decoder_is_trained_over_latents_that_stay(
    engines: dict[str, Engine], source: Path, tmp_path: Path
) -> None:
    """It begins as a transformer, and a diffusion over the latents is carried over to it."""
    nothing = SHORT.model_copy(update={"items": 1, "learning_rate": 1e-9, "ema": 0.0})
    how: Any = {"size": "tiny", "config": nothing}
    before, walker = engines["vae"], engines["diffusion"]
    Engine.train("molecules", source, tmp_path / "writer", size="tiny", config=SHORT)
    writer = genesis.load(tmp_path / "writer", "cpu")
    made = Engine.train(
        "molecules", source, tmp_path / "vae", family="vae", vae=before.path, begin_with=tmp_path / "writer", **how
    )
    assert isinstance(made.model, VAE)
    assert isinstance(before.model, VAE)
    for mine, theirs in zip(made.model.latent_parts, before.model.latent_parts, strict=True):
        for name, weight in theirs.state_dict().items():
            assert torch.equal(mine.state_dict()[name], weight), name
    for name, weight in writer.model.state_dict().items():
        if name != "position.weight":  # a table of another length
            torch.testing.assert_close(made.model.decoder.state_dict()[name], weight, atol=1e-6, rtol=0)
    carried = Engine.train(
        "molecules", source, tmp_path / "walk", family="diffusion", vae=tmp_path / "vae", begin_with=walker.path, **how
    )
    for name, weight in walker.model.state_dict().items():
        if name.startswith("denoiser."):
            torch.testing.assert_close(carried.model.state_dict()[name], weight, atol=1e-6, rtol=0)
    torch.testing.assert_close(carried.model.vae.place, made.model.place, atol=0.01, rtol=0)  # kept in bf16
    other = tmp_path / "other.csv"
    other.write_text(
        "SMILES,dose\n" + "\n".join(f"{s},{i % 7}" for i, s in enumerate(source.read_text().split())) + "\n"
    )
    with pytest.raises(UsageError, match=r"a decoder over its latents cannot be told .*dose"):
        Engine.train("molecules", other, tmp_path / "no", family="vae", vae=before.path, targets=["dose"], **how)


def test_the_scale_of_a_number_is_inherited_by_decoder_and_prior_alike(source: Path, tmp_path: Path) -> None:
    """They may have learned from different corpora: the weights of each read its own standardised values."""
    few = tmp_path / "few.smi"
    few.write_text("\n".join(source.read_text().split()[:64]) + "\n")
    nothing = SHORT.model_copy(update={"items": 1})
    how: Any = {"size": "tiny", "config": nothing}
    Engine.train("molecules", few, tmp_path / "writer", **how)
    Engine.train("molecules", source, tmp_path / "vae", family="vae", **how)
    before = Engine.train(
        "molecules",
        source,
        tmp_path / "both",
        family="vae",
        vae=tmp_path / "vae",
        begin_with=tmp_path / "writer",
        **how,
    )
    made = Engine.train("molecules", source, tmp_path / "on", family="vae", begin_with=tmp_path / "both", **how)
    for fields in ("fields", "decoder.fields"):
        own, theirs = (attrgetter(fields)(engine.config.model) for engine in (made, before))
        assert [(f.mean, f.std) for f in own] == [(f.mean, f.std) for f in theirs]
    assert made.config.model.fields[0].mean != made.config.model.decoder.fields[0].mean


def test_a_prior_keeps_the_vae_it_was_given(engines: dict[str, Engine]) -> None:
    vae = engines["vae"].model
    assert isinstance(vae, VAE)
    for family in ("diffusion", "gan"):
        kept = engines[family].model.vae.state_dict()
        for name, weight in vae.state_dict().items():
            assert torch.equal(kept[name], weight), name


def test_a_prior_is_trained_over_the_vae_of_another(engines: dict[str, Engine], source: Path, tmp_path: Path) -> None:
    before = engines["diffusion"]
    made = Engine.train("molecules", source, tmp_path / "run", size="tiny", family="gan", vae=before.path, config=SHORT)
    for name, weight in before.model.vae.state_dict().items():
        assert torch.equal(made.model.vae.state_dict()[name], weight), name
    assert made.config.model.vae == before.config.model.vae


def test_a_latent_is_the_same_in_training_and_after(engines: dict[str, Engine]) -> None:
    """Dropout is of the prior: the VAE below it leaves nothing out."""
    model = engines["diffusion"].model.train()
    assert not model.vae.training
    assert model.denoiser.training
    model.eval()


def test_the_curves_of_a_game_are_in_its_log(engines: dict[str, Engine]) -> None:
    path = engines["gan"].path
    assert path is not None
    lines = [json.loads(line) for line in (path.parent / "log.jsonl").read_text().splitlines()]
    assert set(lines[-1]["figures"]) == {"critic", "generator", "penalty", "spread"}


def test_a_run_that_was_stopped_ends_with_the_same_weights(source: Path, tmp_path: Path) -> None:
    """Noise follows from the step: a VAE that is trained in two goes is the one trained in one."""
    halves = SHORT.model_copy(update={"every": 2})
    once = Engine.train("molecules", source, tmp_path / "once", size="tiny", family="vae", config=halves)

    def stop(progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Engine.train("molecules", source, tmp_path / "two", size="tiny", family="vae", config=halves, on_progress=stop)
    twice = Engine.train("molecules", source, tmp_path / "two", size="tiny", family="vae", config=halves)
    for name, weight in once.model.state_dict().items():
        assert torch.equal(weight, twice.model.state_dict()[name]), name


def test_a_family_and_a_model_that_disagree(engines: dict[str, Engine], tmp_path: Path) -> None:
    path = engines["vae"].path
    assert path is not None
    raw_config = json.loads((path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**raw_config, "family": "masked"}))
    with pytest.raises(CheckpointError, match="the family is masked, and the model is of vae"):
        genesis.load(tmp_path, "cpu")
    raw_config["model"]["kind"] = "flow"
    (tmp_path / "config.json").write_text(json.dumps(raw_config))
    with pytest.raises(CheckpointError, match="not a genesis config"):
        genesis.load(tmp_path, "cpu")


def test_normal_numbers_are_normal_and_belong_to_their_counter() -> None:
    items = torch.arange(4_000)
    n = rng.normal(7, items, 3, 10)
    assert n.shape == (4_000, 10)
    assert float(n.mean()) == pytest.approx(0, abs=0.02)
    assert float(n.var()) == pytest.approx(1, abs=0.03)
    assert float((n**4).mean()) == pytest.approx(3, abs=0.15)
    correlation = torch.corrcoef(n.T) - torch.eye(10)
    assert float(correlation.abs().max()) < 0.07
    assert torch.equal(rng.normal(7, items[50:60], 3, 10), n[50:60])
    assert not torch.equal(rng.normal(7, items, 4, 10), n)
    assert not torch.equal(rng.normal(8, items, 3, 10), n)

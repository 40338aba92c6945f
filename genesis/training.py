"""From a file, or a corpus by name, to a checkpoint: what ``Engine.train`` does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import genesis
from genesis import checkpoint, families, registry
from genesis.checkpoint import Config, Family, Provenance
from genesis.data import sources
from genesis.data.encoded import Encoded
from genesis.domain import Reporting, Speaking
from genesis.errors import UsageError
from genesis.metrics.sets import KeySet
from genesis.models.denoiser import LatentDiffusion
from genesis.models.gan import LatentGAN
from genesis.models.inheritance import Heir, inherit, same_scale
from genesis.models.transformer import SIZES, Size, Transformer
from genesis.models.vae import VAE, VAEConfig
from genesis.nn.conditioner import Conditioner
from genesis.prepare import KEYS, OnProgress, learned, prepare, prepared_corpus
from genesis.profiles import Profiles
from genesis.train import Progress, TrainConfig, loop
from genesis.train.folder import shown
from genesis.train.group import join

if TYPE_CHECKING:
    from genesis.engine import Engine

CELLS = 64  # tokens that a grid counts for in a batch, however many numbers it holds: 128 grids in 8,192
LEARNED_FROM = 100_000  # items that a vocabulary is learned from
PASSES = 10  # over the corpus, where the length of a training is not given


def train(
    cls: type[Engine],
    domain: str,
    source: Path | str,
    out: Path | str,
    *,
    column: str | None = None,
    targets: Sequence[str] = (),
    size: Size = "small",
    family: Family = "transformer",
    vae: Path | str | None = None,
    config: TrainConfig | None = None,
    share: float = 1.0,
    licence_tier: str | None = None,
    max_rejected: float = 0.1,
    begin_with: Path | str | None = None,
    vocabulary: int = 0,
    spellings: int = 1,
    device: str = "auto",
    tensorboard: bool = False,
    on_encode: OnProgress | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Engine:
    """Train a model on a file, or on a corpus by name, and leave a checkpoint in ``out``.

    The properties of the domain and the columns named in ``targets`` become what can be asked for. A run that was
    interrupted goes on from its last checkpoint when it is called again with the same ``out``.

    Args:
        source: a file the domain reads, or the name of a corpus (``genesis data list``).
        column: the column that holds the items, where the file has several.
        licence_tier: train only on items whose licence allows at least as much as free, sharealike, gpl, ...
        size: the one dial of the network: tiny, small, base, large.
        family: transformer, vae, diffusion, gan or masked.
        vae: the VAE over whose latents a diffusion, a GAN or another decoder is trained, or a model that is: a folder
            or a name. With ``family="vae"`` its encoder and its prior stay as they are, so that what was trained over
            its latents fits the new decoder too.
        config: length and settings of the run; by default ten passes over the items.
        begin_with: a preset or a checkpoint folder whose weights are taken as far as they fit; a transformer becomes
            the decoder of a VAE.
        vocabulary: tokens of a vocabulary to learn from the items first, where the domain can; 0 takes its own.
        spellings: ways in which each item is written, where the domain has several; the first is the usual one.
    """
    from genesis.engine import TRAINING_KEYS, device_named, load

    out = Path(out)
    parent = _ancestor(begin_with, domain, size, family)
    heir = _heir(parent, family) if parent else None
    before = load(vae, "cpu") if vae is not None else None
    if before is not None and before.domain.name != domain:
        raise UsageError(f"vae={vae}: that is a model of {before.domain.name}, not of {domain}")
    if before is not None and parent is not None and before.config.vocab != parent.config.vocab:
        raise UsageError(f"{begin_with} and the VAE {vae} speak different vocabularies; leave one of them out")
    if config is not None and config.compile and family == "gan":
        raise UsageError("compile: a GAN's gradient penalties cannot be compiled; leave it out")
    own = registry.domain(domain)
    vocab = None
    if vocabulary:
        if not isinstance(own, Speaking):
            raise UsageError(f"vocabulary: {domain} have a closed one; leave it out")
        vocab = tuple(own.vocabulary(islice(learned(domain, source, column, licence_tier), LEARNED_FROM), vocabulary))
    elif base := before or parent:  # whoever builds on a model speaks as it does
        vocab = base.config.vocab
    ready = (
        prepared_corpus(str(source))
        if source in sources.CORPORA
        and not vocabulary
        and not targets
        and share == 1
        and not licence_tier
        and spellings == 1
        else None
    )
    where = device_named(device)
    group = join(where)
    for turn in (0, 1):  # the first process encodes; the others then find the folder there
        if (group.rank > 0) == turn:
            data = prepare(
                domain, source, ready or out / "encoded", column=column, targets=targets, share=share,
                licence_tier=licence_tier, max_rejected=max_rejected, on_progress=on_encode, vocab=vocab,
                spellings=spellings,
            )  # fmt: skip
        group.wait()
    config = config or TrainConfig()
    if not config.items and not config.minutes:
        config = config.model_copy(update={"items": PASSES * len(data.encoded)})
    vocab, fields, room = registry.domain(domain, vocab).spec.vocab, data.fields, _room(data.encoded)
    if parent:
        fields = same_scale(fields, (heir.decoder if isinstance(heir, VAE) else parent.model).config.fields)
        room = max(room, parent.config.model.max_length)
    if family == "vae" and before is not None:
        _check_alike(before, [field.name for field in fields])
    grid = tuple(data.encoded.meta.get("shape", ())) or None
    if grid:  # tokens are then counted by the cell, not by the number
        wide = config.batch_tokens // CELLS * (math.prod(grid) + 2)
        config = config.model_copy(update={"batch_tokens": wide})
    shape = families.shape(
        family, size, len(vocab) if grid else -(-len(vocab) // 16) * 16, room, fields,
        before.config if before else None, grid,
    )  # fmt: skip
    if before is None and isinstance(shape, VAEConfig) and isinstance(heir, VAE):
        # the prior may know its numbers by another scale than the decoder
        shape = shape.model_copy(update={"fields": same_scale(fields, heir.config.fields)})
    if data.encoded.longest + 2 > shape.max_length + 1:
        raise UsageError(f"items of up to {data.encoded.longest} tokens; the VAE has room for {shape.max_length - 1}")
    plan = Config(domain=domain, family=family, vocab=vocab, model=shape, provenance=_NOWHERE)
    torch.manual_seed(config.seed)
    model = checkpoint.build(plan)
    if before is not None:
        families.take_over(model, before.model, data.encoded)
    for conditioner in (m for m in model.modules() if isinstance(m, Conditioner)):
        for name in data.encoded.meta.get("texts", ()):
            conditioner.tell(name, list(data.encoded.meta["labels"][name]))
    if parent:
        assert isinstance(model, Transformer | VAE | LatentDiffusion)
        assert heir is not None
        inherit(model, heir)
    loop.train(model, data.encoded, config, out, on_progress, where, tensorboard=tensorboard)
    group.wait()  # the first process has written its log by now
    provenance = Provenance(
        corpus=data.encoded.meta["corpus"], licence=data.encoded.meta["licence"], items=len(data.encoded),
        items_seen=shown(out), seed=config.seed, genesis=genesis.__version__, torch=torch.__version__,
        device=where.type, trained=date.today().isoformat(),
    )  # fmt: skip
    if parent:
        provenance = _after(parent, provenance)
    engine = cls(model, plan.model_copy(update={"provenance": provenance}))
    if group.rank == 0:
        engine.save(out / "model")
        keys = KeySet(data.encoded.path / KEYS)
        for seen in (parent, before):  # what the weights have seen before is not novel either
            keys = keys | seen.known if seen and seen.known else keys
        keys.written(out / "model" / TRAINING_KEYS)
        profiles = Profiles.sample(data.encoded, fields, config.seed)
        if profiles:
            profiles.write(out / "model")
        if isinstance(engine.domain, Reporting):
            engine.domain.learn(learned(domain, source, column, licence_tier), out / "model")
    group.wait()
    return engine


def _ancestor(begin_with: Path | str | None, domain: str, size: Size, family: Family) -> Engine | None:
    """The engine whose weights a training begins with; UsageError where nothing of it would fit."""
    if begin_with is None:
        return None
    from genesis.engine import load

    parent = load(begin_with, "cpu")
    heir = _heir(parent, family)
    if heir is None:
        raise UsageError(
            "begin_with takes over a transformer in another or in a VAE of sequences, such a VAE in another, a "
            f"diffusion in another; this is a {parent.config.family}, wanted is a {family}"
        )
    if parent.domain.name != domain:
        raise UsageError(f"{begin_with} makes {parent.domain.name}, not {domain}; begin with a model of {domain}")
    of = heir.decoder if isinstance(heir, VAE) else heir.denoiser if isinstance(heir, LatentDiffusion) else heir
    width, own = of.config.dim, SIZES[size][0]
    if width != own:
        raise UsageError(f"{begin_with} is {width} wide, the size {size} is {own}; give the size of the model")
    return parent


def _heir(parent: Engine, family: Family) -> Heir | None:
    """What a training of this family can begin with: the model, or the VAE of a prior."""
    model = parent.model
    match family:
        case "vae":
            own = model.vae if isinstance(model, LatentDiffusion | LatentGAN) else model
            return own if isinstance(own, Transformer | VAE) else None
        case "transformer":
            return model if isinstance(model, Transformer) else None
        case "diffusion":
            return model if isinstance(model, LatentDiffusion) else None
        case _:
            return None


def _check_alike(before: Engine, names: list[str]) -> None:
    """UsageError where another decoder over the latents of ``before`` would be told other properties."""
    known = [field.name for field in before.config.model.fields]
    if known != names:
        raise UsageError(
            f"the VAE knows {', '.join(known)}; a decoder over its latents cannot be told {', '.join(names)}"
        )


def _after(parent: Engine, own: Provenance) -> Provenance:
    """Where weights came from that began as the parent's: both corpora and both licences."""
    was = parent.config.provenance
    return own.model_copy(
        update={
            "corpus": " then ".join(dict.fromkeys((was.corpus, own.corpus))),
            "licence": "; ".join(dict.fromkeys((was.licence, own.licence))),
            "items_seen": was.items_seen + own.items_seen,
            "begun_from": f"{parent.name}, trained {was.trained}",
        }
    )


def _room(data: Encoded) -> int:
    """Positions of a network for this corpus: its longest item with a quarter to spare, in multiples of sixteen."""
    return -(-(int(data.lengths.max()) * 5 // 4 + 2) // 16) * 16


_NOWHERE = Provenance(corpus="", licence="", items=0)  # until there is something to say

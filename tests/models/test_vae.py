"""The VAE against closed forms: KL of Gaussians, the bound, padding, free bits."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.distributions import Normal as TorchNormal
from torch.distributions import kl_divergence

from genesis.models.transformer import TransformerConfig
from genesis.models.vae import VAE, Normal, VAEConfig, active
from genesis.nn.block import BlocksConfig
from genesis.nn.conditioner import CategoryField, NumberField

FIELDS = (NumberField(name="length", mean=3, std=1, quantiles=()),)
SHAPE = VAEConfig(
    decoder=TransformerConfig(
        vocab=6, max_length=8, dim=16, depth=2, heads=2, kv_heads=1, ff_dim=16, cond_dim=8, fields=FIELDS, reading=1,
        prefix=1,
    ),
    encoder=BlocksConfig(dim=24, depth=1, heads=3, kv_heads=1, ff_dim=16),
    latents=1, latent_dim=1, cond_dim=8, fields=FIELDS,
)  # fmt: skip
TOKENS = torch.tensor([[1, 3, 4, 5, 2], [1, 3, 2, 0, 0], [1, 5, 5, 2, 0]])
ABSENT = torch.full((3, 1), math.nan)


def make(**changes: object) -> VAE:
    torch.manual_seed(0)
    shape = SHAPE.model_copy(update=changes)
    model = VAE(
        shape.model_copy(update={"decoder": shape.decoder.model_copy(update={"prefix": shape.latents})})
    ).double()
    with torch.no_grad():  # as after some training: nothing is at zero
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


def test_kl_is_that_of_two_gaussians() -> None:
    torch.manual_seed(0)
    mq, lq, mp, lp = torch.randn(4, 5, 2, 3, dtype=torch.float64)
    expected = kl_divergence(TorchNormal(mq, (lq / 2).exp()), TorchNormal(mp, (lp / 2).exp()))
    torch.testing.assert_close(Normal(mq, lq).kl(Normal(mp, lp)), expected)
    assert float(Normal(mq, lq).kl(Normal(mq, lq)).abs().max()) == 0


def grid(low: float = -12, high: float = 12, points: int = 4_001) -> tuple[Tensor, float]:
    return torch.linspace(low, high, points, dtype=torch.float64), (high - low) / (points - 1)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_the_bound_holds_and_its_gap_is_the_kl_to_the_true_posterior(row: int) -> None:
    """One latent number: everything is an integral over a line, and log p(x) - ELBO = KL(q || p(z | x))."""
    model, tokens, values = make(), TOKENS[row : row + 1], torch.tensor([[2.5]], dtype=torch.float64)
    z, dz = grid()
    with torch.no_grad():
        q, prior = model.encode(tokens), model.prior(values)
        log_x = torch.stack([-model.nats(tokens, point.view(1, 1, 1)) for point in z[::10]])
        log_x = torch.from_numpy(__import__("numpy").interp(z, z[::10], log_x))
        log_prior = TorchNormal(prior.mu, (prior.logvar / 2).exp()).log_prob(z).flatten()
        log_q = TorchNormal(q.mu, (q.logvar / 2).exp()).log_prob(z).flatten()
        kl = q.kl(prior)
    evidence = float(torch.logsumexp(log_x + log_prior, 0)) + math.log(dz)
    elbo = float((log_q.exp() * log_x).sum() * dz - kl.sum())
    gap = float((log_q.exp() * (log_q - (log_x + log_prior - evidence))).sum() * dz)
    assert elbo < evidence
    assert evidence - elbo == pytest.approx(gap, abs=1e-4)


def test_padding_changes_no_latent() -> None:
    model = make(latents=2, latent_dim=3)
    with torch.no_grad():
        wide, alone = model.encode(TOKENS), model.encode(TOKENS[1:2, :3])
    torch.testing.assert_close(wide.mu[1:2], alone.mu)
    torch.testing.assert_close(wide.logvar[1:2], alone.logvar)


def test_the_decoder_reads_z_and_conditions_move_the_prior() -> None:
    model = make()
    z = torch.tensor([-1.0, 1.0], dtype=torch.float64).view(2, 1, 1)
    two = TOKENS[:1].expand(2, -1)
    with torch.no_grad():
        assert float(model.nats(two[:1], z[:1])) != float(model.nats(two[:1], z[1:]))
        assert not torch.equal(model.prior(torch.tensor([[1.0]])).mu, model.prior(torch.tensor([[4.0]])).mu)
        assert model.encode(TOKENS).mu.shape == (3, 1, 1)


def test_what_enters_the_decoder_has_the_width_of_z_whatever_the_blur() -> None:
    """z + sigma s n, times cos(atan sigma): as wide as z, which is as wide as the prior; at the far end no z."""
    model = make(latents=40, latent_dim=8)
    torch.nn.init.zeros_(model.enter.bias)
    torch.manual_seed(0)
    z = torch.randn(200, 40, 8, dtype=torch.float64) * model.width()
    with torch.no_grad():
        width = model.enter(z).std()
        for sigma in (0.0, 0.5, 2.0, 30.0):
            told = torch.full((200,), sigma, dtype=torch.float64)
            said = model.prefix(torch.zeros_like(z), told)  # of the level alone
            blurred = z + sigma * model.width() * torch.randn_like(z)
            entered = model.prefix(blurred, told) - said
            assert float(entered.std()) == pytest.approx(float(width), rel=0.03)
        assert float((model.prefix(z, told * 1e9) - model.prefix(-z, told * 1e9)).abs().max()) < 1e-6


def test_a_new_model_reads_every_blur_alike() -> None:
    torch.manual_seed(0)
    model = VAE(VAEConfig.of("tiny", 16, 12, FIELDS))
    assert not torch.equal(model.prefix(z := torch.randn(1, 4, 16), torch.ones(1)), model.prefix(z, torch.zeros(1)))
    nothing = torch.zeros(2, 4, 16)
    sharp, far = model.prefix(nothing, torch.tensor([0.0, 50.0]))
    assert torch.equal(sharp, far)


def test_the_account_adds_up_the_tokens_and_does_not_look_at_the_latent() -> None:
    """What an item amounts to could be read in z: the account would then say nothing of what is still to be written."""
    model, values = make(latents=2), torch.tensor([[3.0], [4.0], [5.0]], dtype=torch.float64)
    with torch.no_grad():
        accounts = []
        for z in torch.randn(2, 3, 2, 1, dtype=torch.float64):
            logits, v = model.decoder._read(TOKENS, values, model.prefix(z, torch.zeros(3, dtype=torch.float64)))
            accounts.append(v)
            assert logits.shape == (3, 5, 6)
        assert torch.equal(*accounts)
        alone = model.decoder._read(TOKENS, values, None)[1]
    assert alone is not None
    assert torch.equal(alone, accounts[0])


def test_frozen_latents_stay_and_the_decoder_learns() -> None:
    model = make(free_nats=0.0).float().train()
    model.freeze()
    model.loss(TOKENS, torch.tensor([[3.0], [4.0], [5.0]])).backward()
    assert all(p.grad is None for part in model.latent_parts for p in part.parameters())
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert {"enter.weight", "place", "level.2.weight", "decoder.blocks.0.qkv.weight", "decoder.head.weight"} <= moved


def test_another_decoder_over_the_same_latents() -> None:
    torch.manual_seed(0)
    config = VAEConfig.of("micro", 16, 12, FIELDS)
    scaled = (FIELDS[0].model_copy(update={"mean": 2.0}),)
    other = config.rewritten("tiny", scaled)
    assert (other.encoder, other.latents, other.fields) == (config.encoder, config.latents, config.fields)
    assert (other.decoder.dim, other.decoder.fields, other.decoder.prefix) == (64, scaled, config.latents)
    assert VAE(other).prior(ABSENT).mu.shape == (3, config.latents, config.latent_dim)


def test_only_a_training_blurs() -> None:
    model = make(free_nats=0.0, blurred=1.0).float()
    losses = []
    for training in (False, True, False):
        torch.manual_seed(3)
        losses.append(float(model.train(training).loss(TOKENS, ABSENT)))
    assert losses[0] == losses[2] != losses[1]


def test_a_new_model_has_a_standard_normal_prior() -> None:
    torch.manual_seed(0)
    prior = VAE(VAEConfig.of("tiny", 16, 12, FIELDS)).prior(torch.tensor([[2.0], [math.nan]]))
    assert prior.mu.shape == (2, 4, 16)
    assert not prior.mu.any()
    assert not prior.logvar.any()


def bound(model: VAE, tokens: Tensor, values: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """-log p(x | z) of one z, and the KL of each number ``[B, L, K]``: their sums bound -log p(x | c)."""
    q = model.encode(tokens)
    return model.nats(tokens, q.sample(noise), values=values), q.kl(model.prior(values))


def test_loss_is_the_bound_when_nothing_is_free() -> None:
    model = make(free_nats=0.0).float()
    torch.manual_seed(3)
    loss = model.loss(TOKENS, ABSENT)
    torch.manual_seed(3)
    nats, kl = bound(model, TOKENS, ABSENT, torch.randn(3, 1, 1))
    assert float(loss) == pytest.approx(float(nats + kl.sum()), rel=1e-5)


def test_free_nats_cost_nothing_and_push_no_latent_away() -> None:
    model = make(free_nats=100.0).float()
    torch.manual_seed(3)
    loss = model.loss(TOKENS, ABSENT)
    torch.manual_seed(3)
    nats, _ = bound(model, TOKENS, ABSENT, torch.randn(3, 1, 1))
    assert float(loss) == pytest.approx(float(nats) + 3 * 100, rel=1e-5)
    loss.backward()
    assert float(model.prior_head.weight.grad.abs().max()) == 0


def test_rows_of_padding_count_for_nothing() -> None:
    model = make().float()
    filled = torch.cat((TOKENS, torch.zeros(5, 5, dtype=torch.int64)))
    losses = []
    for tokens in (TOKENS, filled):
        torch.manual_seed(0)
        noise = torch.randn(8, 1, 1)[: len(tokens)]
        nats, kl = bound(model, tokens, torch.full((len(tokens), 1), math.nan), noise)
        losses.append(float(nats + kl[:3].sum()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert math.isfinite(float(model.loss(filled, torch.full((8, 1), math.nan))))


def test_active_numbers_are_those_that_tell_items_apart() -> None:
    mu = torch.zeros(100, 2, 3)
    mu[:, 0, 1] = torch.randn(100)
    mu[:, 1, 2] = 5.0  # says something, and the same of everybody
    assert int(active(mu)) == 1


def test_it_learns_to_write_back_what_it_read_and_to_guess_what_is_blurred() -> None:
    """Four words, ln 4 = 1.39 nats each: nothing is left of them through a sharp z, all of it through one that is lost.

    Told the first letter, the decoder needs no more than the letter leaves open.
    """
    words = torch.tensor([[1, 3, 3, 2], [1, 4, 5, 2], [1, 5, 3, 2], [1, 3, 4, 2]])
    letter = CategoryField(name="first", values=("a", "b", "c"))  # "a" begins two of them
    told = torch.tensor([[0.0], [1.0], [2.0], [0.0]])
    unknown = torch.full_like(told, math.nan)
    torch.manual_seed(0)
    model = VAE(VAEConfig.of("tiny", 6, 6, (letter,)))
    steps = 500
    adam = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(steps):
        model.pace(step / steps / 2)
        adam.param_groups[0]["lr"] = 3e-3 * (1 - step / steps)
        adam.zero_grad()
        order = torch.randint(4, (48,))
        values = torch.where(torch.rand(48, 1) < 0.5, told[order], math.nan)
        model.loss(words[order], values).backward()
        adam.step()
    model.eval()
    torch.manual_seed(1)
    with torch.no_grad():
        many = words.repeat(64, 1)
        z = model.encode(many).mu

        def nats(sigma: float, values: Tensor) -> float:
            level = torch.full((len(many),), sigma)
            blurred = z + sigma * model.width() * torch.randn_like(z)
            return float(model.nats(many, blurred, level, values.repeat(64, 1))) / len(many)

        assert nats(0, unknown) < 0.1
        assert float(model.nats(words, model.encode(words).mu.roll(1, 0))) / 4 > 2  # another's latent, another word
        assert nats(0, unknown) < nats(3, unknown) < nats(1_000, unknown)
        for values, entropy in ((unknown, math.log(4)), (told, math.log(2) / 2)):  # nobody can guess better
            assert entropy - 0.02 < nats(1_000, values) < entropy + 0.35
    assert int(model.figures["active"]) >= 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latents": 8}, "the decoder reads 1 vectors before the tokens, not 8"),
        ({"fields": ()}, "are told the same fields, in the same order"),
        ({"encoder": {**SHAPE.encoder.model_dump(), "heads": 5}}, "dim 24, 5 heads, 1 key-value heads do not divide"),
        ({"free_nats": -1}, "greater than or equal to 0"),
        ({"kind": "gan"}, "vae"),
    ],
)
def test_what_is_no_vae(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        VAEConfig.model_validate({**SHAPE.model_dump(), **change})

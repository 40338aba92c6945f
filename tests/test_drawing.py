"""Candidates round what is given: one is kept so that the items are the model's own that hold it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from genesis.checkpoint import Config, Provenance
from genesis.domain import EOS
from genesis.drawing import Request
from genesis.engine import Engine
from genesis.errors import UsageError
from genesis.models.transformer import Transformer, TransformerConfig
from genesis_domains.molecules import DOMAIN
from genesis_domains.molecules.smiles import IDS, VOCAB

FIRST = [IDS[token] for token in ("C", "N", "O", "S")]


@pytest.fixture(scope="module")
def engine() -> Engine:
    """A network for which what comes first decides how likely a carbon and an end are to follow."""
    torch.manual_seed(3)
    model = Transformer(TransformerConfig.of("tiny", len(VOCAB), 16, ())).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.25)
        model.head.bias[[*FIRST, EOS]] += 4
    provenance = Provenance(corpus="none", licence="CC0", items=0)
    return Engine(model, Config(domain="molecules", vocab=VOCAB, model=model.config, provenance=provenance))


class ThenCarbon:
    """A constraint and its task: one of four atoms, a carbon that is forced, and the end."""

    passes, candidates, target = 1, 8, {}

    def start(self, rows: int, device: torch.device) -> Tensor:
        return torch.zeros(rows, 1, dtype=torch.int32, device=device)

    def allowed(self, state: Tensor, remaining: int | Tensor) -> Tensor:
        masks = torch.zeros(4, len(VOCAB), dtype=torch.bool)
        masks[0, FIRST] = masks[1, IDS["C"]] = masks[2:, EOS] = True
        return masks[state[:, 0].long()]

    def advance(self, state: Tensor, token: Tensor) -> Tensor:
        return (state + 1).clamp(max=3)

    def begin(self, index: int, seed: int, candidate: int = 0) -> int:
        return index

    def constraint(self, turn: int, drafts: Sequence[Any], max_length: int) -> ThenCarbon:
        return self

    def join(self, turn: int, draft: Any, tokens: Sequence[int], max_length: int) -> Any:
        return DOMAIN.decode(torch.tensor(tokens))

    def finish(self, draft: Any) -> Any:
        return draft


def shares(engine: Engine, count: int, **how: Any) -> Tensor:
    drawn = engine.draw(count, Request(**how), engine.targets({}), workers=1, task=ThenCarbon())
    found = Counter(one.key for one in drawn)
    return torch.tensor([found[DOMAIN.key(DOMAIN.decode(torch.tensor([f, IDS["C"]])))] / count for f in FIRST])


def test_many_candidates_come_near_the_conditional(engine: Engine) -> None:
    """As near as resampling does by itself, played with the exact probabilities; one candidate is far off."""
    exact = (-torch.tensor(engine._nats([torch.tensor([first, IDS["C"]]) for first in FIRST]))).softmax(0)
    with torch.inference_mode():
        first = engine.model(torch.tensor([[1]]), torch.zeros(1, 0))[0, 0, FIRST].softmax(0)
    dice = torch.Generator().manual_seed(0)
    groups = first.multinomial(20_000 * 24, replacement=True, generator=dice).view(-1, 24)
    chances = (exact / first)[groups] / (exact / first)[groups].sum(1, keepdim=True)
    resampled = torch.stack([(chances * (groups == k)).sum(1).mean() for k in range(4)])
    alone = shares(engine, 600, seed=1, candidates=1)
    several = shares(engine, 600, seed=1, candidates=24)
    assert (first - exact).abs().sum() > 1, "else the toy shows nothing"
    assert (resampled - exact).abs().sum() < 0.2
    error = 3.5 * (0.25 / 600) ** 0.5
    torch.testing.assert_close(alone, first, atol=error, rtol=0)
    torch.testing.assert_close(several, resampled, atol=error, rtol=0)


def test_what_an_index_gives_depends_on_the_seed_and_the_candidates_alone(engine: Engine) -> None:
    def keys(count: int, batch: int, **how: Any) -> list[str | None]:
        drawn = engine.draw(count, Request(**how), engine.targets({}), batch, workers=1, task=ThenCarbon())
        return [one.key for one in drawn]

    whole = keys(200, 200, seed=5)
    assert whole == keys(200, 7, seed=5) == keys(200, 200, seed=5, candidates=8)
    assert whole[:30] == keys(30, 1, seed=5)
    assert len({tuple(whole), tuple(keys(200, 200, seed=6)), tuple(keys(200, 200, seed=5, candidates=2))}) == 3


def test_the_mass_is_what_the_constraint_left(engine: Engine) -> None:
    """Against the uncached network in float64."""
    values, rules = torch.zeros(40, 0), Request(rules={"temperature": 1.5}).rules
    decoded = engine.loop.decode(values, torch.arange(40), 0, rules, ThenCarbon(), weigh=True)
    machine, model = ThenCarbon(), engine.model.double()
    try:
        for row in range(40):
            text = [1, *decoded.tokens[row].tolist()]
            logits = model(torch.tensor([text]), torch.zeros(1, 0)).detach()[0, :, : len(VOCAB)] / 1.5
            logits[:, [0, 1]] = -torch.inf
            masks = machine.allowed(torch.arange(3)[:, None], 16)
            left = logits.masked_fill(~masks, -torch.inf).logsumexp(-1) - logits.logsumexp(-1)
            assert decoded.log_mass is not None
            assert float(decoded.log_mass[row]) == pytest.approx(float(left.sum()), abs=1e-4)
    finally:
        model.float()
    assert engine.loop.decode(values, torch.arange(40), 0, rules, ThenCarbon()).log_mass is None


def test_candidates_need_something_given(engine: Engine) -> None:
    with pytest.raises(UsageError, match="a transformer draws them round what is given"):
        engine.generate(2, candidates=4)
    hits = engine.complete("[*:1]C", 4, seed=1, temperature=2.0)
    assert hits.report().candidates == 8
    assert "1 of 8 candidates each" in str(hits.report())
    assert engine.complete("[*:1]C", 4, seed=1, temperature=2.0, candidates=1).report().candidates == 1

"""Slots, automaton and all kernels of a step together: the items of the loop, and none that the automaton forbids."""

from __future__ import annotations

import pytest
import torch

from genesis import ops
from genesis.decoding.continuous import ContinuousDecoder
from genesis.decoding.loop import Decoder
from genesis.decoding.sampling import Rules
from genesis.models.transformer import Transformer, TransformerConfig
from genesis.nn.conditioner import NumberField
from genesis_domains.molecules import DOMAIN
from genesis_domains.molecules.smiles import VOCAB

# integers that wrap, and infinity less infinity where the sampler looks for it: numpy, which interprets, says so
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
ROOM = 12


@pytest.mark.parametrize("guidance", [1.0, pytest.param(1.5, marks=pytest.mark.slow)])
def test_the_automaton_is_never_violated(guidance):
    """A network of noise, held by the SMILES automaton: every item is a molecule, and the one that the loop draws."""
    torch.manual_seed(0)
    fields = (NumberField(name="logp", mean=2, std=1, quantiles=(-2, 2, 6)),)
    shape = dict(dim=32, depth=2, heads=2, kv_heads=1, ff_dim=32, cond_dim=16, fields=fields)
    model = Transformer(TransformerConfig(vocab=272, max_length=ROOM, **shape)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    served = [ops.path(op, torch.device("cpu"), 16, torch.float32) for op in ops.KERNELS]
    assert served == [(True, "Triton interpreter")] * 4
    values, items, rules = torch.linspace(0, 4, 11)[:, None], torch.arange(11) + 2**34, Rules(temperature=2)
    ask = (values, items, 7, rules, DOMAIN.constraint(ROOM), guidance)
    found = ContinuousDecoder(model, len(VOCAB), torch.float32, (8,)).decode(*ask)
    assert all(DOMAIN.decode(tokens[:n]) is not None for tokens, n in zip(found.tokens, found.length, strict=True))
    expected = Decoder(model, len(VOCAB), torch.float32).decode(*ask)
    for row, n in enumerate(expected.length.tolist()):
        assert found.tokens[row, :n].tolist() == expected.tokens[row, :n].tolist()
    assert found.length.tolist() == expected.length.tolist()
    torch.testing.assert_close(found.log_prob, expected.log_prob, rtol=1e-4, atol=1e-4)
    assert len({tuple(tokens.tolist()) for tokens in found.tokens}) > 5

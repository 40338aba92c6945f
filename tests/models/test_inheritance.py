"""What a model takes over from another: everything from its like, what fits from one with other properties."""

from __future__ import annotations

import pytest
import torch

from genesis.models.inheritance import inherit, same_scale
from genesis.models.transformer import Transformer, TransformerConfig
from genesis.nn.conditioner import CategoryField, ConditionField, NumberField

QED = NumberField(name="qed", mean=0.7, std=0.1, quantiles=(0.1, 0.9))
LOGP = NumberField(name="logp", mean=2.0, std=1.0, quantiles=())
PIC50 = NumberField(name="pic50", mean=5.0, std=1.5, quantiles=())
STYLE = CategoryField(name="style", values=("a", "b"))


def made(fields: tuple[ConditionField, ...], seed: int, max_length: int = 24) -> Transformer:
    torch.manual_seed(seed)
    model = Transformer(TransformerConfig.of("tiny", 16, max_length, fields))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return model.eval()


def test_a_like_model_is_taken_whole():
    parent, child = made((QED, STYLE), 0), made((QED, STYLE), 1)
    assert inherit(child, parent) == 1.0
    tokens, values = torch.randint(3, 11, (3, 9)), torch.tensor([[0.6, 0.0], [0.8, 1.0], [float("nan"), 1.0]])
    assert torch.equal(child(tokens, values), parent(tokens, values))


def test_properties_and_labels_go_by_their_names():
    parent, child = made((QED, LOGP, STYLE), 0), made((PIC50, LOGP, CategoryField(name="style", values=("b", "c"))), 1)
    before = {name: p.clone() for name, p in child.state_dict().items()}
    inherit(child, parent)
    own, theirs = child.conditioner, parent.conditioner
    assert torch.equal(own.numbers[1], theirs.numbers[1])  # logp
    assert torch.equal(own.numbers[0], before["conditioner.numbers"][0])  # pic50 is new
    assert torch.equal(own.absent[1:], theirs.absent[1:])
    assert torch.equal(own.categories[0].weight[0], theirs.categories[0].weight[1])  # "b"
    assert torch.equal(own.categories[0].weight[1], before["conditioner.categories.0.weight"][1])  # "c" is new
    assert torch.equal(child.account.contribution.weight[1], parent.account.contribution.weight[1])
    assert torch.equal(child.account.contribution.weight[0], before["account.contribution.weight"][0])
    assert torch.equal(child.blocks[1].qkv.weight, parent.blocks[1].qkv.weight)


def test_a_label_column_of_another_name_is_not_taken_for_this_one():
    parent, child = made((QED, STYLE), 0), made((QED, CategoryField(name="mood", values=("a", "b"))), 1)
    before = child.conditioner.categories[0].weight.clone()
    inherit(child, parent)
    assert torch.equal(child.conditioner.categories[0].weight, before)


@pytest.mark.parametrize("longer", [16, 40])
def test_positions_are_taken_as_far_as_both_reach(longer):
    parent, child = made((QED,), 0), made((QED,), 1, longer)
    own = child.position.weight.clone()
    inherit(child, parent)
    both = min(24, longer)
    assert torch.equal(child.position.weight[:both], parent.position.weight[:both])
    assert torch.equal(child.position.weight[both:], own[both:])


def test_a_network_without_an_account_gives_the_rest():
    config = TransformerConfig.of("tiny", 16, 24, (QED,)).model_copy(update={"reading": 0})
    parent, child = Transformer(config), made((QED,), 1)
    account = child.account.contribution.weight.clone()
    assert 0.9 < inherit(child, parent) < 1
    assert torch.equal(child.blocks[0].up.weight, parent.blocks[0].up.weight)
    assert torch.equal(child.account.contribution.weight, account)


def test_a_number_keeps_the_scale_its_weights_read():
    mine = (NumberField(name="qed", mean=0.3, std=0.2, quantiles=(0, 1)), PIC50, STYLE)
    qed, pic50, style = same_scale(mine, (LOGP, QED))
    assert (qed.mean, qed.std, qed.quantiles) == (0.7, 0.1, (0, 1))
    assert (pic50, style) == (PIC50, STYLE)

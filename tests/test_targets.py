"""What can be asked, what cannot, and what the network is then told."""

import math

import numpy as np
import pytest
import torch

from genesis.domain import Category, Label, Number
from genesis.errors import UnknownProperty, UsageError
from genesis.nn.conditioner import CategoryField, NumberField
from genesis.profiles import Profiles
from genesis.targets import Targets

GRID = tuple(np.linspace(-2, 4, 101).tolist())  # a corpus spread evenly over [-2, 4]
FIELDS = (
    NumberField(name="logp", mean=1, std=2, quantiles=GRID),
    NumberField(name="qed", mean=0.5, std=0.1, quantiles=tuple(np.linspace(0, 1, 101).tolist())),
    CategoryField(name="style", values=("bach", "irish")),
    NumberField(name="pic50", mean=6, std=1, quantiles=tuple(np.linspace(4, 9, 101).tolist())),
)
KNOWN = {
    "logp": Number("", -10, 15, "lipophilicity"),
    "qed": Number("", 0, 1, "drug-likeness"),
    "mass": Number("g/mol", 1, 5000, "weight"),
    "style": Category(("bach", "irish"), "style"),
}


def check(target):
    return Targets.check(target, FIELDS, KNOWN)


@pytest.mark.parametrize(
    ("target", "kind", "text"),
    [
        ({"lgp": 1.0}, UnknownProperty, "unknown property 'lgp' for this model; did you mean 'logp'?"),
        ({"mass": 300.0}, UsageError, "this model was not trained on 'mass'; it knows logp, qed, style, pic50"),
        ({"qed": 1.5}, UsageError, "qed=1.5: impossible; qed lies within 0 to 1"),
        ({"qed": (1.2, 1.5)}, UsageError, "qed=1.2:1.5: impossible; qed lies within 0 to 1"),
        ({"logp": (3, 2)}, UsageError, "logp=3:2: the range is empty; the lower end comes first"),
        ({"logp": math.nan}, UsageError, "logp=nan: not a finite number"),
        ({"logp": math.inf}, UsageError, "logp=inf: not a finite number"),
        ({"logp": "high"}, UsageError, "logp='high': a number or a range LOW:HIGH is needed"),
        ({"style": "bahc"}, UsageError, "style='bahc': not a label; did you mean 'bach'?"),
        ({"style": 1.0}, UsageError, "style=1.0: not a label"),
        ({"logp": []}, UsageError, "logp: an empty list of targets; give one value an item"),
    ],
)
def test_what_cannot_be_meant_is_refused(target, kind, text):
    with pytest.raises(kind) as caught:
        check(target)
    assert text in str(caught.value)


def test_values_are_passed_on_and_the_rest_is_absent():
    values = check({"logp": 2.5, "style": "irish"}).values(torch.arange(3), 0)
    assert values[:, 0].tolist() == [2.5] * 3
    assert values[:, 2].tolist() == [1.0] * 3
    assert values[:, [1, 3]].isnan().all()


def test_a_range_is_filled_as_the_corpus_fills_it():
    values = check({"logp": (1, 3)}).values(torch.arange(4_000), 0)[:, 0]
    assert 1 <= values.min() < 1.02
    assert 2.98 < values.max() <= 3
    assert float(values.mean()) == pytest.approx(2, abs=0.03)
    skewed = NumberField(name="logp", mean=1, std=1, quantiles=(0, 1, 1.1, 1.2, 10))
    drawn = Targets.check({"logp": (0, 10)}, [skewed], KNOWN).values(torch.arange(4_000), 0)[:, 0]
    assert float((drawn < 1.2).float().mean()) == pytest.approx(0.75, abs=0.03)


def test_a_range_beyond_the_corpus_is_spread_evenly():
    values = check({"logp": (6, 8)}).values(torch.arange(2_000), 0)[:, 0]
    assert 6 <= values.min() < 6.05
    assert 7.95 < values.max() <= 8
    unbounded = check({"logp": (6, math.inf)}).values(torch.arange(100), 0)[:, 0]
    assert unbounded.isfinite().all()
    assert (unbounded >= 6).all()


def test_the_number_drawn_belongs_to_the_item():
    targets = check({"logp": (0, 3), "qed": (0, 1)})
    whole = targets.values(torch.arange(50), 4)
    assert torch.equal(targets.values(torch.arange(20, 30), 4).nan_to_num(), whole[20:30].nan_to_num())
    assert not torch.equal(targets.values(torch.arange(50), 5).nan_to_num(), whole.nan_to_num())
    assert abs(np.corrcoef(whole[:, 0], whole[:, 1])[0, 1]) < 0.5  # the two properties draw from different streams


def test_a_list_asks_each_item_for_its_own():
    targets = check({"logp": [1.0, (2, 3), -1.0]})
    assert [targets.of(i)["logp"] for i in range(4)] == [1.0, (2.0, 3.0), -1.0, 1.0]
    assert check({"qed": np.array([0.1, 0.2])}).values(torch.arange(2), 0)[:, 1].tolist() == pytest.approx([0.1, 0.2])


def test_distance_is_in_standard_deviations():
    targets = check({"logp": (2, 3), "qed": 0.9})
    assert targets.distance(0, {"logp": 2.5, "qed": 0.9}) == 0
    assert targets.distance(0, {"logp": 5.0, "qed": 0.8}) == pytest.approx(1.0)  # one standard deviation each
    assert targets.error("logp", 0, 1.5) == 0.5
    assert check({"style": "bach"}).error("style", 0, "irish") == 1.0


def test_nothing_asked_is_nothing_told():
    targets = check(None)
    assert targets.values(torch.arange(4), 0).isnan().all()
    assert targets.distance(0, {}) == 0


def test_targets_are_alike_when_every_item_gets_the_same_numbers():
    assert check({"logp": 2.5, "style": "irish"}).alike
    assert check({}).alike
    assert not check({"logp": (1, 3)}).alike
    assert not check({"logp": [1.0, 2.0]}).alike


MIXED = CategoryField(name="style", values=("bach", "irish", "polka"))
STYLES = {"style": Label("where it comes from"), "kind": Category(("a", "b"), "which")}


def test_a_mixture_has_shares_that_add_up_and_values_of_each_label():
    targets = Targets.check({"style": "bach:3,polka:1"}, (MIXED,), STYLES)
    found = targets.mixture(torch.arange(4), 0)
    assert [share for share, _ in found] == [0.75, 0.25]
    assert [values[:, 0].tolist() for _, values in found] == [[0.0] * 4, [2.0] * 4]
    alone = Targets.check({"style": "irish"}, (MIXED,), STYLES).mixture(torch.arange(4), 0)
    assert [share for share, _ in alone] == [1.0]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("bach:1,irsh:1", "'irsh' is not a label; did you mean 'irish'"),
        ("bach:0,irish:1", "shares above 0"),
        ("bach:x", "write a mixture as LABEL:SHARE"),
        ("bach:1,bach:2", "write a mixture as LABEL:SHARE"),
        (["bach:1,irish:1", "bach"], "a mixture is asked of all items alike"),
    ],
)
def test_mixtures_that_cannot_be_meant(asked, said):
    with pytest.raises(UsageError, match=said):
        Targets.check({"style": asked}, (MIXED,), STYLES)


def test_what_can_be_measured_is_not_mixed():
    with pytest.raises(UsageError, match="not a label"):
        Targets.check({"kind": "a:1,b:1"}, (CategoryField(name="kind", values=("a", "b")),), STYLES)


def test_what_no_training_item_has_is_named():
    fields = (
        MIXED,
        CategoryField(name="kind", values=("a", "b")),
        NumberField(name="size", mean=0, std=1, quantiles=GRID),
    )
    values = np.array([[0, 0, 1.0], [1, 1, 5.0]], np.float32)
    known = {"style": Label("x"), "kind": Category(("a", "b"), "x"), "size": Number("", -9, 9, "x")}

    def unseen(**asked):
        return Targets.check(asked, fields, known, Profiles(values, fields)).unseen()

    assert unseen(style="bach", kind="a", size=1.2) == ()
    assert unseen(style="bach", kind="b") == ("style=bach with kind=b",)
    assert unseen(style="polka", kind="b") == ("style=polka",)
    assert unseen(style="bach", size=5.0) == ("style=bach with size=5",)
    assert unseen(style="bach", size=(0.0, 9.0)) == ()
    assert unseen(style="bach:1,irish:1", kind="a") == ()
    assert Targets.check({"style": "polka"}, fields, known).unseen() == ()

"""Plans: what can be meant, what a file may hold, and when two orders are the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genesis.batch.columns import Columns
from genesis.batch.plan import (
    LARGEST,
    SMALLEST,
    Order,
    Plan,
    combinations,
    differences,
    model_hash,
    read_plan,
    shard_size,
    targets_of,
)
from genesis.domain import Number
from genesis.engine import Engine
from genesis.errors import GenesisError, InputError, UsageError

Make = Callable[..., Plan]


def plan_file(folder: Path, text: str) -> Path:
    path = folder / "plan.yaml"
    path.write_text(text)
    return path


def test_a_file_keeps_ranges_and_words_as_they_are_written(tmp_path: Path) -> None:
    text = """
domain: molecules
count: 10_000_000
target: {logp: 2:3, qed: 0.9, style: no}
sweep:
  tpsa: [60, 1:30, 8e1]
constrained: true
model: 2026-11-24
shard: null
"""
    assert read_plan(plan_file(tmp_path, text)) == {
        "domain": "molecules",
        "count": 10_000_000,
        "target": {"logp": "2:3", "qed": 0.9, "style": "no"},
        "sweep": {"tpsa": [60, "1:30", 80.0]},
        "constrained": True,
        "model": "2026-11-24",
        "shard": None,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("count: 1\ncount: 2\n", "line 2: 'count' is given twice"),
        ("a: &x 1\nb: *x\n", r"aliases \(\*NAME\) are not read"),
        ("- 1\n- 2\n", "write one SETTING: VALUE a line"),
        ("", "write one SETTING: VALUE a line"),
        ("count: [1\n", "not a plan"),
        ("a: !!python/object/apply:os.system ['true']\n", "not a plan"),
        ("[" * 5_000, "not a plan"),
        ("a: \x00", "not a plan"),
    ],
)
def test_a_file_that_is_no_plan_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_plan(plan_file(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not readable"):
        read_plan(tmp_path / "nothing.yaml")
    with pytest.raises(InputError, match="a plan is a page of text"):
        read_plan(plan_file(tmp_path, "#" * (1 << 20) + "\n"))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_file_is_a_plan_or_our_error(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    try:
        Plan.of(read_plan(path))
    except GenesisError:
        pass
    else:
        raise AssertionError("no random text is a plan")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"count": 0}, "count=0: Input should be greater than or equal to 1"),
        ({"temprature": 1}, "unknown setting 'temprature'; known: domain, count, model"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"seed": 2**63}, "seed=9223372036854775808"),
        ({"target": {"logp": [1, 2]}}, "target.logp"),
        ({"top_p": 0}, "top_p=0"),
        ({"count": "many"}, "count='many'"),
    ],
)
def test_an_impossible_plan_names_the_setting(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=r"^plan\.yaml") as caught:
        Plan.of({"domain": "molecules", "count": 5, **settings}, "plan.yaml")
    assert said in str(caught.value)
    with pytest.raises(UsageError, match="plan: domain is missing"):
        Plan.of({"count": 5})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"target": {"logp": "3:2"}}, "the range is empty"),
        ({"target": {"qed": 0.9}}, "this model was not trained on 'qed'"),
        ({"target": {"logp": 400}}, "impossible; logp lies within"),
        ({"sweep": {"lgp": [1]}}, "did you mean 'logp'"),
        ({"sweep": {"logp": []}}, "sweep logp: no value"),
        ({"target": {"logp": 1}, "sweep": {"logp": [1, 2]}}, "logp is a target and in the sweep"),
        ({"sweep": {"logp": list(range(-2, 8)), "mol_weight": list(range(100, 400))}}, "3,000 combinations; at most"),
        ({"measure": ["weight"]}, "unknown property 'weight' for the domain 'molecules'"),
        ({"keep_best": 4}, "keep_best chooses the items closest to the targets; give a target"),
        ({"keep_best": 4, "target": {"pic50": 6}}, "'pic50' is known from the training file only"),
        ({"domain": "music"}, "is a model of molecules; the plan asks for music"),
    ],
)
def test_what_this_model_cannot_be_asked_is_refused(
    make_plan: Make, engine: Engine, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        Order.of(make_plan(**settings), engine)
    assert said in str(caught.value)


def test_a_sweep_takes_every_combination_in_turn(make_plan: Make, engine: Engine) -> None:
    plan = make_plan(target={"pic50": 6}, sweep={"logp": [1, "2:3"], "mol_weight": [200, 250, 300]})
    assert combinations(plan)[:4] == [
        {"logp": 1, "mol_weight": 200},
        {"logp": 1, "mol_weight": 250},
        {"logp": 1, "mol_weight": 300},
        {"logp": "2:3", "mol_weight": 200},
    ]
    targets = targets_of(plan, engine)
    assert targets.of(3) == {"pic50": 6.0, "logp": (2.0, 3.0), "mol_weight": 200.0}
    assert targets.of(9) == targets.of(3)


def test_an_order_is_told_apart_by_what_changes_its_bytes(make_plan: Make, engine: Engine) -> None:
    order = Order.of(make_plan(), engine)
    same = Order.of(make_plan(model=None), engine)
    assert (order.name, list(differences(order, same))) == (same.name, []), "where the model lies does not matter"
    other = Order.of(make_plan(temperature=0.5, seed=3), engine)
    assert other.name != order.name
    assert list(differences(order, other)) == ["seed: 0 there, 3 here", "temperature: 1.0 there, 0.5 here"]
    old = order.model_copy(update={"versions": {**order.versions, "torch": "2.11.0"}})
    assert list(differences(old, order)) == [f"torch: 2.11.0 there, {order.versions['torch']} here"]
    assert Order.model_validate_json(order.model_dump_json()) == order


def test_the_hash_of_a_model_sees_every_file(model: Path, tmp_path: Path) -> None:
    before = model_hash(model)
    for name in ("config.json", "model.safetensors", "training_keys.npy"):
        copy = tmp_path / name
        copy.mkdir()
        for file in model.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
        assert model_hash(copy) == before
        (copy / name).write_bytes((model / name).read_bytes() + b" ")
        assert model_hash(copy) != before


@given(st.integers(1, 10**11))
def test_shards_are_whole_batches_between_their_limits(indices: int) -> None:
    size = shard_size(indices)
    assert SMALLEST <= size <= LARGEST
    assert size % 512 == 0
    assert shard_size(1_000_000) == 5_120
    assert shard_size(10_000_000) == LARGEST


def test_a_property_cannot_be_called_as_a_column_of_every_library(make_plan: Make, engine: Engine) -> None:
    from types import SimpleNamespace

    order = Order.of(make_plan(), engine).model_copy(update={"measure": ("seed",)})
    domain: Any = SimpleNamespace(name="weather", properties={"seed": Number("", 0, 1, "of the sky")})
    with pytest.raises(UsageError, match="weather measures a property 'seed', and every library has a column"):
        Columns(order, engine.targets(None), domain, known=True)

"""Completion: fragments read and refused, every spelling sound, scripts kept, and the check of what comes out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from torch import Tensor

from genesis import rng
from genesis.domain import BOS, EOS, PAD, Completing, Weighing
from genesis.errors import UsageError
from genesis_domains.molecules import DOMAIN
from genesis_domains.molecules.completion import MoleculeCompletion
from genesis_domains.molecules.fragments import Given
from genesis_domains.molecules.smiles import IDS, VOCAB

CPU = torch.device("cpu")
ROOM = 80
MOTIF = "[11*]C1(CC#N)CN(S(=O)(=O)CC)C1"
SCAFFOLD = "[1*]N1CC([2*])(n2cc(-c3ncnc4[nH]ccc34)cn2)C1"
PAIR = "[11*]N1CCCC1.[17*]c1ccc2c(c1)OCCO2"
STEREO = "[1*][C@H](CN1CCCC1)[C@H]([2*])c1ccc2c(c1)OCCO2"
DOUBLE = r"[*:1]/C=C/C(=O)O"
CORE = "c1nc(-c2cnn(C3CNC3)c2)c2cc[nH]c2n1"
GIVEN = [(MOTIF, False), (SCAFFOLD, False), (PAIR, False), (STEREO, False), (DOUBLE, False), (CORE, True)]


def every_way(completion: MoleculeCompletion) -> list[list[int]]:
    return [list(range(len(group))) for group in completion.ways]


def walk(completion: MoleculeCompletion, rows: int, seed: int, room: int = ROOM) -> list[Any]:
    """Draw allowed tokens at random, leaning towards carbon, as a poor model would."""
    chance = rng.uniform(seed, torch.arange(rows), 0, rng.STREAM_GIVEN)
    machine = completion.constraint(room, every_way(completion), chance)
    state = machine.start(rows, CPU)
    liking = torch.zeros(len(VOCAB))
    liking[[IDS[t] for t in ("C", "N", "O", "=C", "(", ")", "1", "2")]] = 4
    written = torch.full((rows, room), PAD)
    is_open = torch.ones(rows, dtype=torch.bool)
    for step in range(room):
        allowed = machine.allowed(state, room - step)
        assert allowed.any(1).all()
        assert not allowed[is_open][:, [PAD, BOS]].any()
        scores = (liking + rng.gumbel(seed, torch.arange(rows), step, len(VOCAB))).masked_fill(~allowed, -torch.inf)
        token = scores.argmax(-1)
        is_open &= token != EOS
        written[:, step] = torch.where(is_open, token, PAD)
        state = machine.advance(state, token)
    return [DOMAIN.decode(row[row != PAD]) for row in written]


def test_the_domain_has_the_power() -> None:
    assert isinstance(DOMAIN, Completing)
    assert isinstance(DOMAIN.task({"complete": MOTIF}, {}), Weighing)


def test_the_likeliest_ways_are_kept() -> None:
    task = DOMAIN.task({"complete": SCAFFOLD}, {})
    task.weigh(lambda ways: [float(len(ways) - i) for i in range(len(ways))], ROOM)
    (kept,) = task.ways
    last = len(task.completion.ways[0]) - 1
    assert kept == (last, last - 1, last - 2, last - 3)
    with pytest.raises(UsageError, match=r"takes \d+ tokens, and this model writes at most 5"):
        task.weigh(lambda ways: [0.0] * len(ways), 5)


def test_a_draft_is_a_function_of_seed_and_index() -> None:
    task = DOMAIN.task({"complete": MOTIF}, {})
    assert task.begin(3, 1) == task.begin(3, 1)
    assert len({task.begin(index, seed) for index in range(4) for seed in range(3)}) == 12
    assert all(0 <= u < 1 for u in task.begin(0, 0))
    several = [task.begin(3, 1, candidate) for candidate in range(8)]
    assert several[0] == task.begin(3, 1)
    assert len(set(several)) == 8
    assert len({length for _, _, length, _ in several}) == 1, "the length of a linker is the item's"


@pytest.mark.parametrize(("text", "anywhere"), GIVEN)
def test_every_spelling_says_the_same(text: str, anywhere: bool) -> None:
    """The sequences of a group are one molecule, which holds what is given, in different orders."""
    completion = MoleculeCompletion(text, anywhere)
    assert completion.ways
    for group in completion.ways:
        items = [DOMAIN.decode(way) for way in group]
        assert None not in items
        if len(completion.given.parts) == 1:
            assert len({DOMAIN.key(item) for item in items}) == 1
        assert all(completion.holds(item) for item in items)
    assert max(len(group) for group in completion.ways) > 3


@pytest.mark.parametrize(("text", "anywhere"), GIVEN)
def test_whatever_is_written_holds_what_is_given(text: str, anywhere: bool) -> None:
    completion = MoleculeCompletion(text, anywhere)
    items = walk(completion, 48, seed=3)
    made = [item for item in items if item is not None]
    assert len(made) >= 46  # one that ran out of room is no item
    kept = [completion.holds(item) for item in made]
    assert sum(kept) >= 0.9 * len(made)  # a centre whose substituents turn out alike has no stereo to keep
    assert len({item.smiles for item in made}) > 20


def test_two_fragments_are_apart_and_linked() -> None:
    completion = MoleculeCompletion(PAIR)
    query = [Chem.MolFromSmarts(s) for s in ("[#6;R]1-[#6]-[#6]-[#6]-N1", "c1ccc2c(c1)OCCO2")]
    for item in walk(completion, 16, seed=1):
        assert item is not None
        assert "." not in item.smiles
        assert all(item.mol.HasSubstructMatch(q) for q in query)


def test_nothing_is_added_but_at_the_points() -> None:
    given_ = Given.read("[*:1]c1ccccc1")
    assert given_.holds(Chem.MolFromSmiles("CCc1ccccc1"))
    assert not given_.holds(Chem.MolFromSmiles("CCc1ccc(F)cc1"))  # another substituent
    assert not given_.holds(Chem.MolFromSmiles("c1ccccc1"))  # none at all
    assert not given_.holds(Chem.MolFromSmiles("c1ccc2ccccc2c1"))  # fused to another ring
    assert Given.read("c1ccccc1", anywhere=True).holds(Chem.MolFromSmiles("CCc1ccc(F)cc1"))


def test_stereo_is_part_of_what_is_given() -> None:
    given_ = Given.read("[*:1][C@H](C)N")
    right, wrong = Chem.MolFromSmiles("O=C(O)[C@H](C)N"), Chem.MolFromSmiles("O=C(O)[C@@H](C)N")
    assert given_.holds(right) != given_.holds(wrong)
    double = Given.read(DOUBLE)
    assert double.holds(Chem.MolFromSmiles(r"CC/C=C/C(=O)O"))
    assert not double.holds(Chem.MolFromSmiles(r"CC/C=C\C(=O)O"))


@pytest.mark.parametrize(
    ("text", "anywhere", "message"),
    [
        ("c1ccccc1", False, r"no attachment point, so nothing may be added; write an attachment point as \[\*:1\], or"),
        ("[*:1]C.CC", False, "a fragment without attachment points"),
        ("[*:1]C.[*:1]C[*:2]", False, "fragments with 1 and 2 points; linked are two with one each"),
        ("[*:1]C.[*:1]N.[*:1]O", False, "3 fragments; one is grown, two are linked"),
        ("[*:1]c1ccccc1", True, "attachment points and anywhere contradict one another"),
        ("C=[*:1]", False, "an attachment point on a double bond; a single one is read"),
        ("C[*:1]C", False, "an attachment point with 2 bonds; it has one"),
        ("[*:1][*:2]", False, "two attachment points bonded to one another"),
        ("[*:1]", False, "an attachment point with 0 bonds"),
        ("FC(F)(F)C(F)(F)F", True, "no atom has a hydrogen that could be replaced"),
        ("C1CC", True, "'C1CC': not SMILES: the brackets, branches or ring bonds do not match"),
        ("CN(C)(C)C[*:1]", False, "valence"),
        ("", True, "an empty SMILES"),
    ],
)
def test_fragments_that_cannot_be_used(text: str, anywhere: bool, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MoleculeCompletion(text, anywhere)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"mol_weight": (150.0,)}, "mol_weight=150: what is given has 17[0-9.]+ already; ask for more"),
        ({"heavy_atoms": ((3.0, 10.0),)}, "heavy_atoms=10: what is given has 13 already"),
        ({"rings": (0.0,)}, "rings=0: what is given has 1 already"),
    ],
)
def test_targets_that_contradict_what_is_given(target: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MoleculeCompletion(MOTIF).check(target)
    MoleculeCompletion(MOTIF).check({"mol_weight": ((300.0, 400.0),), "logp": (2.0,)})


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.integers(24, 60))
def test_where_room_is_short_a_row_ends_and_is_no_item(seed: int, room: int) -> None:
    """However little room there is: tokens are allowed, and what is an item holds what is given."""
    completion = MoleculeCompletion("[*:1]c1ccc([*:2])cc1")
    for item in walk(completion, 4, seed, room):
        assert item is None or completion.holds(item)


def test_rows_depend_on_their_own_chance_alone() -> None:
    completion = MoleculeCompletion(SCAFFOLD)
    chance = rng.uniform(0, torch.arange(12), 0, rng.STREAM_GIVEN)
    ways = every_way(completion)

    def starts(part: Tensor) -> Tensor:
        return completion.constraint(ROOM, ways, part).start(len(part), CPU)

    assert torch.equal(starts(chance)[5:9], starts(chance[5:9]))

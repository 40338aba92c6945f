"""The contract of ``genesis.domain``, run on every installed domain, also on somebody else's.

A domain's sample items stand in ``tests/data/NAME/hand.*``, in any format the domain reads, and a file in which some
rows are bad in ``tests/data/NAME/damaged.*``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from genesis import registry
from genesis.domain import BOS, EOS, PAD, SPECIALS, Category, Constrained, Domain, Grid, Label, Number, Pictured, Text
from genesis.errors import EncodeError, GenesisError, UsageError

SAMPLES = Path(__file__).parent / "data"
CPU = torch.device("cpu")
EXAMPLES = 300


def the_file(domain: Domain[Any], stem: str) -> Path:
    found = sorted((SAMPLES / domain.name).glob(f"{stem}.*"))
    if not found:
        pytest.skip(f"no tests/data/{domain.name}/{stem}.* to read")
    return found[0]


@pytest.fixture(scope="module", params=list(registry.domains()))
def domain(request: pytest.FixtureRequest) -> Domain[Any]:
    return registry.domain(request.param)


@pytest.fixture(scope="module")
def items(domain: Domain[Any]) -> list[Any]:
    return domain.read(the_file(domain, "hand")).items


@pytest.fixture(scope="module")
def encoded(domain: Domain[Any], items: list[Any]) -> list[Tensor]:
    return [domain.encode(item) for item in items]


def test_our_own_domain_is_installed() -> None:
    assert "molecules" in registry.domains()


def test_it_is_a_domain_under_its_own_name(domain: Domain[Any]) -> None:
    assert isinstance(domain, Domain)
    assert registry.domain(domain.name) is domain


def test_the_vocabulary_is_closed_and_begins_with_the_specials(domain: Domain[Any]) -> None:
    vocab = domain.spec.vocab
    assert vocab[:3] == SPECIALS
    assert len(set(vocab)) == len(vocab) > 3
    assert all(vocab)
    assert domain.spec.max_length > 0


def test_every_property_says_what_it_is(domain: Domain[Any]) -> None:
    for name, about in domain.properties.items():
        assert name.isidentifier()
        assert about.about.strip() == about.about != ""
        assert "\n" not in about.about
        if isinstance(about, Number):
            assert math.isfinite(about.low)
            assert math.isfinite(about.high)
            assert about.low < about.high
        elif isinstance(about, Category):
            assert len(set(about.values)) == len(about.values) > 1


def test_encoding_gives_plain_tokens(domain: Domain[Any], encoded: list[Tensor]) -> None:
    for tokens in encoded:
        assert tokens.dtype == torch.int64
        if isinstance(domain.spec, Grid):
            assert tokens.ndim == 3
            assert torch.equal(domain.spec.numbers(domain.spec.tokens(tokens), tokens.shape), tokens)
            tokens = domain.spec.tokens(tokens)
        assert tokens.ndim == 1
        assert 0 < len(tokens) <= domain.spec.max_length
        assert tokens.min() > max(PAD, BOS, EOS)
        assert tokens.max() < len(domain.spec.vocab)


def test_decoding_an_encoded_item_gives_it_back(domain: Domain[Any], items: list[Any], encoded: list[Tensor]) -> None:
    for item, tokens in zip(items, encoded, strict=True):
        back = domain.decode(tokens)
        assert back is not None
        assert domain.key(back) == domain.key(item)
        assert torch.equal(domain.encode(back), tokens)


def test_a_key_is_text_and_tells_different_items_apart(domain: Domain[Any], items: list[Any]) -> None:
    keys = [domain.key(item) for item in items]
    assert all(isinstance(key, str) and key for key in keys)
    assert len(set(keys)) == len(items)  # the samples are all different
    assert keys == [domain.key(item) for item in domain.read(the_file(domain, "hand")).items]


def test_any_tensor_decodes_to_an_item_or_to_nothing(domain: Domain[Any]) -> None:
    vocab = len(domain.spec.vocab)
    token = st.integers(0, vocab - 1) | st.sampled_from([-1, vocab, 2**40])
    if isinstance(domain.spec, Grid):
        pytest.skip("grids: see the next test")

    @settings(max_examples=EXAMPLES)
    @given(st.lists(token, max_size=domain.spec.max_length + 8))
    def check(tokens: list[int]) -> None:
        _decodes_soundly(domain, torch.tensor(tokens, dtype=torch.int64))

    check()


def test_any_grid_decodes_to_an_item_or_to_nothing(domain: Domain[Any]) -> None:
    if not isinstance(domain.spec, Grid):
        pytest.skip("its items are sequences")
    side, levels = st.integers(0, 9), domain.spec.levels

    @settings(max_examples=EXAMPLES)
    @given(st.tuples(side, side, st.integers(0, 4)), st.sampled_from([0, -1, levels - 1, levels, 2**40]))
    def check(shape: tuple[int, int, int], corner: int) -> None:
        numbers = torch.full(shape, levels // 2, dtype=torch.int64)
        numbers.flatten()[:1] = corner
        item = domain.decode(numbers)
        assert item is None or torch.equal(domain.encode(item), numbers)

    check()


def test_a_damaged_sequence_decodes_to_an_item_or_to_nothing(domain: Domain[Any], encoded: list[Tensor]) -> None:
    if isinstance(domain.spec, Grid):
        pytest.skip("any number at any place of a grid is valid")
    at, token = st.floats(0, 1, exclude_max=True), st.integers(0, len(domain.spec.vocab) - 1)

    @settings(max_examples=EXAMPLES)
    @given(st.integers(0, len(encoded) - 1), st.lists(st.tuples(at, token), min_size=1, max_size=3))
    def check(which: int, changes: list[tuple[float, int]]) -> None:
        tokens = encoded[which].clone()
        for place, new in changes:
            tokens[int(place * len(tokens))] = new
        _decodes_soundly(domain, tokens)

    check()


def _decodes_soundly(domain: Domain[Any], tokens: Tensor) -> None:
    """Decoding does not raise, and what it gives is as good as an item that was read."""
    before = tokens.clone()
    item = domain.decode(tokens)
    assert torch.equal(tokens, before)
    if item is None:
        return
    plain = (tokens > EOS) & (tokens < len(domain.spec.vocab))
    assert bool(plain.all()), f"{tokens[~plain].tolist()} can be no part of an item, and {tokens.tolist()} decoded"
    try:
        again = domain.decode(domain.encode(item))
    except EncodeError:
        return
    assert again is not None
    assert domain.key(again) == domain.key(item)


def test_measured_values_are_of_their_kind_and_within_their_range(domain: Domain[Any], items: list[Any]) -> None:
    for item in items:
        measured = domain.describe(item, list(domain.properties))
        assert list(measured) == list(domain.properties)
        for name, value in measured.items():
            about = domain.properties[name]
            if isinstance(about, Category):
                assert value in about.values
                continue
            if isinstance(about, Label | Text):
                assert isinstance(value, str)
                continue
            assert isinstance(value, float), f"{name} of {domain.key(item)} is a {type(value).__name__}"
            assert about.low <= value <= about.high, f"{name} of {domain.key(item)} is {value}"
            assert not about.integer or value == int(value)


def test_only_the_named_properties_are_measured(domain: Domain[Any], items: list[Any]) -> None:
    for name in domain.properties:
        assert list(domain.describe(items[0], [name])) == [name]
    assert dict(domain.describe(items[0], [])) == {}


def test_bad_rows_are_collected_with_their_reasons(domain: Domain[Any]) -> None:
    reading = domain.read(the_file(domain, "damaged"))
    assert reading.items
    assert reading.rejected
    assert all(one.text and one.reason for one in reading.rejected)
    rows = [one.row for one in reading.rejected]
    assert rows == sorted(set(rows))
    assert all(len(values) == len(reading.items) for values in reading.columns.values())


def test_a_file_read_in_parts_is_the_same_file(domain: Domain[Any], items: list[Any]) -> None:
    parts = list(domain.read_parts(the_file(domain, "hand")))
    assert [domain.key(item) for part in parts for item in part.items] == [domain.key(item) for item in items]


def test_what_is_written_reads_back(domain: Domain[Any], items: list[Any], tmp_path: Path) -> None:
    target = tmp_path / the_file(domain, "hand").name
    domain.check_target(target)
    domain.write(items, target, {})
    assert [domain.key(item) for item in domain.read(target).items] == [domain.key(item) for item in items]
    assert list(tmp_path.iterdir()) == [target]


def test_a_format_it_cannot_write_is_refused_before_and_leaves_nothing(
    domain: Domain[Any], items: list[Any], tmp_path: Path
) -> None:
    target = tmp_path / "items.nonsense"
    with pytest.raises(UsageError, match="nonsense"):
        domain.check_target(target)
    with pytest.raises(GenesisError, match="nonsense"):
        domain.write(items, target, {})
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def constrained(domain: Domain[Any]) -> Constrained:
    if not isinstance(domain, Constrained):
        pytest.skip(f"{domain.name} has no constraint")
    return domain


def test_allowed_never_forbids_what_encode_produced(
    domain: Domain[Any], constrained: Constrained, encoded: list[Tensor]
) -> None:
    """Not even with room for no token more: the sequence itself shows that the end can be reached."""
    lengths = torch.tensor([len(tokens) + 1 for tokens in encoded])
    longest = int(lengths.max())
    machine = constrained.constraint(longest)
    written = pad_sequence(encoded, batch_first=True, padding_value=EOS)
    written = torch.cat((written, torch.full((len(encoded), 1), EOS)), 1)
    states = [machine.start(len(encoded), CPU)]
    for t in range(longest - 1):
        states.append(machine.advance(states[-1], written[:, t]))
    for remaining in range(1, longest + 1):
        rows = (lengths >= remaining).nonzero()[:, 0]
        at = lengths[rows] - remaining
        state = torch.stack([states[t][row] for t, row in zip(at.tolist(), rows.tolist(), strict=True)])
        allowed = machine.allowed(state, remaining)
        refused = (~allowed.gather(1, written[rows, at][:, None])[:, 0]).nonzero()[:, 0].tolist()
        said = [" ".join(domain.spec.vocab[i] for i in written[rows[k], : at[k] + 1]) for k in refused]
        assert not said, f"with {remaining} tokens left, refused at the last token of {said}"


@pytest.mark.parametrize("room", [1, 2, 3, 5, 12, 40, 120])
def test_a_constrained_random_walk_ends_in_a_valid_item(
    domain: Domain[Any], constrained: Constrained, room: int
) -> None:
    rows = 64
    machine = constrained.constraint(room)
    draws = torch.Generator().manual_seed(room)
    state = machine.start(rows, CPU)
    written = torch.full((rows, room), EOS)
    is_open = torch.ones(rows, dtype=torch.bool)
    for t in range(room):
        allowed = machine.allowed(state, room - t)
        assert allowed.shape == (rows, len(domain.spec.vocab))
        assert not bool(allowed[is_open][:, [PAD, BOS]].any())
        if t == 0 and not bool(allowed.any()):
            return  # no item of this domain is so short, and it says so at once
        assert bool(allowed[is_open].any(-1).all()), f"a dead end after {t} of {room} tokens"
        allowed[~is_open] = True
        token = torch.multinomial(allowed.float(), 1, generator=draws)[:, 0]
        written[is_open, t] = token[is_open]
        is_open &= token != EOS
        state = machine.advance(state, token)
    assert not bool(is_open.any()), f"no end within {room} tokens"
    for row in written:
        tokens = row[: int((row == EOS).nonzero()[0])]
        said = " ".join(domain.spec.vocab[i] for i in tokens)
        assert domain.decode(tokens) is not None, f"not valid: {said}"


def test_a_row_is_allowed_the_same_whatever_stands_beside_it(constrained: Constrained, encoded: list[Tensor]) -> None:
    machine = constrained.constraint(64)
    written = pad_sequence(encoded, batch_first=True, padding_value=EOS)
    together = machine.start(len(encoded), CPU)
    watched = sorted(range(len(encoded)), key=lambda row: -len(encoded[row]))[:6]
    alone = {row: machine.start(1, CPU) for row in watched}
    for t in range(min(24, len(encoded[watched[-1]]))):
        allowed = machine.allowed(together, 64 - t)
        for row in watched:
            assert torch.equal(machine.allowed(alone[row], 64 - t)[0], allowed[row])
            alone[row] = machine.advance(alone[row], written[row : row + 1, t])
        together = machine.advance(together, written[:, t])


def test_it_draws_its_items(domain: Domain[Any], items: list[Any], tmp_path: Path) -> None:
    if not isinstance(domain, Pictured):
        pytest.skip(f"{domain.name} has no pictures")
    target = tmp_path / "items.png"
    domain.picture(items[:5], [f"item {i}" for i in range(5)], target)
    assert target.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert list(tmp_path.iterdir()) == [target]

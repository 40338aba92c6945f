"""Texts as conditions: which pieces a text is cut into, and that a text is the same whatever is told beside it."""

from __future__ import annotations

import pytest
import torch

from genesis.nn.text import TextEncoder, TextField

TEXTS = ("a red apple", "a green apple", "the red flag, waving", "a flag")


@pytest.fixture(scope="module")
def field() -> TextField:
    return TextField.of("prompt", TEXTS)


def test_frequent_words_are_pieces_and_others_letters(field: TextField) -> None:
    assert {"apple", "red", "flag", "a", "w", ","} <= set(field.pieces)
    assert "green" not in field.pieces  # it stands there once
    names = [field.pieces[i] for i in field.pieces_of("A RED wing")]
    assert names == ["a", "red", "w", "i", "n", "g"]
    assert field.pieces[0] == ""


@pytest.mark.parametrize(
    ("text", "reason"), [("", "empty"), ("  ", "empty"), ("an ö", "'ö'"), ("a " * 500, "reads at most")]
)
def test_what_cannot_be_read(field: TextField, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        field.pieces_of(text)


def test_room_is_a_quarter_more_than_the_longest(field: TextField) -> None:
    longest = max(len(field.pieces_of(text)) for text in TEXTS)
    assert field.room == longest + max(1, longest // 4)


def made(field: TextField) -> TextEncoder:
    torch.manual_seed(0)
    encoder = TextEncoder(field, 16)
    encoder.initialise()
    encoder.fill_tables()
    return encoder


@torch.no_grad()
def test_a_text_is_read_alike_whatever_stands_beside_it(field: TextField) -> None:
    encoder = made(field)
    encoder.tell(TEXTS)
    together = encoder(torch.arange(4))
    for i, text in enumerate(TEXTS):
        encoder.tell([text])
        torch.testing.assert_close(encoder(torch.tensor([0]))[0], together[i])
    assert (together[0] - together[1]).abs().max() > 1e-3


@torch.no_grad()
def test_order_of_words_is_seen(field: TextField) -> None:
    encoder = made(field)
    encoder.tell(["a red flag", "a flag red"])
    one, other = encoder(torch.arange(2))
    assert (one - other).abs().max() > 1e-4

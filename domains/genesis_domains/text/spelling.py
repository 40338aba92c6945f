"""How text is spelled in tokens: single bytes, and the longer pieces that a model may have learned beside them.

A vocabulary is ``<pad> <bos> <eos>`` and pieces in the order in which they were learned; a piece is written in the
alphabet of byte-level BPE, a printable character a byte (Radford et al. 2019), so that it is text in ``config.json``.
The order is all that reading needs: the neighbours whose union was learned first are joined first (Sennrich et al.
2016). With single bytes alone nothing is ever joined.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from genesis.domain import SPECIALS
from genesis.errors import ResourceError, UsageError

FIRST = len(SPECIALS)
WORD = r" ?\w+| ?[^\w\s]+|\s"  # what is never joined across
_PLAIN = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]  # bytes that are printable characters themselves
_OTHER = [byte for byte in range(256) if byte not in _PLAIN]
ALPHABET = {**{byte: chr(byte) for byte in _PLAIN}, **{byte: chr(256 + n) for n, byte in enumerate(_OTHER)}}
BYTE_OF = {letter: byte for byte, letter in ALPHABET.items()}
BYTES = (*SPECIALS, *(ALPHABET[byte] for byte in range(256)))  # the vocabulary of single bytes


class Spelling:
    """A vocabulary as bytes. ``encode`` replaces the reading of text, for vocabularies that are read in another way."""

    def __init__(self, vocab: tuple[str, ...], encode: Callable[[str], Sequence[int]] | None = None) -> None:
        self.vocab, self._foreign = vocab, encode
        self.pieces = [b""] * FIRST + [bytes(BYTE_OF[letter] for letter in piece) for piece in vocab[FIRST:]]
        self._ids = {piece: token for token, piece in enumerate(self.pieces) if piece}
        self._word = lru_cache(1 << 16)(self._joined)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """``[V]`` bytes of each token; 0 of the first three."""
        return np.array([len(piece) for piece in self.pieces])

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""
        if self._foreign is not None:
            return list(self._foreign(text))
        if len(self.pieces) == len(BYTES):
            return [FIRST + byte for byte in text.encode()]
        return [token for word in re.findall(WORD, text) for token in self._word(word)]

    def bytes_of(self, tokens: Iterable[int]) -> bytes:
        return b"".join(self.pieces[token] for token in tokens)

    def _joined(self, word: str) -> tuple[int, ...]:
        parts = [bytes((byte,)) for byte in word.encode()]
        while len(parts) > 1:
            ranks = [self._ids.get(a + b, len(self.vocab)) for a, b in zip(parts, parts[1:], strict=False)]
            best = min(ranks)
            if best == len(self.vocab):
                break
            at = ranks.index(best)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return tuple(self._ids[part] for part in parts)


def learn(texts: Iterable[str], size: int) -> tuple[str, ...]:
    """A vocabulary of ``size`` tokens by byte-level BPE; Hugging Face's ``tokenizers`` counts the pairs."""
    try:
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    except ImportError:
        raise ResourceError("a vocabulary is learned with tokenizers: pip install 'genesis-engine[text]'") from None
    if not len(BYTES) <= size <= 65_536:
        raise UsageError(f"a vocabulary of {size} tokens; {len(BYTES)} (single bytes) to 65536 can be modelled")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORD), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(vocab_size=size - FIRST, show_progress=False, initial_alphabet=list(BYTES[FIRST:]))
    tokenizer.train_from_iterator(texts, trainer)
    found = tokenizer.get_vocab()
    learned = sorted((piece for piece in found if len(piece) > 1), key=found.__getitem__)
    return (*BYTES, *learned)

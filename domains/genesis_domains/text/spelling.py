"""How text is spelled in tokens: one for each byte of UTF-8, or pieces of several bytes that were learned.

A token is written in the alphabet of byte-level BPE, a printable character a byte (Radford et al. 2019), so that the
vocabulary is text in ``config.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from genesis.domain import SPECIALS
from genesis.errors import ResourceError, UsageError

FIRST = len(SPECIALS)
LARGEST = 16_384  # tokens of a vocabulary that is learned
_PLAIN = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]  # bytes that are printable characters themselves
_OTHER = [byte for byte in range(256) if byte not in _PLAIN]
ALPHABET = {**{byte: chr(byte) for byte in _PLAIN}, **{byte: chr(256 + n) for n, byte in enumerate(_OTHER)}}
_BYTE = {letter: byte for byte, letter in ALPHABET.items()}


class Spelling:
    """A vocabulary, the bytes of each token, and how text is cut into them: longest piece first if nobody else says.

    Entries that are not in the alphabet stand for no bytes: a text never holds them.
    """

    def __init__(self, vocab: Sequence[str], split: Callable[[str], Sequence[int]] | None = None) -> None:
        self.vocab = tuple(vocab)
        self.pieces = (b"",) * FIRST + tuple(_bytes(entry) for entry in self.vocab[FIRST:])
        self._places = {piece: token for token, piece in enumerate(self.pieces) if piece}
        self._longest = max(map(len, self._places))
        self._split = split

    def tokens_of(self, text: str) -> list[int]:
        data, out, at = text.encode(), [], 0
        if self._split is not None:
            found = list(self._split(text))
            if self.bytes_of(found) == data:  # a foreign tokenizer may add a space, or cut one off
                return found
        while at < len(data):
            size = next(
                n for n in range(min(self._longest, len(data) - at), 0, -1) if data[at : at + n] in self._places
            )
            out.append(self._places[data[at : at + size]])
            at += size
        return out

    def bytes_of(self, tokens: Iterable[int]) -> bytes:
        return b"".join(self.pieces[token] for token in tokens)


def _bytes(entry: str) -> bytes:
    return bytes(_BYTE[letter] for letter in entry) if all(letter in _BYTE for letter in entry) else b""


BYTES = Spelling((*SPECIALS, *(ALPHABET[byte] for byte in range(256))))


def learned(texts: Iterable[str], size: int) -> tuple[str, ...]:
    """A vocabulary of at most ``size`` tokens: all bytes, and what byte-pair encoding merges (Sennrich et al. 2016)."""
    if not len(BYTES.vocab) < size <= LARGEST:
        raise UsageError(f"vocabulary={size}: a learned one has {len(BYTES.vocab) + 1} to {LARGEST:,} tokens")
    try:
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    except ImportError:
        raise ResourceError('a learned vocabulary needs tokenizers; pip install "genesis-engine[text]"') from None
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # no piece reaches over a word's end
    trainer = trainers.BpeTrainer(
        vocab_size=size - FIRST, initial_alphabet=list(BYTES.vocab[FIRST:]), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    found = tokenizer.get_vocab()
    return (*BYTES.vocab, *(entry for entry in sorted(found, key=found.__getitem__) if entry not in BYTES.vocab))

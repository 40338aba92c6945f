"""How text is spelled in tokens: one for each byte of UTF-8.

A token is written in the alphabet of byte-level BPE, a printable character a byte (Radford et al. 2019), so that the
vocabulary is text in ``config.json``.
"""

from __future__ import annotations

from collections.abc import Iterable

from genesis.domain import SPECIALS

FIRST = len(SPECIALS)
_PLAIN = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]  # bytes that are printable characters themselves
_OTHER = [byte for byte in range(256) if byte not in _PLAIN]
_ALPHABET = {**{byte: chr(byte) for byte in _PLAIN}, **{byte: chr(256 + n) for n, byte in enumerate(_OTHER)}}
BYTES = (*SPECIALS, *(_ALPHABET[byte] for byte in range(256)))
PIECES = (b"",) * FIRST + tuple(bytes((byte,)) for byte in range(256))  # the bytes of each token


def tokens_of(text: str) -> list[int]:
    return [FIRST + byte for byte in text.encode()]


def bytes_of(tokens: Iterable[int]) -> bytes:
    return bytes(token - FIRST for token in tokens)

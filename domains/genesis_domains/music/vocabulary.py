"""The closed vocabulary of score events, and where each kind begins in it.

    <bos> key [tempo] program+ (bar (at [chord] note*)*)+ <eos>        note: [velocity] note [more* for]

Pitches are written from the key's tonic, so that a piece and its transpositions are the same sequence but for one
token. A note without ``for`` lasts until the next onset of its track, or to the end: most notes do.
"""

from __future__ import annotations

from genesis_domains.music.names import KEYS, METERS, PROGRAMS, QUALITIES
from genesis_domains.music.score import HIGHEST, LOWEST, MAX_TRACKS

LONGEST = 288  # ticks of the longest bar, and of the longest duration in one token
DOWN, UP = 5, 6  # semitones between C and the tonics below and above it
FIRST_STEP = LOWEST - UP
STEPS = HIGHEST + DOWN - FIRST_STEP + 1  # pitches seen from the tonic

_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("special", ("<pad>", "<bos>", "<eos>")),
    ("key", tuple(f"key:{key}" for key in KEYS)),
    ("tens", tuple(f"tempo:{tens}_" for tens in range(2, 31))),
    ("units", tuple(f"tempo:_{unit}" for unit in range(10))),
    ("program", tuple(f"program:{name}" for name in PROGRAMS)),
    ("bar", ("bar", *(f"bar:{meter}" for meter in METERS))),
    ("at", tuple(f"at:{tick}" for tick in range(LONGEST))),
    ("chord", tuple(f"chord:{step}{quality and ':' + quality}" for step in range(12) for quality in QUALITIES)),
    ("velocity", tuple(f"velocity:{8 * level}" for level in range(1, 16))),
    ("more", (f"for:+{LONGEST}",)),
    ("for", tuple(f"for:{ticks}" for ticks in range(1, LONGEST + 1))),
    ("note", tuple(f"note:{track}:{FIRST_STEP + step}" for track in range(MAX_TRACKS) for step in range(STEPS))),
)
VOCAB = tuple(token for _, tokens in _KINDS for token in tokens)
BASE: dict[str, int] = {}
for _name, _tokens in _KINDS:
    BASE[_name] = sum(len(tokens) for kind, tokens in _KINDS[: len(BASE)])
SIZE = {name: len(tokens) for name, tokens in _KINDS}

KEY, TENS, UNITS, PROGRAM, BAR, AT, CHORD, VELOCITY_TOKEN, MORE, FOR, NOTE = (
    BASE[name] for name in ("key", "tens", "units", "program", "bar", "at", "chord", "velocity", "more", "for", "note")
)


def shift(key: int) -> int:
    """Semitones from C to the tonic, the near way: -5 to 6."""
    return (key % 12 + DOWN) % 12 - DOWN


def note_token(track: int, pitch: int, above: int) -> int:
    """The token of a pitch on a track whose tonic is ``above`` semitones from C."""
    return NOTE + track * STEPS + pitch - above - FIRST_STEP

"""The closed lists of names: keys, meters, instruments, chords; the order is the vocabulary's."""

from __future__ import annotations

from fractions import Fraction

from genesis.errors import UsageError, suggest

MAJOR = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MINOR = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")
KEYS = tuple(f"{tonic} major" for tonic in MAJOR) + tuple(f"{tonic} minor" for tonic in MINOR)
SHARPS = (0, -5, 2, -3, 4, -1, 6, 1, -4, 3, -2, 5)  # of the major key on each pitch class, flats below zero

# bars of up to 12 quarter notes in whole ticks
METERS = tuple(f"{n}/{d}" for d, most in ((4, 12), (2, 6), (8, 24), (16, 24), (1, 3)) for n in range(1, most + 1))
TICKS_A_WHOLE = 96

# MusicXML's names of chord kinds, which are music21's too
CHORD_KINDS = {
    "major": "", "minor": "m", "dominant": "7", "dominant-seventh": "7", "minor-seventh": "m7", "major-seventh": "maj7",
    "diminished": "dim", "diminished-seventh": "dim7", "half-diminished": "m7b5", "half-diminished-seventh": "m7b5",
    "augmented": "aug", "suspended-fourth": "sus4", "major-sixth": "6", "minor-sixth": "m6",
}  # fmt: skip
QUALITIES = ("", "m", "7", "m7", "maj7", "dim", "dim7", "m7b5", "aug", "sus4", "6", "m6")

PROGRAMS = (
    "piano", "bright-piano", "electric-grand", "honky-tonk", "electric-piano", "electric-piano-2", "harpsichord",
    "clavinet", "celesta", "glockenspiel", "music-box", "vibraphone", "marimba", "xylophone", "tubular-bells",
    "dulcimer", "drawbar-organ", "percussive-organ", "rock-organ", "organ",
    "reed-organ", "accordion", "harmonica", "bandoneon",
    "guitar", "steel-guitar", "jazz-guitar", "clean-guitar", "muted-guitar", "overdriven-guitar", "distortion-guitar",
    "guitar-harmonics", "acoustic-bass", "bass", "picked-bass", "fretless-bass", "slap-bass", "slap-bass-2",
    "synth-bass", "synth-bass-2", "violin", "viola", "cello", "contrabass", "tremolo-strings", "pizzicato", "harp",
    "timpani", "strings", "slow-strings", "synth-strings", "synth-strings-2", "choir", "voice", "synth-voice",
    "orchestra-hit", "trumpet", "trombone", "tuba", "muted-trumpet", "horn", "brass", "synth-brass", "synth-brass-2",
    "soprano-sax", "alto-sax", "tenor-sax", "baritone-sax", "oboe", "english-horn", "bassoon", "clarinet", "piccolo",
    "flute", "recorder", "pan-flute", "bottle", "shakuhachi", "whistle", "ocarina", "square-lead", "saw-lead",
    "calliope-lead", "chiff-lead", "charang-lead", "voice-lead", "fifths-lead", "bass-lead", "new-age-pad", "warm-pad",
    "polysynth-pad", "choir-pad", "bowed-pad", "metallic-pad", "halo-pad", "sweep-pad", "rain", "soundtrack", "crystal",
    "atmosphere", "brightness", "goblins", "echoes", "sci-fi", "sitar", "banjo", "shamisen", "koto", "kalimba",
    "bagpipe", "fiddle", "shanai", "tinkle-bell", "agogo", "steel-drums", "woodblock", "taiko", "melodic-tom",
    "synth-drum", "reverse-cymbal", "fret-noise", "breath-noise", "seashore", "bird", "telephone", "helicopter",
    "applause", "gunshot", "drums",
)  # fmt: skip
"""General MIDI's 128 instruments by program number, then the drums of its tenth channel."""


def bar_ticks(meter: int) -> int:
    """Ticks of a bar, 24 a quarter note."""
    numerator, denominator = METERS[meter].split("/")
    return TICKS_A_WHOLE * int(numerator) // int(denominator)


_TICKS = tuple(bar_ticks(meter) for meter in range(len(METERS)))


def meter_of(numerator: int, denominator: int) -> int | None:
    """The index of a meter, or None when it is not modelled."""
    name = f"{numerator}/{denominator}"
    return METERS.index(name) if name in METERS else None


def meter_of_ticks(ticks: int) -> int | None:
    """The first meter whose bar is so long."""
    return _TICKS.index(ticks) if ticks in _TICKS else None


def whole_ticks(quarters: Fraction | float) -> int:
    """Quarter notes in ticks, rounded to the grid; a half goes up."""
    return int(Fraction(quarters) * 24 + Fraction(1, 2))


def program_of(name: str) -> int:
    """The program of an instrument's name; UsageError suggests the near ones."""
    if name not in PROGRAMS:
        raise UsageError(f"no instrument {name!r}; {suggest(name, PROGRAMS)}")
    return PROGRAMS.index(name)


def tonic(key: int) -> int:
    """The pitch class of a key's tonic."""
    return key % 12


def signature(key: int) -> int:
    """Sharps of a key (flats below zero), as a key signature writes them: a minor key has its relative major's."""
    return SHARPS[key % 12 if key < 12 else (key + 3) % 12]

"""What can be asked beyond properties: continue, infill, harmonize, accompany, vary, form, chords, instruments.

Each request becomes a sheet with free cells (``sheet.py``) and the runs in which they are written (``writing.py``).
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genesis.domain import Asked
from genesis.errors import InputError, UsageError
from genesis_domains.music import chords, files
from genesis_domains.music.asked import Wish, whole
from genesis_domains.music.keyfinding import PROFILES, find_key
from genesis_domains.music.names import KEYS, METERS, PROGRAMS, program_of
from genesis_domains.music.properties import MOST_BARS
from genesis_domains.music.score import MAX_TRACKS, TEMPI, Harmony, Origin, Score
from genesis_domains.music.sheet import ANY, Sheet, tones
from genesis_domains.music.writing import Run, Writing, runs

GIVEN = {
    "continue": "FILE: go on from its last bar, by --bars (8)",
    "infill": "FILE: write --bars FIRST:LAST anew, in --track N or in all of them",
    "harmonize": "FILE: three voices below its melody, or as many as --instruments names",
    "accompany": "FILE: add --instruments (piano), following --chords where they are given",
    "vary": "FILE: write each bar of each track anew with the probability --strength (0.5)",
    "form": "LETTERS: sections such as AABA, each of --bars (8); equal letters are the same music",
    "chords": "CHORDS: 'Dm G7 C' one a bar, 'Dm G7 | C' with bar lines; notes on beats are theirs",
    "instruments": "NAMES: 'piano,cello', one track each",
    "track": "N: the track that is meant, 1 the first",
    "strength": "X: how much is changed, above 0 to 1",
}
FILES = ("continue", "infill", "harmonize", "accompany", "vary")
TAKES = {  # what goes with each
    "continue": {"chords"},
    "infill": {"track", "chords"},
    "harmonize": {"track", "chords", "instruments"},
    "accompany": {"track", "chords", "instruments"},
    "vary": {"track", "chords", "strength"},
    "form": {"chords", "instruments"},
    "": {"chords", "instruments"},
}
BARS, SECTION, WHOLE = 8, 8, 16  # bars of a continuation, a section, a piece, where none are asked for
VOICES = 3
STRENGTH = 0.5


def task(given: Mapping[str, Any], target: Mapping[str, Any]) -> Writing:
    """The request as a task; UsageError where its parts do not go together."""
    kinds = [name for name in (*FILES, "form") if name in given]
    if len(kinds) > 1:
        raise UsageError(f"{kinds[0]} and {kinds[1]} do not go together; do one, then the other with its file")
    kind = kinds[0] if kinds else ""
    stray = sorted(set(given) - TAKES[kind] - {kind})
    if stray:
        what = kind or "a new piece"
        raise UsageError(f"{stray[0]} does not go with {what}; allowed are {', '.join(sorted(TAKES[kind]))}")
    wrong = next((name for name, value in target.items() if isinstance(value, list)), None)
    if wrong is not None:
        raise UsageError(f"{wrong}: what is given is finished for one target at a time, not for a list")
    made = _finished(kind, given, target) if kind in FILES else _composed(kind, given, target)
    if "chords" in given:
        first = made.runs[0].first if kind == "continue" else 0
        made = replace(made, sheet=_with_chords(made.sheet, str(given["chords"]), first))
    return made


def _finished(kind: str, given: Mapping[str, Any], target: Mapping[str, Any]) -> Writing:
    """A task on a score that is there."""
    score = _score(given[kind])
    fixed = {"key": KEYS[score.key], "meter": METERS[score.meters[-1]]}
    for name, has in fixed.items():
        if target.get(name, has) != has:
            raise UsageError(f"{name}={target[name]}: what is given is in {has}; leave {name} out")
    asked = {name: value for name, value in target.items() if name not in ("bars", "tracks", "tempo")}
    own = {"style": score.origin.style} if score.origin.style else {}
    tracks = len(score.tracks)
    if kind == "continue":
        count = _bars(target, BARS)
        free = np.zeros((tracks, len(score.meters) + count), np.bool_)
        free[:, len(score.meters) :] = True
        sheet = Sheet.of(replace(score, meters=score.meters + score.meters[-1:] * count), free)
    elif kind in ("infill", "vary"):
        free = np.zeros((tracks, len(score.meters)), np.bool_)
        which = _tracks(given, tracks)
        first, last = _cell(target, len(score.meters)) if kind == "infill" else (0, len(score.meters))
        free[which, first:last] = True
        sheet = Sheet.of(score, free)
    else:
        sheet = _accompanied(kind, score, given)
    heard = {"key": fixed["key"], "meter": fixed["meter"], "tracks": float(len(sheet.programs))}
    if sheet.programs[0] != ANY:
        heard["instrument"] = PROGRAMS[sheet.programs[0]]
    strength = _strength(given) if kind == "vary" else 1.0
    written = runs(np.asarray(sheet.free.any(0)), len(sheet.programs))
    return Writing(sheet, written, own | heard | asked, _pitches(target), strength)


def _composed(kind: str, given: Mapping[str, Any], target: Mapping[str, Any]) -> Writing:
    """A task without a file: a form, chords, or instruments."""
    programs = _programs(given) or (
        (program_of(str(target["instrument"])) if "instrument" in target else ANY,)
        * (_whole(target, "tracks", 1, MAX_TRACKS) if "tracks" in target else 1)
    )
    meter = METERS.index(str(target.get("meter", "4/4")))
    form = _form(str(given["form"])) if kind else "A"
    each = _bars(target, SECTION) if kind else _bars(target, _length(given))
    if len(form) * each > MOST_BARS:
        raise UsageError(f"{len(form)} sections of {each} bars; at most {MOST_BARS:,} bars are modelled")
    meters = (meter,) * (len(form) * each)
    key = KEYS.index(str(target["key"])) if "key" in target else _key(given)
    tempo = _whole(target, "tempo", *TEMPI) if "tempo" in target else ANY
    free = np.zeros((len(programs), len(meters)), np.bool_)
    written = []
    for section, letter in enumerate(form):
        first = section * each
        if form.index(letter) == section:
            free[:, first : first + each] = True
            places = [place * each for place in range(section + 1, len(form)) if form[place] == letter]
            for run in runs(_only(first, first + each, len(meters)), len(programs)):
                again = tuple(place + run.first - first for place in places)
                written.append(Run(run.first, run.last, again))
    sheet = Sheet(key, meters, programs, ((),) * len(programs), free, tempo, origin=Origin())
    heard = {"key": KEYS[key], "meter": METERS[meter], "tracks": float(len(programs))}
    asked = {name: value for name, value in target.items() if name != "bars"}
    if programs[0] != ANY:
        heard["instrument"] = PROGRAMS[programs[0]]
    return Writing(sheet, tuple(written), heard | asked, _pitches(target))


def _score(value: Any) -> Score:
    """The score of a file, or a score as it is."""
    if isinstance(value, Score):
        return value.check()
    found = files.read(Path(value))
    if not found.items:
        raise InputError(f"{value}: {found.rejected[0].reason}")
    if len(found.items) > 1:
        raise UsageError(f"{value} holds {len(found.items)} scores; give a file of one")
    score: Score = found.items[0]
    return score


def _accompanied(kind: str, score: Score, given: Mapping[str, Any]) -> Sheet:
    """Free tracks beside the given ones; to harmonize keeps the melody alone."""
    which = _tracks(given, len(score.tracks)) if "track" in given else slice(0, 1)
    kept = score.tracks[which] if kind == "harmonize" or "track" in given else score.tracks
    programs = _programs(given)
    if not programs:
        programs = (kept[0].program,) * VOICES if kind == "harmonize" else (program_of("piano"),)
    count = len(kept) + len(programs)
    if count > MAX_TRACKS:
        raise UsageError(f"{len(kept)} tracks and {len(programs)} more; at most {MAX_TRACKS} are modelled")
    free = np.zeros((count, len(score.meters)), np.bool_)
    free[len(kept) :] = True
    sheet = Sheet.of(replace(score, tracks=kept), free[: len(kept)])
    return replace(sheet, programs=sheet.programs + programs, notes=sheet.notes + ((),) * len(programs), free=free)


def _with_chords(sheet: Sheet, text: str, first: int) -> Sheet:
    found = chords.spread(text, sheet.starts[first:])
    kept = tuple(h for h in sheet.harmonies if h.onset < sheet.starts[first])
    return replace(sheet, harmonies=(*kept, *found))


def _programs(given: Mapping[str, Any]) -> tuple[int, ...]:
    if "instruments" not in given:
        return ()
    names = given["instruments"]
    found = tuple(program_of(n.strip()) for n in (names.split(",") if isinstance(names, str) else names))
    if not 1 <= len(found) <= MAX_TRACKS:
        raise UsageError(f"{len(found)} instruments; 1 to {MAX_TRACKS} are modelled")
    return found


def _tracks(given: Mapping[str, Any], count: int) -> slice:
    if "track" not in given:
        return slice(0, count)
    text = str(given["track"])
    if not text.isdecimal() or not 1 <= int(text) <= count:
        raise UsageError(f"track {text}: what is given has the tracks 1 to {count}")
    return slice(int(text) - 1, int(text))


def _strength(given: Mapping[str, Any]) -> float:
    try:
        found = float(given.get("strength", STRENGTH))
    except ValueError:
        found = -1.0
    if not 0 < found <= 1:
        raise UsageError(f"strength {given['strength']}: a number above 0 and up to 1 is needed")
    return found


def _form(text: str) -> str:
    if not text or not set(text) <= set(string.ascii_uppercase):
        raise UsageError(f"form {text!r}: write a letter a section, as in AABA")
    return text


def _length(given: Mapping[str, Any]) -> int:
    return len(chords.progression(str(given["chords"]))) if "chords" in given else WHOLE


def _bars(target: Mapping[str, Any], default: int) -> int:
    return _whole(target, "bars", 1, MOST_BARS) if "bars" in target else default


def _cell(target: Mapping[str, Any], count: int) -> tuple[int, int]:
    """First and last bar (not included) of ``bars=FIRST:LAST``, which counts from 1 and includes both."""
    if "bars" not in target:
        raise UsageError("infill needs the bars to write: --bars FIRST:LAST, counted from 1")
    asked: Asked = target["bars"]
    first, last = asked if isinstance(asked, tuple) else (asked, asked)
    if not 1 <= float(first) <= float(last) <= count or float(first) % 1 or float(last) % 1:
        raise UsageError(f"bars {first:g}:{last:g}: what is given has the bars 1 to {count}")
    return int(first) - 1, int(last)


def _whole(target: Mapping[str, Any], name: str, low: int, high: int) -> int:
    first, last = whole(name, target[name], low, high)
    if first != last:
        raise UsageError(f"{name}={first}:{last}: one number is needed here")
    if not low <= first <= high:
        raise UsageError(f"{name}={first}: {low} to {high} are modelled")
    return first


def _pitches(target: Mapping[str, Any]) -> tuple[int, int]:
    return Wish.of({name: target[name] for name in ("lowest", "highest") if name in target}).pitches


def _only(first: int, last: int, bars: int) -> NDArray[np.bool_]:
    at = np.arange(bars)
    found: NDArray[np.bool_] = (at >= first) & (at < last)
    return found


def _key(given: Mapping[str, Any]) -> int:
    """The key that the chords are in, C major without chords."""
    if "chords" not in given:
        return find_key(())
    sounding = np.zeros(12)
    for bar in chords.progression(str(given["chords"])):
        for root, quality in bar:
            sounding[list(tones(Harmony(0, root, quality)))] += 1
            sounding[root] += 1
    return int(np.argmax(PROFILES @ (sounding - sounding.mean())))

"""How a set of scores compares with real music that nothing was trained on.

Every likeness is two-sided, and beside it stands its floor: what as many real training scores reach. Of a measure for
which more is not better the aim is the real figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from genesis.errors import InputError, UsageError, suggest
from genesis.metrics.sets import held_out
from genesis_domains.music import records
from genesis_domains.music.chorale import faults
from genesis_domains.music.copying import Known
from genesis_domains.music.corpora import SCORES, SOURCES
from genesis_domains.music.cutting import cut
from genesis_domains.music.judge import Judge
from genesis_domains.music.profile import distributions, divergence, repetition, together
from genesis_domains.music.score import Score

Progress = Callable[[int, int, str], None]
HELD_OUT = 0.05  # share of the tunes that training never sees
JUDGED = 1_000  # training scores of a style that the judge learns from
CORPORA = ("jsb", *SOURCES)


def read_reference(reference: str, corpus: Callable[[str], Path], limit: int) -> tuple[list[Score], list[Score]]:
    """Training and held-out scores of corpora (``one+other``), cut as training cuts them.

    The splits are those of training: of ``jsb`` the published ones, of the others the tunes that a stable hash chose.
    """
    train: list[Score] = []
    test: list[Score] = []
    for name in reference.split("+"):
        if name not in CORPORA:
            raise UsageError(f"no corpus of music is named {name!r}; {suggest(name, CORPORA)}")
        folder = corpus(name)
        if name == "jsb":
            train += _lines(folder / "train.jsonl")
            test += _lines(folder / "test.jsonl")
            continue
        for score in _lines(folder / SCORES):
            (test if held_out(score.origin.family, HELD_OUT) else train).extend(cut(score, limit))
    return train, test


def _lines(path: Path) -> list[Score]:
    import json

    if not path.is_file():
        raise InputError(f"{path} is not there; run `genesis data fetch` for its corpus")
    with path.open(encoding="utf-8") as lines:
        return [records.from_json(json.loads(text)["score"]) for text in lines]


def benchmark(
    items: Sequence[Score | None],
    reference: str,
    corpus: Callable[[str], Path],
    limit: int,
    progress: Progress | None = None,
) -> dict[str, float]:
    """``evaluate`` against corpora by name; scores whose style is known are compared with that style's alone."""
    train, test = read_reference(reference, corpus, limit)
    styles = {score.origin.style for score in items if score is not None and score.origin.style}
    if styles:
        apart = styles - {score.origin.style for score in train}
        if apart:
            raise UsageError(f"the reference {reference!r} has no {min(apart)!r}; name a corpus that has")
    return evaluate(items, train, test, progress)


def evaluate(
    items: Sequence[Score | None], train: Sequence[Score], test: Sequence[Score], progress: Progress | None = None
) -> dict[str, float]:
    """The figures of scores in the order they were made; None counts as not valid.

    valid                 share of the scores asked for
    bar errors            share of bars whose notes do not fit them; of the file as pretty_midi reads it
    style right           mean over styles of the share that the judge recognises, of scores whose style is known
    style right, real     the same of held-out real scores
    pitch class ...       Jensen-Shannon distance of the set's counts from those of held-out real scores, 0 to 1
    ... floor             the same of as many training scores
    repetition            share of bars that repeat an earlier one; beside it the real share
    faults a chorale      parallel fifths and octaves, crossings and notes out of range, of scores in four parts
    copied notes, 95 %    the 95th percentile of the longest passage shared with a training melody
    """
    valid = [item for item in items if item is not None]
    scores = {"valid": len(valid) / len(items)} if items else {}
    if not valid:
        return scores
    report = progress or (lambda done, total, what: None)
    scores["bar errors"] = fmean(map(bar_errors, valid))
    styles = {score.origin.style for score in valid}
    known = "" not in styles
    alike = [s for s in test if not known or s.origin.style in styles]
    floor = [s for s in train if not known or s.origin.style in styles]
    floor = floor[:: max(1, len(floor) // len(valid))][: len(valid)]
    if known and len({score.origin.style for score in train}) > 1:
        report(0, 1, "training the style judge")
        judge = Judge.train(balanced(train))
        scores["style right"] = judge.accuracy(valid)
        scores["style right, real"] = judge.accuracy(alike)
    if not alike:
        return scores
    report(0, 1, "comparing")
    made, real, learned = (together([distributions(s) for s in group]) for group in (valid, alike, floor))
    for name in made:
        scores[name] = divergence(made[name], real[name])
        scores[f"{name} floor"] = divergence(learned[name], real[name])
    scores["repetition"] = fmean(map(repetition, valid))
    scores["repetition, real"] = fmean(map(repetition, alike))
    for name, group in (("faults a chorale", valid), ("faults a chorale, real", alike)):
        counts = [sum(found.values()) for s in group if s.origin.style in ("bach-chorale", "") and (found := faults(s))]
        if counts:
            scores[name] = fmean(counts)
    report(0, 1, "looking for copied passages")
    melodies = Known.of([s for s in train if not known or s.origin.style in styles])
    for name, group in (("copied notes, 95 %", valid), ("copied notes, 95 %, real", alike)):
        scores[name] = float(np.percentile([melodies.longest(s).notes for s in group], 95))
    return scores


def bar_errors(score: Score) -> float:
    """The share of bars that do not add up in the file that would be written, as pretty_midi reads it.

    A bar is in error when a change of meter does not stand at its beginning, or a note lasts beyond the last one.
    """
    from genesis_domains.music.midi import to_pretty_midi

    midi = to_pretty_midi(score)
    tick = midi.time_to_tick
    scale = midi.resolution / 24
    starts = {round(start * scale) for start in score.starts}
    wrong = sum(tick(change.time) not in starts for change in midi.time_signature_changes)
    wrong += any(tick(note.end) > score.end * scale for track in midi.instruments for note in track.notes)
    return wrong / len(score.meters)


def balanced(train: Sequence[Score]) -> list[Score]:
    """The first scores of each style, evenly spread over the corpus."""
    by_style: dict[str, list[Score]] = {}
    for score in train:
        by_style.setdefault(score.origin.style, []).append(score)
    return [score for group in by_style.values() for score in group[:: max(1, -(-len(group) // JUDGED))]]

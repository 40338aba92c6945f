"""What a report says of each score beyond its properties, and what a model has to keep of its training scores for it.

Beside the weights lie ``judge.npz``, the style judge, and ``melodies.npz``, the melodies that were learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from genesis_domains.music.chorale import faults
from genesis_domains.music.copying import Known
from genesis_domains.music.evaluation import balanced
from genesis_domains.music.judge import Judge
from genesis_domains.music.score import Score

JUDGE, MELODIES = "judge.npz", "melodies.npz"


def learn(scores: Iterable[Score], folder: Path) -> None:
    """Keep the melodies, and a judge where there are two styles to tell apart."""
    found = list(scores)
    Known.of(found).save(folder / MELODIES)
    styled = [score for score in found if score.origin.style]
    if len({score.origin.style for score in styled}) > 1:
        Judge.train(balanced(styled)).save(folder / JUDGE)


def report(scores: Sequence[Score], folder: Path | None) -> dict[str, list[Any]]:
    """A column each, an entry a score.

    ``voice_leading_faults``: parallels, crossings and notes out of range, of scores in four parts.
    ``judged_style``, ``style_score``: the most probable style, and how probable it is.
    ``copied_notes``, ``nearest``: the longest passage that a training melody has too, and which one.
    """
    counts = [faults(score) for score in scores]
    out: dict[str, list[Any]] = {}
    if any(counts):
        out["voice_leading_faults"] = [sum(count.values()) if count else None for count in counts]
    if folder is not None and scores and (folder / JUDGE).is_file():
        judge = Judge.load(folder / JUDGE)
        odds = judge.probabilities(scores)
        out["judged_style"] = [judge.styles[int(best)] for best in odds.argmax(1)]
        out["style_score"] = [round(float(row.max()), 3) for row in odds]
    if folder is not None and (folder / MELODIES).is_file():
        known = Known.load(folder / MELODIES)
        passages = [known.longest(score) for score in scores]
        out["copied_notes"] = [passage.notes for passage in passages]
        out["nearest"] = [passage.source for passage in passages]
    return out

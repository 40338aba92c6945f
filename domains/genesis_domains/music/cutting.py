"""Long scores in parts that a sequence has room for, cut at bars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from genesis_domains.music.codec import encode
from genesis_domains.music.keyfinding import find_key
from genesis_domains.music.score import Score, Track, trimmed
from genesis_domains.music.vocabulary import BAR, SIZE

PHRASE = 4  # bars: a cut is made after a whole number of phrases where that is possible
SHORTEST = 4  # bars of a part that is worth learning from


def excerpt(score: Score, first: int, last: int) -> Score | None:
    """Bars ``first`` to ``last`` (not included) as a score of its own, in the key they are in; None when silent.

    Notes that began before are left out, notes that last longer are cut short.
    """
    start, end = score.starts[first], score.starts[last]
    tracks = []
    for track in score.tracks:
        notes = tuple(
            note._replace(onset=note.onset - start, duration=min(note.duration, end - note.onset))
            for note in track.notes
            if start <= note.onset < end
        )
        if notes:
            tracks.append(Track(track.program, notes))
    if not tracks:
        return None
    chords = tuple(h._replace(onset=h.onset - start) for h in score.harmonies if start <= h.onset < end)
    part = "opening" if first == 0 else "closing" if last == len(score.meters) else "middle"
    return trimmed(
        Score(
            tuple(tracks),
            score.meters[first:last],
            find_key(tuple(tracks)),
            score.tempo,
            chords,
            replace(score.origin, part=part),
        )
    )


def cut(score: Score, limit: int) -> Iterator[Score]:
    """The score itself when it has at most ``limit`` tokens, else its parts in order; too dense bars are left out."""
    tokens = encode(score)
    if len(tokens) <= limit:
        yield score
        return
    places = [i for i, token in enumerate(tokens) if BAR <= token < BAR + SIZE["bar"]]
    sizes = [b - a for a, b in pairwise([*places, len(tokens)])]
    budget = limit - places[0]
    first = 0
    while first < len(sizes):
        last, total = first, 0
        while last < len(sizes) and total + sizes[last] <= budget:
            total += sizes[last]
            last += 1
        if last < len(sizes) and last - first > 2 * PHRASE:
            last -= (last - first) % PHRASE
        last = max(last, first + 1)
        found = excerpt(score, first, last) if last - first >= SHORTEST else None
        # notes cut short may say their length where they did not before
        while found is not None and len(encode(found)) > limit:
            last -= 1
            found = excerpt(score, first, last) if last - first >= SHORTEST else None
        if found is not None:
            yield found
        first = max(last, first + 1)

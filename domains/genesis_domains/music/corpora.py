"""Corpora of scores: which of their files hold which style, and how they become lines of scores, once.

Styles of OpenScore's songs follow their composer: the French, and those of Britain and America, have tables; songs of
the few from Italy, Spain, Brazil and Poland have no style; all others, Germans and Austrians for the most part, are
``lied``.
"""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from genesis.domain import Rejected
from genesis.errors import EncodeError, UsageError, suggest
from genesis_domains.music import midi, musicxml, notation, records
from genesis_domains.music.families import families, intervals
from genesis_domains.music.jsb import chorales
from genesis_domains.music.names import program_of
from genesis_domains.music.score import Origin, Score

Progress = Callable[[int, int, str], None]
SCORES = "scores.jsonl"
CHUNK = 8  # files of a task: some hold one tune, some two hundred

FRENCH = frozenset((
    "Berlioz", "Bizet", "Bonis", "Boulanger", "Chabrier", "Chaminade", "Chausson", "Debussy", "Duchambge", "Farrenc",
    "Fauré", "Ferrari", "Flégier", "Gail", "Gounod", "Grandval", "Hardelot", "Holmès", "Jaëll", "Massenet",
    "Paladilhe", "Poldowski", "Puget", "Satie", "Thys", "Viardot",
))  # fmt: skip
ENGLISH = frozenset((
    "Abbott", "Abrams", "Arne", "Bantock", "Barnard", "Barnby", "Barns", "Beach", "Bianchi_Lacy", "Bishop", "Boulton",
    "Bridge", "Browne", "Burleigh", "Butterworth", "Cellier", "Coleridge-Taylor", "Corder", "Cowen", "Davies",
    "Delius", "Dickson", "Elgar", "Freer", "Gabriel", "German", "Gray", "Guest", "Gurney", "Hodges", "Hopekirk",
    "Horrocks", "Ives", "Jacobs-Bond", "Joplin", "Lehmann", "Liliuokalani", "Lindsay", "Mackenzie", "Marshall",
    "Mounsey_Bartholomew", "Parratt", "Parry", "Phillips", "Philp", "Quilter", "Rootham", "Shield", "Somervell",
    "Stanford", "Sullivan", "Warlock", "White", "Wood",
))  # fmt: skip
UNLABELLED = frozenset((
    "Chopin", "Donaudy", "Gambarini", "Gonzaga", "Leoncavallo", "Obradors", "Rossini", "Tosti", "Verdi",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """Some files of a corpus: their style, the instruments of their parts, and who may use them."""

    pattern: str  # of the path in the package
    style: str
    composer: str
    instruments: tuple[str, ...]
    tier: str
    parts: int = 0  # sounding parts that a score must have; 0: any number


_WHEEL: tuple[Source, ...] = (
    Source(r"music21/corpus/bach/bwv[^/]*\.mxl", "bach-chorale", "Bach, Johann Sebastian", ("choir",), "free", parts=4),
    Source(r"music21/corpus/oneills1850/.*\.abc", "irish", "", ("fiddle",), "free"),
    Source(r"music21/corpus/ryansMammoth/.*\.abc", "american-fiddle", "", ("fiddle",), "free"),
    Source(r"music21/corpus/airdsAirs/.*\.abc", "scottish", "", ("flute",), "free"),
)
SOURCES: dict[str, tuple[Source, ...]] = {
    "music21": _WHEEL,
    "music21-essen": (
        Source(r"music21/corpus/essenFolksong/han\d.*\.abc", "chinese-folk", "", ("flute",), "nc"),
        Source(r"music21/corpus/essenFolksong/.*\.abc", "german-folk", "", ("flute",), "nc"),
    ),
    "music21-early": (
        Source(r"music21/corpus/palestrina/.*\.krn", "palestrina", "Palestrina", ("choir",), "research"),
        Source(r"music21/corpus/monteverdi/.*\.mxl", "monteverdi", "Monteverdi, Claudio", ("choir",), "research"),
        Source(r"music21/corpus/trecento/.*\.(xml|mxl)", "trecento", "", ("choir",), "research"),
    ),
    "openscore": (
        Source(r"scores/.*/lc\d+\.mxl", "lied", "", ("voice", "piano"), "free"),
        Source(r"scores/.*/sq\d+\.mxl", "string-quartet", "", ("violin", "violin", "viola", "cello"), "free", parts=4),
    ),
    "nottingham": (Source(r"MIDI/[^/]*\.mid", "english-folk", "", (), "gpl"),),
}


@dataclass(frozen=True, slots=True)
class _File:
    """A file to read, and as what."""

    source: Source
    path: str  # in the package
    place: Path


def build(
    corpus: str, files: Mapping[str, Path], target: Path, workers: int | None = None, progress: Progress | None = None
) -> list[Rejected]:
    """Read the files (by their path in the package) and write the lines of scores into the folder ``target``."""
    if corpus == "jsb":
        for split, scores in chorales(next(iter(files.values()))).items():
            _write(scores, target / f"{split}.jsonl")
        return []
    if corpus not in SOURCES:
        raise UsageError(f"no corpus {corpus!r} of music; {suggest(corpus, ['jsb', *SOURCES])}")
    wanted = [_File(source, path, place) for path, place in sorted(files.items())
              if (source := _source(SOURCES[corpus], path)) is not None]  # fmt: skip
    chunks = [wanted[i : i + CHUNK] for i in range(0, len(wanted), CHUNK)]
    found: list[Score] = []
    rejected: list[Rejected] = []
    done = 0
    for scores, refused in _in_order(_read, chunks, workers or os.cpu_count() or 1):
        found += scores
        rejected += refused
        done += CHUNK
        if progress is not None:
            progress(min(done, len(wanted)), len(wanted), "reading scores")
    kin = families([intervals(score) for score in found])
    _write([_of_family(score, name) for score, name in zip(found, kin, strict=True)], target / SCORES)
    return [replace(one, row=row) for row, one in enumerate(rejected, 1)]


def _of_family(score: Score, name: str) -> Score:
    return replace(score, origin=replace(score.origin, family=name))


def _write(scores: Sequence[Score], target: Path) -> None:
    part = target.with_suffix(f".{os.getpid()}.part")
    with part.open("w", encoding="utf-8") as lines:
        lines.writelines(records.line(score, {"licence_tier": score.origin.tier}) + "\n" for score in scores)
    os.replace(part, target)


def _source(sources: Sequence[Source], path: str) -> Source | None:
    return next((source for source in sources if re.fullmatch(source.pattern, path)), None)


def _in_order(
    work: Callable[[Sequence[_File]], tuple[list[Score], list[Rejected]]],
    chunks: Sequence[Sequence[_File]],
    workers: int,
) -> Iterator[tuple[list[Score], list[Rejected]]]:
    if workers == 1 or len(chunks) == 1:
        yield from map(work, chunks)
        return
    from loky import ProcessPoolExecutor

    pool = ProcessPoolExecutor(workers)
    waiting: deque[Future[Any]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(work, chunk))
            if len(waiting) >= 3 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(kill_workers=True)


def _read(files: Sequence[_File]) -> tuple[list[Score], list[Rejected]]:
    """The scores of some files; runs in a worker process."""
    scores: list[Score] = []
    rejected: list[Rejected] = []
    for file in files:
        for name, one in _scores(file):
            if isinstance(one, Score):
                scores.append(one)
            else:
                rejected.append(Rejected(0, name, one))
    return scores, rejected


def _scores(file: _File) -> Iterator[tuple[str, Score | str]]:
    source, name = file.source, file.path
    composer = source.composer or _composer(file.path)
    origin = Origin(_style(source.style, composer), composer, name, source.tier)
    suffix = PurePosixPath(name).suffix
    programs = [program_of(instrument) for instrument in source.instruments]
    content = file.place.read_bytes()
    try:
        if suffix == ".mid":
            yield name, midi.from_midi(content, origin)
            return
        if suffix in (".mxl", ".xml", ".musicxml"):
            yield name, _with_parts(musicxml.from_musicxml(content, origin, programs), source)
            return
        found = notation.parse(content, "humdrum" if suffix == ".krn" else "abc")
    except EncodeError as error:
        yield name, str(error)
        return
    for number, one in enumerate(found, 1):
        label = name if len(found) == 1 else f"{name}:{number}"
        try:
            yield label, _with_parts(notation.score_of(one, replace(origin, source=label), programs), source)
        except EncodeError as error:
            yield label, str(error)


def _with_parts(score: Score, source: Source) -> Score:
    if source.parts and len(score.tracks) != source.parts:
        raise EncodeError(f"{len(score.tracks)} sounding parts; {source.style} has {source.parts}")
    return score


def _composer(path: str) -> str:
    parts = PurePosixPath(path).parts
    return parts[1].replace("_", " ") if parts[0] == "scores" else ""


def _style(style: str, composer: str) -> str:
    if style != "lied":
        return style
    surname = composer.split(",")[0].replace(" ", "_")
    if surname in UNLABELLED:
        return ""
    return "melodie" if surname in FRENCH else "english-song" if surname in ENGLISH else style


def count(path: Path) -> dict[str, int]:
    """Scores of each style in a file of lines."""
    styles: dict[str, int] = {}
    with path.open(encoding="utf-8") as lines:
        for text in lines:
            style = json.loads(text)["score"].get("style", "")
            styles[style] = styles.get(style, 0) + 1
    return styles

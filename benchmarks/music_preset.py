"""The figures of a music preset, on raw draws: nothing is filtered, selected or drawn again unless its name says so.

    python benchmarks/music_preset.py [--model music] [--reference music21+openscore] [--count 25] [--out FILE.json]

Needs ``genesis data fetch`` for every corpus of the reference. What was asked is read from the written file by
pretty_midi; the key by music21 with the profiles of Bellman and Budge and with those of Krumhansl, which neither chose
the training labels nor which draws are delivered. Beside it stands how often they agree with the label on held-out real
pieces of which our two finders are sure: what is natural.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import music21
import pretty_midi
import torch
import torch.nn.functional as F

import genesis
from genesis.domain import BOS, EOS
from genesis.engine import Drawn, Engine, Request
from genesis.prepare import built
from genesis_domains.music import midi, sound
from genesis_domains.music.evaluation import evaluate, read_reference
from genesis_domains.music.keyfinding import find_key, in_key
from genesis_domains.music.names import KEYS, PROGRAMS
from genesis_domains.music.properties import PROPERTIES
from genesis_domains.music.score import Score

METERS = ("4/4", "3/4", "2/4", "6/8")
INSTRUMENTS = ("violin", "flute", "piano", "fiddle", "clarinet", "voice")
FINDERS = {"Bellman-Budge": "bellman", "Krumhansl": "krumhansl"}
CHORALE = {"style": "bach-chorale", "bars": 16, "meter": "4/4", "tracks": 4}


def draw(engine: Engine, count: int, target: dict[str, Any], guidance: float, seed: int = 0) -> list[Drawn]:
    return list(engine.draw(count, Request(seed=seed, guidance=guidance), engine.targets(target), workers=1))


@torch.inference_mode()
def likelihood(engine: Engine, scores: Sequence[Score], told: bool) -> dict[str, float]:
    """Nats a note and a token of whole pieces and parts, with nothing or with every property told."""
    fields = engine.config.model.fields
    total = notes = tokens = 0.0
    for score in scores:
        x = engine.domain.encode(score)
        line = torch.cat((torch.tensor([BOS]), x, torch.tensor([EOS])))[None]
        if line.shape[1] - 1 > engine.config.model.max_length:
            continue
        values = torch.full((1, len(fields)), math.nan)
        if told:
            measured = engine.domain.describe(score, [field.name for field in fields])
            for column, field in enumerate(fields):
                value = measured[field.name]
                if field.kind == "number":
                    values[0, column] = float(value)
                elif value in field.values:
                    values[0, column] = field.values.index(str(value))
        logits = engine.model(line[:, :-1], values)[..., : len(engine.config.vocab)]
        total += float(F.cross_entropy(logits[0].float(), line[0, 1:], reduction="sum"))
        notes += score.notes
        tokens += line.shape[1] - 1
    return {"nats a note": total / notes, "nats a token": total / tokens, "notes": notes}


def independent_keys(score: Score) -> dict[str, str]:
    """The keys that music21 finds in the written file, by the profiles."""
    read = music21.converter.parse(midi.to_midi(score), format="midi")
    return {name: _named(read.analyze(f"key.{method}")) for name, method in FINDERS.items()}


def _named(found: music21.key.Key) -> str:
    name = f"{found.tonic.name.replace('-', 'b')} {found.mode}"
    same = {"C# major": "Db major", "G# major": "Ab major", "D# minor": "Eb minor", "Gb major": "F# major",
            "Ab minor": "G# minor", "A# minor": "Bb minor", "Cb major": "B major", "Db minor": "C# minor"}  # fmt: skip
    return same.get(name, name)


def obedience(engine: Engine, count: int, styles: Sequence[str], guidance: float) -> dict[str, float]:
    """Shares of ``count`` pieces whose file has what was asked: key, meter, tempo, instrument, bars, all at once."""
    names = ("key as written", "meter", "tempo", "instrument", "bars")
    rng = random.Random(0)
    asked = {
        "style": [styles[i % len(styles)] for i in range(count)],
        "key": [rng.choice(KEYS) for _ in range(count)],
        "meter": [rng.choice(METERS) for _ in range(count)],
        "tempo": [float(rng.randint(50, 180)) for _ in range(count)],
        "instrument": [rng.choice(INSTRUMENTS) for _ in range(count)],
        "bars": [float(rng.randint(6, 16)) for _ in range(count)],
    }
    right: dict[str, list[bool]] = {name: [] for name in names}
    for one in draw(engine, count, dict(asked), guidance, seed=2):
        if one.item is None:
            for hits in right.values():
                hits.append(False)
            continue
        want = {name: values[one.index] for name, values in asked.items()}
        read = pretty_midi.PrettyMIDI(io.BytesIO(midi.to_midi(one.item)))
        signs = [pretty_midi.key_number_to_key_name(sign.key_number).lower() for sign in read.key_signature_changes]
        right["key as written"].append(
            signs in ([str(want["key"]).lower()], [_other_spelling(str(want["key"])).lower()])
        )
        right["meter"].append(
            {f"{c.numerator}/{c.denominator}" for c in read.time_signature_changes} == {want["meter"]}
        )
        right["tempo"].append(abs(read.get_tempo_changes()[1][0] - want["tempo"]) < 0.01)
        first = read.instruments[0]
        right["instrument"].append(not first.is_drum and PROGRAMS[first.program] == want["instrument"])
        end = max(read.time_to_tick(note.end) for track in read.instruments for note in track.notes) / 20
        right["bars"].append(one.item.starts[-2] < end <= one.item.starts[-1] and len(one.item.meters) == want["bars"])
    out = {name: fmean(hits) for name, hits in right.items()}
    for name, strict in (("raw", False), ("as delivered", True)):
        request = Request(seed=2, guidance=guidance, strict=strict)
        drawn = engine.draw(4 * count if strict else count, request, engine.targets(dict(asked)), workers=1)
        pieces = [one for one in drawn if one.item is not None][:count]
        found = [(independent_keys(one.item), asked["key"][one.index % count]) for one in pieces]
        out |= {f"key {name}, {way}": fmean(keys[way] == key for keys, key in found) for way in FINDERS}
        if strict:
            out["draws a piece for the key"] = (pieces[-1].index + 1) / len(pieces)
    return out


def _other_spelling(key: str) -> str:
    tonic, mode = key.split()
    other = {"Db": "C#", "F#": "Gb", "B": "Cb", "G#": "Ab", "C#": "Db", "Eb": "D#", "Bb": "A#"}
    return f"{other.get(tonic, tonic)} {mode}"


def of_style(drawn: Sequence[Drawn], style: str) -> list[Score | None]:
    return [None if d.item is None else replace(d.item, origin=replace(d.item.origin, style=style)) for d in drawn]


def seconds(work: Callable[[], Any], turns: int = 3) -> float:
    took = []
    for _ in range(turns):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="music")
    parser.add_argument("--reference", default="music21+openscore")
    parser.add_argument("--count", type=int, default=25, help="pieces of each style")
    parser.add_argument("--asked", type=int, default=200, help="pieces with everything asked")
    parser.add_argument("--chorales", type=int, default=100)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    engine = genesis.load(arguments.model, "cpu")
    styles = next(field.values for field in engine.config.model.fields if field.name == "style")
    train, test = read_reference(arguments.reference, built, 510)
    train, test = ([score for score in part if score.origin.style] for part in (train, test))
    result: dict[str, Any] = {
        "model": engine.name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}",
        "versions": {"torch": torch.__version__, "music21": music21.__version__, "genesis": genesis.__version__},
        "temperature": 1.0,
        "pieces of a style": arguments.count,
        "held-out pieces and parts": len(test),
    }

    def keep(name: str, found: dict[str, float]) -> None:
        result[name] = {key: round(value, 4) for key, value in found.items()}
        say(f"{name}: {result[name]}")

    keep("likelihood, nothing told", likelihood(engine, test, told=False))
    keep("likelihood, everything told", likelihood(engine, test, told=True))
    bach = [[s for s in part if s.origin.style == "bach-chorale"] for part in (train, test)]
    for w in arguments.guidance:
        drawn = {style: of_style(draw(engine, arguments.count, {"style": style}, w), style) for style in styles}
        keep(f"styles, guidance {w:g}", evaluate([item for items in drawn.values() for item in items], train, test))
        chorales = of_style(draw(engine, arguments.chorales, CHORALE, w, seed=1), "bach-chorale")
        keep(f"chorales, guidance {w:g}", evaluate(chorales, *bach))
        keep(f"asked for, guidance {w:g}", obedience(engine, arguments.asked, styles, w))
    real = [score for score in test if score.notes >= 24][:: max(1, len(test) // arguments.asked)]
    sure = [s for s in real if in_key(s.tracks, find_key(s.tracks))]
    keys = [(independent_keys(s), KEYS[find_key(s.tracks)]) for s in sure]
    keep("key agreed on, real", {"sure": len(sure) / len(real)} | {
        way: fmean(found[way] == key for found, key in keys) for way in FINDERS
    })  # fmt: skip
    long = next(score for score in test if sound.seconds(score) > 30)
    minutes = [long] * math.ceil(180 / (sound.seconds(long) + sound.GAP))
    keep("seconds", {
        "a 16-bar chorale": seconds(lambda: engine.generate(1, CHORALE)),
        "64 chorales together, each": seconds(lambda: engine.generate(64, CHORALE, workers=1), 1) / 64,
        "three minutes to sound": seconds(lambda: sound.wav(minutes)),
    })  # fmt: skip
    assert set(PROPERTIES) >= {field.name for field in engine.config.model.fields}
    text = json.dumps(result, indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()

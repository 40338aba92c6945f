"""Nats a note of a model of the JSB chorales: ``python benchmarks/jsb_nll.py runs/jsb [SPELLINGS]``.

A chorale's likelihood is that of its whole token sequence with nothing asked, key, instruments and bar lines
included, divided by 4 x frames of the sixteenth grid: the unit of Music Transformer's 0.335 (validation),
chronological and with no chord given. The sequence says more than the frames do, so the figure is an upper bound of
the frames' own. With ``SPELLINGS`` above 1 each event's probability is the mean over so many tonics that the
notes are written from: an event is the same from any of them. The key is asked of the chorale's own spelling.

``disjoint``: the chorales whose first sixteen soprano intervals open no training chorale. ``table``: for each voice,
P(hold | place in the beat), else P(pitch | last pitch) backed off to the voice's pitches: what a look-up reaches.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F

import genesis
from genesis.data import fetch
from genesis.domain import BOS, EOS
from genesis_domains.music.jsb import chorale, voiced
from genesis_domains.music.vocabulary import BAR, SIZE

VOICES, OPENING = 4, 16
Frames = list[list[int]]


@torch.inference_mode()
def nats(engine: genesis.Engine, frames: Frames, spellings: int = 1) -> float:
    """Of one chorale. What is longer than the network is read in windows: the header, then the latest bars."""
    score = chorale(frames)
    ways = [engine.domain.encode(score), *engine.domain.spellings(score, spellings - 1)]  # type: ignore[attr-defined]
    tokens = F.pad(torch.stack(ways), (0, 1), value=EOS)  # [S, T]
    room = engine.config.model.max_length
    absent = torch.full((len(tokens), len(engine.config.model.fields)), math.nan)
    bars = ((tokens[0] >= BAR) & (tokens[0] < BAR + SIZE["bar"])).nonzero()[:, 0].tolist()
    framed = F.pad(tokens, (1, 0), value=BOS)
    head = framed[:, : bars[0] + 2]  # with the first bar, which names the meter
    total, done, line, at = 0.0, 0, framed, 1  # ``at``: where in the line the first token not yet scored stands
    while done < tokens.shape[1]:
        x = line[:, : room + 1]
        logits = engine.model(x[:, :-1], absent)[:, at - 1 :, : len(engine.config.vocab)].float()
        log_p = logits.log_softmax(-1).gather(-1, x[:, at:, None])[..., 0]  # [S, t]
        if done == 0:
            log_p[:, 0] = log_p[0, 0]
        total -= float(log_p.logsumexp(0).sum() - math.log(len(tokens)) * log_p.shape[1])
        done += x.shape[1] - at
        begin = next((bar for bar in bars if done - bar < room // 2), bars[-1])
        line, at = torch.cat((head, tokens[:, begin + 1 :]), 1), head.shape[1] + done - begin - 1
    return total


def opening(frames: Frames) -> tuple[int, ...]:
    """The first soprano intervals, held notes once."""
    line = [f[0] for i, f in enumerate(frames) if f[0] >= 0 and (i == 0 or frames[i - 1][0] != f[0])]
    return tuple(b - a for a, b in pairwise(line))[:OPENING]


def table_nats(train: list[Frames], test: list[Frames]) -> float:
    """Nats a note of the hold and bigram table with add-one and a back-off weight of one."""
    holds: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [1, 1])
    after: defaultdict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    alone: list[Counter[int]] = [Counter() for _ in range(VOICES)]
    for frames in train:
        for v in range(VOICES):
            for t, frame in enumerate(frames):
                held = t > 0 and frames[t - 1][v] == frame[v]
                if t > 0:
                    holds[v, t % 4][held] += 1
                if not held:
                    alone[v][frame[v]] += 1
                    after[v, frames[t - 1][v] if t else -2][frame[v]] += 1
    pitches = sorted({p for counts in alone for p in counts})
    total = cells = 0.0
    for frames in test:
        for v in range(VOICES):
            for t, frame in enumerate(frames):
                cells += 1
                held = t > 0 and frames[t - 1][v] == frame[v]
                if t > 0:
                    counts = holds[v, t % 4]
                    total -= math.log(counts[held] / sum(counts))
                if not held:
                    marginal = (alone[v][frame[v]] + 1) / (alone[v].total() + len(pitches))
                    own = after[v, frames[t - 1][v] if t else -2]
                    total -= math.log((own[frame[v]] + marginal) / (own.total() + 1))
    return total / cells


def main() -> None:
    engine = genesis.load(sys.argv[1])
    spellings = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    published = json.loads((fetch.cached("jsb") / "jsb-chorales-16th.json").read_text())
    splits = {name: [voiced(frames) for frames in pieces] for name, pieces in published.items()}
    known = {opening(frames) for frames in splits["train"]}
    rows = []
    for split in ("train", "valid", "test"):
        pieces: list[Frames] = splits[split]
        found = [nats(engine, frames, spellings) for frames in pieces]
        every = range(len(pieces))
        apart = [i for i in every if opening(pieces[i]) not in known]

        def figure(chosen: Sequence[int], found: list[float] = found, pieces: list[Frames] = pieces) -> float:
            cells = sum(VOICES * len(pieces[i]) for i in chosen)
            return sum(found[i] for i in chosen) / cells if cells else math.nan

        notes = sum(
            sum(f[v] != g[v] for f, g in zip(pieces[i][1:], pieces[i], strict=False)) for i in every for v in range(4)
        )
        rows.append(
            {
                "split": split,
                "chorales": len(pieces),
                "nats_a_note": round(figure(every), 4),
                "disjoint": round(figure(apart), 4),
                "disjoint_chorales": len(apart),
                "nats_an_attack": round(sum(found) / notes, 3),
                "table": round(table_nats(splits["train"], pieces), 4),
            }
        )
    print(json.dumps({"model": sys.argv[1], "spellings": spellings, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()

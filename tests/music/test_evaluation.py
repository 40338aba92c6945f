"""The judge and the figures of an evaluation, on scores whose answers are known."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from genesis.errors import InputError, UsageError
from genesis.metrics.sets import held_out
from genesis_domains.music import evaluation, records
from genesis_domains.music.corpora import SCORES
from genesis_domains.music.judge import DECAY, Judge
from genesis_domains.music.names import METERS
from genesis_domains.music.profile import features
from genesis_domains.music.score import Origin, Score
from tests.music.conftest import line

JIG, REEL = METERS.index("6/8"), METERS.index("4/4")


def a_score(style: str, seed: int) -> Score:
    """``leaps`` goes by thirds and fifths in 6/8, ``steps`` by steps in 4/4."""
    rng = random.Random(f"{style}{seed}")
    moves, meter, length = ((-7, -4, 3, 4, 7), JIG, 12) if style == "leaps" else ((-2, -1, 1, 2), REEL, 12)
    pitches = [67]
    while len(pitches) < (48 if meter == JIG else 64):
        pitches.append(min(max(pitches[-1] + rng.choice(moves), 55), 84))
    origin = Origin(style, source=f"{style} {seed}", family=f"{style}{seed}")
    return Score((line(pitches, length),), (meter,) * 8, 0, origin=origin)


@pytest.fixture(scope="module")
def corpus() -> list[Score]:
    return [a_score(style, seed) for style in ("leaps", "steps") for seed in range(40)]


def test_the_judge_tells_styles_apart_and_is_the_same_every_time(corpus):
    judge = Judge.train(corpus)
    new = [a_score(style, seed) for style in ("leaps", "steps") for seed in range(100, 120)]
    assert judge.accuracy(new) > 0.95
    again = Judge.train(corpus)
    assert (judge.weights == again.weights).all()
    assert np.allclose(judge.probabilities(new).sum(1), 1)


def test_the_judge_is_near_the_optimum_that_newton_steps_find(corpus):
    judge = Judge.train(corpus)
    x = np.array([features(score) for score in corpus])
    z = torch.tensor(np.c_[(x - judge.mean) / judge.scale, np.ones(len(x))])
    y = torch.tensor([judge.styles.index(score.origin.style) for score in corpus])

    def loss(w: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(z @ w, y) + DECAY * (w**2).sum() / 2

    best = torch.zeros(z.shape[1], 2, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([best], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        value = loss(best)
        value.backward()
        return value

    solver.step(closure)
    assert float(loss(torch.tensor(judge.weights))) < 1.1 * float(loss(best.detach())) + 1e-3


def test_every_style_weighs_the_same_in_the_accuracy(corpus):
    judge = Judge.train(corpus)
    lopsided = [a_score("leaps", 100 + i) for i in range(9)] + [replace(a_score("leaps", 150), origin=Origin("steps"))]
    assert judge.accuracy(lopsided) == pytest.approx(0.5)
    assert np.isnan(judge.accuracy([]))


def test_real_music_against_itself_is_as_near_as_its_floor(corpus):
    train, test = corpus[::2], corpus[1::2]
    scores = evaluation.evaluate(test, train, test)
    assert scores["valid"] == 1
    assert scores["bar errors"] == 0
    assert scores["pitch class"] == scores["step"] == 0
    assert 0 < scores["pitch class floor"] < 0.3
    assert scores["repetition"] == scores["repetition, real"]
    assert scores["copied notes, 95 %"] == scores["copied notes, 95 %, real"]
    assert scores["style right"] == scores["style right, real"] > 0.9


def test_a_copy_shows_and_so_does_another_style(corpus):
    train, test = corpus[::2], corpus[1::2]
    copied = evaluation.evaluate(train[:10], train, test)
    assert copied["copied notes, 95 %"] == 48
    assert copied["copied notes, 95 %, real"] < 20
    wrong = [replace(a_score("steps", 300 + i), origin=Origin("leaps")) for i in range(10)]
    scores = evaluation.evaluate(wrong, train, test)
    assert scores["style right"] == 0
    assert scores["step"] > 3 * scores["step floor"]


def test_what_is_not_valid_counts_in_the_fraction(corpus):
    scores = evaluation.evaluate([corpus[0], None, None, None], corpus[::2], corpus[1::2])
    assert scores["valid"] == 0.25
    assert evaluation.evaluate([None], corpus, corpus) == {"valid": 0}


def test_references_are_cut_and_split_as_training_does(tmp_path, corpus):
    with (tmp_path / SCORES).open("w") as file:
        file.writelines(records.line(score, {}) + "\n" for score in corpus)
    train, test = evaluation.read_reference("nottingham", lambda name: tmp_path, 510)
    assert {s.origin.source for s in test} == {s.origin.source for s in corpus if held_out(s.origin.family, 0.05)}
    assert len(train) + len(test) == len(corpus)
    scores = evaluation.benchmark(corpus[:3], "nottingham", lambda name: tmp_path, 510)
    assert scores["valid"] == 1
    with pytest.raises(UsageError, match="no corpus of music is named 'irsh'"):
        evaluation.read_reference("irsh", lambda name: tmp_path, 510)
    with pytest.raises(UsageError, match="the reference 'nottingham' has no 'polka'"):
        evaluation.benchmark([replace(corpus[0], origin=Origin("polka"))], "nottingham", lambda name: tmp_path, 510)
    with pytest.raises(InputError, match="is not there; run `genesis data fetch`"):
        evaluation.read_reference("jsb", lambda name: tmp_path, 510)
    assert json.loads((tmp_path / SCORES).read_text().splitlines()[0])["score"]["style"] == "leaps"

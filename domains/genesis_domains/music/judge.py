"""The style judge: logistic regression over ``profile.features``, trained on real scores and on nothing generated.

    p(style | x) = softmax(W x + b),  loss = cross-entropy / N + decay |W|^2 / 2

Every style weighs the same, however many scores it has.

    N  scores    F  features    K  styles
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genesis.errors import UsageError
from genesis_domains.music.profile import features
from genesis_domains.music.score import Score

DECAY = 3e-4
STEPS = 300
RATE = 0.05


@dataclass(frozen=True, slots=True)
class Judge:
    """Which of ``styles`` a score is in."""

    styles: tuple[str, ...]
    mean: NDArray[np.float64]  # [F]
    scale: NDArray[np.float64]  # [F]
    weights: NDArray[np.float64]  # [F + 1, K]

    @classmethod
    def train(cls, scores: Sequence[Score]) -> Judge:
        """Fit by Adam (Kingma and Ba 2015), whole batch, from zero: the same scores give the same judge."""
        styles = tuple(sorted({score.origin.style for score in scores}))
        if len(styles) < 2:
            raise UsageError(f"a judge of styles needs two at least; there is {', '.join(styles) or 'none'}")
        x = np.array([features(score) for score in scores])
        y = np.array([styles.index(score.origin.style) for score in scores])
        mean, scale = x.mean(0), x.std(0) + 1e-3
        z = np.c_[(x - mean) / scale, np.ones(len(x))]
        target = np.eye(len(styles))[y]
        weight = (1 / np.bincount(y, minlength=len(styles)))[y, None] / len(styles)
        w = np.zeros((z.shape[1], len(styles)))
        first, second = np.zeros_like(w), np.zeros_like(w)
        for step in range(1, STEPS + 1):
            gradient = z.T @ (weight * (_softmax(z @ w) - target)) + DECAY * w
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient**2 - second)
            w -= RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        return cls(styles, mean, scale, w)

    def save(self, path: Path) -> None:
        """As an .npz without objects."""
        np.savez(path, styles=np.array(self.styles), mean=self.mean, scale=self.scale, weights=self.weights)

    @classmethod
    def load(cls, path: Path) -> Judge:
        with np.load(path, allow_pickle=False) as found:
            return cls(tuple(found["styles"].tolist()), found["mean"], found["scale"], found["weights"])

    def probabilities(self, scores: Sequence[Score]) -> NDArray[np.float64]:
        """``[N, K]``."""
        z = (np.array([features(score) for score in scores]) - self.mean) / self.scale
        return _softmax(np.c_[z, np.ones(len(z))] @ self.weights)

    def verdicts(self, scores: Sequence[Score]) -> list[str]:
        """The most probable style of each score."""
        return [self.styles[int(best)] for best in self.probabilities(scores).argmax(1)] if scores else []

    def accuracy(self, scores: Sequence[Score]) -> float:
        """The mean over styles of the share of their scores that are recognised."""
        verdicts = self.verdicts(scores)
        right: dict[str, list[bool]] = {}
        for score, verdict in zip(scores, verdicts, strict=True):
            right.setdefault(score.origin.style, []).append(verdict == score.origin.style)
        return float(np.mean([np.mean(hits) for hits in right.values()])) if right else float("nan")


def _softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(x - x.max(1, keepdims=True))
    out: NDArray[np.float64] = e / e.sum(1, keepdims=True)
    return out

"""What is counted in a shard, and added up over a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from genesis.batch.plan import Order
from genesis.hits import Report

POISON_SHOWN = 100  # poisonous items whose reason a total remembers


class Tally(BaseModel):
    """Counts of indices; ``error`` and ``inside`` are sums over the items returned, by target.

    drawn = not valid + screened + poisoned + repeated + returned (+ passed over, when only the closest are kept).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    drawn: int = 0
    valid: int = 0  # decoded to an item, screened ones among them
    distinct: int = 0  # past the screen, and not drawn before
    returned: int = 0
    known: int = 0  # of those returned, items of the training set
    screened: dict[str, int] = {}  # family -> items that were kept out
    poisoned: int = 0
    poison: dict[str, str] = {}  # index -> why it could not be drawn
    error: dict[str, float] = {}
    inside: dict[str, int] = {}
    groups: tuple[int, ...] = ()  # returned, by combination of the sweep

    def plus(self, other: Tally) -> Tally:
        poison = {**self.poison, **other.poison}
        return Tally(
            drawn=self.drawn + other.drawn,
            valid=self.valid + other.valid,
            distinct=self.distinct + other.distinct,
            returned=self.returned + other.returned,
            known=self.known + other.known,
            screened=_summed(self.screened, other.screened),
            poisoned=self.poisoned + other.poisoned,
            poison=dict(list(poison.items())[:POISON_SHOWN]),
            error=_summed(self.error, other.error),
            inside=_summed(self.inside, other.inside),
            groups=tuple(a + b for a, b in zip(self.groups, other.groups, strict=True))
            if self.groups and other.groups
            else self.groups or other.groups,
        )

    def report(self, order: Order, known: bool, seconds: float, interrupted: bool) -> Report:
        """The report of a generation, as the generating command gives it."""
        plan, n = order.plan, max(1, self.returned)
        return Report(
            asked=plan.count, drawn=self.drawn, returned=self.returned,
            valid=self.valid / max(1, self.drawn), unique=self.distinct / max(1, self.drawn),
            novel=1 - self.known / n if known and self.returned else None,
            target={**plan.target, **dict.fromkeys(plan.sweep)},
            error={name: value / n for name, value in self.error.items()},
            inside={name: count / n for name, count in self.inside.items()},
            screened=dict(self.screened) if order.screen else None,
            keep_best=plan.keep_best, constrained=plan.constrained, temperature=plan.temperature,
            guidance=plan.guidance, seed=plan.seed, model=order.model, corpus=order.corpus, licence=order.licence,
            version=order.genesis, seconds=seconds, interrupted=interrupted,
        )  # fmt: skip


def _summed(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}

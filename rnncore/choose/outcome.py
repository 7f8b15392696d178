"""What trials have shown of each choice: figures, those that no other beats in all, a table, and JSON."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..bench.table import percent, rounded
from . import search
from .trial import Choice, Point, Trial

SCHEMA_VERSION = 1
FRONT = "*"


@dataclass(frozen=True)
class Outcome:
    """A choice, over all of its seeds.

    Attributes:
        choice: the settings.
        trials: one for each seed.
        is_front: whether no other is at least as good in loss, time to train and time to predict, and better in one.
    """

    choice: Choice
    trials: tuple[Trial, ...]
    is_front: bool = False

    @property
    def loss(self) -> float:
        """The best held-out loss, the mean over seeds."""
        return search.mean_loss(self.trials)

    @property
    def spread(self) -> float:
        """The largest less the smallest of the seeds' losses, which tells luck from merit."""
        losses = [trial.best.loss for trial in self.trials]
        return max(losses) - min(losses)

    @property
    def right(self) -> float | None:
        """The part of classes that are right at the best loss, the mean over seeds."""
        shares = [trial.best.right for trial in self.trials]
        return statistics.mean(share or 0.0 for share in shares) if None not in shares else None

    @property
    def update_seconds(self) -> float:
        """Seconds of one update, the median turn."""
        turns = [turn for trial in self.trials for turn in pairwise([Point(0, 0, 0, None), *trial.points])]
        return statistics.median(
            (after.seconds - before.seconds) / (after.iterations - before.iterations) for before, after in turns
        )

    @property
    def predict_seconds(self) -> float:
        """Seconds to predict one sequence, the median over seeds."""
        return statistics.median(trial.predict_seconds for trial in self.trials)

    @property
    def seconds(self) -> float:
        """Seconds of training at the best loss, the mean over seeds."""
        return statistics.mean(trial.best.seconds for trial in self.trials)

    @property
    def costs(self) -> tuple[float, float, float]:
        """All that should be small."""
        return self.loss, self.update_seconds, self.predict_seconds


def outcomes(trials: Sequence[Trial]) -> list[Outcome]:
    """An outcome of each choice that was trained, of those of its seeds that were, the best loss first."""
    groups = search.by_choice([trial for trial in trials if trial.points])
    found = [Outcome(choice, tuple(group)) for choice, group in groups.items()]
    fronts = [
        Outcome(one.choice, one.trials, not any(_dominates(other.costs, one.costs) for other in found)) for one in found
    ]
    return sorted(fronts, key=lambda one: one.loss)


def _dominates(other: tuple[float, ...], one: tuple[float, ...]) -> bool:
    return other != one and all(a <= b for a, b in zip(other, one, strict=True))


def table(found: Sequence[Outcome]) -> list[dict[str, str]]:
    """The rows by column; the precision of products has one where choices differ in it."""
    differ = len({one.choice.compute for one in found}) > 1
    return [
        {
            "cell": one.choice.cell,
            "H": str(one.choice.hidden_size),
            "rate": f"{one.choice.rate:g}",
            **({"compute": one.choice.compute} if differ else {}),
            "loss": f"{one.loss:.4g}",
            "spread": f"{one.spread:.1g}" if len(one.trials) > 1 else "-",
            **({} if one.right is None else {"right": percent(one.right)}),
            "trained, s": rounded(one.seconds),
            "update, ms": rounded(1e3 * one.update_seconds),
            "predict, ms": rounded(1e3 * one.predict_seconds),
            "front": FRONT if one.is_front else "",
        }
        for one in found
    ]


def to_json(found: Sequence[Outcome], facts: Mapping[str, Any]) -> dict[str, Any]:
    """All of it, with every evaluation of each trial, in the types of JSON; an infinite loss is null."""
    return {"schema_version": SCHEMA_VERSION, **facts, "choices": [_choice_to_json(one) for one in found]}


def _choice_to_json(one: Outcome) -> dict[str, Any]:
    figures = {
        "loss": _finite(one.loss),
        "spread": _finite(one.spread),
        "right": one.right,
        "trained_seconds": one.seconds,
        "update_seconds": one.update_seconds,
        "predict_seconds": one.predict_seconds,
        "is_front": one.is_front,
    }
    trials = [
        {
            "seed": trial.seed,
            "points": [point._asdict() | {"loss": _finite(point.loss)} for point in trial.points],
        }
        for trial in one.trials
    ]
    return {**one.choice._asdict(), **figures, "trials": trials}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

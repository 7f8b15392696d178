"""Successive halving within a budget of seconds: all begin, the better half goes on with what time is left.

Source: K. Jamieson and A. Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, AISTATS
2016. A round's time is divided evenly among its trials, so settings compete for what they learn in a time, and not in
a number of updates.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .task import Task
from .trial import Choice, Trial

FINALISTS = 2
"""Settings that are left for the last round."""
SLICES = 2
"""Turns of each trial in a round, each of which ends with an evaluation."""


@dataclass(frozen=True)
class Step:
    """Progress: a trial has had its turn.

    Attributes:
        trial: which one.
        round, rounds: of halving, from 1.
        left: seconds of the budget; NaN where there is none.
    """

    trial: Trial
    round: int
    rounds: int
    left: float


def choices(
    cells: Sequence[str], sizes: Sequence[int], rates: Sequence[float], computes: Sequence[str] = ("float32",)
) -> list[Choice]:
    """The product of the axes."""
    return [Choice(*axes) for axes in itertools.product(cells, sizes, rates, computes)]


def rounds_of(count: int) -> int:
    """Rounds until so many settings are down to the finalists, each of which halves them."""
    return 1 + max(0, math.ceil(math.log2(count / FINALISTS)))


def make_trials(task: Task, wanted: Sequence[Choice], seeds: Sequence[int], backend: str) -> list[Trial]:
    """A trial for each choice and seed; those of one choice stand together."""
    return [Trial(task, choice, seed, backend) for choice in wanted for seed in seeds]


def mean_loss(trials: Sequence[Trial]) -> float:
    """The best held-out loss, the mean over seeds."""
    return sum(trial.best.loss for trial in trials) / len(trials)


def by_choice(trials: Sequence[Trial]) -> dict[Choice, list[Trial]]:
    """The trials of each choice."""
    found: dict[Choice, list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial.choice, []).append(trial)
    return found


def halving(trials: Sequence[Trial], deadline: float) -> Iterator[Step]:
    """Train in rounds until `deadline`, of `time.perf_counter`; each trial has at least one update.

    What evaluations, compiling and slow updates take is taken off what is left for later rounds.
    """
    groups = by_choice(trials)
    rounds = rounds_of(len(groups))
    for trial in {(choice.cell, choice.compute): group[0] for choice, group in groups.items()}.values():
        trial.warm()
    for number in range(1, rounds + 1):
        going = [trial for group in groups.values() for trial in group]
        for turn in range(SLICES):
            share = (deadline - time.perf_counter()) / (rounds - number + 1 - turn / SLICES) / SLICES
            end = time.perf_counter() + share
            for place, trial in enumerate(going):
                if number > 1 and time.perf_counter() > deadline:
                    return
                trial.train(max(0.0, (end - time.perf_counter()) / (len(going) - place)))
                yield Step(trial, number, rounds, deadline - time.perf_counter())
        kept = max(FINALISTS, math.ceil(len(groups) / 2))
        groups = dict(sorted(groups.items(), key=lambda item: mean_loss(item[1]))[:kept])


def exactly(trials: Sequence[Trial], iterations: int) -> Iterator[Step]:
    """Train each for so many updates: the same numbers on any day, as no clock decides."""
    for trial in trials:
        trial.train(iterations=iterations)
        yield Step(trial, 1, 1, math.nan)

"""Two records of the same work: how much faster is the second, and how sure is that?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .record import Record
from .result import Result

RESAMPLES = 10_000
LEVEL = 0.95

Key = tuple[object, str]


@dataclass(frozen=True)
class Change:
    """A row of both records.

    Attributes:
        before, after: the row in each.
        speedup: median time before over median time after: 1.25 if it took a quarter longer before. 0 where it was
            measured before and not after.
        interval: of the speed-up, at 95 %, by resampling the samples of both.
        rows: how many rows are compared with it.
        steady: the speed-up by shares of the roof, which was measured beside each: a machine that was slower
            altogether does not show in it. None without.
    """

    before: Result
    after: Result
    speedup: float
    interval: tuple[float, float]
    rows: int
    steady: float | None

    def is_regression(self, share: float) -> bool:
        """Whether it became slower by more than `share`, beyond doubt, and not only as the machine did.

        Beyond doubt: of forty comparisons of rows that are not, at most one finds such a row by chance. A row that has
        no samples any more is one.
        """
        if not self.after.samples:
            return True
        if self.speedup >= 1 - share or (self.steady is not None and self.steady >= 1 - share):
            return False
        allowed = [second * (1 - share) for second in self.after.samples]
        return chance(self.before.samples, allowed) < (1 - LEVEL) / 2 / self.rows


def compare(before: Record, after: Record) -> tuple[list[Change], list[Result]]:
    """The rows that both have, in the order of `before`, and those that only one was asked for.

    Args:
        before, after: what was measured. Rows that `before` has no samples of are left out.
    """
    ours, theirs = _by_work(before), _by_work(after)
    common = [key for key, result in ours.items() if key in theirs and result.samples]
    changes = [_change(ours[key], theirs[key], len(common)) for key in common]
    alone = [result for key, result in (ours | theirs).items() if (key in ours) != (key in theirs)]
    return changes, alone


def _by_work(record: Record) -> dict[Key, Result]:
    return {(result.workload, result.contender): result for result in record.results}


def _change(before: Result, after: Result, rows: int) -> Change:
    if not after.samples:
        return Change(before, after, 0.0, (0.0, 0.0), rows, None)
    speedups = np.sort(_resampled_medians(before.samples, 0) / _resampled_medians(after.samples, 1))
    steady = None
    if before.of_roof and after.of_roof:
        steady = after.of_roof / before.of_roof
    return Change(before, after, before.seconds / after.seconds, _middle(speedups, LEVEL), rows, steady)


def chance(low: Sequence[float], high: Sequence[float]) -> float:
    """How probable it is that samples of one distribution fall as far apart as these, the first ones lower.

    The exact test by ranks: F. Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1, 1945; H. B.
    Mann and D. R. Whitney, Annals of Mathematical Statistics 18, 1947. Equal samples count as if the first were higher.
    """
    against = sum(one >= other for one in low for other in high)
    # Of all orders of both, how many have 0, 1, 2, ... such pairs: the coefficients of a Gaussian binomial.
    orders = [1] + [0] * (len(low) * len(high))
    for i in range(1, len(low) + 1):
        for pairs in range(len(orders) - 1, len(high) + i - 1, -1):
            orders[pairs] -= orders[pairs - len(high) - i]
        for pairs in range(i, len(orders)):
            orders[pairs] += orders[pairs - i]
    return sum(orders[: against + 1]) / math.comb(len(low) + len(high), len(low))


def _resampled_medians(samples: Sequence[float], seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Medians of random draws from the samples: what the median could as well have been."""
    rng = np.random.default_rng(seed)
    drawn = rng.choice(np.asarray(samples), size=(RESAMPLES, len(samples)))
    medians: np.ndarray[tuple[int], np.dtype[np.float64]] = np.median(drawn, axis=1)
    return medians


def _middle(values: np.ndarray[tuple[int], np.dtype[np.float64]], level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

"""How much longer something took in one run than in another, and how sure that is, by how far a run's passes lie apart.

The samples of a pass are neighbours in time and of one process, so they say little about another run: on a shared
machine two runs of the same code differ by a multiple of the samples' spread. Passes are processes of their own at
other times, much as two runs are. All is in logarithms of times, in which noise adds up.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

CERTAIN = 1000.0
"""Degrees of freedom from which on more make no difference."""
PRIOR_FREEDOM = 4.0
"""How many passes' differences the mean variance of similar rows counts for, in the variance of one."""
UNKNOWN_SPREAD = 0.3
"""Standard deviation of passes that is assumed where a run has one pass."""


@dataclass(frozen=True)
class Shift:
    """A change of time.

    Attributes:
        value: logarithm of the time after over the time before, above 0 if it took longer.
        error: its standard error.
        freedom: degrees of freedom of the error.
    """

    value: float
    error: float
    freedom: float

    def bounds(self, doubt: float) -> tuple[float, float]:
        """The least and the greatest change that are likely; each is wrong with the probability `doubt`."""
        reach = quantile(1 - doubt, self.freedom) * self.error
        return self.value - reach, self.value + reach

    def plus(self, other: Shift) -> Shift:
        """The sum of two changes."""
        return Shift(
            *combined(self.value + other.value, (self.error**2, self.freedom), (other.error**2, other.freedom))
        )

    def beyond(self, value: float, *deviations: float) -> Shift:
        """The change beyond one of `value`, with further errors of the given standard deviations."""
        known = [(deviation**2, CERTAIN) for deviation in deviations]
        return Shift(*combined(self.value - value, (self.error**2, self.freedom), *known))


def combined(value: float, *variances: tuple[float, float]) -> tuple[float, float, float]:
    """A value, the error that has all of the variances, and its freedom by Welch and Satterthwaite.

    F. E. Satterthwaite, An approximate distribution of estimates of variance components, Biometrics Bulletin 2, 1946.
    """
    total = sum(variance for variance, _ in variances)
    doubtful = sum(variance**2 / freedom for variance, freedom in variances)
    return value, total**0.5, min(CERTAIN, total**2 / doubtful) if doubtful else CERTAIN


def shifts(before: Numbers, after: Numbers) -> list[Shift]:
    """The change of each row.

    A row's variance is moderated by the mean of all, as a few passes may lie close together by chance: G. K. Smyth,
    Linear models and empirical Bayes methods, Statistical Applications in Genetics and Molecular Biology 3, 2004.

    Args:
        before, after: (rows, passes) logarithms of times; each may have passes of its own number.
    """
    variances, freedom = _variances(before, after)
    enough = float(freedom)
    if len(variances) > 1 and freedom:
        variances = (PRIOR_FREEDOM * variances.mean() + freedom * variances) / (PRIOR_FREEDOM + freedom)
        enough += PRIOR_FREEDOM
    values = after.mean(1) - before.mean(1)
    errors = np.sqrt(variances)
    return [Shift(float(value), float(error), enough or CERTAIN) for value, error in zip(values, errors, strict=True)]


def typical(value: float, before: Numbers, after: Numbers) -> Shift:
    """A change of that value, as sure as one of the rows."""
    variances, freedom = _variances(before, after)
    return Shift(value, float(variances.mean() ** 0.5), len(variances) * freedom or CERTAIN)


def _variances(before: Numbers, after: Numbers) -> tuple[Numbers, int]:
    """The variance of each row's change, from the spread of its passes, and its degrees of freedom."""
    freedom = before.shape[1] + after.shape[1] - 2
    share = 1 / before.shape[1] + 1 / after.shape[1]
    if freedom == 0:
        return np.full(len(before), UNKNOWN_SPREAD**2 * share), 0
    squares = (((passes - passes.mean(1, keepdims=True)) ** 2).sum(1) for passes in (before, after))
    variances: Numbers = sum(squares) * share / freedom
    return variances, freedom


@functools.lru_cache(maxsize=1000)
def quantile(probability: float, freedom: float) -> float:
    """The quantile of Student's distribution."""
    # With t = sqrt(freedom) tan(angle), the density of the angle is cos(angle) ** (freedom - 1).
    angles = np.pi * ((np.arange(4_000) + 0.5) / 4_000 - 0.5)
    density = np.cos(angles) ** (freedom - 1)
    below = (np.cumsum(density) - density / 2) / density.sum()
    return float(freedom**0.5 * np.tan(np.interp(probability, below, angles)))

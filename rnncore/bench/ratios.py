"""Our backends against the reference, and against the best of the peers, at the same work in the same run."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

from .result import Result

REFERENCE = "numpy"
"""The backend that the others are compared with."""


def best_peer(result: Result, results: Sequence[Result]) -> Result | None:
    """The fastest peer at the same work; None if none did it."""
    timed = [other for other in results if other.is_peer and other.workload == result.workload and other.samples]
    return min(timed, key=lambda other: other.seconds) if timed else None


def versus_best(result: Result, results: Sequence[Result]) -> float | None:
    """Time of the best peer over that of this backend, 1.25 if it takes a quarter longer; None without either."""
    best = best_peer(result, results)
    return None if result.is_peer or best is None or not result.samples else best.seconds / result.seconds


def versus_reference(result: Result, results: Sequence[Result]) -> float | None:
    """Time of the NumPy engine over that of this row; None of that engine's own, and where either is missing."""
    if result.contender == REFERENCE or not result.samples:
        return None
    times = [r.seconds for r in results if r.contender == REFERENCE and r.workload == result.workload and r.samples]
    return times[0] / result.seconds if times else None


def geometric_means(results: Sequence[Result]) -> dict[tuple[str, str], float]:
    """The geometric mean of `versus_best` over all workloads, by backend and mode."""
    ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
    for result in results:
        ratio = versus_best(result, results)
        if ratio is not None:
            ratios[result.contender, result.workload.mode].append(ratio)
    return {key: statistics.geometric_mean(values) for key, values in ratios.items()}


def has_peers(results: Sequence[Result]) -> bool:
    """Whether any peer was asked for."""
    return any(result.is_peer for result in results)

"""Our backends against the best of the peers."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

from .measure import Result


def best_peer(result: Result, results: Sequence[Result]) -> Result | None:
    """The fastest peer at the same work; None if none did it."""
    timed = [(r.timing.seconds, r) for r in results if r.is_peer and r.workload == result.workload and r.timing]
    return min(timed, key=lambda pair: pair[0])[1] if timed else None


def versus_best(result: Result, results: Sequence[Result]) -> float | None:
    """Time of the best peer over that of this backend, 1.25 if it takes a quarter longer; None without either."""
    best = best_peer(result, results)
    if result.is_peer or result.timing is None or best is None or best.timing is None:
        return None
    return best.timing.seconds / result.timing.seconds


def geometric_means(results: Sequence[Result]) -> dict[tuple[str, str], float]:
    """Of `versus_best` over all workloads, by backend and mode."""
    ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
    for result in results:
        ratio = versus_best(result, results)
        if ratio is not None:
            ratios[result.contender, result.workload.mode].append(ratio)
    return {key: statistics.geometric_mean(values) for key, values in ratios.items()}


def has_peers(results: Sequence[Result]) -> bool:
    """Whether any peer was asked for."""
    return any(result.is_peer for result in results)

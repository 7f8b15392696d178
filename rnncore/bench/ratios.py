"""Our backends against the reference, and against the best of the peers, at the same work in the same run.

A row is compared with rows that are no less precise: one in int8 also with those in float32, never the other way round.
So no ratio owes anything to a rival that nobody would take, slower and less precise than another.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence

from .result import Result
from .workload import ROUNDED

REFERENCE = "numpy"
"""The backend that the others are compared with."""


def _rivals(result: Result, results: Sequence[Result]) -> list[Result]:
    """Rows of the same work that are no less precise, the row itself among them."""
    work, precisions = result.workload, ROUNDED[: ROUNDED.index(result.workload.precision) + 1]
    return [
        other
        for other in results
        if other.samples and other.workload.precision in precisions and other.workload.unrounded == work.unrounded
    ]


def best_peer(result: Result, results: Sequence[Result]) -> Result | None:
    """The fastest peer at the same work that is no less precise; None if none did it."""
    peers = [rival for rival in _rivals(result, results) if rival.is_peer]
    return min(peers, key=lambda peer: peer.seconds, default=None)


def versus_best(result: Result, results: Sequence[Result]) -> float | None:
    """Time of the best peer over that of this backend, 1.25 if it takes a quarter longer; None without either."""
    best = best_peer(result, results)
    return None if result.is_peer or best is None or not result.samples else best.seconds / result.seconds


def versus_reference(result: Result, results: Sequence[Result]) -> float | None:
    """Time of the NumPy engine over that of this row; None of that engine's own, and where either is missing."""
    if result.contender == REFERENCE or not result.samples:
        return None
    times = [rival.seconds for rival in _rivals(result, results) if rival.contender == REFERENCE]
    return min(times) / result.seconds if times else None


def versus_unrounded(result: Result, results: Sequence[Result]) -> float | None:
    """Time of the same contender with unrounded products over that of this row; None without either."""
    if result.workload.precision is None or not result.samples:
        return None
    own = [rival for rival in _rivals(result, results) if rival.contender == result.contender]
    times = [rival.seconds for rival in own if rival.workload.precision is None]
    return times[0] / result.seconds if times else None


def group_of(result: Result) -> tuple[str, ...]:
    """The backend and mode that a row's ratios are averaged by, and the precision of rounded products."""
    work = result.workload
    return (result.contender, work.mode, *([work.precision] if work.precision else []))


def geometric_means(
    results: Sequence[Result], ratio: Callable[[Result, Sequence[Result]], float | None] = versus_best
) -> dict[tuple[str, ...], float]:
    """The geometric mean of a ratio over all workloads, by `group_of`."""
    ratios: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for result in results:
        value = ratio(result, results)
        if value is not None:
            ratios[group_of(result)].append(value)
    return {key: statistics.geometric_mean(values) for key, values in ratios.items()}


def has_peers(results: Sequence[Result]) -> bool:
    """Whether any peer was asked for."""
    return any(result.is_peer for result in results)

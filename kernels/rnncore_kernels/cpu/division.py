"""How many threads a run gets, and how they divide its rows and hidden units.

Whatever is decided here changes no bit of any result.
"""

from __future__ import annotations

from dataclasses import dataclass

CACHE_BYTES = 1 << 20
"""Of a core's own cache: weights that all threads need are read from there while they fit."""

FUSED_BYTES = 1 << 20
"""Most weights of a thread for which one pass over both products is faster than one over each."""

MIN_FLOPS = 1_500_000
"""Least work of a call for which a second thread is worth waking."""

MIN_STEP_FLOPS = 60_000
"""Least work of a step for which threads may meet at each step."""

ROWS = 6
"""Rows that keep a tile's registers full."""


@dataclass(frozen=True)
class Division:
    """A grid of threads: those of one column have the same rows, those of one row the same units."""

    row_threads: int
    unit_threads: int

    @property
    def threads(self) -> int:
        return self.row_threads * self.unit_threads


def divide(threads: int, batch: int, groups: int, steps: int, step_flops: int, weight_bytes: int) -> Division:
    """The grid for a run.

    Args:
        threads: most that may be used.
        batch: B.
        groups: of hidden units, the least that a thread can have.
        steps: T.
        step_flops: operations of all products of a step.
        weight_bytes: of the weights that every step reads.
    """
    if threads <= 1 or step_flops * steps < MIN_FLOPS:
        return Division(1, 1)
    by_rows = min(threads, max(1, batch // ROWS))
    by_units = min(threads, groups) if step_flops >= MIN_STEP_FLOPS else 1
    if weight_bytes <= CACHE_BYTES or by_units == 1:
        rows = by_rows
        units = max(1, min(by_units, threads // rows))
    else:
        units = by_units
        rows = max(1, min(by_rows, threads // units))
    return Division(rows, units)


def is_separate(division: Division, steps: int, batch: int, weight_bytes: int) -> bool:
    """Whether the input projection is a product of its own, over several steps at a time.

    It is faster where a step's product reads more weights than the cache holds, or has too few rows to reuse them.
    """
    if steps <= 1:
        return False
    return weight_bytes // division.unit_threads > FUSED_BYTES or batch // division.row_threads < ROWS

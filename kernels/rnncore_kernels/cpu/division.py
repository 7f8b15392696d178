"""How many threads a run gets, and how they divide its rows and hidden units.

Whatever is decided here changes no bit of any result. The limits were measured on two cores with AVX-512.
"""

from __future__ import annotations

from dataclasses import dataclass

ROWS_BYTES = 3 << 19
"""Most weights for which threads divide rows, each reading all weights, before they divide units and meet."""

FEW_ROWS, FEW_ROWS_BYTES = 6, 3 << 18
"""Rows that are one tile, and the limit for these: a tile of half of them takes more than half as long."""

FUSED_BYTES, FUSED_ROWS = 4 << 20, 24
"""Most weights of a thread, and least rows, for which both products of a step in one pass are as fast as two."""

MIN_FLOPS = 1_500_000
"""Least work of a call for which a second thread is worth waking."""

MIN_STEP_FLOPS = 110_000
"""Least work of a step for which threads may meet at each step."""


@dataclass(frozen=True)
class Division:
    """A grid of threads: those of one column have the same rows, those of one row the same units."""

    row_threads: int
    unit_threads: int

    @property
    def threads(self) -> int:
        """All of them."""
        return self.row_threads * self.unit_threads

    def __str__(self) -> str:
        return f"{self.row_threads}x{self.unit_threads}"


def divide(
    threads: int, batch: int, groups: int, steps: int, step_flops: int, weight_bytes: int, row_tile: int = 1
) -> Division:
    """The grid for a run.

    Args:
        threads: most that may be used.
        batch: B.
        groups: of hidden units, the least that a thread can have.
        steps: T.
        step_flops: operations of all products of a step.
        weight_bytes: of the weights that every step reads.
        row_tile: rows that take as long as one.
    """
    if threads <= 1 or step_flops * steps < MIN_FLOPS:
        return Division(1, 1)
    by_rows = min(threads, (batch + 1) // 2 if row_tile == 1 else -(-batch // row_tile))
    by_units = min(threads, groups) if step_flops >= MIN_STEP_FLOPS else 1
    if row_tile > 1 and -(-batch // row_tile) % by_rows:
        by_rows = 1  # threads with different numbers of tiles would wait for one another
    if weight_bytes <= (ROWS_BYTES if batch > FEW_ROWS else FEW_ROWS_BYTES):
        return Division(by_rows, max(1, min(by_units, threads // by_rows)))
    return Division(max(1, min(by_rows, threads // by_units)), by_units)


def is_separate(division: Division, steps: int, batch: int, weight_bytes: int) -> bool:
    """Whether the input projection is a product of its own, over several steps at a time."""
    fused = division.unit_threads > 1 and batch >= FUSED_ROWS and weight_bytes // division.unit_threads <= FUSED_BYTES
    return steps > 1 and not fused

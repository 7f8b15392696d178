"""Words of each part of work that threads share by their speed, see `code.balance`: a cache line for each part."""

from __future__ import annotations

PART_WORDS, PART_BYTES = 8, 64
WIDTH, COUNT, BUSY, WAITED, AWAKE, SLEPT = range(6)
"""WIDTH          share of the work, in WHOLEths
COUNT, BUSY    units of work that the part had when last published, and how long these took, in cycles of a clock
WAITED, AWAKE  cycles that its thread has waited for others in this call, and those before it fell asleep each time
SLEPT          how often it fell asleep
"""

PIECE_ROWS, MOST_PIECES = 3, 4
"""Least rows of a piece of a group, and most pieces of one."""

SHIFT = 20
WHOLE = 1 << SHIFT


def even_parts(number: int) -> list[int]:
    """Words of parts that are as wide as each other."""
    edges = [k * WHOLE // number for k in range(number + 1)]
    return [word for k in range(number) for word in (edges[k + 1] - edges[k], 1, 1, 0, 0, 0, 0, 0)]


def piece_count(n: int, uneven: int) -> int:
    """How many pieces, of some of n rows each, a group of hidden units has if threads have unequal numbers of groups.

    1 if they have not: `uneven` is 0.
    """
    return max(1, min(MOST_PIECES, n // PIECE_ROWS)) if uneven != 0 else 1

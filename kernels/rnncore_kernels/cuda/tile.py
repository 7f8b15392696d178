"""The product of a warp: its shape.

A warp computes `rows` x `units` x `columns` sums over k: row r of the operand times row (unit, column) of the weights,
both in shared memory. The lanes divide rows and units among each other, and the k of each: `k_lanes` lanes that stand
side by side read consecutive vectors, so that a warp reads shared memory without conflicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

VECTOR_BYTES = 16
"""Bytes of the widest load of a thread."""

LANES = 32
"""Threads of a warp."""


@dataclass(frozen=True)
class Tile:
    """The sums that one warp computes at a time; all sizes are powers of two but `columns`.

    Attributes:
        dtype: of all values.
        columns: sums for each row and unit.
        thread_rows, thread_units: of a lane.
        lane_rows, lane_units: number of lanes that divide the rows, and the units.
    """

    dtype: np.dtype[Any]
    columns: int
    thread_rows: int
    thread_units: int
    lane_rows: int
    lane_units: int

    @property
    def rows(self) -> int:
        """Rows of the operand."""
        return self.thread_rows * self.lane_rows

    @property
    def units(self) -> int:
        """Hidden units."""
        return self.thread_units * self.lane_units

    @property
    def k_lanes(self) -> int:
        """Lanes that divide the sum over k."""
        return LANES // (self.lane_rows * self.lane_units)

    @property
    def vector(self) -> int:
        """Elements that a lane reads at a time."""
        return VECTOR_BYTES // self.dtype.itemsize

    @property
    def k_block(self) -> int:
        """Elements of k that the lanes read together."""
        return self.k_lanes * self.vector

    @property
    def sums(self) -> int:
        """Sums of a lane."""
        return self.thread_rows * self.thread_units * self.columns

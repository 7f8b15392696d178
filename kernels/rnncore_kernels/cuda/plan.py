"""How the work of a layer is divided among the blocks and warps of a GPU.

A step cannot begin before the last has ended everywhere, so all blocks are resident, one on each multiprocessor, and
those that share rows of the batch wait for each other in every step. The division is the fastest by a model of a step's
time, whose constants, in clock cycles, are round figures for the GPUs of 2018 to 2025.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import NamedTuple

from .device import GpuLimits
from .libraries import WARPS
from .tile import Tile

MULTIPLY_ADDS = 128
"""Multiply-adds of a multiprocessor in a cycle; fewer in float64, which changes no choice."""

LOAD_BYTES = 48
"""Bytes that a multiprocessor gets from the second-level cache in a cycle, while all others do too."""

LOAD_LATENCY = 700
"""Cycles from a load of global memory to its result."""

BARRIER, BLOCK_BARRIER = 2000, 40
"""Cycles of a barrier between blocks that share rows, and of one between the threads of a block."""

FINISH = 600
"""Cycles of the code of a visit, on one row and unit of each thread."""


class Product(NamedTuple):
    """A product of a step.

    Attributes:
        number: of the product in the program.
        tile: of a warp.
        k: elements of a part of a row that is multiplied.
        units: of the result, each with the tile's columns; padded.
        parts: how many parts a row has: blocks of columns that are multiplied apart, where there are heads.
        head, head_depth: units of a head, and elements of a part that these multiply.
    """

    number: int
    tile: Tile
    k: int
    units: int
    parts: int
    head: int
    head_depth: int


class StepWork(NamedTuple):
    """The work of a step.

    Attributes:
        tile: of every visit, as far as rows and units are concerned.
        products: in order.
        batch: B.
        units: of each visit, padded.
        barriers: waits of blocks for each other.
        totals: most sums over units that a visit reads.
    """

    tile: Tile
    products: tuple[Product, ...]
    batch: int
    units: tuple[int, ...]
    barriers: int
    totals: int


@dataclass(frozen=True)
class LaunchPlan:
    """Sizes of a launch; the names are those of `arguments.RUN_FIELDS`.

    Attributes:
        work: what is divided.
        warps: of a block.
        unit_slices: most slices of the units that a block computes.
        weights_at: of each product, the offset in shared memory of its weights, where they stay there.
        spans: of each product, the elements of a part that a slice multiplies.
        shared_bytes: dynamic shared memory of a block.
        cycles: of a step, by the model.
    """

    work: StepWork
    warps: int
    log_rows: int
    log_units: int
    row_groups: int
    unit_groups: int
    unit_slices: int
    resident: bool
    chunk: int
    weights_at: tuple[int, ...]
    spans: tuple[int, ...]
    operand_at: int
    sums_at: int
    totals_at: int
    shared_bytes: int
    cycles: float

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.row_groups * self.unit_groups

    @property
    def slices(self) -> int:
        """Slices of units of the widest visit."""
        return divide_up(max(self.work.units), self.work.tile.units << self.log_units)

    @property
    def impl(self) -> str:
        """The name in a report."""
        where = "resident" if self.resident else "streamed"
        return f"{where} {self.row_groups}x{self.unit_groups}"


def divide_up(count: int, size: int) -> int:
    """How many parts of a size there are, the last one smaller."""
    return -(-count // size)


@cache
def span_of(product: Product, units: int) -> int:
    """Elements of a part that a slice of so many units multiplies at most: those of its heads, in whole vectors."""
    if product.head_depth >= product.k:
        return product.k
    vector, spans = product.tile.vector, []
    for first in range(0, product.units, units):
        low, high = first // product.head, (min(first + units, product.units) - 1) // product.head + 1
        start = low * product.head_depth // vector * vector
        spans.append(min(product.k, divide_up(high * product.head_depth, vector) * vector) - start)
    return max(spans)


@cache
def make_plan(limits: GpuLimits, work: StepWork) -> LaunchPlan:
    """The fastest division.

    Raises:
        ValueError: the cell has so many gates that not even a part of one unit's weights fits into shared memory.
    """
    found = list(_plans(limits, work))
    if not found:
        gates = max((product.tile.columns for product in work.products), default=0)
        raise ValueError(
            f"cell: {gates} gates and {work.totals} sums over units are too many for {limits.shared_bytes} bytes of "
            f"shared memory"
        )
    return min(found, key=lambda plan: plan.cycles)


def _plans(limits: GpuLimits, work: StepWork) -> Iterator[LaunchPlan]:
    powers, most_units = range(WARPS.bit_length()), max(work.units)
    for log_warps, log_rows, log_units in product(powers, powers, powers):
        if log_rows + log_units > log_warps:
            continue
        rows, units = work.tile.rows << log_rows, work.tile.units << log_units
        row_slices, unit_slices = divide_up(work.batch, rows), divide_up(most_units, units)
        if (log_rows and rows // 2 >= work.batch) or (log_units and units // 2 >= most_units):
            continue
        for row_groups in {min(row_slices, 2**power) for power in range(limits.multiprocessors.bit_length())}:
            unit_groups = min(unit_slices, limits.multiprocessors // row_groups)
            unit_groups = divide_up(unit_slices, divide_up(unit_slices, unit_groups))
            for resident in (True, False):
                found = _fitted(limits, work, log_warps, log_rows, log_units, row_groups, unit_groups, resident)
                if found is not None:
                    yield found


def _fitted(
    limits: GpuLimits, work: StepWork, log_warps: int, log_rows: int, log_units: int,
    row_groups: int, unit_groups: int, resident: bool,
) -> LaunchPlan | None:  # fmt: skip
    """The plan with as much of k in shared memory as fits; None if nothing does."""
    rows, units = work.tile.rows << log_rows, work.tile.units << log_units
    itemsize, parts = work.tile.dtype.itemsize, 1 << (log_warps - log_rows - log_units)
    row_slices = divide_up(divide_up(work.batch, rows), row_groups)
    slices = [
        divide_up(divide_up(count, units), unit_groups) for count in (*work.units, *(p.units for p in work.products))
    ]
    of_products = slices[len(work.units) :]
    spans = [span_of(p, units) for p in work.products]
    whole = [divide_up(span, p.tile.k_block) * p.tile.k_block for p, span in zip(work.products, spans, strict=True)]
    most_columns = max((p.tile.columns for p in work.products), default=0)
    sums, totals = parts * rows * units * most_columns * itemsize, rows * work.totals * itemsize
    weights_at, weights = [], 0
    for p, total, count in zip(work.products, whole, of_products, strict=True):
        weights_at.append(weights)
        weights += p.parts * p.tile.columns * total * units * count * itemsize if resident else 0
    columns = 0 if resident else most_columns
    block = max((p.tile.k_block for p in work.products), default=0)
    chunk = 0
    if block:
        free = limits.shared_bytes - sums - totals - weights
        most = free // ((rows + units * columns) * itemsize) // block * block
        if most < block:
            return None
        chunk = min(most, max(whole))
    operand_at = weights if resident else units * columns * chunk * itemsize
    sums_at = operand_at + rows * chunk * itemsize
    totals_at = sums_at + sums
    if totals_at + totals > limits.shared_bytes:
        return None
    # A warp issues at most one multiply-add a cycle, four warps fill a multiprocessor.
    cycles = 0.0
    for p, total, count in zip(work.products, whole, of_products, strict=True):
        brought = rows * total * itemsize + (0 if resident else units * p.tile.columns * total * itemsize)
        multiplied = rows * units * p.tile.columns * total / min(MULTIPLY_ADDS, 32 << log_warps)
        loaded = brought / min(LOAD_BYTES, 8 << log_warps) + divide_up(total, chunk) * (
            LOAD_LATENCY + 2 * BLOCK_BARRIER
        )
        cycles += count * row_slices * (p.parts * (loaded + multiplied) + parts * 4 + (1 << log_warps) * 4)
    cycles += sum(slices[: len(work.units)]) * row_slices * FINISH * divide_up(rows * units, 32 << log_warps)
    cycles += work.barriers * (BARRIER + 4 * unit_groups if unit_groups > 1 else BLOCK_BARRIER)
    return LaunchPlan(
        work, 1 << log_warps, log_rows, log_units, row_groups, unit_groups, max(slices), resident, chunk,
        tuple(weights_at), tuple(spans), operand_at, sums_at, totals_at, totals_at + totals, cycles,
    )  # fmt: skip

"""How the work of a layer is divided among the blocks and warps of a GPU.

A step cannot begin before the last has ended everywhere, so all blocks are resident, one on each multiprocessor, and
those that share rows of the batch meet after every step. What is chosen is what a model of a step's time finds fastest;
its constants, in clock cycles, are round figures for the GPUs of 2018 to 2025.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

from .device import Limits
from .kernels import WARPS
from .tile import Tile

MULTIPLY_ADDS = 128
"""A multiprocessor's in a cycle; fewer in float64, which changes no choice."""

LOAD_BYTES = 48
"""What a multiprocessor gets from the second-level cache in a cycle, while all others do too."""

LOAD_LATENCY = 700
MEETING = 2000
BLOCK_BARRIER = 40
FINISH = 600


@dataclass(frozen=True)
class Division:
    """Sizes of a launch; the names are those of `fields.BLOCK_FIELDS`.

    Attributes:
        tiles: of each product.
        warps: of a block.
        shared_bytes: dynamic shared memory of a block.
        cycles: of a step, by the model.
    """

    tiles: tuple[Tile, ...]
    warps: int
    log_rows: int
    log_units: int
    row_groups: int
    unit_groups: int
    unit_slices: int
    resident: bool
    chunk: int
    operand_at: int
    sums_at: int
    shared_bytes: int
    cycles: float

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.row_groups * self.unit_groups

    @property
    def impl(self) -> str:
        """What a report calls it."""
        where = "resident" if self.resident else "streamed"
        return f"{where} {self.row_groups}x{self.unit_groups}"


@cache
def divide(limits: Limits, tiles: tuple[Tile, ...], widths: tuple[int, ...], batch: int, padded: int) -> Division:
    """The fastest division.

    Args:
        limits: of the GPU.
        tiles: of each product of a step.
        widths: of each product: k is this many times `padded` elements.
        batch: B.
        padded: H, rounded up to whole vectors.

    Raises:
        ValueError: the cell has so many gates that not even a part of one unit's weights fits into shared memory.
    """
    found = list(_divisions(limits, tiles, widths, batch, padded))
    if not found:
        gates = max(tile.columns for tile in tiles)
        raise ValueError(f"cell: {gates} gates are too many for {limits.shared_bytes} bytes of shared memory")
    return min(found, key=lambda division: division.cycles)


def _divisions(
    limits: Limits, tiles: tuple[Tile, ...], widths: Sequence[int], batch: int, padded: int
) -> Iterator[Division]:
    powers = range(WARPS.bit_length())
    for log_warps, log_rows, log_units in product(powers, powers, powers):
        if log_rows + log_units > log_warps:
            continue
        rows, units = tiles[0].rows << log_rows, tiles[0].units << log_units
        slices_of_rows, slices_of_units = -(-batch // rows), -(-padded // units)
        if (log_rows and rows // 2 >= batch) or (log_units and units // 2 >= padded):
            continue
        for row_groups in {min(slices_of_rows, 2**power) for power in range(limits.multiprocessors.bit_length())}:
            unit_groups = min(slices_of_units, limits.multiprocessors // row_groups)
            unit_slices = -(-slices_of_units // unit_groups)
            for resident in (True, False):
                found = _fitted(
                    limits, tiles, widths, padded, log_warps, log_rows, log_units, row_groups,
                    -(-slices_of_units // unit_slices), unit_slices, -(-slices_of_rows // row_groups), resident,
                )  # fmt: skip
                if found is not None:
                    yield found


def _fitted(
    limits: Limits, tiles: tuple[Tile, ...], widths: Sequence[int], padded: int, log_warps: int, log_rows: int,
    log_units: int, row_groups: int, unit_groups: int, unit_slices: int, row_slices: int, resident: bool,
) -> Division | None:  # fmt: skip
    """The division with as much of k in shared memory as fits; None if nothing does."""
    rows, units = tiles[0].rows << log_rows, tiles[0].units << log_units
    itemsize, parts = tiles[0].dtype.itemsize, 1 << (log_warps - log_rows - log_units)
    totals = [-(-width * padded // tile.k_block) * tile.k_block for tile, width in zip(tiles, widths, strict=True)]
    sums = parts * rows * units * max(tile.columns for tile in tiles) * itemsize
    weights = sum(tile.columns * total for tile, total in zip(tiles, totals, strict=True)) * units * itemsize
    columns = 0 if resident else max(tile.columns for tile in tiles)
    free = limits.shared_bytes - sums - (weights * unit_slices if resident else 0)
    block = max(tile.k_block for tile in tiles)
    most = free // ((rows + units * columns) * itemsize) // block * block
    if most < block:
        return None
    chunk = min(most, max(totals))
    operand_at = weights * unit_slices if resident else units * columns * chunk * itemsize
    sums_at = operand_at + rows * chunk * itemsize
    cycles = 0.0
    for tile, total in zip(tiles, totals, strict=True):
        brought = rows * total * itemsize + (0 if resident else units * tile.columns * total * itemsize)
        chunks = -(-total // chunk)
        # A warp issues at most one multiply-add a cycle, four warps fill a multiprocessor.
        multiplied = rows * units * tile.columns * total / min(MULTIPLY_ADDS, 32 << log_warps)
        finished = FINISH * -(-rows * units // (32 << log_warps))
        slices = unit_slices * row_slices
        loaded = brought / min(LOAD_BYTES, 8 << log_warps) + chunks * (LOAD_LATENCY + 2 * BLOCK_BARRIER)
        cycles += slices * (loaded + multiplied + finished + parts * 4 + (1 << log_warps) * 4)
        cycles += MEETING + 4 * unit_groups if unit_groups > 1 else BLOCK_BARRIER
    return Division(
        tiles, 1 << log_warps, log_rows, log_units, row_groups, unit_groups, unit_slices, resident, chunk,
        operand_at, sums_at, sums_at + sums, cycles,
    )  # fmt: skip

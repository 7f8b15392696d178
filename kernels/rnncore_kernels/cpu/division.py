"""How many threads a run gets, how they divide its rows and hidden units, and which registers multiply.

The threads change no bit of any result. The limits were measured on two cores with AVX-512.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..precision import INT8
from .amx.blocks import EXACT, ROUNDED, filled_share
from .layer import LayerSizes
from .products import Products, bfloat16_products, int8_products, tile_products, vector_products
from .sizes import piece_count

ROWS_BYTES = 3 << 19
"""Most weights for which threads divide rows, each reading all weights, before they divide units and meet."""

FEW_ROWS, FEW_ROWS_BYTES = 6, 3 << 18
"""Rows that are one tile, and the limit for these: a tile of half of them takes more than half as long."""

MEETING_SHARE, MEETING_FLOPS = 0.04, 15_000
"""What it costs to meet at each step: that share of a thread's work, and as long as so many operations take."""

FUSED_BYTES, FUSED_ROWS = 4 << 20, 24
"""Most weights of a thread, and least rows, for which both products of a step in one pass are as fast as two."""

MIN_FLOPS = 1_500_000
"""Least work of a call for which a second thread is worth waking."""

MIN_THREAD_FLOPS, MIN_KEPT_FLOPS = 20_000, 55_000
"""Least work of each of several threads in a step at which they meet; and the same of a step that is kept for the
backward pass, which may be one thread's and then reads what others wrote."""

LEAST_FILLED = 0.7
"""Least share of the tile registers that rows and sums fill if products are computed there."""

LEAST_TILED_FLOPS = 3_600_000
"""Least operations of all products of a step for which it pays to convert its rows, on two cores."""


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
    threads: int,
    batch: int,
    units: int,
    groups: int,
    steps: int,
    step_flops: int,
    weight_bytes: int,
    *,
    row_tile: int = 1,
    min_flops: int = MIN_THREAD_FLOPS,
    whole_groups: bool = False,
) -> Division:
    """The grid for a run.

    Args:
        threads: most that may be used.
        batch: B.
        units: vectors of hidden units.
        groups: of these, the least that a thread can have.
        steps: T.
        step_flops: operations of all products of a step.
        weight_bytes: of the weights that every step reads.
        row_tile: rows that take as long as one.
        min_flops: least of each of several threads that meet.
        whole_groups: no group is shared by rows.
    """
    if threads <= 1 or step_flops * steps < MIN_FLOPS:
        return Division(1, 1)
    row_tiles = -(-batch // row_tile)
    by_rows = min(threads, (batch + 1) // 2 if row_tile == 1 else row_tiles)
    meeting = step_flops // min_flops
    by_units = max(1, min(threads, groups, meeting))
    if row_tile > 1 and row_tiles % by_rows:
        by_rows = 1  # threads with different numbers of tiles would wait for one another
    rows_first = Division(by_rows, max(1, min(by_units, threads // by_rows, meeting // by_rows)))
    units_first = Division(max(1, min(by_rows, threads // by_units, meeting // by_units)), by_units)
    if weight_bytes > (ROWS_BYTES if batch > FEW_ROWS else FEW_ROWS_BYTES):
        return units_first

    def most(division: Division) -> float:
        """The share of a step that the thread with most to do has."""
        rows = -(-row_tiles // division.row_threads)
        pieces = 1 if whole_groups else piece_count(rows, groups % division.unit_threads)
        of_groups = -(-groups * pieces // division.unit_threads) / pieces
        return rows / row_tiles * min(1.0, of_groups * -(-units // groups) / units)

    saved = (1 - MEETING_SHARE) * most(rows_first) - most(units_first)
    return units_first if saved * step_flops > MEETING_FLOPS else rows_first


def is_separate(division: Division, steps: int, batch: int, weight_bytes: int) -> bool:
    """Whether the input projection is a product of its own, over several steps at a time."""
    fused = division.unit_threads > 1 and batch >= FUSED_ROWS and weight_bytes // division.unit_threads <= FUSED_BYTES
    return steps > 1 and not fused


def products_of(layer: LayerSizes, batch: int) -> Products:
    """How a run's products are computed."""
    if layer.precision == INT8:
        return int8_products(layer.shape)
    if uses_tile_registers(layer, batch):
        return tile_products(EXACT if layer.precision is None else ROUNDED)
    return (vector_products if layer.precision is None else bfloat16_products)(layer.shape)


def uses_tile_registers(layer: LayerSizes, batch: int) -> bool:
    """Whether products are computed on tile registers: the same for any number of threads, as bits depend on it."""
    if not layer.shape.matrix or layer.heads > 1 or 2 * batch * layer.weights < LEAST_TILED_FLOPS:
        return False
    return filled_share(batch, (layer.inputs, layer.hidden)) >= LEAST_FILLED


def forward_division(
    layer: LayerSizes, steps: int, batch: int, threads: int, *, keep: bool = False
) -> tuple[Division, bool]:
    """How threads divide a run, which keeps what the backward pass needs or not, and whether the input projection is
    separate.
    """
    products = products_of(layer, batch)
    step_flops, weight_bytes = 2 * batch * layer.weights, layer.weights * products.weight_bytes
    division = divide(
        threads, batch, layer.units, layer.groups, steps, step_flops, weight_bytes, row_tile=_row_tile(products),
        min_flops=MIN_KEPT_FLOPS if keep else MIN_THREAD_FLOPS, whole_groups=products.row_tile > 1,
    )  # fmt: skip
    separate = is_separate(division, steps, batch, weight_bytes)
    return division, separate or products.rows_bytes is not None


def backward_division(layer: LayerSizes, steps: int, batch: int, threads: int) -> Division:
    """How threads divide the steps of the backward pass."""
    products, step_flops = products_of(layer, batch), 2 * batch * layer.recurrent_weights
    return divide(
        threads, batch, layer.units, layer.back_groups, steps, step_flops,
        layer.recurrent_weights * products.weight_bytes, row_tile=_row_tile(products), whole_groups=True,
    )  # fmt: skip


def _row_tile(products: Products) -> int:
    """Rows that take as long as one: two tiles of rows are multiplied at once."""
    return 2 * products.row_tile if products.row_tile > 1 else 1


def impl(layer: LayerSizes, steps: int, batch: int, threads: int, *, training: bool) -> str:
    """Width of vectors or AMX, threads by rows x by units, whether one pass computes both products; so for backward."""
    division, separate = forward_division(layer, steps, batch, threads, keep=training)
    words = f"{products_of(layer, batch).words} {division}{'' if separate else ' fused'}"
    return f"{words}, back {backward_division(layer, steps, batch, threads)}" if training else words

"""Ways to compute products, as far as memory and arguments depend on them; kernels have a `gemm.Gemm` for each."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from . import narrow
from .amx.blocks import ROUNDED, TILE_ROWS, Parts
from .shape import Shape
from .sizes import BF16_BACK_ROWS, BLOCK_ROWS, PANEL_ROWS, block_units


@dataclass(frozen=True, eq=False)
class Products:
    """A way to compute products.

    Attributes:
        name: of it, in names of kernels.
        words: the same in a few words for reports.
        column_bytes: bytes of a vector of columns of packed weights, by the depth of the product.
        rows_bytes: bytes of prepared rows, by their number and depth; None where rows are read as they are, and packed
            weights, too.
        panel_bytes: bytes of a vector of PANEL_ROWS prepared rows, as factors of gradients of weights.
        left_units: vectors of units that are multiplied together there.
        row_tile: rows are read and written in whole tiles of so many.
        back_rows: rows in products over all steps.
        weight_bytes: bytes of a weight that is read.
    """

    name: str
    words: str
    column_bytes: Callable[[int], int]
    rows_bytes: Callable[[int, int], int] | None
    panel_bytes: int
    left_units: int
    row_tile: int
    back_rows: int
    weight_bytes: int

    def whole_rows(self, rows: int) -> int:
        """The rows of whole tiles."""
        return -(-rows // self.row_tile) * self.row_tile


@functools.cache
def vector_products(shape: Shape) -> Products:
    """Those of numbers as they are, on vector registers."""
    return Products(
        name="",
        words=f"{8 * shape.vector_bytes}-bit",
        column_bytes=lambda depth: depth * shape.vector_bytes,
        rows_bytes=None,
        panel_bytes=PANEL_ROWS * shape.vector_bytes,
        left_units=block_units(shape.lanes),
        row_tile=1,
        back_rows=BLOCK_ROWS,
        weight_bytes=shape.itemsize,
    )


@functools.cache
def tile_products(parts: Parts) -> Products:
    """Those of float32 on tile registers, exact or rounded to bfloat16."""
    return Products(
        name=parts.name,
        words="AMX bfloat16" if parts is ROUNDED else "AMX",
        column_bytes=parts.column_bytes,
        rows_bytes=parts.rows_bytes,
        panel_bytes=parts.column_bytes(PANEL_ROWS),
        left_units=2,
        row_tile=TILE_ROWS,
        back_rows=BF16_BACK_ROWS,
        weight_bytes=2 if parts is ROUNDED else 4,
    )


@functools.cache
def bfloat16_products(shape: Shape) -> Products:
    """Those of bfloat16 on vector registers, in pairs or with weights that are widened when they are loaded."""
    return replace(
        vector_products(shape),
        name="bfloat16",
        words=f"{8 * shape.vector_bytes}-bit bfloat16{'' if shape.target.bfloat16 else ' widened'}",
        column_bytes=narrow.column_bytes_of(shape),
        rows_bytes=partial(narrow.rows_bytes, narrow.row_bytes_of(shape)),
        weight_bytes=2,
    )


@functools.cache
def int8_products(shape: Shape) -> Products:
    """Those of int8 on vector registers, in fours or with weights that are widened when they are loaded."""
    return replace(
        vector_products(shape),
        name="int8",
        words=f"{8 * shape.vector_bytes}-bit int8{'' if shape.target.int8 else ' widened'}",
        column_bytes=narrow.int8_column_bytes_of(shape),
        rows_bytes=partial(narrow.rows_bytes, narrow.int8_row_bytes_of(shape)),
        panel_bytes=0,
        weight_bytes=1,
    )

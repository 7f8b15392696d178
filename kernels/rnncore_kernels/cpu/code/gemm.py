"""Products of rows with packed weights, as passes compute them: on vector registers, or on tile registers.

A pass is compiled for one of these, and knows of no other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..narrow import SizeOf, table_bytes
from ..shape import Shape
from ..sizes import BLOCK_ROWS, PANEL_ROWS, block_units
from .emitted import compiled, emitted, once
from .factors import own_factors
from .ir import I64
from .memory import set_word, word
from .moves import make_copy, make_gather
from .multiply import make_multiply
from .outer_product import make_outer_product

NOTHING = emitted("no_tile_registers", (), lambda _: None, inline=True)


class Gemm(NamedTuple):
    """Compiled functions for products, and sizes.

    Attributes:
        prepare: `prepare(rows, n, depth, target)`: rows, by a table of their addresses, as `multiply` takes them; where
            it needs memory for that, at `target`. Returns where they are.
        prepared_bytes: `prepared_bytes(n, depth)`: of such memory.
        rows_at: `rows_at(prepared, r, depth)`: the prepared rows from r on.
        column_bytes: `column_bytes(depth)`: of a column of packed weights, of a vector.
        multiply: `multiply(columns, prepared, origin, n, depth, w, start, start_row, c, c_row, groups, w_group,
            start_group, c_group)`: C = start + A W, see `multiply`. On tile registers the origin is 0.
        take_columns: `take_columns(source, row, depth, width, target)`: packed weights from those of float32, `width`
            vectors at a distance for each k; None where these are multiplied.
        panel_bytes: `panel_bytes(n)`: of one vector of n rows, as `add_product` takes them.
        take_left, take_right: `take_left(source, row, n, target, vectors)`, rows at a distance, and
            `take_right(rows, n, offset, count, target, vectors)`, `count` elements at an offset of rows by a table of
            their addresses: factors of `add_product`.
        add_product: `add_product(wide, height, units, n, left, right, c, c_row, count, add, nothing)`: C (+)= A^T B
            over n rows, for `height` columns of A in `units` vectors and `count` of B in `wide` vectors; `nothing` is
            as many zeros as a tile has columns, with room for a product behind.
        left_units: vectors of units that are multiplied together in `add_product`.
        suffix: what the names of kernels end in.
        begin, end: `begin()`, `end()`: around all products, in each thread.
        most_rows, most_back_rows: rows that are multiplied before code runs on them, and in products over all steps.
        row_block: rows that take as long as one.
        together: whether several groups are multiplied at once.
    """

    prepare: Any
    prepared_bytes: Any
    rows_at: Any
    column_bytes: Any
    multiply: Any
    take_columns: Any
    panel_bytes: Any
    take_left: Any
    take_right: Any
    add_product: Any
    left_units: int
    suffix: str
    begin: Any = NOTHING
    end: Any = NOTHING
    most_rows: int = BLOCK_ROWS
    most_back_rows: int = BLOCK_ROWS
    row_block: int = 1
    together: bool = True


rows_at = emitted(
    "rows_at",
    ("prepared", "r", "depth"),
    lambda b, rows, r, _: b.add(rows, b.mul(r, I64(8))),
    returns=True,
    inline=True,
)
"""`Gemm.rows_at` where prepared rows are found by a table of their addresses."""


def make_prepare(row_size: SizeOf, round_row: Any, header: int = 0) -> tuple[Any, Any]:
    """`Gemm.prepare` and `Gemm.prepared_bytes` of rows that `round_row(source, depth, target)` makes.

    In memory a table of their addresses comes first, then the rows at a distance of `row_size(depth)`, which includes
    `header` bytes before each.
    """
    row_bytes, addresses_bytes = compiled("row_bytes")(row_size), compiled("addresses_bytes")(table_bytes)

    @compiled("prepare_rows")
    def prepare(rows: int, n: int, depth: int, target: int) -> int:
        at, distance = target + addresses_bytes(n) + header, row_bytes(depth)
        for i in range(n):
            set_word(target, i, at)
            round_row(word(rows, i), depth, at)
            at += distance
        return target

    @compiled("prepared_rows_bytes")
    def prepared_bytes(n: int, depth: int) -> int:
        return addresses_bytes(n) + n * row_bytes(depth)

    return prepare, prepared_bytes


@once
def make_vector_gemm(shape: Shape) -> Gemm:
    """Products on vector registers."""
    vector, outer = shape.vector_bytes, make_outer_product(shape, own_factors(shape))
    names = ("rows", "n", "depth", "target")

    def inline(name: str, names: tuple[str, ...], body: Any) -> Any:
        return emitted(name, names, body, returns=True, inline=True)

    @compiled("add_product")
    def add_product(
        wide: int, height: int, units: int, n: int, left: int, right: int, c: int, c_row: int, count: int, add: int,
        nothing: int,
    ) -> None:  # fmt: skip
        outer(wide, height, n, left, units * vector, right, c, c_row, count, add)

    return Gemm(
        prepare=inline("prepare", names, lambda _, rows, *__: rows),
        prepared_bytes=inline("prepared_bytes", ("n", "depth"), lambda *_: I64(0)),
        rows_at=rows_at,
        column_bytes=inline("vector_column_bytes", ("depth",), lambda b, depth: b.mul(depth, I64(vector))),
        multiply=make_multiply(shape, own_factors(shape)),
        take_columns=None,
        panel_bytes=inline("panel_bytes", ("n",), lambda *_: I64(PANEL_ROWS * vector)),
        take_left=make_copy(shape),
        take_right=make_gather(shape),
        add_product=add_product,
        left_units=block_units(shape.lanes),
        suffix="",
    )

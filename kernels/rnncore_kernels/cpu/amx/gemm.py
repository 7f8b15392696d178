"""Products of rows and weights in one part or three, see `split`, on AMX's tile registers.

Sums are float32, for blocks in order and for each block in the order of the terms, so their bits depend on nothing but
row and column.
"""

from __future__ import annotations

import itertools
from typing import Any

from llvmlite import ir

from ..code.emitted import compiled, emitted, once
from ..code.gemm import Gemm
from ..code.ir import BYTE, I64, call_external, loop, pointer, prefetch
from ..code.moves import fetch, make_add_rows
from ..code.tiles import make_choice
from ..shape import Shape
from ..sizes import BF16_BACK_ROWS, BF16_BLOCK_ROWS
from .blocks import TILE_BYTES, TILE_ROWS, Parts
from .split import (
    make_bf16_columns,
    make_bf16_gathered,
    make_bf16_rows,
    make_bf16_transposed,
    make_column_bytes,
    make_packed_tiles,
    make_whole_blocks,
)

SPACING = 8
"""Other instructions behind each of the tile registers'. While the core's other thread is busy, products that followed
each other at once took 14 ns and loads 12, with six or more instructions between them 8 and 8; 5.7 and 3 on a core of
one's own, with or without (Emerald Rapids)."""

FETCHES = 5
"""How many of these fetch the next block, where several products are computed with it; the others do nothing."""

REGISTERS = 8

TILE_ROW = I64(64)
"""Distance of rows of a tile of blocks."""

TILE = ("a", "a_rows", "w", "w_block", "blocks", "packed", "start", "start_row", "c", "c_row")


@once
def make_tile_gemm(shape: Shape, parts: Parts) -> Gemm:
    """Products on tile registers.

    C and `start` have as many rows as n rounded up to a multiple of 16; C may be `start`, and the distance of rows of
    `start` 0.
    """
    vector, lanes, item, most = shape.vector_bytes, shape.lanes, shape.itemsize, shape.columns
    bf16_rows, transpose = make_bf16_rows(shape, parts), make_bf16_transposed(shape, parts)
    multiply_tiles, column_bytes = _make_multiply(shape, parts), make_column_bytes(parts)
    add_rows = make_add_rows(shape)

    @compiled("prepare_rows")
    def prepare(rows: int, n: int, depth: int, target: int) -> int:
        bf16_rows(rows, n, depth, target)
        return target

    @compiled("prepared_rows_bytes")
    def prepared_bytes(n: int, depth: int) -> int:
        return (n + TILE_ROWS - 1) // TILE_ROWS * column_bytes(depth)  # type: ignore[no-any-return]

    @compiled("prepared_rows_at")
    def rows_at(prepared: int, r: int, depth: int) -> int:
        return prepared + r * (column_bytes(depth) // TILE_ROWS)  # type: ignore[no-any-return]

    @compiled("multiply_prepared")
    def multiply(
        columns: int, rows: int, origin: int, n: int, depth: int, w: int, start: int, start_row: int, c: int,
        c_row: int, groups: int, w_group: int, start_group: int, c_group: int,
    ) -> None:  # fmt: skip
        multiply_tiles(columns, rows, n, depth, w, start, start_row, c, c_row)

    @compiled("take_left")
    def take_left(source: int, row: int, n: int, target: int, vectors: int) -> None:
        for k in range(vectors):
            transpose(source + k * vector, row, n, target + k * column_bytes(n))

    @compiled("add_product_tiles")
    def add_product(
        wide: int, height: int, units: int, n: int, left: int, right: int, c: int, c_row: int, count: int, add: int,
        nothing: int,
    ) -> None:  # fmt: skip
        sums = nothing + most * vector
        fetch(c, c_row, height, min(wide * vector, count * item))
        multiply_tiles(wide, left, units * lanes, n, right, nothing, 0, sums, wide * vector)
        add_rows(sums, height, wide, c, c_row, count, add)

    return Gemm(
        begin=emitted("configure_tiles", (), _configure),
        end=emitted("release_tiles", (), _release),
        prepare=prepare,
        prepared_bytes=prepared_bytes,
        rows_at=rows_at,
        column_bytes=column_bytes,
        multiply=multiply,
        take_columns=make_bf16_columns(shape, parts),
        panel_bytes=column_bytes,
        take_left=take_left,
        take_right=make_bf16_gathered(shape, parts),
        add_product=add_product,
        most_rows=BF16_BLOCK_ROWS,
        most_back_rows=BF16_BACK_ROWS,
        row_block=TILE_ROWS,
        together=False,
        left_units=2,
        suffix=f"_{parts.name}",
    )


def _configure(b: Any) -> None:
    """All registers have 16 rows of 64 bytes."""
    sizes = [0] * 64
    sizes[0] = 1  # the only palette there is
    sizes[16 : 16 + 2 * REGISTERS] = [64, 0] * REGISTERS  # words of 16 bits
    sizes[48 : 48 + REGISTERS] = [TILE_ROWS] * REGISTERS
    place = b.alloca(ir.VectorType(BYTE, 64))
    place.align = 64
    b.store(ir.Constant(place.allocated_type, [BYTE(x) for x in sizes]), place, align=64)
    call_external(b, "llvm.x86.ldtilecfg", ir.VoidType(), [b.bitcast(place, BYTE.as_pointer())])


def _release(b: Any) -> None:
    call_external(b, "llvm.x86.tilerelease", ir.VoidType(), [])


def _make_multiply(shape: Shape, parts: Parts) -> Any:
    most, block_bytes = shape.columns, parts.block_bytes
    column_bytes, whole_blocks, packed_tiles = (
        make(parts) for make in (make_column_bytes, make_whole_blocks, make_packed_tiles)
    )
    sizes = [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2)]
    tile = make_choice("bf16_tile", ("rows", "width"), TILE, {size: _tile(parts, *size) for size in sizes})

    @compiled("multiply_bf16")
    def multiply_bf16(
        columns: int, rows: int, n: int, depth: int, w: int, start: int, start_row: int, c: int, c_row: int
    ) -> None:
        tiles = (columns + most - 1) // most
        of_rows, blocks, packed, first = column_bytes(depth), whole_blocks(depth), packed_tiles(depth), 0
        base, more = columns // tiles, columns % tiles
        for number in range(tiles):
            width = base + (1 if number < more else 0)
            at = w + first * of_rows
            j = 0
            while j < width:
                # Two by two, so that fewer tiles are loaded for each product.
                wide = 4 if n <= TILE_ROWS and width - j >= 4 else min(2, width - j)
                i, a, column = 0, rows, (first + j) * 64
                while i < n:
                    high = 2 if n - i > TILE_ROWS else 1
                    tile(high, wide, a, of_rows, at + j * block_bytes, width * block_bytes, blocks,
                         packed, start + column + i * start_row, start_row, c + column + i * c_row, c_row)  # fmt: skip
                    i += high * TILE_ROWS
                    a += high * of_rows
                j += wide
            first += width

    return multiply_bf16


def _tile(parts: Parts, high: int, wide: int) -> Any:
    """C = start + A W for 16 * `high` rows and `wide` vectors."""
    block_bytes, fetches = parts.block_bytes, FETCHES if parts.count > 1 else SPACING
    sums = [(r, j) for r in range(high) for j in range(wide)]
    free = range(len(sums), REGISTERS)
    # One tile of rows keeps all parts of its numbers; two keep one part each, and so do their weights.
    of_rows = {(r, part): free[r if high > 1 else part] for r in range(high) for part in range(parts.count)}
    rest = free[high if high > 1 else parts.count :]

    def body(b: Any, *arguments: Any) -> None:
        a: dict[str, Any] = dict(zip(TILE, arguments, strict=True))
        ahead: list[Any] = []

        def operate(name: str, *arguments: Any) -> None:
            operands = [BYTE(x) if isinstance(x, int) else x for x in arguments]
            call_external(b, f"llvm.x86.{name}", ir.VoidType(), operands)
            here = min(fetches, len(ahead))
            for _ in range(here):
                prefetch(b, ahead.pop(), level=1)
            b.asm(ir.FunctionType(ir.VoidType(), []), "nop\n" * (SPACING - here), "", [], side_effect=True)

        def load(register: int, address: Any, offset: int = 0, row: Any = TILE_ROW) -> None:
            operate("tileloadd64", register, pointer(b, address, offset), row)

        def place(matrix: str, r: int, j: int) -> Any:
            return b.add(b.add(a[matrix], b.mul(a[f"{matrix}_row"], I64(TILE_ROWS * r))), I64(64 * j))

        for register, (r, j) in enumerate(sums):
            load(register, place("start", r, j), row=a["start_row"])

        def block_places(block: Any) -> tuple[list[Any], Any]:
            of_block = b.mul(block, I64(block_bytes))
            rows = [b.add(b.add(a["a"], b.mul(a["a_rows"], I64(r))), of_block) for r in range(high)]
            return rows, b.add(a["w"], b.mul(block, a["w_block"]))

        with loop(b, a["blocks"]) as block:
            rows, w = block_places(block)
            loaded: dict[int, Any] = {}
            following = [pointer(b, at, block_bytes) for at in rows] + [pointer(b, b.add(w, a["w_block"]))]
            lines = [(at, line) for line in range(0, block_bytes, 64) for at in following[:-1]]
            lines += [(following[-1], line) for line in range(0, wide * block_bytes, 64)]
            ahead[:] = [b.gep(at, [I64(line)], source_etype=BYTE) for at, line in lines]

            def need(register: int, address: Any, what: Any, offset: int) -> int:
                if loaded.get(register) != what:
                    load(register, address, offset)
                    loaded[register] = what
                return register

            def product(r: int, j: int, part_b: int, part_a: int) -> None:
                left = need(of_rows[r, part_a], rows[r], ("row", r, part_a), part_a * TILE_BYTES)
                right = need(rest[j % len(rest)], w, ("weight", j, part_b), j * block_bytes + part_b * TILE_BYTES)
                operate("tdpbf16ps", r * wide + j, left, right)

            if high == 1:
                for (r, j), (part_b, part_a) in itertools.product(sums, parts.terms):
                    product(r, j, part_b, part_a)
            else:
                for (part_b, part_a), (r, j) in itertools.product(parts.terms, sums):
                    product(r, j, part_b, part_a)
            ahead.clear()
        rows, w = block_places(a["blocks"])
        with loop(b, a["packed"]) as number:
            of_tile = b.mul(number, I64(TILE_BYTES))
            for r in range(high):
                load(of_rows[r, 0], b.add(rows[r], of_tile))
            for j in range(wide):
                right = rest[j % len(rest)]
                load(right, b.add(w, of_tile), j * block_bytes)
                for r in range(high):
                    operate("tdpbf16ps", r * wide + j, of_rows[r, 0], right)
        for register, (r, j) in enumerate(sums):
            operate("tilestored64", register, pointer(b, place("c", r, j)), a["c_row"])

    return emitted(f"bf16_tile_{high}x{wide}", TILE, body, finished=True)

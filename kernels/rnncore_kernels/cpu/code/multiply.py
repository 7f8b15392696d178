"""The product of rows with packed weights.

Activations are rows in memory, found by a table of their addresses. Weights are packed in groups of up to `columns`
vectors side by side: for each k, the vectors of that group.
"""

from __future__ import annotations

from typing import Any

from ...alignment import LINE_BYTES
from ..shape import Shape
from ..vector import Vector
from .emitted import compiled, emitted
from .factors import Factors
from .ir import I64, pointer, prefetch, size_of, word_pointer
from .tiles import even_height_of, even_heights, height_of, heights, make_choice, sum_products, tallest_heights

BLOCK_BYTES = 32 * 1024
"""Bytes of packed weights in a block, which stays in the first-level cache while all rows pass over it."""

STREAMING, STREAMING_AHEAD = (3, 4), 2048
"""Rows of a tile for which the core fetches too late by itself, and how many bytes ahead their tile does."""

WIDE = 3
"""Vectors of a tile from which on it has any height: narrow ones are rare, and each tile takes time to compile."""

TILE = ("rows", "k0", "depth", "w", "w_group", "start", "start_row", "start_group", "c", "c_row", "c_group", "ahead")


def make_multiply(shape: Shape, factors: Factors) -> Any:
    """`multiply(columns, rows, origin, n, depth, w, start, start_row, c, c_row, groups, w_group, start_group, c_group)`

    C = start + A W for n rows and `groups` groups of `columns` vectors, which may be more than a tile has. `rows` is
    the table of A's rows, whose `depth` words from `origin` on are multiplied; `_row` and `_group` are distances in
    bytes; C may be `start`.
    """
    most, vector_bytes, column_bytes = shape.columns, shape.vector_bytes, size_of(factors.column_words)
    behind, whole = factors.behind, factors.finish is not None
    tallest_1, tallest_2, tallest_3, tallest_4 = tallest_heights(shape)
    block_1, block_2, block_3, block_4 = (max(32, BLOCK_BYTES // (width * column_bytes)) for width in (1, 2, 3, 4))
    tile = _make_tiles(shape, factors)

    @compiled("multiply")
    def multiply(
        columns: int, rows: int, origin: int, n: int, depth: int, w: int, start: int, start_row: int, c: int,
        c_row: int, groups: int, w_group: int, start_group: int, c_group: int,
    ) -> None:  # fmt: skip
        tiles = (columns + most - 1) // most if columns > most else 1
        first = 0
        for number in range(tiles):
            width = columns
            if tiles > 1:
                width = columns // tiles + (1 if number < columns % tiles else 0)
            tallest, block = tallest_4, block_4
            if width == 1:
                tallest, block = tallest_1, block_1
            elif width == 2:
                tallest, block = tallest_2, block_2
            elif width == 3:
                tallest, block = tallest_3, block_3
            k_bytes, panel, at = width * column_bytes, w + first * (column_bytes * depth + behind), first * vector_bytes
            k = 0
            # A block of weights stays in the cache while all rows pass over it; one tile of rows needs no blocks.
            step = depth if whole or n <= tallest else block
            while True:
                here = min(step, depth - k)
                s, s_row, s_group = start + at, start_row, start_group
                if k > 0:
                    s, s_row, s_group = c + at, c_row, c_group
                i = 0
                # While rows pass over a block, a line at each k, the next one is fetched: it lies behind this one.
                ahead = panel + (k + here) * k_bytes
                last_ahead = ahead + here * (k_bytes - LINE_BYTES)
                while i < n:
                    height = even_height_of(n - i, tallest) if width >= WIDE else height_of(n - i, tallest)
                    g = 0
                    while g < groups:
                        together = 1
                        if height == 1 and groups - g >= 4:
                            together = 4
                        elif height == 2 and groups - g >= 2:
                            together = 2
                        tile(
                            width, height, together, rows + 8 * i, origin + k, here,
                            panel + k * k_bytes + g * w_group, w_group,
                            s + s_row * i + g * s_group, s_row, s_group,
                            c + at + c_row * i + g * c_group, c_row, c_group, ahead,
                        )  # fmt: skip
                        g += together
                    i += height
                    ahead = min(ahead + here * LINE_BYTES, last_ahead)
                k += here
                if k >= depth:
                    break
            first += width

    return multiply


def _make_tiles(shape: Shape, factors: Factors) -> Any:
    """`tile(width, height, groups, ...)`: the tile of that size."""
    sizes = [
        (width, height, groups)
        for width in range(1, shape.columns + 1)
        for height in (even_heights(shape, width) if width >= WIDE else heights(shape, width))
        for groups in sorted({1, {1: 4, 2: 2}.get(height, 1)})
    ]
    tiles = {size: _tile(shape, factors, *size) for size in sizes}
    return make_choice(f"tile_{factors.name}", ("width", "height", "groups"), TILE, tiles)


def _tile(shape: Shape, factors: Factors, vectors: int, height: int, groups: int) -> Any:
    """C = start + A[:, k0:k0+depth] W for one tile; `w` is where k0's vectors are, `ahead` what will be read later."""
    size, columns_size = shape.vector_bytes, size_of(factors.column_words)
    places = [(g, m, j) for g in range(groups) for m in range(height) for j in range(vectors)]
    large = groups == 1 and vectors >= WIDE and height >= 3
    # The highest tiles pass over a block of weights one after the other; lower ones often are all the rows there are.
    streaming = large and height in STREAMING and height < shape.rows(vectors)
    asks_ahead = large and height >= 4 and not streaming

    def load(b: Any, at: Any) -> Vector:
        return Vector.load(b, shape.target, shape.dtype, at)

    def body(b: Any, *arguments: Any) -> None:
        a: dict[str, Any] = dict(zip(TILE, arguments, strict=True))
        at_k0 = b.mul(a["k0"], I64(size_of(factors.row_word)))
        row = [b.add(b.load(word_pointer(b, a["rows"], m)), at_k0) for m in range(height)]
        row = [b.inttoptr(r, factors.row_word.as_pointer()) for r in row]
        weights_at = [b.add(a["w"], b.mul(a["w_group"], I64(g))) for g in range(groups)]
        panel = [b.inttoptr(p, factors.column_words.as_pointer()) for p in weights_at]

        def at(matrix: str, g: int, m: int, j: int) -> Any:
            offset = b.add(b.mul(a[f"{matrix}_group"], I64(g)), b.mul(a[f"{matrix}_row"], I64(m)))
            return pointer(b, b.add(a[matrix], offset), j * size)

        def turn(k: Any, sums: list[Vector]) -> list[Vector]:
            first = b.mul(k, I64(vectors))
            if asks_ahead:
                prefetch(b, pointer(b, a["ahead"], b.mul(k, I64(LINE_BYTES))))
            if streaming:
                at_k = b.add(a["w"], b.mul(first, I64(columns_size)))
                for line in range(0, vectors * columns_size, LINE_BYTES):
                    prefetch(b, pointer(b, at_k, STREAMING_AHEAD + line), level=1)
            indices = [b.add(first, I64(j)) for j in range(vectors)]
            for part in range(factors.parts):
                weights = [
                    [factors.load(b, b.gep(p, [j], source_etype=factors.column_words), part) for j in indices]
                    for p in panel
                ]
                splats = [factors.splat(b, b.gep(r, [k], source_etype=factors.row_word), part) for r in row]
                sums = [
                    factors.add(splats[m], weights[g][j], total) for (g, m, j), total in zip(places, sums, strict=True)
                ]
            return sums

        start = [load(b, at("start", *place)) for place in places]
        first = start if factors.finish is None else [value.constant(0) for value in start]
        sums = sum_products(b, a["depth"], first, turn, together=2 if streaming else 1)
        if factors.finish is not None:
            k_size, row = I64(vectors * columns_size), [b.load(word_pointer(b, a["rows"], m)) for m in range(height)]
            behind = [b.add(p, b.mul(a["depth"], k_size)) for p in weights_at]
            sums = [
                factors.finish(b, total, row[m], b.add(behind[g], I64(j * size)), vectors * size, value)
                for (g, m, j), total, value in zip(places, sums, start, strict=True)
            ]
        for place, result in zip(places, sums, strict=True):
            result.store(at("c", *place))

    return emitted(f"tile_{factors.name}_{height}x{vectors}x{groups}", TILE, body, finished=True)

"""The product over rows of two matrices: the gradients of weights."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..shape import Shape
from ..vector import ELEMENTS, Vector
from .emitted import compiled, emitted
from .factors import Factors
from .ir import I64, clamped, pointer, prefetch, size_of
from .tiles import height_of, heights, make_choice, sum_products, tallest_heights

TILE = ("depth", "a", "a_row", "b", "c", "c_row", "count", "add")


def make_outer_product(shape: Shape, factors: Factors) -> Any:
    """`outer(width, n, depth, a, a_row, b, c, c_row, count, add)`: C (+)= A^T B over `depth` rows.

    A has n columns, at least `depth` rows of words at a distance of `a_row`; B is packed rows of `width` vectors of
    words, at most `columns`. The first `count` elements of each of C's rows are written; added to what is there where
    `add` is 1.
    """
    item = size_of(factors.row_word)
    tallest_1, tallest_2, tallest_3, tallest_4 = tallest_heights(shape)
    sizes = [(width, height) for width in range(1, shape.columns + 1) for height in heights(shape, width)]
    tiles = {size: _tile(shape, factors, *size) for size in sizes}
    tile = make_choice(f"outer_tile_{factors.name}", ("width", "height"), TILE, tiles)

    @compiled("outer")
    def outer(
        width: int, n: int, depth: int, a: int, a_row: int, b: int, c: int, c_row: int, count: int, add: int
    ) -> None:
        tallest = tallest_4
        if width == 1:
            tallest = tallest_1
        elif width == 2:
            tallest = tallest_2
        elif width == 3:
            tallest = tallest_3
        i = 0
        while i < n:
            height = height_of(n - i, tallest)
            tile(width, height, depth, a + i * item, a_row, b, c + i * c_row, c_row, count, add)
            i += height

    return outer


def _tile(shape: Shape, factors: Factors, vectors: int, height: int) -> Any:
    """One tile of `outer`: `height` columns of A by `vectors` vectors of B."""
    size = shape.vector_bytes
    element = ELEMENTS[shape.dtype]
    places = [(m, j) for m in range(height) for j in range(vectors)]

    def body(b: Any, *arguments: Any) -> None:
        a = dict(zip(TILE, arguments, strict=True))

        def turn(k: Any, sums: list[Vector]) -> list[Vector]:
            at_a, at_b = b.add(a["a"], b.mul(k, a["a_row"])), b.add(a["b"], b.mul(k, I64(vectors * size)))
            right = [factors.load(b, pointer(b, at_b, j * size), 0) for j in range(vectors)]
            left = [factors.splat(b, pointer(b, at_a, m * size_of(factors.row_word)), 0) for m in range(height)]
            return [factors.add(left[m], right[j], total) for (m, j), total in zip(places, sums, strict=True)]

        # What is added to at the end, from farther away than what is multiplied.
        for m, j in places:
            prefetch(b, pointer(b, b.add(a["c"], b.mul(a["c_row"], I64(m))), j * size))
        zero = Vector(b, ir.Constant(ir.VectorType(element, shape.lanes), None), shape.target)
        results = sum_products(b, a["depth"], [zero] * len(places), turn)
        adding = b.icmp_signed("!=", a["add"], I64(0))
        counts = [clamped(b, b.sub(a["count"], I64(j * shape.lanes)), shape.lanes) for j in range(vectors)]
        for (m, j), result in zip(places, results, strict=True):
            address = pointer(b, b.add(a["c"], b.mul(a["c_row"], I64(m))), j * size)
            there = b.select(adding, counts[j], I64(0))
            old = Vector.load(b, shape.target, shape.dtype, address, there)
            (old + result).store(address, counts[j])

    return emitted(f"outer_{factors.name}_{height}x{vectors}", TILE, body)

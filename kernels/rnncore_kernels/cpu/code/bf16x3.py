"""float32 numbers as sums of three bfloat16, in the order in which tile registers multiply them.

A number is rounded to the 8 bits of a bfloat16, then what is left, then what is left of that: the three parts add up to
it exactly, unless the last are below 2**-126. A block is 32 of the depth K of a product, 16 rows or columns wide; its
parts are three tiles of 1 KiB one after the other. In a tile, word p of a row has k = p and k = p + 16 of the block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..fields.bf16x3 import BLOCK_BYTES, DEPTH, PARTS, ROWS, TILE_BYTES
from ..shape import Shape
from ..vector import Vector
from .emitted import compiled, emitted, once_for_shape
from .ir import I64, clamped, loop, pointer, word_pointer
from .moves import make_transpose

BF16_ROWS = ("rows", "n", "depth", "target")
BF16_GATHERED = ("rows", "n", "offset", "count", "target", "width")
BF16_TRANSPOSED = ("source", "row", "depth", "target")

HIGH = -0x10000
"""Mask of the bits of a float32 that a bfloat16 has."""

LARGEST = float.fromhex("0x1.fep127")
"""The largest bfloat16. What is larger, infinity too, becomes this, as there are no parts that add up to infinity."""


@compiled("back_blocks")
def back_blocks(gate_vectors: int, stages: int) -> int:
    """Where a column of weights of the backward pass begins, in blocks: behind those of so many stages and gates."""
    return (gate_vectors + 1) // 2 + stages


def make_bf16_rows(shape: Shape) -> Any:
    """`bf16_rows(rows, n, depth, target)`: n rows of `depth` elements, by a table of their addresses.

    `target` is, for each 16 rows, all blocks of their depth; zeros behind the last element. Rows from n on stay as they
    are.
    """

    def body(b: Any, rows: Any, n: Any, depth: Any, target: Any) -> None:
        whole, tail = b.lshr(depth, I64(5)), b.and_(depth, I64(DEPTH - 1))
        blocks = _blocks(b, depth)
        with loop(b, n) as row:
            source = b.load(word_pointer(b, rows, row))
            of_rows = b.mul(b.mul(b.lshr(row, I64(4)), blocks), I64(BLOCK_BYTES))
            to = b.add(b.add(target, of_rows), b.mul(b.and_(row, I64(ROWS - 1)), I64(64)))
            with loop(b, whole) as block:
                at = b.add(source, b.mul(block, I64(4 * DEPTH)))
                halves = [_load(b, shape, at, 64 * half) for half in range(2)]
                _store(b, _words(b, *halves), b.add(to, b.mul(block, I64(BLOCK_BYTES))))
            with b.if_then(b.icmp_signed(">", tail, I64(0))):
                at = b.add(source, b.mul(whole, I64(4 * DEPTH)))
                counts = [clamped(b, b.sub(tail, I64(ROWS * half)), ROWS) for half in range(2)]
                halves = [_load(b, shape, at, 64 * half, counts[half]) for half in range(2)]
                _store(b, _words(b, *halves), b.add(to, b.mul(whole, I64(BLOCK_BYTES))))

    return emitted("bf16_rows", BF16_ROWS, body)


@once_for_shape
def make_bf16_columns(shape: Shape) -> Any:
    """`bf16_columns(source, row, depth, width, target)`: `depth` rows of `width` vectors, at a distance.

    `target` is `width` blocks for each 32 of the depth, of one vector's columns each; zeros behind the last row.
    """

    def body(b: Any, source: Any, row: Any, depth: Any, width: Any, target: Any) -> None:
        def load(k: Any, there: Any, column: Any) -> Vector:
            at = b.add(b.add(source, b.mul(k, row)), b.mul(column, I64(64)))
            return _load(b, shape, at, 0, b.select(there, I64(ROWS), I64(0)))

        _store_columns(b, depth, width, target, load)

    return emitted("bf16_columns", ("source", "row", "depth", "width", "target"), body)


def make_bf16_gathered(shape: Shape) -> Any:
    """`bf16_gathered(rows, n, offset, count, target, width)`: `count` elements at `offset` bytes of each of n rows.

    `rows` is the table of their addresses. `target` is what `bf16_columns` makes of such rows, n of them deep.
    """

    def body(b: Any, rows: Any, n: Any, offset: Any, count: Any, target: Any, width: Any) -> None:
        last = b.sub(n, I64(1))

        def load(k: Any, there: Any, column: Any) -> Vector:
            source = b.load(word_pointer(b, rows, b.select(there, k, last)))
            here = clamped(b, b.sub(count, b.mul(column, I64(ROWS))), ROWS)
            at = b.add(b.add(source, offset), b.mul(column, I64(64)))
            return _load(b, shape, at, 0, b.select(there, here, I64(0)))

        _store_columns(b, n, width, target, load)

    return emitted("bf16_gathered", BF16_GATHERED, body)


def _store_columns(b: Any, depth: Any, width: Any, target: Any, load: Callable[[Any, Any, Any], Vector]) -> None:
    """Emit loops over the blocks of columns; `load(k, there, column)` emits row k of a column, if it is there."""
    with loop(b, _blocks(b, depth)) as block, loop(b, width) as column:
        to = b.add(target, b.mul(b.add(b.mul(block, width), column), I64(BLOCK_BYTES)))
        with loop(b, I64(ROWS)) as p:
            halves = []
            for half in range(2):
                k = b.add(b.add(b.mul(block, I64(DEPTH)), I64(ROWS * half)), p)
                halves.append(load(k, b.icmp_signed("<", k, depth), column))
            _store(b, _words(b, *halves), b.add(to, b.mul(p, I64(64))))


def make_bf16_transposed(shape: Shape) -> Any:
    """`bf16_transposed(source, row, depth, target)`: one vector's columns of `depth` rows at a distance, as rows.

    `target` is a block for each 32 of the depth; zeros behind the last row.
    """
    bf16_columns, transpose = make_bf16_columns(shape), make_transpose(shape)

    @compiled("bf16_transposed")
    def bf16_transposed(source: int, row: int, depth: int, target: int) -> None:
        bf16_columns(source, row, depth, 1, target)
        for tile in range((depth + DEPTH - 1) // DEPTH * PARTS):
            at = target + tile * TILE_BYTES
            transpose(at, 64, ROWS, ROWS, at, 64)

    return bf16_transposed


def _blocks(b: Any, depth: Any) -> Any:
    return b.lshr(b.add(depth, I64(DEPTH - 1)), I64(5))


def _load(b: Any, shape: Shape, address: Any, offset: int, count: Any = None) -> Vector:
    return Vector.load(b, shape.target, shape.dtype, pointer(b, address, offset), count)


def _words(b: Any, low: Vector, high: Vector) -> list[Any]:
    """Of two vectors the three parts of each: words with one's bfloat16 in the lower half, the other's in the upper."""
    sixteen, mask = low.integers(16), low.integers(HIGH)
    return [
        b.or_(b.lshr(of_low, sixteen), b.and_(of_high, mask))
        for of_low, of_high in zip(_parts(b, low), _parts(b, high), strict=True)
    ]


def _parts(b: Any, value: Vector) -> list[Any]:
    """The bits of three float32 whose sum the value is; what a bfloat16 has no room for in the last is zero."""
    value, parts = value.maximum(-LARGEST).minimum(LARGEST), []
    for _ in range(PARTS - 1):
        rounded = b.and_(b.add(value.bits(), value.integers(0x8000)), value.integers(HIGH))
        parts.append(rounded)
        value = value - value.from_bits(rounded)
    return [*parts, value.bits()]


def _store(b: Any, parts: list[Any], to: Any) -> None:
    for number, words in enumerate(parts):
        place = pointer(b, to, number * TILE_BYTES)
        b.store(words, b.bitcast(place, words.type.as_pointer()), align=64)

"""float32 numbers as one bfloat16 or sums of three, in the order in which tile registers multiply them.

A number is rounded to the 8 bits of a bfloat16, then what is left, then what is left of that: the three parts add up to
it exactly, unless the last are below 2**-126. A block is 32 of the depth K of a product, 16 rows or columns wide; its
parts are tiles of 1 KiB one after the other. In a tile, word p of a row has k = p and k = p + 16 of the block.

Where at most 16 of the depth are left for the last block, several parts stand side by side there, in the order in which
their terms are multiplied: terms 2 j and 2 j + 1 in the halves of words w j to w (j + 1), w = 8 or 16. So two products,
for up to 8 of the depth, or three do instead of six.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..code.bfloat16 import HIGH, rounded
from ..code.emitted import compiled, emitted, once
from ..code.ir import I64, clamped, loop, pointer, word_pointer
from ..code.moves import make_transpose
from ..shape import Shape
from ..vector import Vector
from .blocks import BLOCK_DEPTH, TILE_BYTES, TILE_ROWS, Parts

ROWS_ARGUMENTS = ("rows", "n", "depth", "target")
COLUMNS_ARGUMENTS = ("source", "row", "depth", "width", "target")
GATHERED_ARGUMENTS = ("rows", "n", "offset", "count", "target", "width")

LARGEST = float.fromhex("0x1.fep127")
"""The largest bfloat16. A larger sum of parts, infinity too, becomes this, as no parts add up to infinity."""


class Rest(NamedTuple):
    """LLVM's values for a depth.

    Attributes:
        count: what is left of it for the last block, or 0.
        blocks: all of them.
        whole: those before one whose parts stand side by side.
        packed: whether there is such a block.
        width: how many words a pair of terms has there.
    """

    count: Any
    blocks: Any
    whole: Any
    packed: Any
    width: Any


def _rest(b: Any, parts: Parts, depth: Any) -> Rest:
    count = b.and_(depth, I64(BLOCK_DEPTH - 1))
    packed = b.icmp_unsigned("<", b.sub(count, I64(1)), I64(TILE_ROWS if parts.count > 1 else 0))
    blocks = b.udiv(b.add(depth, I64(BLOCK_DEPTH - 1)), I64(BLOCK_DEPTH))
    width = b.select(b.icmp_signed(">", count, I64(TILE_ROWS // 2)), I64(TILE_ROWS), I64(TILE_ROWS // 2))
    return Rest(count, blocks, b.select(packed, b.sub(blocks, I64(1)), blocks), packed, width)


def _of_depth(name: str, parts: Parts, value: Callable[[Any, Rest], Any]) -> Any:
    """`name(depth)`: what `value(b, rest)` emits."""
    return emitted(name, ("depth",), lambda b, depth: value(b, _rest(b, parts, depth)), returns=True, inline=True)


def make_column_bytes(parts: Parts) -> Any:
    """`column_bytes(depth)`: of the blocks of up to 16 rows, or columns, of that depth."""
    return _of_depth("column_bytes", parts, lambda b, rest: b.mul(rest.blocks, I64(parts.block_bytes)))


def make_whole_blocks(parts: Parts) -> Any:
    """`whole_blocks(depth)`: those of a depth before one whose parts stand side by side."""
    return _of_depth("whole_blocks", parts, lambda b, rest: rest.whole)


def make_packed_tiles(parts: Parts) -> Any:
    """`packed_tiles(depth)`: tiles of such a block, 2 or 3, or 0 if there is none."""

    def count(b: Any, rest: Rest) -> Any:
        return b.select(rest.packed, b.add(b.udiv(rest.width, I64(TILE_ROWS // 2)), I64(1)), I64(0))

    return _of_depth("packed_tiles", parts, count)


def make_bf16_rows(shape: Shape, parts: Parts) -> Any:
    """`bf16_rows(rows, n, depth, target)`: n rows of `depth` elements, by a table of their addresses.

    `target` is, for each 16 rows, all blocks of their depth; zeros behind the last element. Rows from n on stay as they
    are.
    """

    def body(b: Any, rows: Any, n: Any, depth: Any, target: Any) -> None:
        rest = _rest(b, parts, depth)
        full = b.udiv(depth, I64(BLOCK_DEPTH))
        partial = b.icmp_signed("<", full, rest.whole)
        with loop(b, n) as row:
            source = b.load(word_pointer(b, rows, row))
            of_rows = b.mul(b.mul(b.udiv(row, I64(TILE_ROWS)), rest.blocks), I64(parts.block_bytes))
            to = b.add(b.add(target, of_rows), b.mul(b.and_(row, I64(TILE_ROWS - 1)), I64(64)))
            with loop(b, full) as block:
                at = b.add(source, b.mul(block, I64(4 * BLOCK_DEPTH)))
                halves = [_load(b, shape, at, 64 * half) for half in range(2)]
                _store(b, _words(b, parts, *halves), b.add(to, b.mul(block, I64(parts.block_bytes))))
            at, last = b.add(source, b.mul(full, I64(4 * BLOCK_DEPTH))), b.add(to, b.mul(full, I64(parts.block_bytes)))
            with b.if_then(partial):
                counts = [clamped(b, b.sub(rest.count, I64(TILE_ROWS * half)), TILE_ROWS) for half in range(2)]
                halves = [_load(b, shape, at, 64 * half, count) for half, count in enumerate(counts)]
                _store(b, _words(b, parts, *halves), last)
            if parts.count == 1:
                return
            with b.if_then(rest.packed):
                value = _load(b, shape, at, 0, rest.count)
                for number, words in enumerate(_pairs(b, parts, value, of_row=True)):
                    place = b.mul(rest.width, I64(number))
                    # The row has 16 words in a tile; the next tile begins 1 KiB further on.
                    tile, word = b.udiv(place, I64(TILE_ROWS)), b.urem(place, I64(TILE_ROWS))
                    offset = b.add(b.mul(tile, I64(TILE_BYTES)), b.mul(word, I64(4)))
                    words.store(pointer(b, last, offset), rest.width)
                with b.if_then(b.icmp_signed("<", rest.width, I64(TILE_ROWS))):
                    value.constant(0).store(pointer(b, last, TILE_BYTES + 32), 8)

    return emitted("bf16_rows", ROWS_ARGUMENTS, body)


@once
def make_bf16_columns(shape: Shape, parts: Parts) -> Any:
    """`bf16_columns(source, row, depth, width, target)`: `depth` rows of `width` vectors, at a distance.

    `target` is `width` blocks for each 32 of the depth, of one vector's columns each; zeros behind the last row.
    """
    return emitted("bf16_columns", COLUMNS_ARGUMENTS, _columns(shape, parts, as_rows=False))


def make_bf16_gathered(shape: Shape, parts: Parts) -> Any:
    """`bf16_gathered(rows, n, offset, count, target, width)`: `count` elements at `offset` bytes of each of n rows.

    `rows` is the table of their addresses. `target` is what `bf16_columns` makes of such rows, n of them deep.
    """

    def body(b: Any, rows: Any, n: Any, offset: Any, count: Any, target: Any, width: Any) -> None:
        last = b.sub(n, I64(1))

        def load(k: Any, there: Any, column: Any) -> Vector:
            source = b.load(word_pointer(b, rows, b.select(there, k, last)))
            here = clamped(b, b.sub(count, b.mul(column, I64(TILE_ROWS))), TILE_ROWS)
            at = b.add(b.add(source, offset), b.mul(column, I64(64)))
            return _load(b, shape, at, 0, b.select(there, here, I64(0)))

        _store_columns(b, parts, n, width, target, load, as_rows=False)

    return emitted("bf16_gathered", GATHERED_ARGUMENTS, body)


def make_bf16_transposed(shape: Shape, parts: Parts) -> Any:
    """`bf16_transposed(source, row, depth, target)`: one vector's columns of `depth` rows at a distance, as rows.

    `target` is a block for each 32 of the depth; zeros behind the last row.
    """
    columns = emitted("bf16_columns_as_rows", COLUMNS_ARGUMENTS, _columns(shape, parts, as_rows=True))
    transpose, column_bytes = make_transpose(shape), make_column_bytes(parts)

    @compiled("bf16_transposed")
    def bf16_transposed(source: int, row: int, depth: int, target: int) -> None:
        columns(source, row, depth, 1, target)
        for at in range(target, target + column_bytes(depth), TILE_BYTES):
            transpose(at, 64, TILE_ROWS, TILE_ROWS, at, 64)

    return bf16_transposed


def _columns(shape: Shape, parts: Parts, *, as_rows: bool) -> Callable[..., None]:
    def body(b: Any, source: Any, row: Any, depth: Any, width: Any, target: Any) -> None:
        def load(k: Any, there: Any, column: Any) -> Vector:
            at = b.add(b.add(source, b.mul(k, row)), b.mul(column, I64(64)))
            return _load(b, shape, at, 0, b.select(there, I64(TILE_ROWS), I64(0)))

        _store_columns(b, parts, depth, width, target, load, as_rows=as_rows)

    return body


def _store_columns(
    b: Any, parts: Parts, depth: Any, width: Any, target: Any, load: Callable[[Any, Any, Any], Vector], *, as_rows: bool
) -> None:
    """Emit loops over the blocks of columns; `load(k, there, column)` emits row k of a column, if it is there.

    Parts that stand side by side are those of columns, or of rows.
    """
    rest = _rest(b, parts, depth)

    def load_row(block: Any, p: Any, column: Any) -> Vector:
        k = b.add(b.mul(block, I64(BLOCK_DEPTH)), p)
        return load(k, b.icmp_signed("<", k, depth), column)

    def place(block: Any, column: Any) -> Any:
        return b.add(target, b.mul(b.add(b.mul(block, width), column), I64(parts.block_bytes)))

    with loop(b, rest.whole) as block, loop(b, width) as column, loop(b, I64(TILE_ROWS)) as p:
        halves = [load_row(block, b.add(p, I64(TILE_ROWS * half)), column) for half in range(2)]
        _store(b, _words(b, parts, *halves), b.add(place(block, column), b.mul(p, I64(64))))
    if parts.count == 1:
        return
    with b.if_then(rest.packed), loop(b, width) as column, loop(b, rest.width) as p:
        to = place(rest.whole, column)
        of_terms = _pairs(b, parts, load_row(rest.whole, p, column), of_row=as_rows)
        for number, words in enumerate(of_terms):
            words.store(pointer(b, to, b.mul(b.add(b.mul(rest.width, I64(number)), p), I64(64))))
        with b.if_then(b.icmp_signed("<", rest.width, I64(TILE_ROWS))):
            of_terms[0].constant(0).store(pointer(b, to, b.mul(b.add(p, I64(3 * TILE_ROWS // 2)), I64(64))))


def _load(b: Any, shape: Shape, address: Any, offset: int, count: Any = None) -> Vector:
    return Vector.load(b, shape.target, shape.dtype, pointer(b, address, offset), count)


def _parts(value: Vector, count: int) -> list[Vector]:
    """Vectors whose sum the value is, of numbers like bfloat16; the last has lower bits, which do not count."""
    if count == 1:
        return [rounded(value)]
    value, parts = value.maximum(-LARGEST).minimum(LARGEST), []
    for _ in range(count - 1):
        near = value.builder.and_(value.builder.add(value.bits(), value.integers(0x8000)), value.integers(HIGH))
        parts.append(value.from_bits(near))
        value = value - parts[-1]
    return [*parts, value]


def _joined(b: Any, low: Vector, high: Vector) -> Vector:
    """Words with one's bfloat16 in the lower half, the other's in the upper."""
    sixteen, mask = low.integers(16), low.integers(HIGH)
    return low.from_bits(b.or_(b.lshr(low.bits(), sixteen), b.and_(high.bits(), mask)))


def _words(b: Any, parts: Parts, low: Vector, high: Vector) -> list[Vector]:
    """The words of a block, from each part of two vectors."""
    return [_joined(b, *both) for both in zip(_parts(low, parts.count), _parts(high, parts.count), strict=True)]


def _pairs(b: Any, parts: Parts, value: Vector, *, of_row: bool) -> list[Vector]:
    """The words of each pair of terms, where the parts of a vector, of a row or a column, stand side by side."""
    made = _parts(value, parts.count)
    in_order = [made[term[of_row]] for term in parts.terms]
    return [_joined(b, *both) for both in zip(in_order[::2], in_order[1::2], strict=True)]


def _store(b: Any, tiles: list[Vector], to: Any) -> None:
    for number, words in enumerate(tiles):
        words.store(pointer(b, to, number * TILE_BYTES))

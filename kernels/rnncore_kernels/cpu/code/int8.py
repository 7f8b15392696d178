"""Products of rows and weights that are whole numbers of a byte times a scale, see `precision`; sums are exact.

Words are neighbouring k: four bytes where the target multiplies these, which takes the bytes of rows as numbers from 0
on, so 128 is added to them, and 128 times the sum of a column's weights taken away; on ARM it takes signs, and no such
numbers are needed. Elsewhere words are pairs, of bytes of weights, which are widened when they are loaded, and of 16
bits of rows. Behind a column's words are its scale and what is taken away; in front of a row's words is its scale.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from ...precision import LEAST, MOST
from ..narrow import ROW_HEADER, int8_column_bytes_of, int8_row_bytes_of, int8_word
from ..shape import Shape
from ..sizes import block_units
from ..vector import Vector
from .emitted import compiled, emitted, once
from .factors import Factors, own_factors, splat_number
from .gemm import Gemm, make_prepare, rows_at
from .ir import BYTE, I64, call_external, clamped, loop, pointer
from .memory import copy
from .multiply import make_multiply

ROUND = 12582912.0
"""1.5 * 2**23: what is added to it is rounded to a whole number, in the lowest bits of the sum."""

I16, I32 = ir.IntType(16), ir.IntType(32)


@once
def make_int8_gemm(shape: Shape) -> Gemm:
    """Products of whole numbers with scales, see `gemm.Gemm`, for inference alone; their sums are exact."""
    vector, size = shape.vector_bytes, int8_word(shape)
    column_bytes = compiled("column_bytes")(int8_column_bytes_of(shape))
    prepare, prepared_bytes = make_prepare(int8_row_bytes_of(shape), _make_round_row(shape), ROW_HEADER)
    multiply_words = make_multiply(shape, int8_factors(shape))

    @compiled("multiply_prepared")
    def multiply(
        columns: int, rows: int, origin: int, n: int, depth: int, w: int, start: int, start_row: int, c: int,
        c_row: int, groups: int, w_group: int, start_group: int, c_group: int,
    ) -> None:  # fmt: skip
        if depth == 0:
            for g in range(groups):
                for i in range(n):
                    copy(c + i * c_row + g * c_group, start + i * start_row + g * start_group, columns * vector)
        else:
            multiply_words(columns, rows, origin // size, n, (depth + size - 1) // size, w, start, start_row, c, c_row,
                           groups, w_group, start_group, c_group)  # fmt: skip

    return Gemm(
        prepare=prepare,
        prepared_bytes=prepared_bytes,
        rows_at=rows_at,
        column_bytes=column_bytes,
        multiply=multiply,
        take_columns=_make_columns(shape),
        panel_bytes=None,
        take_left=None,
        take_right=None,
        add_product=None,
        left_units=block_units(shape.lanes),
        suffix="_int8",
    )


@functools.cache
def int8_factors(shape: Shape) -> Factors:
    """Rows and packed weights."""
    own, lanes, quads, offset = own_factors(shape), shape.lanes, int8_word(shape) == 4, _offset(shape)

    def load_pairs(b: Any, place: Any, _: int) -> Vector:
        # The sum's vectors stand for 16-bit numbers, too.
        wide = b.sext(b.load(place, align=1, typ=pairs), ir.VectorType(I16, 2 * lanes))
        return Vector(b, b.bitcast(wide, own.column_words), shape.target)

    def finish(b: Any, total: Vector, row: Any, column: Any, distance: int, start: Vector) -> Vector:
        scale = splat_number(b, shape, pointer(b, row, -shape.itemsize)) * own.load(b, pointer(b, column), 0)
        sums = total.bits()
        if offset:
            sums = b.sub(sums, own.load(b, pointer(b, column, distance), 0).bits())
        return total.from_integers(sums).fma(scale, start)

    pairs = ir.VectorType(BYTE, 2 * lanes)
    return Factors(
        name="int8_quads" if quads else "int8_pairs",
        depth=4 if quads else 2,
        parts=1,
        row_word=own.row_word,
        column_words=own.column_words if quads else pairs,
        splat=own.splat,
        load=own.load if quads else load_pairs,
        add=_add_quads if quads else _add_pairs,
        behind=2 * shape.vector_bytes,
        finish=finish,
    )


def _offset(shape: Shape) -> int:
    """The number that is added to the bytes of rows."""
    return 0 if int8_word(shape) == 2 or shape.target.arm else 128


def _add_quads(x: Vector, y: Vector, total: Vector) -> Vector:
    b, four = x.builder, ir.VectorType(BYTE, 4 * x.lanes)
    factors = [b.bitcast(value.value, four) for value in (x, y)]
    name = "aarch64.neon.sdot.v4i32.v16i8" if x.target.arm else f"x86.avx512.vpdpbusd.{32 * x.lanes}"
    return total.from_bits(call_external(b, f"llvm.{name}", total.integer_type, [total.bits(), *factors]))


def _add_pairs(x: Vector, y: Vector, total: Vector) -> Vector:
    # What LLVM makes one instruction of, VPMADDWD say.
    b, two, wide = x.builder, ir.VectorType(I16, 2 * x.lanes), total.integer_type
    products = []
    for first in range(2):
        order = ir.Constant(ir.VectorType(I32, x.lanes), [I32(2 * lane + first) for lane in range(x.lanes)])
        halves = []
        for value in (x, y):
            numbers = b.bitcast(value.value, two)
            halves.append(b.sext(b.shuffle_vector(numbers, numbers, order), wide))
        products.append(b.mul(*halves, flags=("nsw",)))
    return total.from_bits(b.add(total.bits(), b.add(*products, flags=("nsw",))))


def _scale(largest: Vector, bad: Vector) -> tuple[Vector, Vector]:
    """The scale of numbers of a largest magnitude, see `precision.scales`, and its inverse; `bad` is 0 or NaN."""
    b = largest.builder
    quotient = largest / MOST
    up = b.and_(b.add(quotient.bits(), quotient.integers(0xFF)), quotient.integers(-0x100))
    scale = quotient.from_bits(up)
    normal = scale.compare(">=", float(LEAST))
    return scale.select(normal, 0.0) + bad, (1 / scale).select(normal, 0.0)


def _whole(value: Vector, inverse: Vector) -> Any:
    """LLVM's integers: the value times the inverse of its scale, rounded."""
    moved = (value * inverse).fence() + ROUND
    return value.builder.sub(moved.bits(), value.constant(ROUND).bits())


def _find_largest(b: Any, count: Any, load: Callable[[Any], Vector], like: Vector) -> tuple[Vector, Vector]:
    """Emit the largest magnitudes, lane by lane, of so many vectors, and 0, or NaN where one is not finite."""
    places = [b.alloca(like.value.type) for _ in range(2)]
    for place in places:
        b.store(like.constant(0).value, place)
    with loop(b, count) as k:
        value = load(k)
        largest, bad = (like.wrap(b.load(place)) for place in places)
        magnitude = value.from_bits(b.and_(value.bits(), value.integers(0x7FFFFFFF)))
        b.store(magnitude.select(magnitude.compare(">", largest), largest).value, places[0])
        b.store((bad + (value - value)).value, places[1])
    largest, bad = (like.wrap(b.load(place)) for place in places)
    return largest, bad


def _make_round_row(shape: Shape) -> Any:
    """`round_row(source, depth, target)`: a row's words, zeros behind its last element, and its scale before them."""
    lanes, size = shape.lanes, int8_word(shape)
    whole = max(lanes, size)

    def across(b: Any, value: Vector, combine: Callable[[Vector, Vector], Vector]) -> Vector:
        """The same number in all lanes: of all lanes."""
        count = lanes
        while count > 1:
            count //= 2
            order = ir.Constant(ir.VectorType(I32, lanes), [I32(lane ^ count) for lane in range(lanes)])
            value = combine(value, value.wrap(b.shuffle_vector(value.value, value.value, order)))
        return value

    def body(b: Any, source: Any, depth: Any, target: Any) -> None:
        count = b.mul(b.udiv(b.add(depth, I64(whole - 1)), I64(whole)), I64(whole // lanes))

        def load(v: Any) -> Vector:
            here = clamped(b, b.sub(depth, b.mul(v, I64(lanes))), lanes)
            return Vector.load(
                b, shape.target, shape.dtype, pointer(b, source, b.mul(v, I64(shape.vector_bytes))), here
            )

        like = Vector.full(b, shape.target, shape.dtype, 0)
        largest, bad = _find_largest(b, count, load, like)
        largest = across(b, largest, lambda x, y: x.select(x.compare(">", y), y))
        scale, inverse = _scale(largest, across(b, bad, lambda x, y: x + y))
        scale.store(pointer(b, target, -shape.itemsize), 1)
        bits = 32 // size
        numbers = ir.VectorType(ir.IntType(bits), lanes)
        with loop(b, count) as v:
            integers = b.add(_whole(load(v), inverse), like.integers(_offset(shape)))
            to = pointer(b, target, b.mul(v, I64(lanes * bits // 8)))
            b.store(b.trunc(integers, numbers), b.bitcast(to, numbers.as_pointer()), align=1)

    return emitted("round_row", ("source", "depth", "target"), body)


def _make_columns(shape: Shape) -> Any:
    """`columns(source, row, depth, width, target)`: `depth` rows of `width` vectors at a distance, as words.

    Behind them are the scales of all columns, then what is taken away from their sums.
    """
    size, lanes = int8_word(shape), shape.lanes

    def body(b: Any, source: Any, row: Any, depth: Any, width: Any, target: Any) -> None:
        like = Vector.full(b, shape.target, shape.dtype, 0)
        words = b.udiv(b.add(depth, I64(size - 1)), I64(size))
        word_bytes, vector = lanes * (4 if size == 4 else 2), I64(shape.vector_bytes)
        behind = b.add(target, b.mul(b.mul(words, width), I64(word_bytes)))
        with loop(b, width) as column:

            def load(k: Any, column: Any = column) -> Vector:
                there = b.icmp_signed("<", k, depth)
                at = b.add(b.add(source, b.mul(k, row)), b.mul(column, vector))
                return Vector.load(b, shape.target, shape.dtype, pointer(b, at), b.select(there, I64(lanes), I64(0)))

            scale, inverse = _scale(*_find_largest(b, depth, load, like))
            of_column = b.add(behind, b.mul(column, vector))
            scale.store(pointer(b, of_column))
            sums = b.alloca(like.integer_type)
            b.store(like.integers(0), sums)
            with loop(b, words) as p:
                joined = like.integers(0)
                for number in range(size):
                    integers = _whole(load(b.add(b.mul(p, I64(size)), I64(number))), inverse)
                    b.store(b.add(b.load(sums), integers), sums)
                    byte = b.and_(integers, like.integers(0xFF))
                    joined = b.or_(joined, b.shl(byte, like.integers(8 * number)))
                to = pointer(b, target, b.mul(b.add(b.mul(p, width), column), I64(word_bytes)))
                kind = ir.VectorType(ir.IntType(8 * size), lanes)
                joined = joined if size == 4 else b.trunc(joined, kind)
                b.store(joined, b.bitcast(to, kind.as_pointer()), align=1)
            taken = b.mul(b.load(sums), like.integers(_offset(shape)))
            like.from_bits(taken).store(pointer(b, of_column, b.mul(width, vector)))

    return emitted("int8_columns", ("source", "row", "depth", "width", "target"), body)

"""Products of rows and weights that are rounded to bfloat16, on vector registers.

Words are pairs of neighbouring k, the first in the lower half. Where the target multiplies pairs, both factors are
words; elsewhere the words of weights are widened when they are loaded, and other factors are rounded float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from ..narrow import PAIR, column_bytes_of, row_bytes_of
from ..shape import Shape
from ..sizes import PANEL_ROWS, block_units
from ..vector import Vector
from .emitted import compiled, emitted, once
from .factors import Factors, own_factors, splat_number
from .gemm import Gemm, make_prepare, rows_at
from .ir import I64, call_external, clamped, loop, pointer, word_pointer
from .moves import make_copy, make_gather
from .multiply import make_multiply
from .outer_product import make_outer_product

HIGH = -0x10000
"""Mask of the bits of a float32 that a bfloat16 has."""

QUIET = 0x400000
"""The bit that keeps NaN one when its lower half is dropped."""

COLUMNS = ("source", "row", "depth", "width", "target")
GATHERED = ("rows", "n", "offset", "count", "target", "width")


class _BFloat16(ir.types._BaseFloatType):  # type: ignore[misc]
    """LLVM's type of a bfloat16, which llvmlite lacks."""

    null = "0.0"
    intrinsic_name = "bf16"

    def __str__(self) -> str:
        return "bfloat"


_BFloat16._create_instance()


@once
def make_bfloat16_gemm(shape: Shape) -> Gemm:
    """Products of numbers that are rounded to bfloat16, see `gemm.Gemm`; their sums are float32."""
    vector, native = shape.vector_bytes, shape.target.bfloat16
    column_bytes = compiled("column_bytes")(column_bytes_of(shape))
    prepare, prepared_bytes = make_prepare(row_bytes_of(shape), _make_round_row(shape))
    multiply_words = make_multiply(shape, weight_factors(shape))
    outer = make_outer_product(shape, pair_factors(shape) if native else own_factors(shape))
    together, columns = PAIR if native else 1, make_columns(shape)
    copied = None if native else make_copy(shape, rounded)

    @compiled("multiply_prepared")
    def multiply(
        columns: int, rows: int, origin: int, n: int, depth: int, w: int, start: int, start_row: int, c: int,
        c_row: int, groups: int, w_group: int, start_group: int, c_group: int,
    ) -> None:  # fmt: skip
        multiply_words(columns, rows, origin // PAIR, n, (depth + 1) // PAIR, w, start, start_row, c, c_row, groups,
                       w_group, start_group, c_group)  # fmt: skip

    @compiled("take_left")
    def take_pairs(source: int, row: int, n: int, target: int, vectors: int) -> None:
        columns(source, row, n, vectors, target)

    @compiled("add_product")
    def add_product(
        wide: int, height: int, units: int, n: int, left: int, right: int, c: int, c_row: int, count: int, add: int,
        nothing: int,
    ) -> None:  # fmt: skip
        outer(wide, height, (n + together - 1) // together, left, units * vector, right, c, c_row, count, add)

    return Gemm(
        prepare=prepare,
        prepared_bytes=prepared_bytes,
        rows_at=rows_at,
        column_bytes=column_bytes,
        multiply=multiply,
        take_columns=columns,
        panel_bytes=emitted("panel_bytes", ("n",), lambda *_: I64(PANEL_ROWS * vector), returns=True, inline=True),
        take_left=take_pairs if copied is None else copied,
        take_right=_make_gathered(shape) if native else make_gather(shape, rounded),
        add_product=add_product,
        left_units=block_units(shape.lanes),
        suffix="_bfloat16",
    )


def weight_factors(shape: Shape) -> Factors:
    """Rows and packed weights."""
    return pair_factors(shape) if shape.target.bfloat16 else widened_factors(shape)


@functools.cache
def pair_factors(shape: Shape) -> Factors:
    """Pairs, multiplied by one instruction."""
    own = own_factors(shape)
    return Factors("bfloat16_pairs", PAIR, 1, own.row_word, own.column_words, own.splat, own.load, _add_pairs)


def _add_pairs(x: Vector, y: Vector, total: Vector) -> Vector:
    b, pairs = x.builder, ir.VectorType(_BFloat16(), PAIR * x.lanes)
    factors = [b.bitcast(value.value, pairs) for value in (x, y)]
    name = "aarch64.neon.bfdot.v4f32.v8bf16" if x.target.arm else f"x86.avx512bf16.dpbf16ps.{32 * x.lanes}"
    return total.wrap(call_external(b, f"llvm.{name}", total.value.type, [total.value, *factors]))


@functools.cache
def widened_factors(shape: Shape) -> Factors:
    """Pairs of weights and of float32, multiplied one after the other."""
    own = own_factors(shape)

    def splat(b: Any, place: Any, part: int) -> Vector:
        return splat_number(b, shape, b.gep(place, [I64(0), I64(part)], source_etype=two))

    def load(b: Any, place: Any, part: int) -> Vector:
        words = own.load(b, place, part)
        bits = b.and_(words.bits(), words.integers(HIGH)) if part else b.shl(words.bits(), words.integers(16))
        return words.from_bits(bits)

    two = ir.ArrayType(own.row_word, PAIR)
    return Factors("bfloat16_widened", PAIR, PAIR, two, own.column_words, splat, load, own.add)


def rounded(value: Vector) -> Vector:
    """The nearest bfloat16, of two the even one, as float32."""
    b, bits = value.builder, value.bits()
    odd = b.and_(b.lshr(bits, value.integers(16)), value.integers(1))
    nearest = b.add(bits, b.add(odd, value.integers(0x7FFF)))
    nan = value.compare("uno", value)
    return value.from_bits(b.and_(b.select(nan, b.or_(bits, value.integers(QUIET)), nearest), value.integers(HIGH)))


def _make_round_row(shape: Shape) -> Any:
    """`round_row(source, depth, target)`: a row of float32, rounded, with zeros up to a whole pair of vectors."""
    lanes = shape.lanes

    def body(b: Any, source: Any, depth: Any, target: Any) -> None:
        pairs = b.udiv(b.add(depth, I64(2 * lanes - 1)), I64(2 * lanes))
        with loop(b, b.mul(pairs, I64(2))) as v:
            count = clamped(b, b.sub(depth, b.mul(v, I64(lanes))), lanes)
            at = pointer(b, source, b.mul(v, I64(shape.vector_bytes)))
            value = rounded(Vector.load(b, shape.target, shape.dtype, at, count))
            if shape.target.bfloat16:
                halves = ir.VectorType(ir.IntType(16), lanes)
                upper = b.trunc(b.lshr(value.bits(), value.integers(16)), halves)
                to = pointer(b, target, b.mul(v, I64(shape.vector_bytes // 2)))
                b.store(upper, b.bitcast(to, halves.as_pointer()), align=2)
            else:
                value.store(pointer(b, target, b.mul(v, I64(shape.vector_bytes))))

    return emitted("round_row", ("source", "depth", "target"), body)


def make_columns(shape: Shape) -> Any:
    """`columns(source, row, depth, width, target)`: `depth` rows of `width` vectors at a distance, as words.

    A row of words has `width` vectors; zeros behind the last row of an odd number.
    """

    def body(b: Any, source: Any, row: Any, depth: Any, width: Any, target: Any) -> None:
        def load(k: Any, there: Any, column: Any) -> Vector:
            at = b.add(b.add(source, b.mul(k, row)), b.mul(column, I64(shape.vector_bytes)))
            count = b.select(there, I64(shape.lanes), I64(0))
            return Vector.load(b, shape.target, shape.dtype, pointer(b, at), count)

        _store_pairs(b, shape, depth, width, target, load)

    return emitted("bfloat16_columns", COLUMNS, body)


def _make_gathered(shape: Shape) -> Any:
    """`gathered(rows, n, offset, count, target, width)`: `count` elements at `offset` bytes of n rows, as words.

    `rows` is the table of their addresses; `target` as in `make_columns`.
    """

    def body(b: Any, rows: Any, n: Any, offset: Any, count: Any, target: Any, width: Any) -> None:
        last = b.sub(n, I64(1))

        def load(k: Any, there: Any, column: Any) -> Vector:
            source = b.load(word_pointer(b, rows, b.select(there, k, last)))
            here = clamped(b, b.sub(count, b.mul(column, I64(shape.lanes))), shape.lanes)
            at = b.add(b.add(source, offset), b.mul(column, I64(shape.vector_bytes)))
            return Vector.load(b, shape.target, shape.dtype, pointer(b, at), b.select(there, here, I64(0)))

        _store_pairs(b, shape, n, width, target, load)

    return emitted("bfloat16_gathered", GATHERED, body)


def _store_pairs(
    b: Any, shape: Shape, depth: Any, width: Any, target: Any, load: Callable[[Any, Any, Any], Vector]
) -> None:
    """Emit loops over the words of columns; `load(k, there, column)` emits a vector of row k, if it is there."""
    with loop(b, b.udiv(b.add(depth, I64(1)), I64(PAIR))) as p, loop(b, width) as column:
        halves = []
        for half in range(PAIR):
            k = b.add(b.mul(p, I64(PAIR)), I64(half))
            halves.append(rounded(load(k, b.icmp_signed("<", k, depth), column)))
        low, high = halves
        words = b.or_(b.lshr(low.bits(), low.integers(16)), high.bits())
        to = b.mul(b.add(b.mul(p, width), column), I64(shape.vector_bytes))
        low.from_bits(words).store(pointer(b, target, to))

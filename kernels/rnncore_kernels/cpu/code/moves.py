"""Vectors moved, transposed and added: what rows and weights need beside products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from ..shape import Shape
from ..vector import ELEMENTS, Vector
from .emitted import emitted
from .ir import I64, clamped, loop, pointer, prefetch, word_pointer

Change = Callable[[Vector], Vector]


def make_gather(shape: Shape, changed: Change | None = None) -> Any:
    """`gather(rows, n, offset, count, target, vectors)`: pack `count` elements at `offset` bytes of each row.

    The result is n times `vectors` vectors; zeros behind the elements. `changed` makes another vector of each.
    """
    size = shape.vector_bytes

    def body(b: Any, rows: Any, n: Any, offset: Any, count: Any, target: Any, vectors: Any) -> None:
        with loop(b, n) as row, loop(b, vectors) as j:
            source = b.add(b.add(b.load(word_pointer(b, rows, row)), offset), b.mul(j, I64(size)))
            here = clamped(b, b.sub(count, b.mul(j, I64(shape.lanes))), shape.lanes)
            to = b.add(target, b.mul(b.add(b.mul(row, vectors), j), I64(size)))
            value = Vector.load(b, shape.target, shape.dtype, pointer(b, source), here)
            (value if changed is None else changed(value)).store(pointer(b, to))

    names = ("rows", "n", "offset", "count", "target", "vectors")
    return emitted(f"gather_{'' if changed is None else changed.__name__}{shape.dtype.name}", names, body)


def make_scatter(shape: Shape) -> Any:
    """`scatter(rows, n, offset, count, source, vectors)`: the inverse of gather; `count` elements are written."""
    size = shape.vector_bytes

    def body(b: Any, rows: Any, n: Any, offset: Any, count: Any, source: Any, vectors: Any) -> None:
        with loop(b, n) as row, loop(b, vectors) as j:
            to = b.add(b.add(b.load(word_pointer(b, rows, row)), offset), b.mul(j, I64(size)))
            here = clamped(b, b.sub(count, b.mul(j, I64(shape.lanes))), shape.lanes)
            at = b.add(source, b.mul(b.add(b.mul(row, vectors), j), I64(size)))
            Vector.load(b, shape.target, shape.dtype, pointer(b, at)).store(pointer(b, to), here)

    names = ("rows", "n", "offset", "count", "source", "vectors")
    return emitted(f"scatter_{shape.dtype.name}", names, body)


def make_copy(shape: Shape, changed: Change | None = None) -> Any:
    """`copy_rows(source, row, n, target, vectors)`: n rows of vectors, at a distance, to rows without gaps.

    `changed` makes another vector of each.
    """
    size = shape.vector_bytes

    def body(b: Any, source: Any, row: Any, n: Any, target: Any, vectors: Any) -> None:
        with loop(b, n) as turn, loop(b, vectors) as j:
            at = b.add(b.add(source, b.mul(turn, row)), b.mul(j, I64(size)))
            to = b.add(target, b.mul(b.add(b.mul(turn, vectors), j), I64(size)))
            value = Vector.load(b, shape.target, shape.dtype, pointer(b, at))
            (value if changed is None else changed(value)).store(pointer(b, to))

    name = f"copy_rows_{'' if changed is None else changed.__name__}{shape.dtype.name}"
    return emitted(name, ("source", "row", "n", "target", "vectors"), body)


def make_add(shape: Shape) -> Any:
    """`add(left, right, count, target)`: one vector of `count` elements, zeros behind; an address of 0 is zeros."""

    def body(b: Any, left: Any, right: Any, count: Any, target: Any) -> None:
        values = []
        for address in (left, right):
            there = b.select(b.icmp_signed("!=", address, I64(0)), clamped(b, count, shape.lanes), I64(0))
            values.append(Vector.load(b, shape.target, shape.dtype, pointer(b, address), there))
        (values[0] + values[1]).store(pointer(b, target))

    return emitted(f"add_{shape.dtype.name}", ("left", "right", "count", "target"), body)


def make_add_rows(shape: Shape) -> Any:
    """`add_rows(source, n, vectors, target, row, count, add)`: n rows without gaps, to rows at a distance.

    The first `count` elements of each are written; added to what is there where `add` is 1.
    """
    size = shape.vector_bytes

    def body(b: Any, source: Any, n: Any, vectors: Any, target: Any, row: Any, count: Any, add: Any) -> None:
        adding = b.icmp_signed("!=", add, I64(0))
        with loop(b, n) as turn, loop(b, vectors) as j:
            at = b.add(source, b.mul(b.add(b.mul(turn, vectors), j), I64(size)))
            to = pointer(b, b.add(b.add(target, b.mul(turn, row)), b.mul(j, I64(size))))
            here = clamped(b, b.sub(count, b.mul(j, I64(shape.lanes))), shape.lanes)
            old = Vector.load(b, shape.target, shape.dtype, to, b.select(adding, here, I64(0)))
            (old + Vector.load(b, shape.target, shape.dtype, pointer(b, at))).store(to, here)

    names = ("source", "n", "vectors", "target", "row", "count", "add")
    return emitted(f"add_rows_{shape.dtype.name}", names, body)


def _fetch(b: Any, target: Any, row: Any, n: Any, size: Any) -> None:
    lines = b.lshr(b.add(size, I64(63)), I64(6))
    with loop(b, n) as turn, loop(b, lines) as line:
        prefetch(b, pointer(b, b.add(b.add(target, b.mul(row, turn)), b.shl(line, I64(6)))))


fetch = emitted("fetch", ("target", "row", "n", "size"), _fetch)
"""`fetch(target, row, n, size)`: ask for n rows of `size` bytes at a distance, for the second-level cache."""


def make_sum_rows(shape: Shape) -> Any:
    """`sum_rows(source, row, n, target, count, add)`: the sum over rows of one vector, `count` elements written."""

    def body(b: Any, source: Any, row: Any, n: Any, target: Any, count: Any, add: Any) -> None:
        kind = ir.VectorType(ELEMENTS[shape.dtype], shape.lanes)
        total = b.alloca(kind)
        b.store(ir.Constant(kind, None), total)
        with loop(b, n) as turn:
            at = pointer(b, b.add(source, b.mul(turn, row)))
            value = Vector.load(b, shape.target, shape.dtype, at)
            b.store((Vector(b, b.load(total), shape.target) + value).value, total)
        adding = b.icmp_signed("!=", add, I64(0))
        counted = clamped(b, count, shape.lanes)
        to = pointer(b, target)
        old = Vector.load(b, shape.target, shape.dtype, to, b.select(adding, counted, I64(0)))
        (old + Vector(b, b.load(total), shape.target)).store(to, counted)

    names = ("source", "row", "n", "target", "count", "add")
    return emitted(f"sum_rows_{shape.dtype.name}", names, body)


def make_transpose(shape: Shape) -> Any:
    """`transpose(source, row, rows, count, target, target_row)`: a block of at most `lanes` rows and columns.

    `rows` rows of `count` elements are read; `count` rows of `lanes` elements written, zeros where none was read.
    """
    lanes = shape.lanes

    def body(b: Any, source: Any, row: Any, rows: Any, count: Any, target: Any, target_row: Any) -> None:
        values = []
        for r in range(lanes):
            here = b.select(b.icmp_signed("<", I64(r), rows), count, I64(0))
            at = pointer(b, b.add(source, b.mul(row, I64(r))))
            values.append(Vector.load(b, shape.target, shape.dtype, at, here).value)
        width = 1
        while width < lanes:
            # Exchange the off-diagonal quarters of blocks of 2*width: element i of row r and i+width of row r-width.
            low = [i if i & width == 0 else lanes + i - width for i in range(lanes)]
            high = [i + width if i & width == 0 else lanes + i for i in range(lanes)]
            for r in range(lanes):
                if r & width == 0:
                    x, y = values[r], values[r + width]
                    values[r], values[r + width] = (_shuffle(b, x, y, low), _shuffle(b, x, y, high))
            width *= 2
        for r, value in enumerate(values):
            there = b.select(b.icmp_signed("<", I64(r), count), I64(lanes), I64(0))
            at = pointer(b, b.add(target, b.mul(target_row, I64(r))))
            Vector(b, value, shape.target).store(at, there)

    names = ("source", "row", "rows", "count", "target", "target_row")
    return emitted(f"transpose_{shape.dtype.name}", names, body)


def _shuffle(b: Any, x: Any, y: Any, order: list[int]) -> Any:
    index = ir.IntType(32)
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(index, len(order)), [index(i) for i in order]))

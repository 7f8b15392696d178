"""The loops that measure a core's peaks: fused multiply-adds on registers alone, and reading memory."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..shape import Shape
from ..vector import ELEMENTS, Vector
from .emitted import compiled, emitted
from .ir import I64, pointer
from .memory import word


def make_read(shape: Shape, sums: int) -> None:
    """Define the kernel `read(args, thread)`: each thread reads a part of its own, again and again.

    Words: the number of turns, how many times `sums` vectors a part has, its bytes, the address of the first part, and
    where each thread writes the sum of what it read.
    """

    def body(b: Any, turns: Any, count: Any, source: Any, place: Any) -> None:
        kind = ir.VectorType(ELEMENTS[shape.dtype], shape.lanes)
        stride = sums * shape.vector_bytes
        start, turn = b.block, b.append_basic_block("turn")
        read, again, done = (b.append_basic_block(name) for name in ("read", "again", "done"))
        zero = Vector.load(b, shape.target, shape.dtype, pointer(b, place)).constant(0.0).value
        b.branch(turn)
        b.position_at_end(turn)
        i = b.phi(I64)
        i.add_incoming(I64(0), start)
        before = [b.phi(kind) for _ in range(sums)]
        b.branch(read)
        b.position_at_end(read)
        k = b.phi(I64)
        k.add_incoming(I64(0), turn)
        totals = [b.phi(kind) for _ in range(sums)]
        at = b.add(source, b.mul(k, I64(stride)))
        new = []
        for number, total in enumerate(totals):
            here = pointer(b, b.add(at, I64(number * shape.vector_bytes)))
            new.append(Vector(b, total, shape.target) + Vector.load(b, shape.target, shape.dtype, here))
        next_k = b.add(k, I64(1))
        k.add_incoming(next_k, read)
        b.cbranch(b.icmp_signed("<", next_k, count), read, again)
        b.position_at_end(again)
        next_i = b.add(i, I64(1))
        i.add_incoming(next_i, again)
        b.cbranch(b.icmp_signed("<", next_i, turns), turn, done)
        for first, total, value in zip(before, totals, new, strict=True):
            first.add_incoming(zero, start)
            first.add_incoming(value.value, again)
            total.add_incoming(first, turn)
            total.add_incoming(value.value, read)
        b.position_at_end(done)
        sum(new[1:], new[0]).store(pointer(b, place))

    read_all = emitted(f"read_all_{shape.dtype.name}", ("turns", "count", "source", "place"), body)

    @compiled("read")
    def read(args: int, thread: int) -> None:
        read_all(word(args, 0), word(args, 1), word(args, 3) + thread * word(args, 2), word(args, 4) + 64 * thread)


def make_peak(shape: Shape, chains: int) -> None:
    """Define the kernel `peak(args, thread)`: words are the number of turns, and where each thread writes its sum.

    A turn is `chains` multiply-adds of one vector, each of a sum of its own.
    """

    def body(b: Any, turns: Any, place: Any) -> None:
        kind = ir.VectorType(ELEMENTS[shape.dtype], shape.lanes)
        factor = Vector.load(b, shape.target, shape.dtype, pointer(b, place))
        start, turn, done = b.block, b.append_basic_block("turn"), b.append_basic_block("done")
        b.branch(turn)
        b.position_at_end(turn)
        i = b.phi(I64)
        i.add_incoming(I64(0), start)
        sums = [b.phi(kind) for _ in range(chains)]
        for number, total in enumerate(sums):
            total.add_incoming(factor.constant(float(number)).value, start)
        new = [factor.fma(factor, Vector(b, total, shape.target)) for total in sums]
        for total, value in zip(sums, new, strict=True):
            total.add_incoming(value.value, turn)
        after = b.add(i, I64(1))
        i.add_incoming(after, turn)
        b.cbranch(b.icmp_signed("<", after, turns), turn, done)
        b.position_at_end(done)
        result = sum(new[1:], new[0])
        result.store(pointer(b, place))

    multiply_add = emitted(f"multiply_add_{shape.dtype.name}", ("turns", "place"), body)

    @compiled("peak")
    def peak(args: int, thread: int) -> None:
        multiply_add(word(args, 0), word(args, 1) + 64 * thread)

"""The loop that measures a core's peak: fused multiply-adds on registers alone."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..shape import Shape
from ..vector import ELEMENTS, Vector
from .emitted import compiled, emitted
from .ir import I64, pointer
from .memory import word


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

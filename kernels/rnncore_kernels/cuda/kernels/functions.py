"""Functions that kernels call, written in Python or in LLVM's representation, and pointers into the GPU's memories.

An address in global memory is an int64, one in a block's shared memory an int64 offset from its start, both in bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import cuda
from numba.core import types
from numba.cuda.extending import intrinsic

from ..arguments import RUN_FIELDS
from ..compiler import run_class
from ..numba_cuda_patches import named

GLOBAL, SHARED = 1, 3
"""Numbers of NVVM's address spaces."""

I1, I8, I32, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
ELEMENTS: dict[np.dtype[Any], Any] = {np.dtype(np.float32): ir.FloatType(), np.dtype(np.float64): ir.DoubleType()}
SHARED_NAME = "rnncore_shared"

gpu: Any = cuda
"""Numba's names of threads and barriers; its type annotations are those of Python's objects of these names."""

Body = Callable[..., Any]
F = TypeVar("F", bound=Callable[..., Any])


def device(function: F) -> F:
    """Decorator: a function that kernels call; its numbers are int64 or of a kernel's dtype."""
    compiled: F = gpu.jit(device=True)(function)
    return compiled


def real_type(dtype: np.dtype[Any]) -> Any:
    """Numba's type of a number."""
    return types.float32 if dtype == np.float32 else types.float64


@functools.cache
def run_type() -> Any:
    """Numba's type of `run` in the kernels of cells."""
    return types.NamedUniTuple(types.int64, len(RUN_FIELDS), run_class(RUN_FIELDS))


def values_type(dtype: np.dtype[Any], count: int) -> Any:
    """Numba's type of a tuple of numbers."""
    return types.UniTuple(real_type(dtype), count)


def from_ir(name: str, arguments: Sequence[Any], result: Any, body: Body) -> Any:
    """A function for kernels, inlined where it is called.

    Args:
        name: for error messages.
        arguments: Numba's types; a tuple of numbers is one argument, and `run_type()` stands for a kernel's `run`.
        result: Numba's type; None for nothing.
        body: `body(builder, *values)` writes the instructions and returns LLVM's value. A tuple, of an argument or as
            the result, is a list of LLVM's values; `run` is a namespace of `Int`s.
    """

    def typing_of(context: Any, *given: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            made = body(builder, *(_unpacked(builder, t, v) for t, v in zip(arguments, values, strict=True)))
            if result is None:
                return context.get_dummy_value()
            return _packed(builder, context.get_value_type(result), made) if isinstance(made, list) else made

        return (types.void if result is None else result)(*arguments), generate

    return intrinsic(named(typing_of, name, [f"a{i}" for i in range(len(arguments))]))


def _unpacked(builder: Any, numba_type: Any, value: Any) -> Any:
    if numba_type == run_type():
        return _Run(builder, value)
    if not isinstance(numba_type, types.UniTuple):
        return value
    return [builder.extract_value(value, i) for i in range(numba_type.count)]


class _Run:
    """The numbers of a kernel's `run`, taken out where they are asked for."""

    def __init__(self, builder: Any, value: Any) -> None:
        self._builder, self._value = builder, value

    def __getattr__(self, name: str) -> Int:
        return Int(self._builder, self._builder.extract_value(self._value, RUN_FIELDS.index(name)))


class Int:
    """An int64 of LLVM, with arithmetic on others and on Python's."""

    __slots__ = ("builder", "value")

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: Int | int) -> Int:
        return self if other == 0 else Int(self.builder, self.builder.add(self.value, self._operand(other)))

    def __mul__(self, other: Int | int) -> Int:
        return self if other == 1 else Int(self.builder, self.builder.mul(self.value, self._operand(other)))

    def __sub__(self, other: Int | int) -> Int:
        return Int(self.builder, self.builder.sub(self.value, self._operand(other)))

    def __rsub__(self, other: int) -> Int:
        return Int(self.builder, self.builder.sub(I64(other), self.value))

    def __and__(self, other: Int | int) -> Int:
        return Int(self.builder, self.builder.and_(self.value, self._operand(other)))

    def is_not(self, number: Int | int) -> Any:
        """LLVM's truth value of self != number."""
        return self.builder.icmp_signed("!=", self.value, self._operand(number))

    @staticmethod
    def _operand(other: Int | int) -> Any:
        return other.value if isinstance(other, Int) else I64(other)

    __radd__, __rmul__ = __add__, __mul__


def _packed(builder: Any, llvm_type: Any, values: list[Any]) -> Any:
    packed = ir.Constant(llvm_type, ir.Undefined)
    for index, value in enumerate(values):
        packed = builder.insert_value(packed, value, index)
    return packed


def global_pointer(builder: Any, address: Any, kind: Any) -> Any:
    """Pointer to a value of an LLVM type in global memory."""
    return builder.inttoptr(address, kind.as_pointer(GLOBAL))


def shared_pointer(builder: Any, offset: Any, kind: Any) -> Any:
    """Pointer to a value of an LLVM type in the block's shared memory, which the launch gives its size."""
    module = builder.module
    if SHARED_NAME not in module.globals:
        memory: Any = ir.GlobalVariable(module, ir.ArrayType(I8, 0), SHARED_NAME, addrspace=SHARED)
        memory.linkage, memory.align = "external", 16
    # Offsets fit 32 bits, in which a GPU adds them in one instruction.
    offset = builder.trunc(offset, I32) if offset.type == I64 else offset
    place = builder.gep(module.globals[SHARED_NAME], [I32(0), offset], inbounds=True)
    return builder.bitcast(place, kind.as_pointer(SHARED))


def assembly(builder: Any, result: Any, text: str, constraints: str, arguments: Sequence[Any]) -> Any:
    """Instructions of PTX that must stay where they are."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(ir.InlineAsm(kind, text, constraints, side_effect=True), arguments)


def repeat(builder: Any, count: Any, carried: Sequence[Any], turn: Callable[[list[Any]], Sequence[Any]]) -> list[Any]:
    """Values after `count` (an i32) turns of a loop, each of which makes new ones of the last."""
    start, check = builder.block, builder.append_basic_block("check")
    inside, done = builder.append_basic_block("turn"), builder.append_basic_block("done")
    builder.branch(check)
    builder.position_at_end(check)
    phis = [builder.phi(value.type) for value in (count, *carried)]
    for phi, first in zip(phis, (I32(0), *carried), strict=True):
        phi.add_incoming(first, start)
    builder.cbranch(builder.icmp_signed("<", phis[0], count), inside, done)
    builder.position_at_end(inside)
    new = turn(phis[1:])
    for phi, following in zip(phis, (builder.add(phis[0], I32(1)), *new), strict=True):
        phi.add_incoming(following, builder.block)
    builder.branch(check)
    builder.position_at_end(done)
    return phis[1:]

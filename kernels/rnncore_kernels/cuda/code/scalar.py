"""A number in a register of a GPU thread: what cells are evaluated on when they are compiled for a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from ...quiet import call_quietly
from .emitted import ELEMENTS

FLAGS = ("contract",)


class Scalar:
    """See `codegen.value.Value`."""

    __slots__ = ("builder", "dtype", "value")
    __array_ufunc__ = None

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder: Any = builder
        self.value: Any = value
        self.dtype: np.dtype[Any] = next(dtype for dtype, kind in ELEMENTS.items() if kind == value.type)

    def constant(self, number: float) -> Scalar:
        return self._new(self.value.type(float(call_quietly(self.dtype.type, number))))

    def fma(self, factor: Scalar | float, summand: Scalar | float) -> Scalar:
        return self._new(fma(self.builder, self.value, self._operand(factor).value, self._operand(summand).value))

    def quotient(self, divisor: Scalar) -> Scalar:
        if self.dtype != np.float32:
            return self / divisor
        # An approximate inverse, better by one iteration.
        inverse = self._approximate("rcp.approx.ftz.f32 $0, $1;", divisor)
        return self * inverse.fma((-divisor).fma(inverse, 1), inverse)

    def times_power_of_two(self, exponent: Scalar) -> Scalar | None:
        return None

    def minimum(self, limit: Scalar | float) -> Scalar:
        limit = self._operand(limit)
        return limit.select(limit.compare("<", self), self)

    def maximum(self, limit: Scalar | float) -> Scalar:
        limit = self._operand(limit)
        return limit.select(limit.compare(">", self), self)

    def compare(self, operator: str, other: Scalar | float) -> Any:
        compared = self.builder.fcmp_unordered if operator == "uno" else self.builder.fcmp_ordered
        return compared(operator, self.value, self._operand(other).value)

    def select(self, mask: Any, other: Scalar | float) -> Scalar:
        return self._new(self.builder.select(mask, self.value, self._operand(other).value))

    def bits(self) -> Any:
        return self.builder.bitcast(self.value, self._integer)

    def integers(self, number: int) -> Any:
        return self._integer(number)

    def from_bits(self, integers: Any) -> Scalar:
        return self._new(self.builder.bitcast(integers, self.value.type))

    @property
    def _integer(self) -> Any:
        return ir.IntType(8 * self.dtype.itemsize)

    def _new(self, value: Any) -> Scalar:
        return Scalar(self.builder, value)

    def _operand(self, other: Any) -> Scalar:
        return other if isinstance(other, Scalar) else self.constant(other)

    def _binary(self, operation: str, left: Any, right: Any) -> Scalar:
        instruction: Callable[..., Any] = getattr(self.builder, operation)
        return self._new(instruction(self._operand(left).value, self._operand(right).value, flags=FLAGS))

    def _divided(self, left: Any, right: Any) -> Scalar:
        if self.dtype != np.float32:
            return self._binary("fdiv", left, right)
        # The division that is rounded right branches into a function; this one is off by 2 units in the last place.
        return self._approximate("div.full.f32 $0, $1, $2;", self._operand(left), self._operand(right))

    def _approximate(self, text: str, *operands: Scalar) -> Scalar:
        """The result of an instruction of PTX on float32."""
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()] * len(operands))
        instruction = ir.InlineAsm(kind, text, "=f" + ",f" * len(operands), side_effect=False)
        return self._new(self.builder.call(instruction, [operand.value for operand in operands]))

    def __add__(self, other: Scalar | float) -> Scalar:
        return self._binary("fadd", self, other)

    def __radd__(self, other: float) -> Scalar:
        return self._binary("fadd", other, self)

    def __sub__(self, other: Scalar | float) -> Scalar:
        return self._binary("fsub", self, other)

    def __rsub__(self, other: float) -> Scalar:
        return self._binary("fsub", other, self)

    def __mul__(self, other: Scalar | float) -> Scalar:
        return self._binary("fmul", self, other)

    def __rmul__(self, other: float) -> Scalar:
        return self._binary("fmul", other, self)

    def __truediv__(self, other: Scalar | float) -> Scalar:
        return self._divided(self, other)

    def __rtruediv__(self, other: float) -> Scalar:
        return self._divided(other, self)

    def __neg__(self) -> Scalar:
        return self * -1.0


def fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once, of LLVM's values."""
    name = f"llvm.fma.{'f32' if a.type == ir.FloatType() else 'f64'}"
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(a.type, [a.type] * 3), name)
    return builder.call(function, [a, b, c])

"""The values that code of cells is evaluated on: SIMD vectors of a processor, registers of a thread of a GPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from llvmlite import ir

from ..quiet import call_quietly

FLAGS = ("contract",)


class Value(ABC):
    """One or more numbers of one dtype in a register.

    Every method appends LLVM's instructions where the value's builder stands. Arithmetic takes another value of the
    same type or a Python number on either side, which takes the value's dtype. A product and a sum may become one
    instruction with one rounding ("contract"), but all else is IEEE 754: NaN, infinities, signed zeros and subnormal
    numbers are the same as in NumPy.

    Attributes:
        builder: LLVM's, which appends instructions.
        value: LLVM's value, a float or double or a vector of them.
        dtype: NumPy's dtype of a number.
    """

    __slots__ = ("builder", "dtype", "value")
    __array_ufunc__ = None

    def __init__(self, builder: Any, value: Any, dtype: np.dtype[Any]) -> None:
        self.builder = builder
        self.value = value
        self.dtype = dtype

    @abstractmethod
    def wrap(self, value: Any) -> Self:
        """The value of this one's type that holds LLVM's value."""

    @abstractmethod
    def square_root(self) -> Self:
        """The square root, correctly rounded."""

    @abstractmethod
    def approximate_inverse(self) -> Self | None:
        """1 / self with at least half of the digits of float32; None where a division is the faster way."""

    @abstractmethod
    def _fused(self, factor: Any, summand: Any) -> Any:
        """LLVM's value of self * factor + summand."""

    @abstractmethod
    def _scaled(self, exponent: Any) -> Any:
        """LLVM's value of self * 2**exponent, or None; see `times_power_of_two`."""

    def fma(self, factor: Self | float, summand: Self | float) -> Self:
        """self * factor + summand, in one instruction where there is one."""
        return self.wrap(self._fused(self._operand(factor).value, self._operand(summand).value))

    def times_power_of_two(self, exponent: Self) -> Self | None:
        """self * 2**exponent, for an integer, rounded once; None where that is more than one instruction."""
        scaled = self._scaled(exponent.value)
        return None if scaled is None else self.wrap(scaled)

    def quotient(self, divisor: Self) -> Self:
        """self / divisor within 2 units in the last place, where divisor and its inverse are positive and normal."""
        inverse = divisor.approximate_inverse()
        if inverse is None:
            return self / divisor
        # One of Newton's iterations.
        return self * inverse.fma((-divisor).fma(inverse, 1), inverse)

    def constant(self, number: float) -> Self:
        """A value of this one's type equal to a number, rounded to the dtype."""
        return self.wrap(filled(self.value.type, float(call_quietly(self.dtype.type, number))))

    def compare(self, operator: str, other: Self | float) -> Any:
        """LLVM's mask (i1, or a vector of them) of `self operator other`, false where one is NaN.

        Args:
            operator: "<", "<=", "==", "!=", ">=", ">"; "uno" is true exactly where one is NaN.
            other: a value or number.
        """
        compared = self.builder.fcmp_unordered if operator == "uno" else self.builder.fcmp_ordered
        return compared(operator, self.value, self._operand(other).value)

    def select(self, mask: Any, other: Self | float) -> Self:
        """This value where LLVM's mask is true, else the other."""
        return self.wrap(self.builder.select(mask, self.value, self._operand(other).value))

    def any(self, mask: Any) -> Any:
        """LLVM's i1: whether LLVM's mask is true somewhere."""
        if not isinstance(mask.type, ir.VectorType):
            return mask
        bits = ir.IntType(mask.type.count)
        return self.builder.icmp_unsigned("!=", self.builder.bitcast(mask, bits), bits(0))

    def minimum(self, limit: Self | float) -> Self:
        """The lesser of this value and a limit that is not NaN; NaN stays NaN. One instruction on x86."""
        limit = self._operand(limit)
        return limit.select(limit.compare("<", self), self)

    def maximum(self, limit: Self | float) -> Self:
        """The greater of this value and a limit that is not NaN; NaN stays NaN. One instruction on x86."""
        limit = self._operand(limit)
        return limit.select(limit.compare(">", self), self)

    @property
    def integer_type(self) -> Any:
        """LLVM's type of integers as long as the numbers."""
        element = ir.IntType(8 * self.dtype.itemsize)
        kind = self.value.type
        return ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element

    def integers(self, number: int) -> Any:
        """LLVM's integers as long as the numbers, all equal to `number`."""
        return filled(self.integer_type, number)

    def bits(self) -> Any:
        """LLVM's integers with the same bits."""
        return self.builder.bitcast(self.value, self.integer_type)

    def from_bits(self, integers: Any) -> Self:
        """The value of this one's type that has the bits of LLVM's integers."""
        return self.wrap(self.builder.bitcast(integers, self.value.type))

    def from_integers(self, integers: Any) -> Self:
        """The value of this one's type that is equal to LLVM's signed integers of any length, rounded."""
        return self.wrap(self.builder.sitofp(integers, self.value.type))

    def words(self) -> Words:
        """The bits of the numbers, of which the lower 32 count; see `philox`."""
        bits, words = self.bits(), self._words_type
        return Words(self.builder, bits if bits.type == words else self.builder.zext(bits, words))

    def same_words(self, word: int) -> Words:
        """As many words as there are numbers, all equal."""
        return Words(self.builder, filled(self._words_type, word))

    def from_words(self, words: Words) -> Self:
        """The value of this one's type that is equal to words below 2**31."""
        short: Any = ir.IntType(32)
        if isinstance(words.value.type, ir.VectorType):
            short = ir.VectorType(short, words.value.type.count)
        # Processors without AVX-512 have no instruction for longer ones.
        return self.from_integers(self.builder.trunc(words.value, short))

    @property
    def _words_type(self) -> Any:
        kind = self.value.type
        return ir.VectorType(ir.IntType(64), kind.count) if isinstance(kind, ir.VectorType) else ir.IntType(64)

    def _operand(self, other: Any) -> Self:
        if isinstance(other, type(self)):
            if other.value.type != self.value.type:
                raise TypeError(f"values of different types: {self.value.type} and {other.value.type}")
            return other
        if isinstance(other, int | float):
            return self.constant(other)
        raise TypeError(f"expected a {type(self).__name__} or a number, got {type(other).__name__}")

    def _divided(self, divisor: Any) -> Any:
        return self.builder.fdiv(self.value, divisor, flags=FLAGS)

    def __add__(self, other: Self | float) -> Self:
        return self.wrap(self.builder.fadd(self.value, self._operand(other).value, flags=FLAGS))

    def __radd__(self, other: float) -> Self:
        return self._operand(other) + self

    def __sub__(self, other: Self | float) -> Self:
        return self.wrap(self.builder.fsub(self.value, self._operand(other).value, flags=FLAGS))

    def __rsub__(self, other: float) -> Self:
        return self._operand(other) - self

    def __mul__(self, other: Self | float) -> Self:
        return self.wrap(self.builder.fmul(self.value, self._operand(other).value, flags=FLAGS))

    def __rmul__(self, other: float) -> Self:
        return self._operand(other) * self

    def __truediv__(self, other: Self | float) -> Self:
        return self.wrap(self._divided(self._operand(other).value))

    def __rtruediv__(self, other: float) -> Self:
        return self._operand(other) / self

    def __neg__(self) -> Self:
        return self.wrap(self.builder.fneg(self.value, flags=FLAGS))


class Words:
    """One or more integers of 64 bits in registers, without a sign, with arithmetic on others and on Python's."""

    __slots__ = ("builder", "value")

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def _made(self, operation: str, other: Words | int) -> Words:
        operand = other.value if isinstance(other, Words) else filled(self.value.type, other)
        return Words(self.builder, getattr(self.builder, operation)(self.value, operand))

    def __add__(self, other: Words | int) -> Words:
        return self._made("add", other)

    def __mul__(self, other: Words | int) -> Words:
        return self._made("mul", other)

    def __and__(self, other: Words | int) -> Words:
        return self._made("and_", other)

    def __xor__(self, other: Words | int) -> Words:
        return self._made("xor", other)

    def __rshift__(self, other: int) -> Words:
        return self._made("lshr", other)


def filled(kind: Any, number: float) -> Any:
    """LLVM's constant of a type of numbers or of vectors, whose lanes are all equal to a number."""
    return ir.Constant(kind, [kind.element(number)] * kind.count) if isinstance(kind, ir.VectorType) else kind(number)

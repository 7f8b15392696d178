"""A SIMD value in LLVM's intermediate representation: what cells are evaluated on when they are compiled.

Every method appends instructions where the vector's IRBuilder stands. Operations may be fused ("contract": a product
and a sum may become one instruction with one rounding) but are otherwise IEEE 754: NaN, infinities, signed zeros and
subnormal numbers are what they are in NumPy. LLVM's pointers may be typed or opaque.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from ..quiet import call_quietly
from .code.ir import call_external
from .target import Target

ELEMENTS: dict[np.dtype[Any], Any] = {np.dtype(np.float32): ir.FloatType(), np.dtype(np.float64): ir.DoubleType()}
NAMES: dict[np.dtype[Any], str] = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
FLAGS = ("contract",)
CURRENT_ROUNDING = 4  # _MM_FROUND_CUR_DIRECTION


class Vector:
    """`lanes` values of one dtype in a register; a vector of one lane is a scalar to LLVM's code generator.

    Arithmetic takes another vector of the same type or a Python number on either side, which takes the vector's dtype.

    Attributes:
        builder: where instructions are appended.
        value: LLVM's value, a vector of float or double of any number of lanes (the target's, as a rule).
        target: what code is made for.
        dtype: NumPy's dtype of an element.
    """

    __slots__ = ("builder", "dtype", "target", "value")
    __array_ufunc__ = None

    def __init__(self, builder: Any, value: Any, target: Target) -> None:
        self.builder = builder
        self.value = value
        self.target = target
        self.dtype = _dtype(value.type.element)

    @property
    def lanes(self) -> int:
        """Number of elements."""
        return int(self.value.type.count)

    @classmethod
    def splat(cls, builder: Any, target: Target, scalar: Any) -> Vector:
        """All lanes equal to LLVM's value `scalar`, a float or double."""
        return cls(builder, _splat(builder, scalar, target.lanes(_dtype(scalar.type))), target)

    @classmethod
    def full(cls, builder: Any, target: Target, dtype: Any, number: float) -> Vector:
        """All lanes equal to a number, rounded to the dtype."""
        vector_type = ir.VectorType(ELEMENTS[np.dtype(dtype)], target.lanes(dtype))
        return cls(builder, ir.Constant(vector_type, ir.Undefined), target).constant(number)

    @classmethod
    def load(cls, builder: Any, target: Target, dtype: Any, pointer: Any, count: Any = None) -> Vector:
        """The elements that LLVM's value `pointer` points at (to any type, aligned to an element).

        With `count`, a Python int or LLVM's value (i64, >= 0), only that many are read, and the lanes behind are zero;
        a count of `lanes` or more reads all.
        """
        zero = cls.full(builder, target, dtype, 0)
        vector_type = zero.value.type
        pointer = builder.bitcast(pointer, vector_type.as_pointer())
        if _is_all(count, zero.lanes):
            return zero._new(builder.load(pointer, align=zero.dtype.itemsize, typ=vector_type))
        align = ir.IntType(32)(zero.dtype.itemsize)
        name = f"llvm.masked.load.{zero.suffix}.{_pointer_suffix(pointer, zero)}"
        return zero.intrinsic(name, pointer, align, first_lanes(zero, count), zero.value)

    def store(self, pointer: Any, count: Any = None) -> None:
        """Write the elements where `pointer` points, or the first `count` of them; see `load`."""
        pointer = self.builder.bitcast(pointer, self.value.type.as_pointer())
        if _is_all(count, self.lanes):
            self.builder.store(self.value, pointer, align=self.dtype.itemsize)
            return
        align = ir.IntType(32)(self.dtype.itemsize)
        name = f"llvm.masked.store.{self.suffix}.{_pointer_suffix(pointer, self)}"
        call_external(self.builder, name, ir.VoidType(), (self.value, pointer, align, first_lanes(self, count)))

    @property
    def suffix(self) -> str:
        """The type in the names of LLVM's intrinsics."""
        return f"v{self.lanes}{NAMES[self.dtype]}"

    @property
    def integer_type(self) -> Any:
        """LLVM's vector of integers as long as the elements."""
        return ir.VectorType(ir.IntType(8 * self.dtype.itemsize), self.lanes)

    def constant(self, number: float) -> Vector:
        """A vector of this one's type with all lanes equal to a number, rounded to the dtype."""
        rounded = float(call_quietly(self.dtype.type, number))
        return self._new(ir.Constant(self.value.type, [self.value.type.element(rounded)] * self.lanes))

    def bits(self) -> Any:
        """LLVM's vector of integers with the same bits."""
        return self.builder.bitcast(self.value, self.integer_type)

    def integers(self, number: int) -> Any:
        """LLVM's vector of integers as long as the elements, all equal to `number`."""
        return ir.Constant(self.integer_type, [self.integer_type.element(number)] * self.lanes)

    def from_bits(self, integers: Any) -> Vector:
        """The vector of this one's type that has the bits of LLVM's vector of integers."""
        return self._new(self.builder.bitcast(integers, self.value.type))

    def compare(self, operator: str, other: Vector | float) -> Any:
        """LLVM's mask (a vector of i1) of `self operator other`, false where one is NaN.

        Args:
            operator: "<", "<=", "==", "!=", ">=", ">"; "uno" is true exactly where one is NaN.
            other: a vector or number.
        """
        compared = self.builder.fcmp_unordered if operator == "uno" else self.builder.fcmp_ordered
        return compared(operator, self.value, self._operand(other).value)

    def select(self, mask: Any, other: Vector | float) -> Vector:
        """This value where LLVM's mask is true, else the other."""
        return self._new(self.builder.select(mask, self.value, self._operand(other).value))

    def minimum(self, limit: Vector | float) -> Vector:
        """The lesser of this value and a limit that is not NaN; NaN stays NaN. One instruction on x86."""
        limit = self._operand(limit)
        return limit.select(limit.compare("<", self), self)

    def maximum(self, limit: Vector | float) -> Vector:
        """The greater of this value and a limit that is not NaN; NaN stays NaN. One instruction on x86."""
        limit = self._operand(limit)
        return limit.select(limit.compare(">", self), self)

    def fma(self, factor: Vector | float, summand: Vector | float) -> Vector:
        """self * factor + summand, in one instruction where the processor has it, else in two."""
        operands = (self.value, self._operand(factor).value, self._operand(summand).value)
        return self.intrinsic(f"llvm.fmuladd.{self.suffix}", *operands)

    def quotient(self, divisor: Vector) -> Vector:
        """self / divisor within 1.5 units in the last place, where divisor and its inverse are positive and normal."""
        if not self._fills_avx512 or self.dtype != np.float32:
            return self / divisor
        # 4 cycles; a division takes 10 (Sapphire Rapids) to 16 (Ice Lake), of which other instructions hide a part. In
        # float64 a second iteration and the longer polynomials around it make the division the faster one.
        zero = self.constant(0).value
        inverse = self.intrinsic("llvm.x86.avx512.rcp14.ps.512", divisor.value, zero, _all_lanes(self))
        return self * inverse.fma((-divisor).fma(inverse, 1), inverse)

    def times_power_of_two(self, exponent: Vector) -> Vector | None:
        """self * 2**exponent, rounded once; None without AVX-512."""
        if not self._fills_avx512:
            return None
        suffix = "ps" if self.dtype == np.float32 else "pd"
        name = f"llvm.x86.avx512.mask.scalef.{suffix}.512"
        rounding = ir.IntType(32)(CURRENT_ROUNDING)
        return self.intrinsic(name, self.value, exponent.value, self.value, _all_lanes(self), rounding)

    @property
    def _fills_avx512(self) -> bool:
        return self.target.avx512 and self.lanes == self.target.lanes(self.dtype)

    def intrinsic(self, name: str, *arguments: Any) -> Vector:
        """The result, of this vector's type, of LLVM's intrinsic function on LLVM's values."""
        return self._new(call_external(self.builder, name, self.value.type, arguments))

    def _new(self, value: Any) -> Vector:
        return Vector(self.builder, value, self.target)

    def _operand(self, other: Any) -> Vector:
        if isinstance(other, Vector):
            if other.value.type != self.value.type:
                raise TypeError(f"vectors of different types: {self.value.type} and {other.value.type}")
            return other
        if isinstance(other, int | float):
            return self.constant(other)
        raise TypeError(f"expected a vector or a number, got {type(other).__name__}")

    def _binary(self, operation: str, left: Any, right: Any) -> Vector:
        instruction: Callable[..., Any] = getattr(self.builder, operation)
        return self._new(instruction(self._operand(left).value, self._operand(right).value, flags=FLAGS))

    def __add__(self, other: Vector | float) -> Vector:
        return self._binary("fadd", self, other)

    def __radd__(self, other: float) -> Vector:
        return self._binary("fadd", other, self)

    def __sub__(self, other: Vector | float) -> Vector:
        return self._binary("fsub", self, other)

    def __rsub__(self, other: float) -> Vector:
        return self._binary("fsub", other, self)

    def __mul__(self, other: Vector | float) -> Vector:
        return self._binary("fmul", self, other)

    def __rmul__(self, other: float) -> Vector:
        return self._binary("fmul", other, self)

    def __truediv__(self, other: Vector | float) -> Vector:
        return self._binary("fdiv", self, other)

    def __rtruediv__(self, other: float) -> Vector:
        return self._binary("fdiv", other, self)

    def __neg__(self) -> Vector:
        return self._new(self.builder.fneg(self.value, flags=FLAGS))


def _dtype(element: Any) -> np.dtype[Any]:
    return next(dtype for dtype, known in ELEMENTS.items() if known == element)


def _splat(builder: Any, scalar: Any, lanes: int) -> Any:
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), lanes), None))


def _is_all(count: Any, lanes: int) -> bool:
    return count is None or (isinstance(count, int) and count >= lanes)


def first_lanes(like: Vector, count: Any) -> Any:
    """LLVM's mask whose first `count` lanes are true, for vectors like the given one."""
    lanes = like.lanes
    if isinstance(count, int):
        bit = ir.IntType(1)
        return ir.Constant(ir.VectorType(bit, lanes), [bit(lane < count) for lane in range(lanes)])
    builder = like.builder
    # Compared as integers as long as the elements, by one instruction; a larger count is cut before it is made shorter.
    integer = like.integer_type.element
    most = count.type(lanes)
    count = builder.select(builder.icmp_unsigned("<", count, most), count, most)
    if integer.width < count.type.width:
        count = builder.trunc(count, integer)
    order = ir.Constant(like.integer_type, [integer(lane) for lane in range(lanes)])
    return builder.icmp_unsigned("<", order, _splat(builder, count, lanes))


def _all_lanes(like: Vector) -> Any:
    return ir.IntType(like.lanes)(-1)


def _pointer_suffix(pointer: Any, like: Vector) -> str:
    # llvmlite writes typed or opaque pointers, as its environment variable says; LLVM takes the names of both.
    return "p0" if str(pointer.type) == "ptr" else f"p0{like.suffix}"

"""A SIMD value in LLVM's intermediate representation: what cells are evaluated on when they are compiled.

LLVM's pointers may be typed or opaque.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from llvmlite import ir

from ..codegen.value import Value, Words
from .code.ir import call_external
from .target import Target

ELEMENTS: dict[np.dtype[Any], Any] = {np.dtype(np.float32): ir.FloatType(), np.dtype(np.float64): ir.DoubleType()}
NAMES: dict[np.dtype[Any], str] = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
CURRENT_ROUNDING = 4  # _MM_FROUND_CUR_DIRECTION


class Vector(Value):
    """`lanes` values of one dtype in a register; a vector of one lane is a scalar to LLVM's code generator.

    LLVM's value is a vector of float or double of any number of lanes (the target's, as a rule).

    Attributes:
        target: what code is made for.
    """

    __slots__ = ("target",)

    def __init__(self, builder: Any, value: Any, target: Target) -> None:
        super().__init__(builder, value, _dtype(value.type.element))
        self.target = target

    @property
    def lanes(self) -> int:
        """Number of elements."""
        return int(self.value.type.count)

    @classmethod
    def splat(cls, builder: Any, target: Target, scalar: Any) -> Self:
        """All lanes equal to LLVM's value `scalar`, a float or double."""
        return cls(builder, _splat(builder, scalar, target.lanes(_dtype(scalar.type))), target)

    @classmethod
    def full(cls, builder: Any, target: Target, dtype: Any, number: float) -> Self:
        """All lanes equal to a number, rounded to the dtype."""
        vector_type = ir.VectorType(ELEMENTS[np.dtype(dtype)], target.lanes(dtype))
        return cls(builder, ir.Constant(vector_type, ir.Undefined), target).constant(number)

    @classmethod
    def load(cls, builder: Any, target: Target, dtype: Any, pointer: Any, count: Any = None) -> Self:
        """The elements that LLVM's value `pointer` points at (to any type, aligned to an element).

        With `count`, a Python int or LLVM's value (i64, >= 0), only that many are read, and the lanes behind are zero;
        a count of `lanes` or more reads all.
        """
        zero = cls.full(builder, target, dtype, 0)
        vector_type = zero.value.type
        pointer = builder.bitcast(pointer, vector_type.as_pointer())
        if _is_all(count, zero.lanes):
            return zero.wrap(builder.load(pointer, align=zero.dtype.itemsize, typ=vector_type))
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

    def square_root(self) -> Self:
        return self.intrinsic(f"llvm.sqrt.{self.suffix}", self.value)

    def approximate_inverse(self) -> Self | None:
        if not self._fills_avx512 or self.dtype != np.float32:
            return None
        # 4 cycles; a division takes 10 (Sapphire Rapids) to 16 (Ice Lake), of which other instructions hide a part. In
        # float64 a second iteration and the longer polynomials around it make the division the faster one.
        zero = self.constant(0).value
        return self.intrinsic("llvm.x86.avx512.rcp14.ps.512", self.value, zero, _all_lanes(self))

    def _fused(self, factor: Any, summand: Any) -> Any:
        return self.intrinsic(f"llvm.fmuladd.{self.suffix}", self.value, factor, summand).value

    def _scaled(self, exponent: Any) -> Any:
        if not self._fills_avx512:
            return None
        suffix = "ps" if self.dtype == np.float32 else "pd"
        name = f"llvm.x86.avx512.mask.scalef.{suffix}.512"
        rounding = ir.IntType(32)(CURRENT_ROUNDING)
        return self.intrinsic(name, self.value, exponent, self.value, _all_lanes(self), rounding).value

    @property
    def _fills_avx512(self) -> bool:
        return self.target.avx512 and self.lanes == self.target.lanes(self.dtype)

    def fence(self) -> Vector:
        """The same value, rounded before it is used: no product becomes part of a sum."""
        return self.intrinsic(f"llvm.arithmetic.fence.{self.suffix}", self.value)

    def intrinsic(self, name: str, *arguments: Any) -> Self:
        """The result, of this vector's type, of LLVM's intrinsic function on LLVM's values."""
        return self.wrap(call_external(self.builder, name, self.value.type, arguments))

    def wrap(self, value: Any) -> Self:
        return type(self)(self.builder, value, self.target)


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
    return builder.icmp_unsigned("<", _order(like), _splat(builder, count, lanes))


def numbered(like: Vector, first: Any) -> Vector:
    """A vector like the given one, whose lanes are the bits of integers from LLVM's i64 `first` on."""
    builder, integer = like.builder, like.integer_type.element
    start = builder.trunc(first, integer) if integer.width < first.type.width else first
    return like.from_bits(builder.add(_order(like), _splat(builder, start, like.lanes)))


def repeated(like: Vector, word: Any) -> Words:
    """As many words as a vector has lanes, all equal to LLVM's i64."""
    return Words(like.builder, _splat(like.builder, word, like.lanes))


def _order(like: Vector) -> Any:
    """LLVM's integers 0, 1, 2, ... as long as the elements."""
    integer = like.integer_type.element
    return ir.Constant(like.integer_type, [integer(lane) for lane in range(like.lanes)])


def _all_lanes(like: Vector) -> Any:
    return ir.IntType(like.lanes)(-1)


def _pointer_suffix(pointer: Any, like: Vector) -> str:
    # llvmlite writes typed or opaque pointers, as its environment variable says; LLVM takes the names of both.
    return "p0" if str(pointer.type) == "ptr" else f"p0{like.suffix}"

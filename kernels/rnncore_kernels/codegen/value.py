"""The values that cells are compiled on: SIMD vectors of a processor, registers of a thread of a GPU."""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np


class Value(Protocol):
    """One or more numbers of one dtype in a register.

    Every method appends LLVM's instructions where the value's builder stands. Arithmetic takes another value of the
    same type or a Python number on either side, which takes the value's dtype. A product and a sum may become one
    instruction with one rounding.
    """

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's dtype of a number."""
        ...

    @property
    def builder(self) -> Any:
        """Where instructions are appended."""
        ...

    def constant(self, number: float) -> Self:
        """A value of this one's type equal to a number, rounded to the dtype."""
        ...

    def fma(self, factor: Self | float, summand: Self | float) -> Self:
        """self * factor + summand, in one instruction where there is one."""
        ...

    def quotient(self, divisor: Self) -> Self:
        """self / divisor within 2 units in the last place, where divisor and its inverse are positive and normal."""
        ...

    def times_power_of_two(self, exponent: Self) -> Self | None:
        """self * 2**exponent, for an integer, rounded once; None where that is more than one instruction."""
        ...

    def minimum(self, limit: Self | float) -> Self:
        """The lesser of this value and a limit that is not NaN; NaN stays NaN."""
        ...

    def maximum(self, limit: Self | float) -> Self:
        """The greater of this value and a limit that is not NaN; NaN stays NaN."""
        ...

    def compare(self, operator: str, other: Self | float) -> Any:
        """LLVM's mask of `self operator other`; "uno" is true where one is NaN, all others are false there."""
        ...

    def select(self, mask: Any, other: Self | float) -> Self:
        """This value where LLVM's mask is true, else the other."""
        ...

    def bits(self) -> Any:
        """LLVM's integers with the same bits."""
        ...

    def integers(self, number: int) -> Any:
        """LLVM's integers as long as the numbers, all equal to `number`."""
        ...

    def from_bits(self, integers: Any) -> Self:
        """The value of this one's type that has the bits of LLVM's integers."""
        ...

    def __add__(self, other: Self | float) -> Self: ...
    def __radd__(self, other: float) -> Self: ...
    def __sub__(self, other: Self | float) -> Self: ...
    def __rsub__(self, other: float) -> Self: ...
    def __mul__(self, other: Self | float) -> Self: ...
    def __rmul__(self, other: float) -> Self: ...
    def __truediv__(self, other: Self | float) -> Self: ...
    def __rtruediv__(self, other: float) -> Self: ...
    def __neg__(self) -> Self: ...

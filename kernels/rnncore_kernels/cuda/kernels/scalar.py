"""A number in a register of a GPU thread, on which the code of cells is evaluated to compile it for a GPU."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from llvmlite import ir

from ...codegen.value import Value
from .functions import ELEMENTS


class Scalar(Value):
    """A float or double of one thread."""

    __slots__ = ()

    def __init__(self, builder: Any, value: Any) -> None:
        super().__init__(builder, value, next(dtype for dtype, kind in ELEMENTS.items() if kind == value.type))

    def wrap(self, value: Any) -> Self:
        return type(self)(self.builder, value)

    def square_root(self) -> Self:
        return self.wrap(self._instruction("sqrt.rn.f32" if self.dtype == np.float32 else "sqrt.rn.f64"))

    def approximate_inverse(self) -> Self | None:
        return self.wrap(self._instruction("rcp.approx.ftz.f32")) if self.dtype == np.float32 else None

    def _fused(self, factor: Any, summand: Any) -> Any:
        return fma(self.builder, self.value, factor, summand)

    def _scaled(self, exponent: Any) -> Any:
        return None

    def _divided(self, divisor: Any) -> Any:
        if self.dtype != np.float32:
            return super()._divided(divisor)
        # The division that is rounded right branches into a function; this one is off by 2 units in the last place.
        return self._instruction("div.full.f32", divisor)

    def _instruction(self, name: str, *others: Any) -> Any:
        """The result of PTX's instruction of this name on this value and others, LLVM's."""
        kind = ir.FunctionType(self.value.type, [self.value.type] * (1 + len(others)))
        text = f"{name} {', '.join(f'${place}' for place in range(2 + len(others)))};"
        letter = "f" if self.dtype == np.float32 else "d"
        constraints = f"={letter}" + f",{letter}" * (1 + len(others))
        return self.builder.call(ir.InlineAsm(kind, text, constraints, side_effect=False), [self.value, *others])

    def __neg__(self) -> Self:
        # NVVM of old has no instruction for it.
        return self * -1.0


def fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once, of LLVM's values."""
    name = f"llvm.fma.{'f32' if a.type == ir.FloatType() else 'f64'}"
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(a.type, [a.type] * 3), name)
    return builder.call(function, [a, b, c])

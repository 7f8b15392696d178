"""A stage of a cell on one row and hidden unit, compiled from the cell's expression graphs.

Addresses are of this row and unit's value; several values of a kind stand a distance apart, in bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core import types

from ...codegen.expression import emit
from ...codegen.program import StageProgram
from .emitted import ELEMENTS, I64, emitted, global_pointer, real_type, values_type
from .scalar import Scalar

FORWARD = (
    "of_x", "x_distance",  # what x contributes to the stage's columns
    "bias", "bias_distance",  # of each column
    "operand", "rest", "rest_distance",  # what is carried into the stage: the first value, and the others
    "next_operand", "next_rest", "next_distance",  # what is carried on
    "kept", "kept_distance",  # what the cell keeps; nowhere if the distance is 0
)  # fmt: skip
"""Arguments of a stage's forward function, behind `sums`: what the operand contributes to its columns."""

BACKWARD = (
    "grad", "grad_distance",  # cotangents of what the stage carried on, then of what was carried into it
    "kept", "kept_distance",  # what the cell kept
    "state", "new", "state_distance",  # the step's states before and after
    "pre", "pre_distance",  # cotangents of the stage's columns, written
)  # fmt: skip
"""Arguments of a stage's backward function, behind `grad0`: the first cotangent of what it carried on."""


class _Inputs(dict[str, Scalar]):
    """Values by name, loaded when they are first needed."""

    def __init__(self, load: Callable[[str, int], Scalar]) -> None:
        super().__init__()
        self._load = load

    def __missing__(self, name: str) -> Scalar:
        kind = name.rstrip("0123456789") if not name.startswith("pre_") else name
        value = self[name] = self._load(kind, int(name[len(kind) :] or 0))
        return value


def make_forward(dtype: np.dtype[Any], stage: StageProgram) -> Any:
    """A function that stores what the stage carries on and keeps, the latter unless `kept_distance` is 0.

    It returns the first value carried on.
    """

    def body(b: Any, sums: list[Any], *addresses: Any) -> Any:
        a: dict[str, Any] = dict(zip(FORWARD, addresses, strict=True))

        def carried(prefix: str, index: int) -> Any:
            if index == 0:
                return _pointer(b, dtype, a[f"{prefix}operand"])
            return _pointer(b, dtype, a[f"{prefix}rest"], a[f"{prefix or 'rest_'}distance"], index - 1)

        def load(kind: str, index: int) -> Scalar:
            if not kind.startswith("pre_"):
                return Scalar(b, b.load(carried("", index)))
            column = stage.pre.index(kind)
            value = Scalar(b, b.load(_pointer(b, dtype, a["bias"], a["bias_distance"], column)))
            if column < len(stage.gates):
                value = Scalar(b, b.load(_pointer(b, dtype, a["of_x"], a["x_distance"], column))) + value
            return value + Scalar(b, sums[column - stage.split]) if column >= stage.split else value

        results = emit((*stage.next_carry, *stage.keep), _Inputs(load))
        carries = len(stage.next_carry)
        for index, result in enumerate(results[:carries]):
            assert result is not None
            b.store(result.value, carried("next_", index))
        if stage.keep:
            with b.if_then(b.icmp_signed("!=", a["kept_distance"], I64(0))):
                for index, result in enumerate(results[carries:]):
                    assert result is not None
                    b.store(result.value, _pointer(b, dtype, a["kept"], a["kept_distance"], stage.kept + index))
        assert results[0] is not None
        return results[0].value

    sums = values_type(dtype, stage.columns - stage.split)
    return emitted("forward", [sums, *[types.int64] * len(FORWARD)], real_type(dtype), body)


def make_backward(dtype: np.dtype[Any], stage: StageProgram) -> Any:
    """A function that computes and stores the cotangents of a stage's columns and of what was carried into it."""

    def body(b: Any, grad0: Any, *addresses: Any) -> None:
        a: dict[str, Any] = dict(zip(BACKWARD, addresses, strict=True))

        def load(kind: str, index: int) -> Scalar:
            if kind == "grad" and index == 0:
                return Scalar(b, grad0)
            distance = a["state_distance" if kind in ("state", "new") else f"{kind}_distance"]
            return Scalar(b, b.load(_pointer(b, dtype, a[kind], distance, index)))

        results = emit((*stage.grad_pre, *stage.grad_carry), _Inputs(load))
        for index, result in enumerate(results):
            value = ELEMENTS[dtype](0.0) if result is None else result.value
            if index < stage.columns:
                b.store(value, _pointer(b, dtype, a["pre"], a["pre_distance"], index))
            else:
                b.store(value, _pointer(b, dtype, a["grad"], a["grad_distance"], index - stage.columns))

    return emitted("backward", [real_type(dtype), *[types.int64] * len(BACKWARD)], None, body)


def _pointer(b: Any, dtype: np.dtype[Any], address: Any, distance: Any = None, index: int = 0) -> Any:
    place = address if index == 0 else b.add(address, b.mul(distance, I64(index)))
    return global_pointer(b, place, ELEMENTS[dtype])

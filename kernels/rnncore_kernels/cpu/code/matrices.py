"""Where the biases of a column are."""

from __future__ import annotations

from typing import Any

from ..shape import Shape
from .calls import matrix_at
from .emitted import compiled


def make_bias_at(shape: Shape) -> Any:
    """`bias_at(matrices, number, row)`: address of the bias of a row of a matrix; 0 where there is none."""
    item = shape.itemsize

    @compiled("bias_at")
    def bias_at(matrices: int, number: int, row: int) -> int:
        if number < 0 or row < 0:
            return 0
        bias = matrix_at(matrices, number).bias
        return bias + row * item if bias != 0 else 0

    return bias_at

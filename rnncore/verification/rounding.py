"""The rounding of the factors of products, as the oracle computes it: on Python's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from .scalars import Scalar, Vector


class Rounding(NamedTuple):
    """How products are computed.

    Attributes:
        factors: of the numbers of a vector: a row of weights, or what such rows multiply in a row of the batch. None
            where they are as they are.
        cotangent: of that of a product's result; None likewise.
    """

    factors: Callable[[list[float]], list[float]] | None = None
    cotangent: Callable[[float], float] | None = None

    def vector(self, values: Vector) -> Vector:
        """The rounded vector, whose cotangent passes through."""
        if self.factors is None:
            return values
        rounded = self.factors([v.value for v in values])
        return [Scalar(number, ((v, 1.0),)) for number, v in zip(rounded, values, strict=True)]


def to_bfloat16(value: float) -> float:
    """The nearest number of 8 significant bits, of two the even one."""
    if not math.isfinite(value):
        return value
    fraction, exponent = math.frexp(value)
    return math.ldexp(round(fraction * 256), exponent - 8)


def to_int8(values: list[float]) -> list[float]:
    """The numbers as a scale times whole numbers up to 127, of two the even one; NaN where one is not finite.

    The scale is the largest magnitude by 127, a float32 that is rounded up to 16 significant bits.
    """
    if not all(map(math.isfinite, values)):
        return [math.nan] * len(values)
    fraction, exponent = math.frexp(max(map(abs, values), default=0.0) / 127)
    scale = math.ldexp(math.ceil(round(fraction * 2**24) / 2**8), exponent - 16)
    if scale < 2.0**-126:  # no float32 is its inverse
        return [0.0] * len(values)
    return [round(value / scale) * scale for value in values]


ALL_DIGITS = Rounding()

ROUNDINGS: dict[str | None, Rounding] = {
    None: ALL_DIGITS,
    "bfloat16": Rounding(lambda values: [*map(to_bfloat16, values)], to_bfloat16),
    "int8": Rounding(to_int8),
}
"""By precision."""

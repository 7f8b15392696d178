"""The functions of cells in NumPy: exact results, the numbers that they are tested on, and errors."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from conftest import ULPS
from numpy.typing import NDArray

from rnncore_kernels.codegen.expression import OPERATIONS
from rnncore_kernels.numpy import operations as numpy_operations

Array = NDArray[Any]

WIDE: dict[str, Any] = {"float32": np.float64, "float64": np.longdouble}
"""The formats in which exact results are computed."""


def softplus(x: Array) -> Array:
    """log(1 + e**x)."""
    result: Array = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return result


def sigmoid(x: Array) -> Array:
    """1 / (1 + e**-x)."""
    small = np.exp(-np.abs(x))
    result: Array = np.where(x >= 0, 1, small) / (1 + small)
    return result


ROUNDED: dict[str, tuple[Callable[[Array], Array], tuple[float, float]]] = {
    "exp": (np.exp, (0, math.inf)),
    "log": (np.log, (-math.inf, math.inf)),
    "tanh": (np.tanh, (-1, 1)),
    "sigmoid": (sigmoid, (0, 1)),
    "log_sigmoid": (lambda x: -softplus(-x), (-math.inf, 0)),
    "softplus": (softplus, (0, math.inf)),
    # The product is 0 times infinity at -inf.
    "silu": (lambda x: np.where(np.isneginf(x), -0.0, x * sigmoid(x)), (-0.279, math.inf)),
    "sin": (np.sin, (-1, 1)),
    "cos": (np.cos, (-1, 1)),
}
"""Functions with rounding errors: exact ones, and bounds of the results."""

EXACT = (
    *("abs", "sqrt", "relu", "heaviside", "clamp", "maximum", "minimum"),
    *("where_positive", "where_greater", "where_greater_equal"),
)
"""Functions whose results are those of the NumPy engine."""

DRAWN: list[tuple[float, ...]] = [*((float(use), float(word)) for use in (0, 1) for word in range(4)), (0.0, 1.0, 0.0)]
"""Use and word of random numbers, and a step that is a number."""


def drawn(use: float, word: float, *step: float) -> Callable[..., Any]:
    """A random number of the bits of unit, row and step, and of two words of the key."""

    def applied(unit: Any, row: Any, time: Any, *key: Any) -> Any:
        return OPERATIONS["uniform"](use, word, unit, row, *(step or (time,)), *key)

    return applied


@functools.cache
def counters(dtype: str) -> Array:
    """Random bits of counters and keys, (5, numbers)."""
    kind = np.dtype(f"u{np.dtype(dtype).itemsize}")
    result: Array = np.random.default_rng(0).integers(0, 2**32, (5, 64), np.uint64).astype(kind).view(dtype)
    return result


def expected_draws(dtype: str) -> Array:
    """NumPy's random numbers, one row for each of `DRAWN`."""
    unit, row, time, *key = counters(dtype)
    numbers = numpy_operations.OPERATIONS["uniform"]
    return np.array([numbers(use, word, unit, row, *(step or (time,)), *key) for use, word, *step in DRAWN])


FORMS: list[tuple[str, tuple[str | float, ...]]] = [
    *((name, ("a",)) for name in ("abs", "sqrt", "relu", "heaviside")),
    ("clamp", ("a", -0.5, 2.0)),
    *((name, ("a", "b")) for name in ("maximum", "minimum", "where_positive")),
    *((name, form) for name in ("maximum", "minimum") for form in (("a", 0.5), (0.5, "a"), ("a", math.nan))),
    ("where_positive", ("a", math.inf)),
    *(
        (name, form)
        for name in ("where_greater", "where_greater_equal")
        for form in (
            *(("a", "b", "a", "b"), ("a", "b", 1.0, 2.0), ("a", 0.5, "b", math.inf), (0.5, "a", math.inf, "b")),
            *((2.0, 1.0, "a", 3.0), (1.0, 1.0, 3.0, "a"), (math.nan, 1.0, "a", "b"), ("a", 0.5, math.nan, "a")),
        )
    ),
]
"""Functions of `EXACT` with their operands: values and numbers."""


def operation(name: str, operands: tuple[str | float, ...] = ("a",)) -> Callable[..., Any]:
    """A function of the values a and b."""

    def applied(a: Any, b: Any = None) -> Any:
        return OPERATIONS[name](*({"a": a, "b": b}[o] if isinstance(o, str) else o for o in operands))

    return applied


def expected_of_form(name: str, operands: tuple[str | float, ...], a: Array, b: Array) -> Array:
    """NumPy's results."""
    with np.errstate(all="ignore"):
        result = numpy_operations.OPERATIONS[name](
            *({"a": a, "b": b}[o] if isinstance(o, str) else o for o in operands)
        )
    return np.broadcast_to(result, a.shape).astype(a.dtype)


@functools.cache
def pairs(dtype: str) -> tuple[Array, Array]:
    """Each of some numbers with each, NaN among them."""
    info = np.finfo(dtype)
    tiny, large = float(info.smallest_subnormal), float(info.max)
    numbers = [0.0, tiny, 0.3, 0.5, 1.0, 2.0, 7.0, large, math.inf]
    values = np.array([*numbers, *(-n for n in numbers), math.nan, 1e-3], dtype)
    a, b = np.meshgrid(values, values)
    size = a.size // 16 * 16
    return a.ravel()[:size].copy(), b.ravel()[:size].copy()


@functools.cache
def sweep(dtype: str, share: int = 1) -> Array:
    """Numbers of all exponents and both signs, subnormal and infinite ones, and more where functions are not flat.

    Among them are those that are nearest to multiples of pi/2; there are fewer numbers the greater the share.
    """
    random = np.random.default_rng(0)
    ranges: tuple[tuple[float, float], ...]
    if dtype == "float32":
        bits = np.arange(0, 2**32, 2053 * share, dtype=np.uint64).astype(np.uint32)
        ranges, count = ((-110, 95), (-20, 20), (-1, 1), (0.6, 1.5), (-3000, 3000)), 400_000
        worst = math.ldexp(16367173, 72)
    else:
        bits = random.integers(0, 2**64, 100_000 // share, dtype=np.uint64)
        ranges, count = ((-755, 715), (-40, 40), (-1, 1), (0.6, 1.5), (-100_000, 100_000)), 40_000
        worst = math.ldexp(6381956970095103, 797)
    multiples = np.arange(-100_000, 100_000, share) * (np.pi / 2)
    special = np.array([0.0, -0.0, np.inf, -np.inf, worst, -worst], dtype)
    limits = np.array([2.0**11, 2.0**16])
    numbers = [special, bits.view(dtype), multiples, multiples * 2.0**80, np.nextafter(limits, 0), limits]
    numbers += [random.uniform(low, high, count // share) for low, high in ranges]
    x: Array = np.concatenate([n.astype(dtype) for n in numbers])
    x = x[~np.isnan(x)]
    return x[: x.size // 64 * 64]


@functools.cache
def expected(dtype: str, name: str, share: int = 1) -> tuple[Array, Array]:
    """The exact results on the sweep, in a longer format, and their units in the last place; 0 where infinite or NaN."""
    with np.errstate(all="ignore"):
        exact = ROUNDED[name][0](sweep(dtype, share).astype(WIDE[dtype]))
        rounded = exact.astype(dtype)
        finite = np.isfinite(rounded)
        units = np.where(finite, np.spacing(np.abs(rounded)), 0)
    return np.where(finite, exact, rounded), units.astype(exact.dtype)


def check(dtype: str, name: str, y: Array, share: int = 1) -> None:
    """Raise AssertionError unless y are the results on the sweep, within the tolerance and bounds."""
    exact, units = expected(dtype, name, share)
    finite = units > 0
    np.testing.assert_array_equal(y[~finite], exact[~finite].astype(dtype))
    errors = np.abs(y[finite] - exact[finite]) / units[finite]
    worst = errors.argmax()
    assert errors[worst] <= ULPS, f"{name}({sweep(dtype, share)[finite][worst]!r}): {errors[worst]} units"
    low, high = ROUNDED[name][1]
    assert low <= y[finite].min() <= y[finite].max() <= high

"""Functions of cells on values, the exponential ones and those that select: straight-line code without library calls.

`logarithms` and `trigonometry` have the others. All exponentials take apart x = n ln2 + r with an integer n and
|r| <= ln2 / 2, so that e^x = 2^n e^r, and e^r = 1 + r h(r) with a polynomial h. The functions that are built from them
avoid cancellation and overflow:

    sigmoid(x) = e^r / (e^r + 2^-n)
    silu(x) = x e^r / (e^r + 2^-n)
    tanh(x) = u / (u + 2), u = e^2x - 1 = 2^n (e^r - 1) - (1 - 2^n)

n is rounded by adding a large number, in whose lowest bits it then stands: W. J. Cody and W. Waite, Software Manual
for the Elementary Functions, 1980. The polynomials are minimax in the relative error of the factor that they are in
(Remez' algorithm, in 50 digits). Results, subnormal ones included, are within 4 units in the last place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from .philox import BITS, philox
from .value import Value

V = TypeVar("V", bound=Value)

LOG2_E = 1.4426950408889634


@dataclass(frozen=True)
class Format:
    """Constants of the functions for a floating-point format.

    Attributes:
        mantissa: explicit bits of the significand.
        bias: added to an exponent in its bits.
        ln2: numbers whose sum is ln 2; the first has so few bits that its product with n is exact.
        coefficients: of h, from the constant term up, for exp and sigmoid.
        fine_coefficients: of h, accurate in e^r - 1, for tanh and silu.
        exp_range: outside, exp is 0 or infinite.
        sigmoid_range: below, sigmoid and silu are 0, above, sigmoid is 1.
        tanh_limit: from here on, tanh is 1.
        headroom: e^r and 2^-n are scaled by 2^-headroom in sigmoid, so that 2^-n does not overflow.
    """

    mantissa: int
    bias: int
    ln2: tuple[float, float]
    coefficients: tuple[float, ...]
    fine_coefficients: tuple[float, ...]
    exp_range: tuple[float, float]
    sigmoid_range: tuple[float, float]
    tanh_limit: float
    headroom: int


def numbers(text: str) -> tuple[float, ...]:
    """Numbers in the notation of `float.hex`, with spaces between."""
    return tuple(float.fromhex(number) for number in text.split())


SINGLE = Format(
    mantissa=23,
    bias=127,
    ln2=(float.fromhex("0x1.62e4p-1"), float.fromhex("0x1.7f7d1cf79abcap-20")),
    coefficients=numbers("0x1.fffff6p-1 0x1.fffdc6p-2 0x1.555a6cp-3 0x1.573a6cp-5 0x1.0fa82p-7"),
    fine_coefficients=numbers("1 0x1.fffffep-2 0x1.55547ep-3 0x1.555652p-5 0x1.123ce6p-7 0x1.6c16b0p-10"),
    exp_range=(-104.0, 89.0),
    sigmoid_range=(-109.0, 18.0),
    tanh_limit=10.0,
    headroom=32,
)

DOUBLE_COEFFICIENTS = numbers(
    "1 0x1.0000000000005p-1 0x1.5555555555530p-3 0x1.5555555552116p-5 0x1.111111111a2c5p-7 0x1.6c16c17f2bf95p-10 "
    "0x1.a01a0170d993bp-13 0x1.a019a6aafd852p-16 0x1.71de8ecf8733fp-19 0x1.28a2860f6293dp-22 0x1.ae639b148ca1ap-26"
)

DOUBLE = Format(
    mantissa=52,
    bias=1023,
    ln2=(float.fromhex("0x1.62e42fefa2p-1"), float.fromhex("0x1.9ef35793c7673p-41")),
    coefficients=DOUBLE_COEFFICIENTS,
    fine_coefficients=DOUBLE_COEFFICIENTS,
    exp_range=(-746.0, 710.0),
    sigmoid_range=(-752.0, 38.0),
    tanh_limit=20.0,
    headroom=64,
)

FORMATS: dict[np.dtype[Any], Format] = {np.dtype(np.float32): SINGLE, np.dtype(np.float64): DOUBLE}


def exp(x: V) -> V:
    """e**x."""
    form = FORMATS[x.dtype]
    low, high = form.exp_range
    # Two factors 2^a 2^b = 2^n, as 2^n itself may be no normal number: the biases of both are in the lowest bits.
    n, r, bits = _reduced(x.maximum(low).minimum(high), 1, form, 2 * form.bias, form.ln2)
    power = r.fma(polynomial(r, form.coefficients), 1)
    if (scaled := power.times_power_of_two(n)) is not None:
        return scaled
    half = x.builder.lshr(bits, x.integers(1))
    return power * _power(x, half, form) * _power(x, x.builder.sub(bits, half), form)


def sigmoid(x: V) -> V:
    """1 / (1 + e**-x)."""
    power, divisor, _ = _logistic(x, FORMATS[x.dtype].coefficients)
    return power.quotient(divisor)


def silu(x: V) -> V:
    """x / (1 + e**-x), and its limit -0 for -inf."""
    power, divisor, bounded = _logistic(x, FORMATS[x.dtype].fine_coefficients)
    # A factor before the division where sigmoid may be subnormal, else behind it, where the product may be.
    before = x.compare("<", -1)
    return (power * bounded.select(before, 1)).quotient(divisor) * x.constant(1).select(before, x)


def _logistic(x: V, coefficients: tuple[float, ...]) -> tuple[V, V, V]:
    """Dividend and divisor of sigmoid, so scaled that neither under- nor overflows, and x limited to its range."""
    form = FORMATS[x.dtype]
    low, high = form.sigmoid_range
    bounded = x.maximum(low).minimum(high)
    _, r, bits = _reduced(bounded, -1, form, form.bias - form.headroom, form.ln2)
    scale = 2.0**-form.headroom
    power = r.fma(polynomial(r, tuple(c * scale for c in coefficients)), scale)
    return power, power + _power(x, bits, form), bounded


def tanh(x: V) -> V:
    """Hyperbolic tangent."""
    form = FORMATS[x.dtype]
    bounded = x.maximum(-form.tanh_limit).minimum(form.tanh_limit)
    # ln2 rounded will do: n errors of it matter no more where tanh is as flat as it is for that n.
    _, r, bits = _reduced(bounded, 2, form, form.bias, (sum(form.ln2),))
    power = _power(x, bits, form)
    # The products by powers of two make it e^2r - 1; as r is a factor of it and 1 - 2^n is subtracted, -0 stays -0.
    less_one = r * polynomial(r, tuple(c * 2.0 ** (k + 1) for k, c in enumerate(form.fine_coefficients)))
    u = power.fma(less_one, -(1 - power))
    return u.quotient(u + 2)


def sqrt(x: V) -> V:
    """The square root, correctly rounded; NaN of negative numbers."""
    return x.square_root()


def absolute(x: V) -> V:
    """|x|."""
    mask = (1 << 8 * x.dtype.itemsize - 1) - 1
    return x.from_bits(x.builder.and_(x.bits(), x.integers(mask)))


def relu(x: V) -> V:
    """max(x, 0); NaN stays NaN."""
    return x.maximum(0)


def heaviside(x: V) -> V:
    """1 where x > 0, else 0; NaN stays NaN."""
    return where_positive(x, 1)


def clamp(x: V, low: float, high: float) -> V:
    """x limited to [low, high]; NaN stays NaN."""
    return x.maximum(low).minimum(high)


def maximum(a: V | float, b: V | float) -> V:
    """The greater of a and b, NaN where one is NaN; one of them may be a number."""
    first, second = _values(a, b)
    return second.select(second.compare("uno", second), first.maximum(second))


def minimum(a: V | float, b: V | float) -> V:
    """The lesser of a and b, NaN where one is NaN; one of them may be a number."""
    first, second = _values(a, b)
    return second.select(second.compare("uno", second), first.minimum(second))


def where_positive(x: V, value: V | float) -> V:
    """`value` where x > 0, else 0; NaN where x is NaN."""
    chosen = x.constant(value) if isinstance(value, int | float) else value
    return x.select(x.compare("uno", x), chosen.select(x.compare(">", 0), 0))


def where_greater(a: V | float, b: V | float, x: V | float, y: V | float) -> V:
    """x where a > b, else y, also where a or b is NaN; up to three of them may be numbers."""
    return _where(">", a, b, x, y)


def where_greater_equal(a: V | float, b: V | float, x: V | float, y: V | float) -> V:
    """x where a >= b, else y, also where a or b is NaN; up to three of them may be numbers."""
    return _where(">=", a, b, x, y)


def uniform(use: float, word: float, unit: V, row: V, step: V | float, first: V, second: V) -> V:
    """A random number of 0 or more and below 1, with BITS bits.

    Args:
        use, word: of the counter (unit, row, step, use) the number of the word.
        unit, row, step: bits of integers; `step` may be a number.
        first, second: bits of the key.
    """
    time = step.words() if isinstance(step, Value) else unit.same_words(int(step))
    counter = unit.words(), row.words(), time, unit.same_words(int(use))
    drawn = philox(counter, (first.words(), second.words()))[int(word)]
    return unit.from_words(drawn >> (32 - BITS)) * 2.0**-BITS


def _where(operator: str, a: V | float, b: V | float, x: V | float, y: V | float) -> V:
    first, second, chosen, other = _values(a, b, x, y)
    return chosen.select(first.compare(operator, second), other)


def _values(*operands: V | float) -> list[V]:
    """The operands, at least one of which is a value, all as values of its type."""
    like = next(o for o in operands if not isinstance(o, int | float))
    return [like.constant(o) if isinstance(o, int | float) else o for o in operands]


def _reduced(x: V, factor: int, form: Format, bias: int, ln2: tuple[float, ...]) -> tuple[V, V, Any]:
    """(n, r, bits) with factor x = n ln2 + factor r; the lowest bits of `bits` are n + bias; ln2 is a sum."""
    magic = 1.5 * 2.0**form.mantissa + bias
    shifted = x.fma(factor * LOG2_E, magic)
    n = shifted - magic
    r = x
    for part in ln2:
        r = n.fma(-part / factor, r)
    return n, r, shifted.bits()


def polynomial(r: V, coefficients: tuple[float, ...]) -> V:
    """The sum of coefficients, from the constant term up, times powers of r."""
    result = r.constant(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = result.fma(r, coefficient)
    return result


def _power(x: V, bits: Any, form: Format) -> V:
    """2^n, where the lowest bits of `bits` are n and the bias."""
    return x.from_bits(x.builder.shl(bits, x.integers(form.mantissa)))

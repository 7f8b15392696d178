"""Logarithms on values: straight-line code, without tables, branches or library calls.

All take apart a positive number y = 2^k (1 + f) with an integer k and sqrt(1/2) <= 1 + f < sqrt(2), so that

    log(y) = k ln2 + log(1 + f),   log(1 + f) = f + f^2 p(f)

with a polynomial p, minimax in the relative error of log(1 + f) (Remez' algorithm, in 60 digits). `softplus` and
`log_sigmoid` need log(1 + t) with 0 <= t <= 1, of which k and f are found without rounding 1 + t. Results, subnormal
ones included, are within 4 units in the last place. The reduction is that of J.-M. Muller, Elementary Functions, 2016.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .functions import FORMATS, V, absolute, exp, numbers, polynomial

COEFFICIENTS: dict[np.dtype[Any], tuple[float, ...]] = {
    np.dtype(np.float32): numbers(
        "-0x1.fffff8p-2 0x1.55555p-2 -0x1.000426p-2 0x1.99a3f4p-3 -0x1.54276cp-3 0x1.227198p-3 -0x1.0f3762p-3 "
        "0x1.08487ap-3 -0x1.383066p-4"
    ),
    np.dtype(np.float64): numbers(
        "-0x1.ffffffffffffbp-2 0x1.55555555551a6p-2 -0x1.00000000008b2p-2 0x1.9999999a32cf5p-3 -0x1.55555555324f1p-3 "
        "0x1.249248e059aeap-3 -0x1.ffffff8aef819p-4 0x1.c71c8f0e78315p-4 -0x1.9999ca6f4176fp-4 0x1.7459acb6acb4ep-4 "
        "-0x1.554d23ca5d40bp-4 0x1.3b4c58a607fbcp-4 -0x1.2548c9e26f6c5p-4 0x1.0f389a2c30895p-4 -0x1.eee3524c03c96p-5 "
        "0x1.e959b72632cebp-5 -0x1.15ffa3f2259a6p-4 0x1.03144ad84391p-4 -0x1.cfae489375587p-6"
    ),
}
"""Coefficients of p, from the constant term up."""


def log(x: V) -> V:
    """Natural logarithm: -inf of 0, NaN of negative numbers."""
    form = FORMATS[x.dtype]
    b, shift = x.builder, form.mantissa + 1
    subnormal = x.compare("<", 2.0 ** (1 - form.bias))
    bits = (x * 2.0**shift).select(subnormal, x).bits()
    # The bits of sqrt(1/2) become those of the exponent 0, so that the exponent is k + bias.
    one = form.bias << form.mantissa
    biased = b.lshr(b.add(bits, x.integers(one - _root_of_half(x.dtype))), x.integers(form.mantissa))
    reduced = x.from_bits(b.add(b.sub(bits, b.shl(biased, x.integers(form.mantissa))), x.integers(one)))
    # In the lowest bits of a large number, an integer is soon a float.
    magic = 1.5 * 2.0**form.mantissa
    large = x.from_bits(b.add(biased, x.constant(magic).bits()))
    k = large - x.constant(magic + form.bias + shift).select(subnormal, magic + form.bias)
    y = _sum(reduced - 1, k).select(x.compare("<", math.inf), x)
    return x.constant(-math.inf).select(x.compare("==", 0), x.constant(math.nan).select(x.compare("<", 0), y))


def softplus(x: V) -> V:
    """log(1 + e**x), the smooth `relu`."""
    return x.maximum(0) + _log_1_plus_exp_of_minus(absolute(x))


def log_sigmoid(x: V) -> V:
    """Logarithm of `sigmoid`, -log(1 + e**-x)."""
    return x.minimum(0) - _log_1_plus_exp_of_minus(absolute(x))


def _log_1_plus_exp_of_minus(x: V) -> V:
    """log(1 + e**-x) where x >= 0."""
    t = exp(-x)
    halved = t.compare(">", math.sqrt(2) - 1)
    f = (t * 0.5 - 0.5).select(halved, t)
    return _sum(f, x.constant(1).select(halved, 0))


def _sum(f: V, k: V) -> V:
    """k ln2 + log(1 + f)."""
    high, low = FORMATS[f.dtype].ln2
    tail = (f * f).fma(polynomial(f, COEFFICIENTS[f.dtype]), k * low)
    return k.fma(high, f + tail)


def _root_of_half(dtype: np.dtype[Any]) -> int:
    """The bits of sqrt(1/2)."""
    integer = np.dtype(f"u{dtype.itemsize}")
    return int(np.array(math.sqrt(0.5), dtype).view(integer))

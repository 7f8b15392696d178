"""Sine and cosine on values.

Both take apart x = n pi/2 + r with an integer n and |r| <= pi/4, so that they are, but for the sign, one of

    sin(r) = r (1 + r^2 s(r^2)),   cos(r) = 1 + r^2 c(r^2)

with polynomials s and c, minimax in the relative error of the result (Remez' algorithm, in 60 digits).
Where |x| is below a limit, n times parts of pi/2 that have few bits is subtracted (W. J. Cody and W. Waite, Software
Manual for the Elementary Functions, 1980). Larger numbers are rare, so a branch is taken for them: x is an integer
times 2^e, of 2/pi only those bits matter that 2^e gives a weight of less than 4, and integers of 32 bits are multiplied
(M. H. Payne and R. N. Hanek, Radian Reduction for Trigonometric Functions, 1983). Results are within 4 units in the
last place.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from .functions import FORMATS, V, absolute, numbers, polynomial
from .value import Value, filled

TWO_OVER_PI = int(
    "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561b7246e3a424dd2e0"
    "06492eea09d1921cfe1deb1cb129a73ee88235f52ebb4484e99c7026b45f7e413991d639835339f4"
    "9c845f8bbdf9283b1ff897ffde05980fef2f118b5a0a6d1f6d367ecf27cb09b74f463f669e5fea2d"
    "7527bac7ebe5f17b3d0739f78a5292ea6bfb5fb11f8d5d0856033046fc7b6babf0cfbc209af4361d",
    16,
)
"""2/pi times 2**1280, rounded down."""
TWO_OVER_PI_BITS = 1280
I64 = ir.IntType(64)
LOW_HALF = 2**32 - 1


@dataclass(frozen=True)
class Reduction:
    """How a format's numbers are taken apart.

    Attributes:
        limit: exponent of the power of two from which on 2/pi is multiplied by integers.
        half_pi: numbers whose sum is pi/2; up to the limit, n times each but the last is exact.
        limbs: integers of 32 bits of 2/pi that take part.
        sine: coefficients of s, from the constant term up.
        cosine: coefficients of c.
    """

    limit: int
    half_pi: tuple[float, ...]
    limbs: int
    sine: tuple[float, ...]
    cosine: tuple[float, ...]


REDUCTIONS: dict[np.dtype[Any], Reduction] = {
    np.dtype(np.float32): Reduction(
        limit=11,
        half_pi=numbers("0x1.921p+0 0x1.f6ap-13 0x1.11p-26 0x1.68c234p-39"),
        limbs=3,
        sine=numbers("-0x1.555546p-3 0x1.110776p-7 -0x1.9952fap-13"),
        cosine=numbers("-0x1p-1 0x1.55554ap-5 -0x1.6c0c28p-10 0x1.99e80cp-16"),
    ),
    np.dtype(np.float64): Reduction(
        limit=16,
        half_pi=numbers("0x1.921fb54440000p+0 0x1.68c234c4c0000p-39 0x1.98a2e03707345p-77"),
        limbs=6,
        sine=numbers(
            "-0x1.5555555555548p-3 0x1.111111110f730p-7 -0x1.a01a019be9226p-13 0x1.71de35552e03ep-19 "
            "-0x1.ae5e4b8817625p-26 0x1.5d8b578fc9039p-33"
        ),
        cosine=numbers(
            "-0x1p-1 0x1.555555555554bp-5 -0x1.6c16c16c1500dp-10 0x1.a01a019c8dd0ep-16 -0x1.27e4f7f04e896p-22 "
            "0x1.1ee9dac9da4eap-29 -0x1.8fa5eb59ac0a9p-37"
        ),
    ),
}


def sin(x: V) -> V:
    """Sine; NaN of infinities."""
    return _wave(x, 0)


def cos(x: V) -> V:
    """Cosine; NaN of infinities."""
    return _wave(x, 1)


def _wave(x: V, quarters: int) -> V:
    """sin(x + quarters pi/2)."""
    b, form = x.builder, REDUCTIONS[x.dtype]
    r, quadrant = _reduced(x)
    quadrant = b.add(quadrant, x.integers(quarters))
    square = r * r
    sine = r * square.fma(polynomial(square, form.sine), 1)
    cosine = square.fma(polynomial(square, form.cosine), 1)
    odd = b.icmp_unsigned("!=", b.and_(quadrant, x.integers(1)), x.integers(0))
    # The quadrant's second bit becomes the sign.
    sign = b.shl(b.and_(quadrant, x.integers(2)), x.integers(8 * x.dtype.itemsize - 2))
    return x.from_bits(b.xor(cosine.select(odd, sine).bits(), sign))


def _reduced(x: V) -> tuple[V, Any]:
    """r and LLVM's integers whose two lowest bits are those of n."""
    b, form = x.builder, REDUCTIONS[x.dtype]
    magic = 1.5 * 2.0 ** FORMATS[x.dtype].mantissa
    shifted = x.fma(2 / math.pi, magic)
    n = shifted - magic
    r, quadrant = x, shifted.bits()
    for part in form.half_pi:
        r = n.fma(-part, r)
    size = absolute(x)
    large = b.and_(size.compare(">=", 2.0**form.limit), size.compare("<", math.inf))
    before = b.block
    with b.if_then(x.any(large), likely=False):
        large_r, large_quadrant = _reduced_by_integers(x)
        chosen_r = large_r.select(large, r)
        chosen_quadrant = b.select(large, large_quadrant, quadrant)
        inside = b.block
    results = []
    for usual, chosen in ((r.value, chosen_r.value), (quadrant, chosen_quadrant)):
        phi = b.phi(usual.type)
        phi.add_incoming(usual, before)
        phi.add_incoming(chosen, inside)
        results.append(phi)
    return x.wrap(results[0]), results[1]


def _reduced_by_integers(x: V) -> tuple[V, Any]:
    """The same where |x| is at least the limit and finite."""
    b, form = x.builder, FORMATS[x.dtype]
    kind = x.integer_type
    wide = ir.VectorType(I64, kind.count) if isinstance(kind, ir.VectorType) else I64

    def constant(number: int) -> Any:
        return filled(wide, number)

    def low(number: Any) -> Any:
        return b.and_(number, constant(LOW_HALF))

    def high(number: Any) -> Any:
        return b.lshr(number, constant(32))

    bits = x.bits() if kind == wide else b.zext(x.bits(), wide)
    exponent = b.and_(b.lshr(bits, constant(form.mantissa)), constant(2 * form.bias + 1))
    significand = b.or_(b.and_(bits, constant(2**form.mantissa - 1)), constant(2**form.mantissa))
    factors = [low(significand), high(significand)] if form.mantissa > 32 else [significand]
    limbs = [half for word in reversed(_window(x, exponent, constant)) for half in (low(word), high(word))]
    limbs = limbs[len(limbs) - REDUCTIONS[x.dtype].limbs :]
    # The product but for its multiples of 4.
    product = [constant(0)] * len(limbs)
    for start, factor in enumerate(factors):
        carry = constant(0)
        for place in range(start, len(limbs)):
            term = b.add(b.add(b.mul(factor, limbs[place - start]), product[place]), carry)
            product[place], carry = low(term), high(term)

    # Its highest 64 bits, of which two stand before the binary point, are n and a remainder.
    top = b.or_(b.shl(product[-1], constant(32)), product[-2])
    n = b.lshr(b.add(top, constant(2**61)), constant(62))
    rest = x.from_integers(b.sub(top, b.shl(n, constant(62))))
    if len(product) > 3:
        below = b.or_(b.shl(product[-3], constant(31)), b.lshr(product[-4], constant(1)))
        rest = x.from_integers(below).fma(2.0**-63, rest)
    r = rest * (math.pi / 2 * 2.0**-62)
    negative = x.compare("<", 0)
    n = b.select(negative, b.sub(constant(0), n), n)
    return (-r).select(negative, r), n if kind == wide else b.trunc(n, kind)


def _window(x: Value, exponent: Any, constant: Callable[[int], Any]) -> list[Any]:
    """The leading bits of 2/pi 2^e modulo 4 in words of 64, the highest first; `exponent` is e with another bias."""
    b, form, reduction = x.builder, FORMATS[x.dtype], REDUCTIONS[x.dtype]
    least = form.bias + reduction.limit
    # At the least exponent the window begins as many bits before the binary point of 2/pi.
    before = 2 - (reduction.limit - form.mantissa)
    start = b.sub(exponent, constant(least))
    last, count = (2 * form.bias - least) // 64, -(-reduction.limbs // 2)
    words = [
        constant(TWO_OVER_PI >> TWO_OVER_PI_BITS + before - 64 * (k + 1) & 2**64 - 1) for k in range(last + count + 1)
    ]
    # One that begins at a word is found by halving their number; then it is moved by less than a word.
    for bit in reversed(range(last.bit_length())):
        further = b.icmp_unsigned("!=", b.and_(start, constant(64 << bit)), constant(0))
        kept = count + 2**bit
        words = [b.select(further, words[k + 2**bit], words[k]) for k in range(kept)]
    shift = b.and_(start, constant(63))
    opposite = b.sub(constant(63), shift)
    return [
        b.or_(b.shl(word, shift), b.lshr(b.lshr(following, constant(1)), opposite))
        for word, following in itertools.pairwise(words)
    ]

"""Approximations of the hardware, and the exact functions that share their opcodes.

An approximation has a random error within the bound that the PTX ISA gives it. The error depends on the launch's seed and
on the operands: the same computation in two threads gives the same bits.
"""

from __future__ import annotations

import math

from ..types import TYPES, Type
from .emitter import Emitter, real
from .floats import TINY, binary, flush, unary
from .modifiers import Modifiers
from .table import opcode

F32 = TYPES["f32"]


def noise(e: Emitter, salt: int, *operands: str) -> str:
    """31 random bits, as an i64, that depend on float32 operands."""
    bits = [e.let(f"zext i32 {e.let(f'bitcast float {x} to i32')} to i64") for x in operands]
    key = bits[0] if len(bits) == 1 else e.let(f"or i64 {e.let(f'shl i64 {bits[0]}, 32')}, {bits[1]}")
    return e.runtime("noise", key, salt)


def _within_ulps(e: Emitter, exact: str, bits: str, ulps: int) -> str:
    """The float32 nearest to a double, or one some units in the last place away; zeros and infinities stay."""
    nearest = e.let(f"fptrunc double {exact} to float")
    pattern = e.let(f"bitcast float {nearest} to i32")
    step = e.let(f"sub i64 {e.let(f'urem i64 {bits}, {2 * ulps + 1}')}, {ulps}")
    moved = e.let(f"add i32 {pattern}, {e.let(f'trunc i64 {step} to i32')}")
    normal = "true"
    for candidate in (pattern, moved):
        exponent = e.let(f"and i32 {candidate}, {0x7F800000}")
        inside = e.let(f"icmp ult i32 {e.let(f'sub i32 {exponent}, {0x800000}')}, {0x7F000000}")
        normal = e.let(f"and i1 {normal}, {inside}")
    return e.let(f"bitcast i32 {e.let(f'select i1 {normal}, i32 {moved}, i32 {pattern}')} to float")


def _signed_unit(e: Emitter, bits: str) -> str:
    """A double in [-1, 1) from random bits."""
    unit = e.let(f"fmul double {e.let(f'uitofp i64 {bits} to double')}, {real(2.0**-30, 64)}")
    return e.let(f"fsub double {unit}, {real(1.0, 64)}")


def _within_relative(e: Emitter, exact: str, bits: str, bound: float) -> str:
    """A float32 whose error, that of its rounding included, is at most `bound` of the exact value."""
    error = e.let(f"fmul double {_signed_unit(e, bits)}, {real(bound - 2.0**-24, 64)}")
    factor = e.let(f"fadd double {error}, {real(1.0, 64)}")
    return e.let(f"fptrunc double {e.let(f'fmul double {exact}, {factor}')} to float")


def _within_absolute(e: Emitter, exact: str, bits: str, bound: str) -> str:
    """A float32 with an error of up to a bound, a double."""
    error = e.let(f"fmul double {_signed_unit(e, bits)}, {bound}")
    return e.let(f"fptrunc double {e.let(f'fadd double {exact}, {error}')} to float")


def _within_one(e: Emitter, x: str) -> str:
    """A float32 clamped to [-1, 1]; a NaN stays."""
    over = e.let(f"fcmp ogt float {unary(e, 'fabs', 'float', x)}, {real(1.0, 32)}")
    one = binary(e, "copysign", "float", real(1.0, 32), x)
    return e.let(f"select i1 {over}, float {one}, float {x}")


def approximate_division(e: Emitter, m: Modifiers, kind: Type, full: bool) -> None:
    """To 2 units in the last place; div.approx is 0 for divisors above 2**126."""
    ftz = m.take("ftz")
    if kind.bits != 32:
        raise e.refuse()
    d, a, b = e.operands(3)
    x, y = e.value(a, kind), e.value(b, kind)
    if ftz:
        x, y = flush(e, x), flush(e, y)
    exact = e.let(f"fdiv double {e.let(f'fpext float {x} to double')}, {e.let(f'fpext float {y} to double')}")
    text = _within_ulps(e, exact, noise(e, 1, x, y), 2)
    if not full:
        large = e.let(f"fcmp ogt float {unary(e, 'fabs', 'float', y)}, {real(2.0**126, 32)}")
        # 0 times the dividend: a NaN where that is infinite.
        zero = e.let(f"fmul float {binary(e, 'copysign', 'float', real(0.0, 32), y)}, {x}")
        text = e.let(f"select i1 {large}, float {zero}, float {text}")
    e.set_typed(d, flush(e, text) if ftz else text, kind)


@opcode("rcp", "sqrt", "rsqrt")
def root(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    if kind.kind != "f":
        raise e.refuse()
    approximate, ftz = m.take("approx"), m.take("ftz")
    if not approximate:
        m.need("rn")
    if (name == "rsqrt" and not approximate) or (kind.bits == 64 and bool(approximate) != bool(ftz)):
        raise e.refuse()
    d, a = e.operands(2)
    x = e.value(a, kind)
    if kind.bits == 64 and approximate:
        e.set_typed(d, _upper_word(e, name, x), kind)
        return
    if ftz:
        x = flush(e, x)
    if not approximate:
        one = real(1.0, kind.bits)
        text = unary(e, "sqrt", kind.llvm, x) if name == "sqrt" else e.let(f"fdiv {kind.llvm} {one}, {x}")
    else:
        wide = e.let(f"fpext float {x} to double")
        if name != "rcp":
            wide = unary(e, "sqrt", "double", wide)
        exact = wide if name == "sqrt" else e.let(f"fdiv double {real(1.0, 64)}, {wide}")
        bits = noise(e, {"rcp": 2, "sqrt": 3, "rsqrt": 4}[name], x)
        bound = {"sqrt": 2.0**-23, "rsqrt": 2.0**-22.9}
        text = _within_ulps(e, exact, bits, 1) if name == "rcp" else _within_relative(e, exact, bits, bound[name])
    e.set_typed(d, flush(e, text) if ftz else text, kind)


def _upper_word(e: Emitter, name: str, x: str) -> str:
    """rcp and rsqrt of the upper 32 bits of a float64, to as many bits; subnormal numbers are zeros."""
    if name == "sqrt":
        raise e.refuse()

    def upper(value: str) -> str:
        bits = e.let(f"and i64 {e.let(f'bitcast double {value} to i64')}, {-(1 << 32)}")
        number = e.let(f"bitcast i64 {bits} to double")
        small = e.let(f"fcmp olt double {unary(e, 'fabs', 'double', number)}, {real(2.0**-1022, 64)}")
        zero = binary(e, "copysign", "double", real(0.0, 64), number)
        return e.let(f"select i1 {small}, double {zero}, double {number}")

    operand = upper(x)
    root_of = unary(e, "sqrt", "double", operand) if name == "rsqrt" else operand
    return upper(e.let(f"fdiv double {real(1.0, 64)}, {root_of}"))


@opcode("ex2", "lg2", "sin", "cos", "tanh")
def transcendental(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    if kind != F32:
        raise e.refuse()
    m.need("approx")
    ftz = m.take("ftz") if name != "tanh" else None
    d, a = e.operands(2)
    x = e.value(a, kind)
    if ftz:
        x = flush(e, x)
    function = {"ex2": "exp2", "lg2": "log2"}.get(name, name)
    exact = unary(e, function, "double", e.let(f"fpext float {x} to double"))
    bits = noise(e, {"ex2": 5, "lg2": 6, "sin": 7, "cos": 8, "tanh": 9}[name], x)
    if name == "ex2":
        text = _within_ulps(e, exact, bits, 2)
        # Powers to whole numbers are exact: NVIDIA's own functions of float64 lean on it.
        whole = e.let(f"fcmp oeq float {unary(e, 'floor', 'float', x)}, {x}")
        text = e.let(f"select i1 {whole}, float {e.let(f'fptrunc double {exact} to float')}, float {text}")
    elif name == "lg2":
        above = e.let(f"fcmp ogt float {x}, {real(0.5, 32)}")
        near_one = e.let(f"and i1 {above}, {e.let(f'fcmp olt float {x}, {real(2.0, 32)}')}")
        absolute = _within_absolute(e, exact, bits, real(2.0**-22 - 2.0**-25, 64))
        relative = _within_relative(e, exact, bits, 2.0**-22)
        text = e.let(f"select i1 {near_one}, float {absolute}, float {relative}")
    elif name == "tanh":
        text = _within_one(e, _within_relative(e, exact, bits, 2.0**-11))
        size = unary(e, "fabs", "float", x)
        # Subnormal numbers pass through, and infinity is exact.
        subnormal = e.let(f"fcmp olt float {size}, {real(TINY, 32)}")
        text = e.let(f"select i1 {subnormal}, float {x}, float {text}")
        infinite = e.let(f"fcmp oeq float {size}, {real(math.inf, 32)}")
        text = e.let(f"select i1 {infinite}, float {binary(e, 'copysign', 'float', real(1.0, 32), x)}, float {text}")
    else:
        near = e.let(f"fcmp ole float {unary(e, 'fabs', 'float', x)}, {real(6.2831855, 32)}")
        bound = e.let(
            f"select i1 {near}, double {real(2.0**-20.5 - 2.0**-24, 64)}, double {real(2.0**-14.7 - 2.0**-24, 64)}"
        )
        text = _within_one(e, _within_absolute(e, exact, bits, bound))
        text = _unless_zero(e, x, x if name == "sin" else real(1.0, 32), text)
    e.set_typed(d, flush(e, text) if ftz else text, kind)


def _unless_zero(e: Emitter, x: str, at_zero: str, otherwise: str) -> str:
    zero = e.let(f"fcmp oeq float {x}, {real(0.0, 32)}")
    return e.let(f"select i1 {zero}, float {at_zero}, float {otherwise}")

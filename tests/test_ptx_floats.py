"""Floating-point instructions of the PTX executor, against rational numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ptx.errors import UnsupportedInstruction
from ptx.snippets import DTYPES, evaluate

Array = NDArray[Any]

MODES = ("rn", "rz", "rm", "rp")


def edges(kind: str) -> list[float]:
    dtype = np.dtype(DTYPES[kind])
    info = np.finfo(dtype)
    some = [0.0, 1.0, 1.5, 2.5, 3.0, 1 / 3, math.pi, 1e-30, 1e30, 0.1, 12345.678, math.inf]
    some += [float(v) for v in (info.max, info.tiny, info.tiny * 0.75, info.smallest_subnormal, info.eps)]
    some += [float(np.nextafter(dtype.type(1), dtype.type(2)))]
    return [float(dtype.type(v)) for v in [*some, *(-v for v in some)]] + [math.nan]


def rows_of(kind: str, operands: int, limit: int = 1000) -> list[tuple[float, ...]]:
    """Combinations of edge values, or as many of them, and random values of like magnitudes."""
    rows = list(itertools.product(edges(kind), repeat=operands))
    generator = np.random.default_rng(0)
    if len(rows) > limit:
        rows = [rows[i] for i in generator.integers(0, len(rows), limit)]
    random = generator.standard_normal((300, operands)) * 2.0 ** generator.integers(-3, 4, (300, operands))
    return rows + [tuple(float(DTYPES[kind](v)) for v in row) for row in random]


def rounded(value: Fraction, kind: str, mode: str) -> float:
    """The float next to a rational number that is not 0."""
    digits, lowest, highest = (24, -126, 127) if kind == "f32" else (53, -1022, 1023)
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    exponent -= abs(value) < Fraction(2) ** exponent
    unit = Fraction(2) ** (max(exponent, lowest) - digits + 1)
    up = mode == "rp" or (mode == "rz" and value < 0)
    steps = round(value / unit) if mode == "rn" else math.ceil(value / unit) if up else math.floor(value / unit)
    if abs(steps * unit) < Fraction(2) ** (highest + 1):
        return float(steps * unit)
    largest = float((Fraction(2) ** digits - 1) * Fraction(2) ** (highest - digits + 1))
    outwards = mode == "rn" or (mode != "rz" and up == (value > 0))
    return math.copysign(math.inf if outwards else largest, 1 if value > 0 else -1)


def exact(
    operation: Callable[..., Fraction], floats: Callable[..., float], kind: str, mode: str
) -> Callable[..., float]:
    """A reference: rational numbers where they can say, the processor's floats for infinities, NaN and zeros."""

    def reference(*row: float) -> float:
        if all(map(math.isfinite, row)):
            try:
                value = operation(*map(Fraction, row))
            except ZeroDivisionError:
                value = Fraction(0)
            if value:
                result = rounded(value, kind, mode)
                return result if result else math.copysign(0.0, value)
        with np.errstate(all="ignore"):
            result = float(floats(*(DTYPES[kind](v) for v in row)))
        return -0.0 if result == 0 and mode == "rm" and cancels(row) else result

    def cancels(row: tuple[float, ...]) -> bool:
        """Whether a sum that is 0 is one of different signs, or of numbers that are not 0."""
        terms = [row[0] * row[1], row[2]] if len(row) == 3 else [row[0], row[1] if floats != subtract else -row[1]]
        return floats in (add, subtract, fused) and not all(t == 0 and math.copysign(1, t) > 0 for t in terms)

    return reference


def add(a: Any, b: Any) -> Any:
    return a + b


def subtract(a: Any, b: Any) -> Any:
    return a - b


def fused(a: Any, b: Any, c: Any) -> Any:
    """For zeros, infinities and NaN, where rounding the product first changes nothing."""
    if np.isinf(c) and np.isfinite(a) and np.isfinite(b):
        return c
    return np.float64(a) * np.float64(b) + np.float64(c)


def flushed(value: float) -> float:
    return math.copysign(0.0, value) if abs(value) < 2.0**-126 else value


def saturated(value: float) -> float:
    return min(max(value, 0.0), 1.0) if value > 0 else 0.0


def check(
    instruction: str, kind: str, operands: int, reference: Callable[..., float], result: str | None = None
) -> None:
    rows = rows_of(kind, operands)
    names = "abc"[:operands]
    text = f"{instruction} {', '.join(f'%{n}' for n in ('d', *names))};"
    got = evaluate(text, dict.fromkeys(names, kind), result or kind, list(zip(*rows, strict=True)))
    for row, value in zip(rows, got, strict=True):
        expected = reference(*row)
        same = math.isnan(expected) if np.isnan(value) else float(value) == expected
        same = same and (expected != 0 or math.copysign(1, expected) == math.copysign(1, float(value)))
        assert same, f"{instruction}{row}: expected {expected}, got {value}"


ARITHMETIC: dict[str, tuple[int, Callable[..., Fraction], Callable[..., float]]] = {
    "add": (2, lambda a, b: a + b, add),
    "sub": (2, lambda a, b: a - b, subtract),
    "mul": (2, lambda a, b: a * b, lambda a, b: a * b),
    "div": (2, lambda a, b: a / b, lambda a, b: a / b),
    "fma": (3, lambda a, b, c: a * b + c, fused),
}


@pytest.mark.parametrize(
    ("name", "mode", "kind"),
    [(n, m, "f32") for n in ("add", "sub", "mul", "fma") for m in MODES]
    + [("div", "rn", "f32")]
    + [(n, "rn", "f64") for n in ARITHMETIC],
)
def test_rounding(name: str, mode: str, kind: str) -> None:
    operands, rational, floats = ARITHMETIC[name]
    check(f"{name}.{mode}.{kind}", kind, operands, exact(rational, floats, kind, mode))


@pytest.mark.parametrize("name", ["add", "sub", "mul", "fma"])
def test_default_rounding_and_flags(name: str) -> None:
    operands, rational, floats = ARITHMETIC[name]
    nearest = exact(rational, floats, "f32", "rn")
    written = {"fma": "fma.rn"}.get(name, name)
    check(f"{written}.f32", "f32", operands, nearest)
    check(f"{written}.ftz.f32", "f32", operands, lambda *row: flushed(nearest(*map(flushed, row))))
    check(f"{written}.sat.f32", "f32", operands, lambda *row: saturated(nearest(*row)))


def root(value: float, kind: str) -> float:
    if not value >= 0:
        return value if value == 0 else math.nan
    with np.errstate(all="ignore"):
        return float(np.sqrt(DTYPES[kind](value)))


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_of_one_operand(kind: str) -> None:
    check(f"abs.{kind}", kind, 1, lambda a: math.fabs(a))
    check(f"neg.{kind}", kind, 1, lambda a: -a)
    check(f"mov.{kind}", kind, 1, lambda a: a)
    check(f"rcp.rn.{kind}", kind, 1, lambda a: exact(lambda x: 1 / x, lambda x: 1 / x, kind, "rn")(a))
    check(f"sqrt.rn.{kind}", kind, 1, lambda a: root(a, kind))
    check(f"copysign.{kind}", kind, 2, lambda a, b: math.copysign(b, a))
    if kind == "f32":
        check("abs.ftz.f32", kind, 1, lambda a: flushed(abs(a)))
        check("neg.ftz.f32", kind, 1, lambda a: flushed(-a))


def least(a: float, b: float) -> float:
    """The smaller one, the other where one is a NaN; -0 is below 0."""
    if math.isnan(a) or math.isnan(b):
        return b if math.isnan(a) else a
    return min(a, b, key=lambda v: (v, math.copysign(1, v)))


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_min_and_max(kind: str) -> None:
    check(f"min.{kind}", kind, 2, least)
    check(f"max.{kind}", kind, 2, lambda a, b: -least(-a, -b))
    if kind == "f32":
        check("min.NaN.f32", kind, 2, lambda a, b: math.nan if math.isnan(a) or math.isnan(b) else least(a, b))
        check("min.ftz.f32", kind, 2, lambda a, b: least(flushed(a), flushed(b)))


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("relation", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_setp(relation: str, kind: str) -> None:
    function: Callable[[float, float], bool] = getattr(float, f"__{relation}__")

    def unordered(a: float, b: float) -> bool:
        return math.isnan(a) or math.isnan(b)

    check(f"setp.{relation}.{kind}", kind, 2, lambda a, b: not unordered(a, b) and function(a, b), "pred")
    check(f"setp.{relation}u.{kind}", kind, 2, lambda a, b: unordered(a, b) or function(a, b), "pred")


def test_setp_of_nan_and_of_subnormal_numbers() -> None:
    check("setp.num.f32", "f32", 2, lambda a, b: not (math.isnan(a) or math.isnan(b)), "pred")
    check("setp.nan.f64", "f64", 2, lambda a, b: math.isnan(a) or math.isnan(b), "pred")
    check("setp.eq.ftz.f32", "f32", 2, lambda a, b: flushed(a) == flushed(b), "pred")


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_testp(kind: str) -> None:
    tiny = float(np.finfo(DTYPES[kind]).tiny)
    check(f"testp.finite.{kind}", kind, 1, lambda a: math.isfinite(a), "pred")
    check(f"testp.infinite.{kind}", kind, 1, lambda a: math.isinf(a), "pred")
    check(f"testp.number.{kind}", kind, 1, lambda a: not math.isnan(a), "pred")
    check(f"testp.notanumber.{kind}", kind, 1, lambda a: math.isnan(a), "pred")
    check(f"testp.normal.{kind}", kind, 1, lambda a: math.isfinite(a) and abs(a) >= tiny, "pred")
    check(f"testp.subnormal.{kind}", kind, 1, lambda a: 0 < abs(a) < tiny, "pred")


@pytest.mark.parametrize(
    "instruction",
    [
        "add.rm.f64 %d, %a, %a",
        "div.rz.f64 %d, %a, %a",
        "rcp.rz.f64 %d, %a",
        "add.sat.f64 %d, %a, %a",
        "ex2.approx.f64 %d, %a",
        "min.xorsign.abs.f64 %d, %a, %a",
        "add.f64 %d, %a, 1",
        "add.f64 %d, %a",
        "add.f32 %d, %a, %a",
    ],
)
def test_what_is_not_known_is_refused(instruction: str) -> None:
    with pytest.raises(UnsupportedInstruction, match=r"line \d+: "):
        evaluate(f"{instruction};", {"a": "f64"}, "f64", [[1.0]])

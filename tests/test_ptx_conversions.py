"""Moves and conversions of the PTX executor."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from ptx.errors import UnsupportedInstruction
from ptx.snippets import DTYPES, evaluate
from test_ptx_floats import check as check_floats
from test_ptx_floats import edges as float_edges
from test_ptx_floats import flushed, rounded, saturated
from test_ptx_integers import check as check_integers
from test_ptx_integers import clamp

INTEGERS = ("u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64")


@pytest.mark.parametrize("target", INTEGERS)
@pytest.mark.parametrize("source", INTEGERS)
def test_integers(source: str, target: str) -> None:
    check_integers(f"cvt.{target}.{source}", (source,), target, lambda a: a)
    own, other = np.iinfo(DTYPES[target]), np.iinfo(DTYPES[source])
    if own.min > other.min or own.max < other.max:
        check_integers(f"cvt.sat.{target}.{source}", (source,), target, lambda a: clamp(a, target))


def test_a_narrow_value_in_a_wide_register_keeps_its_sign() -> None:
    got = evaluate("cvt.s8.s32 %d, %a;", {"a": "s32"}, "s32", [[127, 128, 255, 256, -1, -129]])
    assert got.tolist() == [127, -128, -1, 0, -1, 127]


ROUNDINGS: dict[str, Callable[[float], float]] = {
    "rni": lambda a: float(np.rint(a)),
    "rzi": lambda a: float(np.trunc(a)),
    "rmi": lambda a: float(np.floor(a)),
    "rpi": lambda a: float(np.ceil(a)),
}


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("source", ["f32", "f64"])
@pytest.mark.parametrize("target", INTEGERS)
def test_floats_to_integers(rounding: str, source: str, target: str) -> None:
    """Beyond the range its end; a NaN is 0, or the highest bit alone if the source or the target has 64 bits."""
    info = np.iinfo(DTYPES[target])
    values = [
        *float_edges(source),
        0.5,
        -0.5,
        1.5,
        3.7,
        -3.7,
        127.5,
        128.0,
        -128.5,
        2.0**31,
        2.0**32,
        2.0**63,
        -(2.0**63),
    ]
    values = [float(DTYPES[source](v)) for v in values]

    def reference(a: float) -> int:
        if math.isnan(a):
            wide = source == "f64" or target in ("s64", "u64")
            return (info.min if target[0] == "s" else (info.max >> 1) + 1) if wide else 0
        if math.isinf(a):
            return info.max if a > 0 else info.min
        return clamp(int(ROUNDINGS[rounding](a)), target)

    got = evaluate(f"cvt.{rounding}.{target}.{source} %d, %a;", {"a": source}, target, [values])
    for value, result in zip(values, got.tolist(), strict=True):
        assert result == reference(value), f"{value}: expected {reference(value)}, got {result}"


@pytest.mark.parametrize("source", INTEGERS)
@pytest.mark.parametrize("target", ["f32", "f64"])
def test_integers_to_floats(source: str, target: str) -> None:
    from fractions import Fraction

    from test_ptx_integers import edges

    values = edges(source)
    got = evaluate(f"cvt.rn.{target}.{source} %d, %a;", {"a": source}, target, [values])
    assert got.tolist() == [rounded(Fraction(v), target, "rn") if v else 0.0 for v in values]


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
def test_float64_to_float32(mode: str) -> None:
    from fractions import Fraction

    values = [v for v in float_edges("f64") if math.isfinite(v) and v] + [1 + 2.0**-24, 1 + 3 * 2.0**-24, 1 / 3, 1e300]
    got = evaluate(f"cvt.{mode}.f32.f64 %d, %a;", {"a": "f64"}, "f32", [values])
    assert got.tolist() == [rounded(Fraction(v), "f32", mode) for v in values]


def test_subnormal_results() -> None:
    values = [1e-40, -1e-40, 2.0**-126, 1e-300, 1.0]
    got = evaluate("cvt.rn.ftz.f32.f64 %d, %a;", {"a": "f64"}, "f32", [values])
    assert got.tolist() == [0.0, 0.0, 2.0**-126, 0.0, 1.0]
    assert np.signbit(got).tolist() == [False, True, False, False, False]
    assert evaluate("cvt.ftz.f64.f32 %d, %a;", {"a": "f32"}, "f64", [[1e-40, 1.0]]).tolist() == [0.0, 1.0]
    assert evaluate("cvt.rpi.ftz.s32.f32 %d, %a;", {"a": "f32"}, "s32", [[1e-40, 0.5]]).tolist() == [0, 1]


def test_floats_to_floats() -> None:
    widened = evaluate("cvt.f64.f32 %d, %a;", {"a": "f32"}, "f64", [float_edges("f32")])
    np.testing.assert_array_equal(widened, float_edges("f32"))
    for rounding, function in ROUNDINGS.items():
        check_floats(f"cvt.{rounding}.f32.f32", "f32", 1, function)
        check_floats(f"cvt.{rounding}.f64.f64", "f64", 1, function)
    check_floats("cvt.sat.f32.f32", "f32", 1, saturated)
    check_floats("cvt.ftz.f32.f32", "f32", 1, flushed)


@pytest.mark.parametrize(
    "instruction",
    [
        "cvt.rz.f32.s32 %d, %a",
        "cvt.f32.s32 %d, %a",
        "cvt.rn.f32.f16 %d, %a",
        "cvt.rn.bf16.f32 %d, %a",
        "cvt.rn.relu.f32.f64 %d, %a",
        "cvt.rna.tf32.f32 %d, %a",
    ],
)
def test_what_is_not_known_is_refused(instruction: str) -> None:
    with pytest.raises(UnsupportedInstruction, match=r"line \d+"):
        evaluate(f"{instruction};", {"a": "f32"}, "f32", [[1.0]])


def test_packing_and_unpacking() -> None:
    a, b = np.array([1, 0xFFFFFFFF, 0x89ABCDEF], np.uint32), np.array([2, 0, 0x01234567], np.uint32)
    packed = evaluate("mov.b64 %d, {%a, %b};", {"a": "b32", "b": "b32"}, "b64", [a, b])
    assert packed.tolist() == [int(y) << 32 | int(x) for x, y in zip(a, b, strict=True)]
    text = "{ .reg .b32 %low; .reg .b32 %high; mov.b64 {%low, %high}, %a; sub.s32 %d, %high, %low; }"
    assert evaluate(text, {"a": "b64"}, "s32", [packed]).tolist() == (b - a).view(np.int32).tolist()
    text = "{ .reg .b16 %x; .reg .b16 %y; mov.b32 {%x, %y}, %a; mov.b32 %d, {%y, %x}; }"
    assert evaluate(text, {"a": "b32"}, "b32", [b]).tolist() == [0x00020000, 0, 0x45670123]
    assert (
        evaluate("{ .reg .b32 %x; mov.b64 {_, %x}, %a; mov.b32 %d, %x; }", {"a": "b64"}, "b32", [packed]).tolist()
        == b.tolist()
    )
    bits = evaluate("mov.b32 %d, %a;", {"a": "f32"}, "b32", [[1.0, -0.0, math.inf]])
    assert bits.tolist() == [0x3F800000, 0x80000000, 0x7F800000]


@pytest.mark.parametrize(
    ("constant", "kind", "value"),
    [
        ("17", "u32", 17),
        ("-17", "s32", -17),
        ("0x1F", "u32", 31),
        ("0xFFFFFFFFU", "u32", 0xFFFFFFFF),
        ("017", "u32", 15),
        ("0b101", "u32", 5),
        ("-9223372036854775808", "s64", -(2**63)),
        ("0f40490FDB", "f32", float(np.float32(math.pi))),
        ("0d400921FB54442D18", "f64", math.pi),
        ("WARP_SZ", "u32", 32),
    ],
)
def test_constants(constant: str, kind: str, value: float) -> None:
    assert evaluate(f"mov.{kind} %d, {constant};", {"a": "u32"}, kind, [[0]]).tolist() == [value]

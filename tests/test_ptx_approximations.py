"""Approximations of the hardware in the PTX executor: errors within the bounds of the PTX ISA, and not without errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ptx.snippets import evaluate

Array = NDArray[Any]

# Approximations: (instruction, operands, range of operands, exact function, bound on the error of (got, exact)).

Bound = Callable[[Array, Array, Array], Any]


def ulps(count: int) -> Bound:
    """So many units in the last place from the correctly rounded result."""

    def bound(got: Array, expected: Array, x: Array) -> Array:
        nearest = expected.astype(np.float32)
        return np.abs(got.view(np.int32).astype(np.int64) - nearest.view(np.int32)) <= count

    return bound


def relative(limit: float) -> Bound:
    return lambda got, expected, x: np.abs(got - expected) <= limit * np.abs(expected)


def logarithm(got: Array, expected: Array, x: Array) -> Any:
    near = (x > 0.5) & (x < 2)
    return np.abs(got - expected) <= np.where(near, 2.0**-22, 2.0**-22 * np.abs(expected))


def trigonometric(got: Array, expected: Array, x: Array) -> Any:
    return np.abs(got - expected) <= np.where(np.abs(x) <= 6.2831855, 2.0**-20.5, 2.0**-14.7)


APPROXIMATIONS: list[tuple[str, int, tuple[float, float], Callable[..., Array], Bound]] = [
    ("div.full.f32", 2, (-50, 50), np.divide, ulps(2)),
    ("div.full.ftz.f32", 2, (-50, 50), np.divide, ulps(2)),
    ("div.approx.f32", 2, (-50, 50), np.divide, ulps(2)),
    ("rcp.approx.f32", 1, (-50, 50), lambda x: 1 / x, ulps(1)),
    ("rcp.approx.ftz.f32", 1, (-50, 50), lambda x: 1 / x, ulps(1)),
    ("sqrt.approx.f32", 1, (0, 100), np.sqrt, relative(2.0**-23)),
    ("rsqrt.approx.f32", 1, (0, 100), lambda x: 1 / np.sqrt(x), relative(2.0**-22.9)),
    ("rsqrt.approx.ftz.f32", 1, (0, 100), lambda x: 1 / np.sqrt(x), relative(2.0**-22.9)),
    ("ex2.approx.f32", 1, (-40, 40), np.exp2, ulps(2)),
    ("ex2.approx.ftz.f32", 1, (-40, 40), np.exp2, ulps(2)),
    ("lg2.approx.f32", 1, (0, 4), np.log2, logarithm),
    ("lg2.approx.ftz.f32", 1, (0, 1e10), np.log2, logarithm),
    ("sin.approx.f32", 1, (-20, 20), np.sin, trigonometric),
    ("cos.approx.ftz.f32", 1, (-20, 20), np.cos, trigonometric),
    ("tanh.approx.f32", 1, (-6, 6), np.tanh, relative(2.0**-11)),
]


@pytest.mark.parametrize(
    ("instruction", "operands", "span", "function", "bound"), APPROXIMATIONS, ids=[row[0] for row in APPROXIMATIONS]
)
def test_approximation(
    instruction: str, operands: int, span: tuple[float, float], function: Callable[..., Array], bound: Bound
) -> None:
    generator = np.random.default_rng(1)
    values = [generator.uniform(*span, 4096).astype(np.float32) for _ in range(operands)]
    # The same operands in two halves: two threads that compute the same get the same.
    doubled = [np.concatenate([v, v]) for v in values]
    names = dict.fromkeys("ab"[:operands], "f32")
    text = f"{instruction} {', '.join(f'%{n}' for n in ('d', *names))};"
    runs = [evaluate(text, names, "f32", doubled, seed=seed) for seed in (0, 1)]
    expected = function(*(v.astype(np.float64) for v in values))
    for run in runs:
        np.testing.assert_array_equal(run[:4096], run[4096:])
        assert bound(run[:4096], expected, values[0]).all()
    # With errors, that differ from seed to seed and go both ways.
    assert (runs[0] != runs[1]).mean() > 0.3
    errors = runs[0][:4096].astype(np.float64) - expected.astype(np.float32)
    assert min((errors > 0).mean(), (errors < 0).mean()) > 0.1


SPECIAL: list[tuple[str, list[float], list[float]]] = [
    ("ex2.approx.f32", [-math.inf, -0.0, 0.0, math.inf, math.nan], [0.0, 1.0, 1.0, math.inf, math.nan]),
    ("ex2.approx.f32", [128.0, 200.0, -200.0, 7.0, -126.0, -130.0], [math.inf, math.inf, 0.0, 128.0, 2.0**-126, 2.0**-130]),
    ("ex2.approx.ftz.f32", [-127.0, -140.0], [0.0, 0.0]),
    ("lg2.approx.f32", [-math.inf, -1.0, -0.0, 0.0, math.inf, math.nan], [math.nan, math.nan, -math.inf, -math.inf, math.inf, math.nan]),
    ("lg2.approx.ftz.f32", [1e-40], [-math.inf]),
    ("tanh.approx.f32", [-math.inf, -0.0, 0.0, math.inf, math.nan, 1e-42], [-1.0, -0.0, 0.0, 1.0, math.nan, 1e-42]),
    ("sin.approx.f32", [-math.inf, -0.0, 0.0, math.inf, math.nan], [math.nan, -0.0, 0.0, math.nan, math.nan]),
    ("cos.approx.f32", [-math.inf, -0.0, 0.0, math.inf, math.nan], [math.nan, 1.0, 1.0, math.nan, math.nan]),
    ("rcp.approx.f32", [-math.inf, -0.0, 0.0, math.inf, math.nan], [-0.0, -math.inf, math.inf, 0.0, math.nan]),
    ("rcp.approx.ftz.f32", [1e-40, -1e-40], [math.inf, -math.inf]),
    ("sqrt.approx.f32", [-1.0, -0.0, 0.0, math.inf, math.nan], [math.nan, -0.0, 0.0, math.inf, math.nan]),
    ("rsqrt.approx.f32", [-1.0, -0.0, 0.0, math.inf, math.nan], [math.nan, -math.inf, math.inf, 0.0, math.nan]),
]  # fmt: skip


@pytest.mark.parametrize(("instruction", "inputs", "outputs"), SPECIAL)
def test_approximation_of_special_values(instruction: str, inputs: list[float], outputs: list[float]) -> None:
    got = evaluate(f"{instruction} %d, %a;", {"a": "f32"}, "f32", [inputs])
    np.testing.assert_array_equal(got, np.array(outputs, np.float32))
    np.testing.assert_array_equal(
        np.signbit(got), np.signbit(np.array(outputs, np.float32)) | np.isnan(got) & np.signbit(got)
    )


def test_tanh_stays_within_one() -> None:
    got = evaluate("tanh.approx.f32 %d, %a;", {"a": "f32"}, "f32", [np.linspace(-20, 20, 1000)])
    assert np.abs(got).max() == 1


def test_approximate_division_by_large_numbers() -> None:
    a, b = [1.0, -1.0, math.inf, 1.0], [2.0**127, 2.0**127, -(2.0**127), 2.0**126]
    got = evaluate("div.approx.f32 %d, %a, %b;", {"a": "f32", "b": "f32"}, "f32", [a, b])
    assert got[0] == 0
    assert got[1] == 0
    assert np.signbit(got[1])
    assert np.isnan(got[2])
    assert got[3] != 0


@pytest.mark.parametrize("name", ["rcp", "rsqrt"])
def test_approximation_of_the_upper_word(name: str) -> None:
    values = np.array([1.0, 3.0, 1e10, 1e-10, 2.0**-1023, 0.0, math.inf])
    got = evaluate(f"{name}.approx.ftz.f64 %d, %a;", {"a": "f64"}, "f64", [values])
    expected = 1 / values[:4] if name == "rcp" else 1 / np.sqrt(values[:4])
    np.testing.assert_allclose(got[:4], expected, rtol=2.0**-19)
    assert got[4:].tolist() == [math.inf, math.inf, 0.0]
    assert not (got.view(np.uint64) & 0xFFFFFFFF).any()

"""Functions of cells on vectors of the Numba engine: exactness, special values, and what they are compiled to."""

from __future__ import annotations

import functools
import math
import re

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import llvmlite.binding as llvm
from compiled import DTYPES, TARGETS, X86_TARGETS, Array, Compiled, loop, parsed
from conftest import ULPS
from elementary import (
    DRAWN,
    EXACT,
    FORMS,
    ROUNDED,
    check,
    counters,
    drawn,
    expected,
    expected_draws,
    expected_of_form,
    operation,
    pairs,
    sweep,
)

from rnncore_kernels.codegen.expression import OPERATIONS
from rnncore_kernels.cpu.target import Target, target
from rnncore_kernels.numpy import operations as numpy_operations

ARITHMETIC = ("add", "sub", "mul", "div", "neg")


def test_all_operations_are_tested() -> None:
    assert {*ROUNDED, *EXACT, *ARITHMETIC, "uniform"} == {*OPERATIONS}
    assert {*OPERATIONS, "number"} == {*numpy_operations.OPERATIONS}
    assert {name for name, _ in FORMS} == {*EXACT}


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_results_of_the_numpy_engine_are_right(dtype: str) -> None:
    x = sweep(dtype)
    with np.errstate(all="ignore"):
        check(dtype, "sigmoid", numpy_operations.OPERATIONS["sigmoid"](x))
        actual = numpy_operations.OPERATIONS["silu"](x)
    exact, _ = expected(dtype, "silu")
    info = np.finfo(dtype)
    # A subnormal sigmoid times x.
    np.testing.assert_allclose(
        actual, exact.astype(dtype), rtol=8 * float(info.eps), atol=800 * float(info.smallest_subnormal)
    )


@functools.cache
def compiled_functions(name: str, dtype: str) -> Compiled:
    bodies = {function: loop(TARGETS[name], dtype, operation(function)) for function in ROUNDED}
    return Compiled(TARGETS[name], bodies, dtype)


def results(made_for: str, dtype: str, function: str, x: Array) -> Array:
    return compiled_functions(made_for, dtype)(function, x, np.empty_like(x), x.size)


@pytest.mark.parametrize("share", [pytest.param(1, marks=pytest.mark.slow), 8])
@pytest.mark.parametrize("function", ROUNDED)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("made_for", TARGETS)
def test_functions_are_exact_to_a_few_units(made_for: str, dtype: str, function: str, share: int) -> None:
    check(dtype, function, results(made_for, dtype, function, sweep(dtype, share)), share)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("made_for", TARGETS)
def test_functions_without_rounding_are_numpys(made_for: str, dtype: str) -> None:
    chosen = TARGETS[made_for]
    bodies = {str(k): loop(chosen, dtype, operation(*form), operands=2) for k, form in enumerate(FORMS)}
    compiled = Compiled(chosen, bodies, dtype)
    a, b = pairs(dtype)
    for k, form in enumerate(FORMS):
        y = compiled(str(k), np.concatenate([a, b]), np.empty_like(a), a.size)
        np.testing.assert_array_equal(y, expected_of_form(*form, a, b), err_msg=str(form))
        assert form[0] != "abs" or not np.signbit(y[~np.isnan(y)]).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("made_for", TARGETS)
def test_random_numbers_are_numpys(made_for: str, dtype: str) -> None:
    bodies = {str(k): loop(TARGETS[made_for], dtype, drawn(*form), operands=5) for k, form in enumerate(DRAWN)}
    compiled, given = Compiled(TARGETS[made_for], bodies, dtype), counters(dtype)
    found = [compiled(str(k), given, np.empty_like(given[0]), given[0].size) for k in range(len(DRAWN))]
    np.testing.assert_array_equal(found, expected_draws(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("made_for", TARGETS)
def test_square_roots_are_rounded_correctly(made_for: str, dtype: str) -> None:
    x = sweep(dtype)[:64000]
    body = loop(TARGETS[made_for], dtype, operation("sqrt"))
    y = Compiled(TARGETS[made_for], {"sqrt": body}, dtype)("sqrt", x, np.empty_like(x), x.size)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(y, np.sqrt(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("made_for", TARGETS)
def test_special_values(made_for: str, dtype: str) -> None:
    tiny = float(np.finfo(dtype).smallest_subnormal)
    # The second last is so far below 0 that e^x is subnormal in float32, the last so far above that it is infinite.
    x = np.resize(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, -95.0, 1e30], dtype), 9 * 64)
    inf, nan, half, ln2 = np.inf, np.nan, 0.5, math.log(2)
    e = float(np.exp(np.longdouble(-95)))
    far = float(x[8])
    log_tiny = math.log(2) * (-149 if dtype == "float32" else -1074)
    values = {
        "exp": [inf, 0, 1, 1, 1, 1, e, inf],
        "log": [inf, nan, -inf, -inf, log_tiny, nan, nan, math.log(far)],
        "tanh": [1, -1, 0.0, -0.0, tiny, -tiny, -1, 1],
        "sigmoid": [1, 0, half, half, half, half, e, 1],
        "log_sigmoid": [0, -inf, -ln2, -ln2, -ln2, -ln2, -95, 0],
        "softplus": [inf, 0, ln2, ln2, ln2, ln2, e, far],
        "silu": [inf, -0.0, 0.0, -0.0, tiny / 2, -tiny / 2, -95 * e, far],
        "sin": [nan, nan, 0.0, -0.0, tiny, -tiny, math.sin(-95), math.sin(far)],
        "cos": [nan, nan, 1, 1, 1, 1, math.cos(-95), math.cos(far)],
    }
    for function, numbers in values.items():
        y = results(made_for, dtype, function, x)[:9]
        exact = np.array(numbers, dtype)
        assert np.isnan(y[0])
        np.testing.assert_array_equal(np.isnan(y[1:]), np.isnan(exact), err_msg=function)
        np.testing.assert_array_max_ulp(np.nan_to_num(y[1:], nan=0), np.nan_to_num(exact, nan=0), ULPS)
        if function in ("tanh", "silu", "sin"):
            np.testing.assert_array_equal(np.signbit(y[3:5]), [False, True], err_msg=function)


@pytest.mark.parametrize("function", ["sin", "cos"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("made_for", TARGETS)
def test_large_lanes_leave_the_others_alone(made_for: str, dtype: str, function: str) -> None:
    """A lane has the same result whether another one of its vector takes the branch for large numbers or not."""
    x = np.random.default_rng(0).uniform(-100, 100, 1024).astype(dtype)
    alone = results(made_for, dtype, function, x)
    large = np.arange(x.size) % 7 == 0
    mixed = results(made_for, dtype, function, np.where(large, np.asarray(1e20, dtype), x))
    np.testing.assert_array_equal(mixed[~large], alone[~large])


def assembly(made_for: Target, dtype: str) -> str:
    """The instructions of all functions."""
    bodies = {f"rounded_{name}": loop(made_for, dtype, operation(name)) for name in ROUNDED}
    bodies |= {str(k): loop(made_for, dtype, operation(*form), operands=2) for k, form in enumerate(FORMS)}
    module, machine = parsed(made_for, bodies, dtype)
    return str(machine.emit_assembly(module))


@pytest.mark.parametrize("name", X86_TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_call_no_library(name: str, dtype: str) -> None:
    text = assembly(X86_TARGETS[name], dtype)
    assert "call" not in text
    assert {16: "xmm", 32: "ymm", 64: "zmm"}[X86_TARGETS[name].vector_bytes] in text


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_call_no_library_on_arm(dtype: str) -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        arm = target("aarch64-unknown-linux-gnu", "neoverse-n1", "")
    except RuntimeError:
        pytest.skip("this LLVM makes no code for AArch64")
    assert arm.fma
    assert arm.vector_bytes == 16
    text = assembly(arm, dtype)
    assert "fmla" in text
    assert not re.search(r"\bblr?\s", text)

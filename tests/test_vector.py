"""Vectors of the Numba engine: their functions' exactness, arithmetic, loads and stores."""

from __future__ import annotations

import ctypes
import functools
import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from compiled import DTYPES, HOST, TARGETS, X86_TARGETS, Array, Body, Compiled, element, loop, parsed
from conftest import ULPS
from llvmlite import ir

from rnncore_kernels.cells import functions as numpy_functions
from rnncore_kernels.codegen import functions
from rnncore_kernels.cpu.target import Target
from rnncore_kernels.cpu.vector import ELEMENTS, Vector

FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "exp": (),
    "sigmoid": (),
    "tanh": (),
    "relu": (),
    "heaviside": (),
    "where_positive": (np.inf,),
    "clamp": (-0.3, 2),
}


def function_loops(made_for: Target, dtype: str) -> dict[str, Body]:
    def applied(name: str) -> Callable[[Vector], Vector]:
        return lambda x: getattr(functions, name)(x, *FUNCTIONS[name])

    return {name: loop(made_for, dtype, applied(name)) for name in FUNCTIONS}


@functools.cache
def compiled_functions(name: str, dtype: str) -> Compiled:
    return Compiled(TARGETS[name], function_loops(TARGETS[name], dtype), dtype)


def results(made_for: str, dtype: str, function: str, x: Array) -> Array:
    return compiled_functions(made_for, dtype)(function, x, np.empty_like(x), x.size)


@functools.cache
def sweep(dtype: str) -> Array:
    """Numbers of all exponents and both signs, subnormal and infinite ones, and more where functions are not flat."""
    random = np.random.default_rng(0)
    if dtype == "float32":
        bits = np.arange(0, 2**32, 2053, dtype=np.uint64).astype(np.uint32)
        ranges, count = ((-110, 95), (-20, 20), (-1, 1)), 500_000
    else:
        bits = random.integers(0, 2**64, 100_000, dtype=np.uint64)
        ranges, count = ((-750, 715), (-40, 40), (-1, 1)), 40_000
    special = np.array([0.0, -0.0, np.inf, -np.inf], dtype)
    numbers = [special, bits.view(dtype), *(random.uniform(*limits, count).astype(dtype) for limits in ranges)]
    x: Array = np.concatenate(numbers)
    x = x[~np.isnan(x)]
    return x[: x.size // 64 * 64]


@functools.cache
def expected(dtype: str, function: str) -> tuple[Array, Array]:
    """The exact results on the sweep, in a longer format, and their units in the last place; 0 where infinite."""
    x: Array = sweep(dtype).astype(np.float64 if dtype == "float32" else np.longdouble)
    with np.errstate(all="ignore"):
        small = np.exp(-np.abs(x))
        exact = np.where(x >= 0, 1, small) / (1 + small) if function == "sigmoid" else getattr(np, function)(x)
        rounded = exact.astype(dtype)
        units = np.where(np.isinf(rounded), 0, np.spacing(np.abs(rounded)))
    return np.where(np.isinf(rounded), rounded, exact), units.astype(exact.dtype)


@pytest.mark.parametrize("function", ["exp", "sigmoid", "tanh"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("made_for", TARGETS)
def test_functions_are_exact_to_a_few_units(made_for: str, dtype: str, function: str) -> None:
    y = results(made_for, dtype, function, sweep(dtype))
    exact, units = expected(dtype, function)
    infinite = units == 0
    np.testing.assert_array_equal(y[infinite], exact[infinite].astype(dtype))
    y, exact, units = y[~infinite], exact[~infinite], units[~infinite]
    assert (np.abs(y - exact) <= ULPS * units).all()
    low, high = {"exp": (0, np.inf), "sigmoid": (0, 1), "tanh": (-1, 1)}[function]
    assert y.min() >= low
    assert y.max() <= high


@pytest.mark.parametrize("function", ["relu", "heaviside", "where_positive", "clamp"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("made_for", TARGETS)
def test_functions_of_steps_are_numpys(made_for: str, dtype: str, function: str) -> None:
    x = sweep(dtype)[:64000]
    numpys: Array = getattr(numpy_functions, function)(x, *FUNCTIONS[function])
    np.testing.assert_array_equal(results(made_for, dtype, function, x), numpys)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("made_for", TARGETS)
def test_special_values(made_for: str, dtype: str) -> None:
    tiny = float(np.finfo(dtype).smallest_subnormal)
    x = np.resize(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, -95.0], dtype), 64)
    inf, half = np.inf, 0.5
    e = float(np.exp(np.longdouble(-95)))
    values = {
        "exp": [inf, 0, 1, 1, 1, 1, e],
        "sigmoid": [1, 0, half, half, half, half, e],
        "tanh": [1, -1, 0.0, -0.0, tiny, -tiny, -1],
        "relu": [inf, 0, 0, 0, tiny, 0, 0],
        "heaviside": [1, 0, 0, 0, 1, 0, 0],
        "where_positive": [inf, 0, 0, 0, inf, 0, 0],
        "clamp": [2, -0.3, 0, 0, tiny, -tiny, -0.3],
    }
    for function, numbers in values.items():
        y = results(made_for, dtype, function, x)[:8]
        assert np.isnan(y[0])
        np.testing.assert_array_max_ulp(y[1:], np.array(numbers, dtype), ULPS)
        if function == "tanh":
            np.testing.assert_array_equal(np.signbit(y[3:5]), [False, True])


@pytest.mark.parametrize("name", X86_TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_call_no_library(name: str, dtype: str) -> None:
    made_for = X86_TARGETS[name]
    module, machine = parsed(made_for, function_loops(made_for, dtype), dtype)
    assembly = machine.emit_assembly(module)
    assert "call" not in assembly
    assert {16: "xmm", 32: "ymm", 64: "zmm"}[made_for.vector_bytes] in assembly


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("made_for", TARGETS)
def test_arithmetic(made_for: str, dtype: str) -> None:
    def calculate(x: Vector) -> Vector:
        return (2 / (3 - x)).fma(x + 1, -x) * (1.5 * x - 4) / (2 + x - 1e300 * 0) - 7

    x = np.linspace(-1, 1, 64).astype(dtype)
    body = loop(TARGETS[made_for], dtype, calculate)
    y = Compiled(TARGETS[made_for], {"body": body}, dtype)("body", x, np.empty_like(x), 64)
    wide = x.astype(np.float64)
    exact = (2 / (3 - wide) * (wide + 1) - wide) * (1.5 * wide - 4) / (2 + wide) - 7
    np.testing.assert_allclose(y, exact, rtol=8 * float(np.finfo(dtype).eps))


def test_operands_that_do_not_fit_are_refused() -> None:
    builder = ir.IRBuilder()
    x = Vector.full(builder, HOST, "float32", 1)
    with pytest.raises(TypeError, match="vectors of different types"):
        _ = x + Vector.full(builder, HOST, "float64", 1)
    with pytest.raises(TypeError, match="expected a vector or a number, got str"):
        _ = x * "2"  # type: ignore[operator]


def page_end(dtype: str, count: int) -> tuple[Any, Array]:
    """An array that ends where memory that nobody may touch begins, and what keeps it alive."""
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if hasattr(mmap, "PROT_READ"):
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mprotect(ctypes.c_void_p(start + mmap.PAGESIZE), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    size = count * np.dtype(dtype).itemsize
    return memory, np.frombuffer(memory, dtype, count, mmap.PAGESIZE - size)


@pytest.mark.parametrize("fixed", [False, True], ids=["runtime", "constant"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("made_for", TARGETS)
def test_masked_loads_and_stores_touch_nothing_else(made_for: str, dtype: str, fixed: bool) -> None:
    chosen = TARGETS[made_for]
    lanes = chosen.lanes(dtype)
    counts = list(range(lanes + 1)) + [2**40]

    def copy(count: int) -> Body:
        def body(builder: Any, given: Any, result: Any, number: Any) -> None:
            number = count if fixed else number
            x = Vector.load(builder, chosen, dtype, given, number)
            (x + 1).store(result, number)
            x.store(element(builder, result, ir.IntType(64)(-2 * lanes), dtype))

        return body

    compiled = Compiled(chosen, {str(count): copy(count) for count in (counts if fixed else [0])}, dtype)
    for count in counts:
        read = min(count, lanes)
        (memory, given), (other, result) = page_end(dtype, read), page_end(dtype, read)
        given[:] = np.arange(1, read + 1)
        compiled(str(count if fixed else 0), given, result, count)
        np.testing.assert_array_equal(result, given + 1)
        whole = np.frombuffer(other, dtype, mmap.PAGESIZE // given.itemsize)
        before = whole[whole.size - read - 2 * lanes :][: 2 * lanes]
        np.testing.assert_array_equal(before, [*given, *[0] * (2 * lanes - read)])
        del memory


@pytest.mark.parametrize("dtype", DTYPES)
def test_splat(dtype: str) -> None:
    def body(builder: Any, given: Any, result: Any, _: Any) -> None:
        scalar = builder.load(given, typ=ELEMENTS[np.dtype(dtype)])
        Vector.splat(builder, HOST, scalar).store(result)

    lanes = HOST.lanes(dtype)
    y = Compiled(HOST, {"body": body}, dtype)("body", np.array([3], dtype), np.zeros(lanes, dtype))
    np.testing.assert_array_equal(y, np.full(lanes, 3))

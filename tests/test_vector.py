"""Vectors of the Numba engine: arithmetic, loads and stores."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from compiled import DTYPES, HOST, TARGETS, Array, Body, Compiled, element, loop
from llvmlite import ir

from rnncore_kernels.cpu.vector import ELEMENTS, Vector


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
    with pytest.raises(TypeError, match="values of different types"):
        _ = x + Vector.full(builder, HOST, "float64", 1)
    with pytest.raises(TypeError, match="expected a Vector or a number, got str"):
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

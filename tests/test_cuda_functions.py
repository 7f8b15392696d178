"""Functions of cells on registers of a GPU: what they are compiled to, executed on the processor."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

pytest.importorskip("numba_cuda")

from cuda_functions import source
from elementary import (
    DRAWN,
    FORMS,
    ROUNDED,
    Array,
    check,
    counters,
    drawn,
    expected_draws,
    expected_of_form,
    operation,
    pairs,
    sweep,
)
from ptx.executor import Program

from rnncore_kernels.cuda import compiler
from rnncore_kernels.cuda.compiler import Capability

CAPABILITIES: list[Capability] = [(8, 0), (10, 0)]
"""One of each flavour of numba-cuda's PTX."""
DTYPES = ["float32", "float64"]
SHARE = 40
"""The sweep has so many times fewer numbers than on the processor."""


@functools.cache
def results(dtype: str, capability: Capability) -> dict[str, Array]:
    """Those of all functions on the sweep."""
    x = sweep(dtype, SHARE)
    y = np.empty((len(ROUNDED), x.size), dtype)
    kernel = source("rounded", dtype, [operation(name) for name in ROUNDED])
    Program(compiler.ptx(kernel, capability)).run(1, 1, [x, y, x.size, 0])
    return dict(zip(ROUNDED, y, strict=True))


@pytest.mark.parametrize("function", ROUNDED)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_functions_are_exact_to_a_few_units(capability: Capability, dtype: str, function: str) -> None:
    check(dtype, function, results(dtype, capability)[function], SHARE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_functions_without_rounding_are_numpys(capability: Capability, dtype: str) -> None:
    a, b = pairs(dtype)
    y = np.empty((len(FORMS), a.size), dtype)
    kernel = source("exact", dtype, [operation(*form) for form in FORMS], operands=2)
    Program(compiler.ptx(kernel, capability)).run(1, 1, [np.concatenate([a, b]), y, a.size, 0])
    for form, row in zip(FORMS, y, strict=True):
        np.testing.assert_array_equal(row, expected_of_form(*form, a, b), err_msg=str(form))
        assert form[0] != "abs" or not np.signbit(row[~np.isnan(row)]).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_random_numbers_are_numpys(capability: Capability, dtype: str) -> None:
    given = counters(dtype)
    y = np.empty((len(DRAWN), given.shape[1]), dtype)
    kernel = source("drawn", dtype, [drawn(*form) for form in DRAWN], operands=5)
    Program(compiler.ptx(kernel, capability)).run(1, 1, [given, y, given.shape[1], 0])
    np.testing.assert_array_equal(y, expected_draws(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_call_nothing_and_spill_nothing(dtype: str) -> None:
    kernel = source("rounded", dtype, [operation(name) for name in ROUNDED])
    text = compiler.ptx(kernel, (8, 0))
    assert not re.search(r"\bcall\b", text)
    assert compiler.usage(compiler.link(text, (8, 0))[1])[1] == 0
    assert dtype == "float64" or ".f64" not in text

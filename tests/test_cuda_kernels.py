"""The kernels as compilers see them: what they are compiled to, for each architecture, without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest

pytest.importorskip("numba_cuda")

from conftest import ULPS
from ptx.executor import Program

from benchmarks.gpu_kernels import CAPABILITIES, usage
from rnncore.cells import GRU, LSTM, Cell, Elman
from rnncore_kernels.cells import functions as numpy_functions
from rnncore_kernels.codegen import functions
from rnncore_kernels.codegen.program import make_program
from rnncore_kernels.cuda import toolchain
from rnncore_kernels.cuda.kernels import backward_source, forward_source
from rnncore_kernels.cuda.toolchain import Capability, Source

CELLS: dict[str, Cell] = {"elman": Elman(), "lstm": LSTM(), "gru_before": GRU(reset="before")}


@pytest.mark.parametrize(("name", "few"), [("lstm", False), ("lstm", True), ("gru_before", False), ("elman", False)])
@pytest.mark.slow
def test_float32_kernels_are_what_hardware_runs_well(name: str, few: bool) -> None:
    """No double precision, local memory, 64-bit division or call; assembled and linked without spilled registers.

    `benchmarks/gpu_kernels.py` shows it of all kernels; here those with the most registers stand for the others.
    """
    program = make_program(CELLS[name])
    for source in (forward_source(program, np.dtype("f"), few), backward_source(program, np.dtype("f"), few)):
        for capability in CAPABILITIES if name == "lstm" else CAPABILITIES[::2]:
            registers, spilled = usage(source, np.dtype("f"), capability)
            assert registers <= 255
            assert spilled == 0


def test_a_refusal_of_the_assembler_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"nvJitLink: .*nonsense"):
        toolchain.link(".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k() { nonsense; }\n", (8, 0))


def test_a_numpy_without_names_that_numba_cuda_looks_up(tmp_path: Path) -> None:
    """NumPy 2.5 has none of these; nor has it afterwards."""
    script = """
import numpy as np
from rnncore_kernels.cuda.front_end import REMOVED
for name in REMOVED:
    vars(np).pop(name, None)
from rnncore_kernels.cuda.probe import TRIAL
from rnncore_kernels.cuda.toolchain import machine_code
assert machine_code(TRIAL, (8, 0)).startswith(b"\\x7fELF")
print([name for name in REMOVED if hasattr(np, name)])
"""
    assert processes.run(script, RNNCORE_CACHE_DIR=str(tmp_path)) == "[]\n"


def test_kernels_are_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNNCORE_CACHE_DIR", str(tmp_path))
    source = _elementwise("relu", np.dtype("f"))
    code = toolchain.machine_code(source, (8, 0))
    assert {path.suffix for path in tmp_path.iterdir()} == {".ptx", ".cubin"}
    assert code.startswith(b"\x7fELF")
    monkeypatch.setattr(toolchain, "_compile", None)
    monkeypatch.setattr(toolchain, "link", None)
    assert toolchain.machine_code(source, (8, 0)) == code


NUMBERS = {"clamp": (-1.0, 1.0), "where_positive": (np.inf,)}
"""Arguments of functions that take more than a value."""


def _elementwise(name: str, dtype: np.dtype[Any]) -> Source:
    """A kernel that applies a function of cells to an array, in one thread."""

    def make() -> Any:
        from numba.core import types

        from rnncore_kernels.cuda.code.emitted import ELEMENTS, I64, emitted, global_pointer
        from rnncore_kernels.cuda.code.scalar import Scalar

        def body(b: Any, given: Any, result: Any, index: Any) -> None:
            offset = b.mul(index, I64(dtype.itemsize))
            value = b.load(global_pointer(b, b.add(given, offset), ELEMENTS[dtype]))
            computed = getattr(functions, name)(Scalar(b, value), *NUMBERS.get(name, ()))
            b.store(computed.value, global_pointer(b, b.add(result, offset), ELEMENTS[dtype]))

        apply = emitted(name, (types.int64,) * 3, None, body)

        def kernel(run: Any, ends: Any) -> None:
            index = 0
            while index < run.count:
                apply(run.given, run.result, index)
                index += 1

        return kernel

    return Source("apply", f"{name} {dtype}", make, ("given", "result", "count"), 1, 32)


def _sweep(dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    info = np.finfo(dtype)
    special = [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        info.max,
        -info.max,
        info.tiny,
        -info.tiny,
        88.7,
        -88.7,
        709.7,
        -745.1,
    ]
    magnitudes = np.logspace(-12, 3, 1500)
    return np.concatenate([special, magnitudes, -magnitudes, np.linspace(-20, 20, 2001)]).astype(dtype)


@pytest.mark.parametrize("capability", [(8, 0), (10, 0)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid", "relu", "heaviside", "where_positive", "clamp"])
def test_functions_are_accurate(name: str, dtype: str, capability: Capability) -> None:
    x = _sweep(np.dtype(dtype))
    got = np.empty_like(x)
    text = toolchain.ptx(_elementwise(name, x.dtype), capability)
    Program(text).run(1, 1, [x, got, len(x), 0])
    wide = np.longdouble if dtype == "float64" else np.float64
    with np.errstate(all="ignore"):
        exact = getattr(numpy_functions, name)(x.astype(wide), *NUMBERS.get(name, ()))
        expected = exact.astype(x.dtype)
        spacing = np.maximum(np.spacing(np.abs(expected)), np.finfo(x.dtype).smallest_subnormal)
        error = np.abs(got.astype(wide) - exact) / spacing
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(got[~finite], expected[~finite])
    assert float(error[finite].max()) <= ULPS

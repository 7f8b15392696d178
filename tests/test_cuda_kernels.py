"""The kernels as compilers see them: what they are compiled to, for each architecture, without a GPU."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest

pytest.importorskip("numba_cuda")

from cuda_functions import source as source_of
from elementary import operation

from benchmarks.gpu_kernels import CAPABILITIES, usage
from rnncore.cells import GRU, LSTM, Cell, Elman
from rnncore_kernels.cuda import compiler
from rnncore_kernels.cuda.libraries import make_source
from rnncore_kernels.cuda.steps import backward_steps, forward_steps
from rnncore_kernels.program.derive import make_program

CELLS: dict[str, Cell] = {"elman": Elman(), "lstm": LSTM(), "gru_before": GRU(reset="before")}


@pytest.mark.parametrize(("name", "few"), [("lstm", False), ("lstm", True), ("gru_before", False), ("elman", False)])
@pytest.mark.slow
def test_float32_kernels_are_what_hardware_runs_well(name: str, few: bool) -> None:
    """No double precision, local memory, 64-bit division or call; assembled and linked without spilled registers.

    `benchmarks/gpu_kernels.py` shows it of all kernels; here those with the most registers stand for the others, and
    the LSTM's for all architectures.
    """
    every = name == "lstm" and not few
    program = make_program(CELLS[name])
    for steps in (forward_steps(program), backward_steps(program)):
        source = make_source(steps, np.dtype("f"), few)
        for capability in CAPABILITIES if every else CAPABILITIES[1:2]:
            registers, spilled = usage(source, np.dtype("f"), capability)
            assert registers <= 255
            assert spilled == 0


def test_a_refusal_of_the_assembler_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"nvJitLink: .*nonsense"):
        compiler.link(".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k() { nonsense; }\n", (8, 0))


def test_a_numpy_without_names_that_numba_cuda_looks_up(tmp_path: Path) -> None:
    """NumPy 2.5 has none of these; nor has it afterwards."""
    script = """
import numpy as np
from rnncore_kernels.cuda.numba_cuda_patches import REMOVED
for name in REMOVED:
    vars(np).pop(name, None)
from rnncore_kernels.cuda.probe import TRIAL
from rnncore_kernels.cuda.compiler import machine_code
assert machine_code(TRIAL, (8, 0)).startswith(b"\\x7fELF")
print([name for name in REMOVED if hasattr(np, name)])
"""
    assert processes.run(script, RNNCORE_CACHE_DIR=str(tmp_path)) == "[]\n"


def test_nothing_is_compiled_for_a_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 0 that is Python's has a type of its own: with one for the first step, all of a step was compiled twice."""
    dispatcher: Any = importlib.import_module("numba.cuda.dispatcher").CUDADispatcher
    compile_device, given = dispatcher.compile_device, list[Any]()

    def compiled(self: Any, arguments: Any, *others: Any) -> Any:
        given.append((self.py_func.__qualname__, arguments))
        return compile_device(self, arguments, *others)

    monkeypatch.setattr(dispatcher, "compile_device", compiled)
    steps = forward_steps(make_program(Elman()))
    compiler._compile(make_source(steps, np.dtype("f"), few=False), (8, 0))
    assert len(given) > 20
    # Those of a step take `run`; the others are a line each.
    assert [one for one in given if "run(" in str(one[1]) and "Literal" in str(one[1])] == []


def test_kernels_are_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNNCORE_CACHE_DIR", str(tmp_path))
    source = source_of("relu", "float32", [operation("relu")])
    code = compiler.machine_code(source, (8, 0))
    assert {path.suffix for path in tmp_path.iterdir()} == {".ptx", ".cubin"}
    assert code.startswith(b"\x7fELF")
    monkeypatch.setattr(compiler, "_compile", None)
    monkeypatch.setattr(compiler, "link", None)
    assert compiler.machine_code(source, (8, 0)) == code

"""The kernels as compilers see them: what they are compiled to, for each architecture, without a GPU."""

from __future__ import annotations

from pathlib import Path

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


def test_kernels_are_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNNCORE_CACHE_DIR", str(tmp_path))
    source = source_of("relu", "float32", [operation("relu")])
    code = compiler.machine_code(source, (8, 0))
    assert {path.suffix for path in tmp_path.iterdir()} == {".ptx", ".cubin"}
    assert code.startswith(b"\x7fELF")
    monkeypatch.setattr(compiler, "_compile", None)
    monkeypatch.setattr(compiler, "link", None)
    assert compiler.machine_code(source, (8, 0)) == code

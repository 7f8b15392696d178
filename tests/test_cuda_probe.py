"""Why the CUDA engine cannot run: each stage of its probe, on imaginary installations."""

from __future__ import annotations

import ctypes
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import processes
import pytest
from fake_cupy import FakeCupy

from rnncore_kernels.contract import Probe
from rnncore_kernels.cuda.probe import CUPY, NUMBA_CUDA, System, installed, probe

GOOD = {"cupy-cuda13x": "14.2.0", "numba-cuda": "0.30.4"}
THREADS = 64
BOTH = (
    "pip install '.[cuda13]' (driver 580 or later) or pip install '.[cuda12]' (driver 525 or later) in the repository. "
    "Or use backend='numba'."
)


class ImaginaryGpu(FakeCupy):
    """It runs the trial kernel, if with an error."""

    expected = ("numbers", "ones")
    error = 0.0

    def kernel(self, arguments: list[int]) -> None:
        numbers, ones = (
            np.ctypeslib.as_array((ctypes.c_float * THREADS).from_address(address)) for address in arguments
        )
        numbers[...] = np.arange(THREADS) + self.error
        ones[...] = 1


def system(
    cupy: Any = None,
    versions: Mapping[str, str] = GOOD,
    environment: Mapping[str, str] | None = None,
    linker: Any = None,
    compiler: Any = None,
) -> System:
    modules = {
        "cupy": cupy or ImaginaryGpu(),
        "cuda.bindings.nvjitlink": linker or SimpleNamespace(version=lambda: (13, 5)),
    }
    return System(
        versions.get, environment or {}, modules.__getitem__, compiler or (lambda source, capability: b"code")
    )


def test_available() -> None:
    gpu = ImaginaryGpu()
    compiled: list[Any] = []

    def compiler(source: Any, capability: Any) -> bytes:
        compiled.append((source.name, capability))
        return b"code"

    description = "Imaginary GPU, compute capability 12.0, 10 multiprocessors"
    assert probe(system(gpu, compiler=compiler)) == Probe(available=True, device=description)
    assert set(compiled) == {("rnncore_trial", (12, 0))}
    (launch,) = gpu.named("launch")
    assert launch == ("launch", 1001, 2, 1, 1, 32, 1, 1, 0, 7)


def gpu(**changes: Any) -> ImaginaryGpu:
    made = ImaginaryGpu()
    for name, value in changes.items():
        setattr(made, name, value)
    return made


class _WithoutCublas(SimpleNamespace):
    @property
    def cublas(self) -> Any:
        raise ImportError("libcublas.so.13: cannot open shared object file")


def fail(error: Exception) -> Any:
    def function(*_: Any) -> Any:
        raise error

    return function


without_cublas = gpu()
without_cublas.cuda = _WithoutCublas()
attributes = ImaginaryGpu().attributes

FAILURES: list[tuple[System, str, str]] = [
    (system(versions={}), "package: CuPy is not installed", BOTH),
    (
        system(versions={"cupy-cuda12x": "14.2.0"}),
        "package: numba-cuda is not installed",
        "pip install '.[cuda12]' in the repository. Or use backend='numba'.",
    ),
    (
        system(versions={**GOOD, "cupy-cuda12x": "14.2.0"}),
        "package: cupy-cuda13x and cupy-cuda12x are installed, which spoil each other",
        f"pip uninstall cupy-cuda13x cupy-cuda12x numba-cuda nvidia-cuda-nvcc-cu12 nvidia-nvjitlink-cu12 nvidia-nvvm nvidia-nvjitlink; then {BOTH}",
    ),
    (
        system(versions={**GOOD, "cupy-cuda13x": "13.6.0"}),
        "package: CuPy is 13.6.0, and 14.2 or later, below 15 is needed",
        "pip install '.[cuda13]' in the repository. Or use backend='numba'.",
    ),
    (
        system(versions={"cupy": "14.2.0", "numba-cuda": "0.31.0"}),
        "package: numba-cuda is 0.31.0, and 0.30.4 or later, below 0.31 is needed",
        BOTH,
    ),
    (
        system(without_cublas),
        "package: CuPy does not find the cuBLAS library (libcublas.so.13: cannot open shared object file)",
        "pip install '.[cuda13]' in the repository. Or use backend='numba'.",
    ),
    (
        system(linker=SimpleNamespace(version=fail(RuntimeError("no library")))),
        "package: numba-cuda does not find the nvJitLink library (no library)",
        "pip install '.[cuda13]' in the repository. Or use backend='numba'.",
    ),
    (
        system(environment={"NUMBA_ENABLE_CUDASIM": "1"}),
        "simulator: NUMBA_ENABLE_CUDASIM is set, and Numba's simulator does not compile kernels",
        "Unset NUMBA_ENABLE_CUDASIM. Or use backend='numba'.",
    ),
    (
        system(gpu(driver_version=0)),
        "driver: there is no NVIDIA driver",
        "Install the driver, 580 or later; start a container with the GPUs (docker run --gpus all). "
        "Or use backend='numba'.",
    ),
    (
        system(gpu(driver_version=12040)),
        "driver: the driver runs CUDA up to 12.4, and the installed packages are for CUDA 13",
        "Update the driver to 580 or later, or install what it can run: pip uninstall cupy-cuda13x; "
        "pip install '.[cuda12]' in the repository. Or use backend='numba'.",
    ),
    (
        system(gpu(driver_version=11080), linker=SimpleNamespace(version=lambda: (12, 9))),
        "driver: the driver runs CUDA up to 11.8, and the installed packages are for CUDA 13",
        "Update the driver to 580 or later. Or use backend='numba'.",
    ),
    (
        system(gpu(failing={"getDeviceCount": 100})),
        "device: no GPU is visible",
        "See what nvidia-smi lists. Or use backend='numba'.",
    ),
    (
        system(gpu(failing={"getDeviceCount": 100}), environment={"CUDA_VISIBLE_DEVICES": ""}),
        "device: no GPU is visible",
        "Set CUDA_VISIBLE_DEVICES, which is ''. Or use backend='numba'.",
    ),
    (
        system(gpu(failing={"getDeviceCount": 803})),
        "device: CudaError: status 803",
        "pip uninstall cupy-cuda13x numba-cuda nvidia-nvvm nvidia-nvjitlink; then pip install '.[cuda13]' in the repository. Or use backend='numba'.",
    ),
    (
        system(gpu(capability="70")),
        "device: the Imaginary GPU has compute capability 7.0, and 7.5 is the least",
        "Use a later GPU. Or use backend='numba'.",
    ),
    (
        system(gpu(attributes={**attributes, "CooperativeLaunch": 0})),
        "device: the Imaginary GPU has no cooperative launches, by which the blocks of a kernel can wait for each other",
        "Use a driver, or a virtual GPU, that has them. Or use backend='numba'.",
    ),
    (
        system(compiler=fail(TypeError("'NoneType' object is not callable."))),
        "compile: TypeError: 'NoneType' object is not callable",
        "pip uninstall cupy-cuda13x numba-cuda nvidia-nvvm nvidia-nvjitlink; then pip install '.[cuda13]' in the repository. Or use backend='numba'.",
    ),
    (
        system(gpu(failing={"load": 209})),
        "run: CudaError: status 209",
        "pip uninstall cupy-cuda13x numba-cuda nvidia-nvvm nvidia-nvjitlink; then pip install '.[cuda13]' in the repository. Or use backend='numba'.",
    ),
    (
        system(gpu(error=0.5)),
        "run: a kernel was computed wrong: array([ 0.5,",
        "pip uninstall cupy-cuda13x numba-cuda nvidia-nvvm nvidia-nvjitlink; then pip install '.[cuda13]' in the repository. Or use backend='numba'.",
    ),
]


@pytest.mark.parametrize(("found", "reason", "fix"), FAILURES, ids=[reason for _, reason, _ in FAILURES])
def test_each_stage(found: System, reason: str, fix: str, capfd: pytest.CaptureFixture[str]) -> None:
    result = probe(found)
    assert not result.available
    assert result.reason.startswith(reason)
    assert result.fix == fix
    assert not result.device
    assert capfd.readouterr() == ("", "")


def test_nothing_is_imported_without_the_packages() -> None:
    """And where they are, Numba is not before there is a GPU."""
    script = """
import json, sys
from rnncore_kernels.cuda import probe
result = probe()
print(json.dumps([result.available, [name for name in ("numba", "cupy", "cuda") if name in sys.modules]]))
"""
    available, imported = json.loads(processes.run(script))
    if available:
        pytest.skip("there is a GPU")
    assert imported == (
        [] if installed("numba-cuda") is None or installed("cupy-cuda13x") is None else ["cupy", "cuda"]
    )


def test_versions_are_those_of_the_extras() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    for extra in ("cuda12", "cuda13"):
        found = {}
        for requirement in project["optional-dependencies"][extra]:
            match = re.fullmatch(r"([a-z0-9-]+)(\[\w+\])?>=([\d.]+),<([\d.]+)", requirement)
            assert match is not None, requirement
            found[match[1]] = tuple(tuple(map(int, version.split("."))) for version in match.groups()[2:])
        assert found == {f"cupy-{extra}x": CUPY, "numba-cuda": NUMBA_CUDA}

"""Whether the CUDA engine can run here, and if not, at which stage it fails and what to do about it.

Stages come in the order of their cost, which is also the order in which a user would mend them.
"""

from __future__ import annotations

import importlib
import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import numpy as np

from ..contract import Probe
from .compiler import Capability, Source, machine_code
from .cupy_device import CupyDevice

CUPY, NUMBA_CUDA = ((14, 2), (15,)), ((0, 30, 4), (0, 31))
"""The versions that are known to work, from and below; those of the extras in pyproject.toml."""

BUILDS = {"cupy-cuda13x": 13, "cupy-cuda12x": 12, "cupy": 0}
"""CuPy's packages, and the major version of CUDA that they are for; 0 where it is the one there was at its build."""

COMPILERS = {12: ("nvidia-cuda-nvcc-cu12", "nvidia-nvjitlink-cu12"), 13: ("nvidia-nvvm", "nvidia-nvjitlink")}
"""Packages that make PTX and machine code for a major version; the second cannot read the PTX of a later first."""

DRIVERS = {13: 580, 12: 525}
"""The oldest driver that runs code for a major version of CUDA."""

LEAST_CAPABILITY = (7, 5)
"""The least compute capability that the kernels are compiled for."""

CUDA_ERROR_NO_DEVICE = 100

OTHERWISE = "Or use backend='numba'."


def installed(package: str) -> str | None:
    """A package's version; None where it is not installed. Imports nothing of it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True)
class System:
    """The world as a probe sees it: installed packages, environment variables, imports and the compiler."""

    version: Callable[[str], str | None] = installed
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    load: Callable[[str], Any] = importlib.import_module
    compile: Callable[[Source, Capability], bytes] = machine_code


class _UnavailableError(Exception):
    """The reason why a stage fails, and the fix."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.fix = fix


def probe(system: System | None = None) -> Probe:
    """See `contract.EngineModule.probe`. Without the packages it takes a millisecond, without a GPU some tenths."""
    checks = _Checks(system or System())
    for name in ("package", "simulator", "driver", "device", "compile", "run"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                getattr(checks, name)()
        except _UnavailableError as missing:
            return Probe(available=False, reason=f"{name}: {missing}", fix=f"{missing.fix} {OTHERWISE}")
        except Exception as error:
            # Drivers and compilers fail in their own ways, and a probe in none.
            reason = f"{name}: {type(error).__name__}: {str(error).strip().rstrip('.')}"
            return Probe(available=False, reason=reason, fix=f"{checks.reinstall()} {OTHERWISE}")
    return Probe(available=True, device=checks.description)


class _Checks:
    """A method for each stage; it raises an exception, or keeps its findings for later stages."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._builds: list[str] = []
        self._cupy: Any = None
        self._needed = 13
        self._capability: Capability = (0, 0)
        self.description = ""

    def package(self) -> None:
        """The packages are there, in versions that are known to work, and load what they need."""
        self._builds = [name for name in BUILDS if self._system.version(name) is not None]
        if not self._builds:
            raise _UnavailableError("CuPy is not installed", f"{self._install()}.")
        if len(self._builds) > 1:
            both = " and ".join(self._builds)
            raise _UnavailableError(f"{both} are installed, which spoil each other", self.reinstall())
        self._check_version("CuPy", self._builds[0], *CUPY)
        self._check_version("numba-cuda", "numba-cuda", *NUMBA_CUDA)
        self._cupy = self._system.load("cupy")
        try:
            # CuPy loads cuBLAS when it is asked for it.
            _ = self._cupy.cuda.cublas
        except ImportError as error:
            raise _UnavailableError(f"CuPy does not find the cuBLAS library ({error})", f"{self._install()}.") from None
        try:
            linker, _ = self._system.load("cuda.bindings.nvjitlink").version()
        except (ImportError, RuntimeError) as error:
            reason = f"numba-cuda does not find the nvJitLink library ({error})"
            raise _UnavailableError(reason, f"{self._install()}.") from None
        self._needed = max(self._cupy.cuda.runtime.runtimeGetVersion() // 1000, linker)

    def simulator(self) -> None:
        """Numba compiles for GPUs, and does not simulate one."""
        if self._system.environment.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0"):
            raise _UnavailableError(
                "NUMBA_ENABLE_CUDASIM is set, and Numba's simulator does not compile kernels",
                "Unset NUMBA_ENABLE_CUDASIM.",
            )

    def driver(self) -> None:
        """There is a driver, and it runs code for the version of CUDA that the packages are for."""
        version, needed = self._cupy.cuda.runtime.driverGetVersion(), self._needed
        oldest = DRIVERS.get(needed, DRIVERS[13])
        if version == 0:
            raise _UnavailableError(
                "there is no NVIDIA driver",
                f"Install the driver, {oldest} or later; start a container with the GPUs (docker run --gpus all).",
            )
        if version < 1000 * needed:
            fix = f"Update the driver to {oldest} or later"
            if version >= 12000:
                install = "pip install '.[cuda12]' in the repository"
                fix += f", or install what it can run: pip uninstall {self._builds[0]}; {install}"
            reason = f"the driver runs CUDA up to {version // 1000}.{version % 1000 // 10}"
            raise _UnavailableError(f"{reason}, and the installed packages are for CUDA {needed}", f"{fix}.")

    def device(self) -> None:
        """The current GPU is recent enough, and has cooperative launches."""
        runtime = self._cupy.cuda.runtime
        try:
            count = runtime.getDeviceCount()
        except RuntimeError as error:
            if getattr(error, "status", None) != CUDA_ERROR_NO_DEVICE:
                raise
            count = 0
        if count == 0:
            visible = self._system.environment.get("CUDA_VISIBLE_DEVICES")
            fix = (
                "See what nvidia-smi lists." if visible is None else f"Set CUDA_VISIBLE_DEVICES, which is {visible!r}."
            )
            raise _UnavailableError("no GPU is visible", fix)
        number = runtime.getDevice()
        gpu = self._cupy.cuda.Device(number)
        name = runtime.getDeviceProperties(number)["name"].decode(errors="replace")
        self._capability = int(str(gpu.compute_capability)[:-1]), int(str(gpu.compute_capability)[-1])
        capability, least = (".".join(map(str, pair)) for pair in (self._capability, LEAST_CAPABILITY))
        if self._capability < LEAST_CAPABILITY:
            raise _UnavailableError(
                f"the {name} has compute capability {capability}, and {least} is the least", "Use a later GPU."
            )
        if not gpu.attributes["CooperativeLaunch"]:
            reason = f"the {name} has no cooperative launches, by which the blocks of a kernel can wait for each other"
            raise _UnavailableError(reason, "Use a driver, or a virtual GPU, that has them.")
        multiprocessors = gpu.attributes["MultiProcessorCount"]
        self.description = f"{name}, compute capability {capability}, {multiprocessors} multiprocessors"

    def compile(self) -> None:
        """A kernel becomes machine code."""
        self._system.compile(TRIAL, self._capability)

    def run(self) -> None:
        """Results of the kernel, of cuBLAS and of a kernel of CuPy's are right."""
        gpu, threads = CupyDevice(self._cupy, self._system.compile), 32
        numbers, ones = (self._cupy.zeros((1, 2 * threads), np.float32) for _ in range(2))
        gpu.launch(TRIAL, 2, threads, 0, [numbers, ones])
        total = self._cupy.zeros((1, 1), np.float32)
        gpu.multiply(numbers, ones.T, total)
        results = {"kernel": numbers, "product": total, "sum": numbers + ones}
        counted = np.arange(2 * threads, dtype=np.float32)
        for name, expected in {"kernel": counted, "product": counted.sum(), "sum": counted + 1}.items():
            if not np.array_equal(results[name].get().ravel(), np.ravel(expected)):
                got = results[name].get().ravel()
                raise _UnavailableError(f"a {name} was computed wrong: {got!r:.200}", self.reinstall())

    def _check_version(self, name: str, package: str, least: tuple[int, ...], below: tuple[int, ...]) -> None:
        version = self._system.version(package)
        if version is None:
            raise _UnavailableError(f"{name} is not installed", f"{self._install()}.")
        numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
        if not least <= numbers < below:
            wanted = f"{'.'.join(map(str, least))} or later, below {'.'.join(map(str, below))}"
            raise _UnavailableError(f"{name} is {version}, and {wanted} is needed", f"{self._install()}.")

    def _install(self) -> str:
        """The command that installs what the engine needs, for the version of CUDA that is there."""
        majors = {BUILDS[name] for name in self._builds if BUILDS[name]}
        if len(majors) == 1:
            return f"pip install '.[cuda{majors.pop()}]' in the repository"
        choices = [f"pip install '.[cuda{cuda}]' (driver {driver} or later)" for cuda, driver in DRIVERS.items()]
        return f"{' or '.join(choices)} in the repository"

    def reinstall(self) -> str:
        """The commands that make it afresh, compiler and linker of one version of CUDA included."""
        majors = {BUILDS[name] for name in self._builds} & set(COMPILERS)
        compilers = [package for major in sorted(majors) for package in COMPILERS[major]]
        packages = [*(self._builds or ["cupy"]), "numba-cuda", *compilers]
        return f"pip uninstall {' '.join(packages)}; then {self._install()}."


def _make_trial() -> Callable[..., None]:
    from .kernels.trial import make_trial_kernel

    return make_trial_kernel()


TRIAL = Source("rnncore_trial", "trial", _make_trial, ("numbers",), 1, 32)
"""The kernel of `kernels.trial`."""

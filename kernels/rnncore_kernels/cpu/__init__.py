"""The CPU engine: each cell compiled into SIMD tiles, and the whole recurrence in one call.

Importing it loads no compiler; its probe compiles a kernel where none is kept that these versions compiled.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..contract import Compilation, Limits, Probe
from ..host import processor_name
from ..precision import PRECISIONS

if TYPE_CHECKING:
    from ..program.program import Program
    from .engine import NumbaEngine

on_gpu = False
precisions = PRECISIONS

NUMBA = ((0, 63), (0, 69))
"""The versions of Numba that were tried, from and below; those of pyproject.toml."""


def probe() -> Probe:
    """Whether Numba and llvmlite, requirements of the package, compile a kernel here, or did and it is kept.

    Numba's inner parts are used, so a version that changes them has to show here, not at a first call.
    """
    least, below = (".".join(map(str, version)) for version in NUMBA)
    install = f"Install them again: pip install --force-reinstall 'numba>={least},<{below}'."
    try:
        importlib.import_module(f"{__name__}.engine")
    except (ImportError, OSError) as error:
        return Probe(False, f"llvmlite cannot be loaded: {error}", install)
    from .kernels import trial_kernel
    from .target import host_target

    try:
        target = host_target()
    except ValueError as error:
        return Probe(False, str(error), "Correct the variable, or unset it.")
    try:
        trial_kernel(target)
    except Warning:
        # Where warnings are errors: code that cannot be kept is no reason not to compute.
        raise
    except Exception as error:
        # Another version fails in its own ways, and a probe in none.
        reason = f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(".")
        return Probe(False, f"Numba does not compile here: {reason}", install)
    return Probe(available=True, device=processor_name())


def make_engine(num_threads: int | None) -> NumbaEngine:
    """See `contract.EngineModule`."""
    from .engine import NumbaEngine

    return NumbaEngine(num_threads)


def describe() -> dict[str, str]:
    """See `contract.EngineModule`: the vectors that code is compiled for, NUMBA_CPU_NAME and the like included."""
    from .target import host_target

    target = host_target()
    vectors = f"{target.registers} registers of {8 * target.vector_bytes} bits{', fma' if target.fma else ''}"
    return {"instruction_set": f"{target.cpu}: {vectors}"}


def limits(dtype: str, num_threads: int, read_bytes: int, gemm_size: int) -> Limits:
    """See `contract.EngineModule`: multiply-adds in registers, and reading."""
    from . import peak

    fma, bandwidth = peak.fma_peak(dtype, num_threads), peak.read_bandwidth(read_bytes, num_threads)
    return Limits(fma=float(fma), bandwidth=float(bandwidth))


def warm_up(
    programs: Mapping[str, Program], dtypes: Sequence[str], precisions: Sequence[str], training: bool
) -> Iterator[Compilation]:
    """See `contract.EngineModule`."""
    from .compilations import compilations

    return compilations(programs, dtypes, precisions, training)


__all__ = ["describe", "limits", "make_engine", "on_gpu", "precisions", "probe", "warm_up"]

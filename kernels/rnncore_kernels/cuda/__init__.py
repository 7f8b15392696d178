"""The CUDA engine: each cell compiled into kernels that compute all steps in one launch, on arrays of CuPy.

Importing it loads neither CuPy nor Numba; both are optional.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping, Sequence

from ..contract import Compilation, Limits
from ..program.program import Program
from .cupy_device import CupyDevice
from .engine import CudaEngine
from .probe import probe

on_gpu = True
precisions: tuple[str, ...] = ()


def make_engine(num_threads: int | None) -> CudaEngine:
    """An engine on the GPU that is current; `num_threads` is of processors, and without effect here."""
    return _engine(importlib.import_module("cupy").cuda.runtime.getDevice())


@functools.cache
def _engine(number: int) -> CudaEngine:
    """The engine of the current GPU, which has this number; there is one, so that a kernel is loaded once."""
    return CudaEngine(CupyDevice(importlib.import_module("cupy")))


def describe() -> dict[str, str]:
    """See `contract.EngineModule`: the GPU."""
    return {"gpu": probe().device}


def limits(dtype: str, num_threads: int, read_bytes: int, gemm_size: int) -> Limits:
    """See `contract.EngineModule`: a product by cuBLAS and a copy, measured once, of sizes that fill a GPU."""
    from .measure import gpu_limits

    return gpu_limits(dtype)


def warm_up(
    programs: Mapping[str, Program], dtypes: Sequence[str], precisions: Sequence[str], training: bool
) -> Iterator[Compilation]:
    """See `contract.EngineModule`: machine code for the current GPU."""
    from .compilations import compilations

    return compilations(programs, dtypes, training)


__all__ = ["CudaEngine", "describe", "limits", "make_engine", "on_gpu", "precisions", "probe", "warm_up"]

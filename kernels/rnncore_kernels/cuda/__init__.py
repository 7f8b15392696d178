"""The CUDA engine: each cell compiled into kernels that compute all steps in one launch, on arrays of CuPy.

Importing it loads neither CuPy nor Numba; both are optional.
"""

from __future__ import annotations

import functools
import importlib

from .cupy_device import CupyDevice
from .engine import CudaEngine
from .probe import probe


def make_engine(num_threads: int | None) -> CudaEngine:
    """An engine on the GPU that is current; `num_threads` is of processors, and without effect here."""
    return _engine(importlib.import_module("cupy").cuda.runtime.getDevice())


@functools.cache
def _engine(number: int) -> CudaEngine:
    """The engine of the current GPU, which has this number; there is one, so that a kernel is loaded once."""
    return CudaEngine(CupyDevice(importlib.import_module("cupy")))


__all__ = ["CudaEngine", "make_engine", "probe"]

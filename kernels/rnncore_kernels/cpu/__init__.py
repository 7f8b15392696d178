"""The CPU engine: each cell compiled into SIMD tiles, and the whole recurrence in one call.

Importing it loads no compiler.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ..contract import Probe
from ..host import processor_name

if TYPE_CHECKING:
    from .engine import NumbaEngine


def probe() -> Probe:
    """Whether llvmlite's compiler, a requirement of the package, can be loaded here."""
    try:
        importlib.import_module(f"{__name__}.engine")
    except (ImportError, OSError) as error:
        return Probe(False, f"llvmlite cannot be loaded: {error}", "Install numba and llvmlite again.")
    return Probe(available=True, device=processor_name())


def make_engine(num_threads: int | None) -> NumbaEngine:
    """See `contract.EngineModule`."""
    from .engine import NumbaEngine

    return NumbaEngine(num_threads)


__all__ = ["make_engine", "probe"]

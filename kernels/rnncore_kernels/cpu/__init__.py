"""The CPU engine: each cell compiled into SIMD tiles, and the whole recurrence in one call."""

from __future__ import annotations

from ..contract import Probe
from ..host import processor_name
from .engine import NumbaEngine


def probe() -> Probe:
    """Numba is a requirement of the package, so this engine is available wherever it can be imported."""
    return Probe(available=True, device=processor_name())


def make_engine(num_threads: int | None) -> NumbaEngine:
    """See `contract.EngineModule`."""
    return NumbaEngine(num_threads)


__all__ = ["NumbaEngine", "make_engine", "probe"]

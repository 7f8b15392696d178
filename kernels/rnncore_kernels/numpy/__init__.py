"""The NumPy engine: plain arrays and one Python loop over the steps. Readable, and it runs anywhere."""

from __future__ import annotations

from ..contract import Probe
from ..host import processor_name
from .engine import NumpyEngine


def probe() -> Probe:
    """NumPy is a requirement of the package, so this engine is always available."""
    return Probe(available=True, device=processor_name())


def make_engine(num_threads: int | None) -> NumpyEngine:
    """See `contract.EngineModule`."""
    return NumpyEngine(num_threads)


__all__ = ["NumpyEngine", "make_engine", "probe"]

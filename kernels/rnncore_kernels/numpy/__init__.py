"""The NumPy engine: plain arrays and one Python loop over the steps. Readable, and it runs anywhere."""

from __future__ import annotations

import platform

from ..contract import Probe
from .engine import NumpyEngine


def probe() -> Probe:
    """NumPy is a requirement of the package, so this engine is always available."""
    return Probe(available=True, device=platform.machine() or "cpu")


def make_engine(num_threads: int | None) -> NumpyEngine:
    """An engine that uses at most `num_threads` threads; None is one per core that the process may use."""
    return NumpyEngine(num_threads)


__all__ = ["NumpyEngine", "make_engine", "probe"]

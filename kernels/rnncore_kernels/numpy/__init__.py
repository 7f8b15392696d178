"""The NumPy engine: plain arrays and one Python loop over the steps. Readable, and it runs anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..contract import Compilation, Limits, Probe
from ..host import processor_name
from ..precision import PRECISIONS
from ..program.program import Program
from .engine import NumpyEngine

on_gpu = False
precisions = PRECISIONS


def probe() -> Probe:
    """NumPy is a requirement of the package, so this engine is always available."""
    return Probe(available=True, device=processor_name())


def make_engine(num_threads: int | None) -> NumpyEngine:
    """See `contract.EngineModule`; this engine has one thread."""
    return NumpyEngine()


def describe() -> dict[str, str]:
    """See `contract.EngineModule`: the BLAS that NumPy calls, with its kernel and threads."""
    from .measure import blas_name

    return {"blas": blas_name()}


def limits(dtype: str, num_threads: int, read_bytes: int, gemm_size: int) -> Limits:
    """See `contract.EngineModule`: a product by NumPy, measured once."""
    from .measure import gemm_rate

    return Limits(gemm=gemm_rate(dtype, num_threads, gemm_size))


def warm_up(
    programs: Mapping[str, Program], dtypes: Sequence[str], precisions: Sequence[str], training: bool
) -> Iterator[Compilation]:
    """See `contract.EngineModule`; nothing is compiled."""
    return iter(())


__all__ = ["NumpyEngine", "describe", "limits", "make_engine", "on_gpu", "precisions", "probe", "warm_up"]

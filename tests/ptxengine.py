"""The CUDA engine on the processor: the PTX that ships, executed under several schedules and for several architectures.

A launch runs for the chosen combinations of them, from the same memory, and all must leave the same values there but for
the errors of approximate instructions; the last one's are kept. To compile a kernel takes most of the time, so most
kernels are compiled for one architecture, which their text decides.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from types import ModuleType

import numpy as np
from ptx.executor import Program
from ptx.memory import empty

from rnncore_kernels import contract
from rnncore_kernels.contract import Array, Probe
from rnncore_kernels.cuda import compiler
from rnncore_kernels.cuda.compiler import Capability, Source
from rnncore_kernels.cuda.device import Argument, GpuLimits
from rnncore_kernels.cuda.engine import CudaEngine

CAPABILITIES: tuple[Capability, ...] = ((8, 0), (10, 0))
SEEDS = (1, 2, 3)
SCHEDULES: list[tuple[Capability | None, int]] = [(None, seed) for seed in SEEDS]
"""Every schedule on the architecture of the kernel."""
COMBINATIONS: list[tuple[Capability | None, int]] = [(each, seed) for seed in SEEDS for each in CAPABILITIES]
chosen = SCHEDULES[:1]
"""Those for which launches run."""
MULTIPROCESSORS = 5
SHARED_BYTES = 24_000
"""So few that small networks have what large ones have: several blocks, slices of them, and weights that do not stay."""


def one_schedule(test: str) -> list[tuple[Capability | None, int]]:
    """One that a test's name alone decides."""
    return [SCHEDULES[zlib.crc32(test.encode()) % len(SCHEDULES)]]


def architecture(source: Source) -> Capability:
    """The one that a kernel is compiled for where few are."""
    return CAPABILITIES[zlib.crc32(f"{source.name} {source.key}".encode()) % len(CAPABILITIES)]


def _namespace() -> ModuleType:
    """NumPy, with `empty` arrays that must be written before they are read."""
    namespace = ModuleType("numpy")
    namespace.__dict__.update(np.__dict__)
    namespace.__dict__["empty"] = empty
    return namespace


class PtxDevice:
    """See `rnncore_kernels.cuda.device.Device`."""

    xp = _namespace()

    def __init__(self, limits: GpuLimits | None = None) -> None:
        self.limits = limits or GpuLimits(CAPABILITIES[0], MULTIPROCESSORS, SHARED_BYTES)

    def launch(
        self, source: Source, blocks: int, threads: int, shared_bytes: int, arguments: Sequence[Argument]
    ) -> None:
        arrays = [a for a in arguments if isinstance(a, np.ndarray) and a.flags.writeable]
        before = [a.copy() for a in arrays]
        results: list[list[Array]] = []
        for capability, seed in chosen:
            for array, content in zip(arrays, before, strict=True):
                array[...] = content
            program(source, capability or architecture(source)).run(
                blocks, threads, as_words(arguments), shared_bytes, seed
            )
            results.append([a.copy() for a in arrays])
        for other in results[1:]:
            for one, two in zip(results[0], other, strict=True):
                assert_same(one, two)

    def multiply(self, a: Array, b: Array, out: Array, *, accumulate: bool = False) -> None:
        with np.errstate(all="ignore"):
            out[...] = a @ b + (out if accumulate else 0)


def as_words(arguments: Sequence[Argument]) -> list[Argument]:
    """Arguments with the bits of an int64 in the place of negative numbers."""
    return [a & ((1 << 64) - 1) if isinstance(a, int) else a for a in arguments]


def assert_same(one: Array, two: Array) -> None:
    """Equal up to the errors of a few approximate divisions, NaN in the same places."""
    if one.dtype.kind != "f":
        assert np.array_equal(one, two)
        return
    tolerance = 1e-5 if one.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(one, two, rtol=tolerance, atol=tolerance)


DEVICE = PtxDevice()


def engine_on(device: PtxDevice) -> CudaEngine:
    """The CUDA engine with a user's arrays, which are plain NumPy's."""
    engine = CudaEngine(device)
    engine.xp = np
    return engine


@cache
def program(source: Source, capability: Capability) -> Program:
    """A kernel, ready to run."""
    return Program(compiler.ptx(source, capability))


on_gpu = False


def probe() -> Probe:
    """See `contract.EngineModule`."""
    return Probe(available=True, device="PTX on the processor")


def describe() -> dict[str, str]:
    """See `contract.EngineModule`."""
    return {}


def limits(*_: object) -> contract.Limits:
    """See `contract.EngineModule`."""
    return contract.Limits()


def warm_up(*_: object) -> Iterator[contract.Compilation]:
    """See `contract.EngineModule`."""
    return iter(())


def make_engine(num_threads: int | None) -> CudaEngine:
    """See `contract.EngineModule`."""
    return engine_on(DEVICE)

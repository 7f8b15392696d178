"""The engine's view of a GPU: arrays, products of matrices, launches. `cupy_device` has the real one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

from ..contract import Array
from .compiler import Capability, Source

Argument = Array | int
"""An argument of a kernel: a number, or an array, whose address is passed."""


@dataclass(frozen=True)
class GpuLimits:
    """The resources of a GPU.

    Attributes:
        capability: its compute capability.
        multiprocessors: their number; one block runs on each.
        shared_bytes: most shared memory of a block.
    """

    capability: Capability
    multiprocessors: int
    shared_bytes: int


class Device(Protocol):
    """A GPU. All work is queued on the caller's current stream, and no method waits for it."""

    xp: ModuleType
    """Namespace of its arrays: `cupy`."""

    limits: GpuLimits

    def launch(
        self, source: Source, blocks: int, threads: int, shared_bytes: int, arguments: Sequence[Argument]
    ) -> None:
        """Compile a kernel at its first use, and run it on blocks that are all resident at once."""
        ...

    def multiply(self, a: Array, b: Array, out: Array, *, accumulate: bool = False) -> None:
        """Write a @ b to `out`, or add it.

        All are matrices in which rows or columns are contiguous, a transposed one included; `out` has contiguous rows.
        """
        ...

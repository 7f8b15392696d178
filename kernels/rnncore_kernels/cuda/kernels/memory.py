"""Loads and stores of kernels, and the barrier between the blocks of a group."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types

from ..tile import VECTOR_BYTES
from .functions import ELEMENTS, I32, I64, assembly, device, from_ir, global_pointer, gpu, real_type, shared_pointer


def _load_index(b: Any, address: Any) -> Any:
    return b.sext(b.load(global_pointer(b, address, I32)), I64)


load_index: Any = from_ir("load_index", (types.int64,), types.int64, _load_index)
"""`load_index(address)`: an int32 in global memory."""


def make_store(dtype: np.dtype[Any]) -> Any:
    """`store(address, number)`: write a number to global memory."""

    def body(b: Any, address: Any, value: Any) -> None:
        b.store(value, global_pointer(b, address, ELEMENTS[dtype]))

    return from_ir("store", (types.int64, real_type(dtype)), None, body)


class Vectors(NamedTuple):
    """Copies of 16 bytes."""

    copy: Any  # copy(offset, address): from global to shared memory
    clear: Any  # clear(offset): zeros in shared memory


def make_vectors(dtype: np.dtype[Any]) -> Vectors:
    """Copies of 16 bytes of a dtype."""
    kind = ir.VectorType(ELEMENTS[dtype], VECTOR_BYTES // dtype.itemsize)

    def copy(b: Any, offset: Any, address: Any) -> None:
        value = b.load(global_pointer(b, address, kind), align=VECTOR_BYTES)
        b.store(value, shared_pointer(b, offset, kind), align=VECTOR_BYTES)

    def clear(b: Any, offset: Any) -> None:
        b.store(ir.Constant(kind, [0.0] * kind.count), shared_pointer(b, offset, kind), align=VECTOR_BYTES)

    return Vectors(
        from_ir("copy", (types.int64, types.int64), None, copy), from_ir("clear", (types.int64,), None, clear)
    )


def _arrive(b: Any, address: Any) -> None:
    assembly(b, ir.VoidType(), "red.release.gpu.global.add.u32 [$0], 1;", "l,~{memory}", [address])


def _arrived(b: Any, address: Any) -> Any:
    return assembly(b, I32, "ld.acquire.gpu.global.u32 $0, [$1];", "=r,l,~{memory}", [address])


arrive: Any = from_ir("arrive", (types.int64,), None, _arrive)
arrived: Any = from_ir("arrived", (types.int64,), types.int32, _arrived)


@device
def barrier_wait(counter: int, target: int) -> None:
    """Wait for all blocks that share a counter: `target` arrivals of one thread of each.

    All threads of these blocks see afterwards whatever one of them wrote before: the first thread releases and
    acquires at the scope of the GPU, and the block's own barriers order it with the others. All blocks must be
    resident.
    """
    gpu.syncthreads()
    if gpu.threadIdx.x == 0:
        arrive(counter)
        # By the difference, as the counter may wrap around.
        while np.int32(arrived(counter) - np.int32(target)) < 0:
            pass
    gpu.syncthreads()

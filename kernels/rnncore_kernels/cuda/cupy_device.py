"""A GPU by CuPy: arrays, cuBLAS, and launches through the driver, all on the thread's current stream.

CuPy gives the memory of an array that dies back to the stream that was current when it was made. Work that comes later
on this stream may get it, which runs after what is queued now, so nothing has to be kept alive or waited for.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import Array
from .compiler import Capability, Source, machine_code
from .device import Argument, Device, GpuLimits
from .gemm import gemm_arguments, leading

FREE_SHARED_BYTES = 48 << 10
"""Bytes of dynamic shared memory that a block may have without being granted them."""

DEFAULT_MATH = 0
"""cuBLAS's mode that computes with no fewer bits than the matrices have: without TF32."""

CUDA_ERROR_OUT_OF_MEMORY, CUBLAS_STATUS_ALLOC_FAILED = 2, 3

_SCALARS = {np.dtype(kind): (np.ones(1, kind), np.zeros(1, kind)) for kind in (np.float32, np.float64)}
"""One and zero in the host's memory, where cuBLAS reads its factors during the call."""


class CupyDevice(Device):
    """The GPU that is current when this is made.

    Args:
        cupy: the package.
        code: machine code of a kernel.
    """

    def __init__(self, cupy: Any, code: Callable[[Source, Capability], bytes] = machine_code) -> None:
        self.xp = cupy
        self.number: int = cupy.cuda.runtime.getDevice()
        device = cupy.cuda.Device(self.number)
        attributes, capability = device.attributes, str(device.compute_capability)
        self.limits = GpuLimits(
            capability=(int(capability[:-1]), int(capability[-1])),
            multiprocessors=attributes["MultiProcessorCount"],
            shared_bytes=attributes["MaxSharedMemoryPerBlockOptin"],
        )
        self._code = code
        self._kernels: dict[tuple[str, str], _Kernel] = {}
        self._lock = threading.Lock()

    def launch(
        self, source: Source, blocks: int, threads: int, shared_bytes: int, arguments: Sequence[Argument]
    ) -> None:
        values, addresses = parameters([a if isinstance(a, int) else self._address(a) for a in arguments])
        self._bind()
        kernel = self._kernel(source)
        most = kernel.most_blocks(threads, shared_bytes) * self.limits.multiprocessors
        if blocks > most:
            raise RuntimeError(
                f"{source.name}: {blocks} blocks of {threads} threads with {shared_bytes} bytes of shared memory must "
                f"be resident at once, and GPU {self.number} holds {most}"
            )
        # Not by CuPy's Function, which launches fewer blocks where it finds too many, and asks at each launch.
        self.xp.cuda.driver.launchCooperativeKernel(
            *(kernel.function.ptr, blocks, 1, 1, threads, 1, 1, shared_bytes),
            *(self.xp.cuda.get_current_stream().ptr, addresses.ctypes.data),
        )
        # The driver has copied the values.
        del values

    def multiply(self, a: Array, b: Array, out: Array, *, accumulate: bool = False) -> None:
        if out.size == 0:
            return
        if a.shape[1] == 0:
            if not accumulate:
                out.fill(0)
            return
        # Rows that overlap or run backwards, which cuBLAS cannot read, come from users alone.
        a, b = (m if leading(m) is not None else self.xp.ascontiguousarray(m) for m in (a, b))
        gemm = gemm_arguments(a, b, out)
        first, second, result = (self._address(m) for m in (b, a, out))
        self._bind()
        one, zero = _SCALARS[out.dtype]
        cublas = self.xp.cuda.cublas
        call = cublas.sgemm if out.dtype == np.float32 else cublas.dgemm
        with _shortage(CUBLAS_STATUS_ALLOC_FAILED, "cuBLAS"):
            # CuPy's handle of this thread, on the current stream.
            handle = self.xp.cuda.device.get_cublas_handle()
            mode = cublas.getMathMode(handle)
            try:
                if mode != DEFAULT_MATH:
                    cublas.setMathMode(handle, DEFAULT_MATH)
                call(
                    *(handle, gemm.transa, gemm.transb, gemm.m, gemm.n, gemm.k, one.ctypes.data),
                    *(first, gemm.lda, second, gemm.ldb, (one if accumulate else zero).ctypes.data, result, gemm.ldc),
                )
            finally:
                # An interruption cannot come before the first call of a `finally`.
                if mode != DEFAULT_MATH:
                    cublas.setMathMode(handle, mode)

    def _address(self, array: Any) -> int:
        if array.data.device_id != self.number:
            raise ValueError(
                f"expected arrays on GPU {self.number}, where the network was made, got one on GPU "
                f"{array.data.device_id}: nothing moves between devices by itself"
            )
        address: int = array.data.ptr
        return address

    def _bind(self) -> None:
        """Make the driver's calls of this thread those of the GPU, which must be the current one."""
        runtime = self.xp.cuda.runtime
        current = runtime.getDevice()
        if current != self.number:
            raise ValueError(
                f"expected a call while GPU {self.number} is current, where the network was made, got one on GPU "
                f"{current}: call within `with cupy.cuda.Device({self.number}):`"
            )
        runtime.setDevice(self.number)

    def _kernel(self, source: Source) -> _Kernel:
        key = source.name, source.key
        with self._lock:
            if key not in self._kernels:
                code = self._code(source, self.limits.capability)
                with _shortage(CUDA_ERROR_OUT_OF_MEMORY, f"the kernel {source.name}"):
                    module = self.xp.cuda.Module()
                    module.load(code)
                    # The driver may load a kernel when it is first asked for.
                    function = module.get_function(source.name)
                self._kernels[key] = _Kernel(self.xp.cuda.driver, function)
            return self._kernels[key]


class _Kernel:
    """A loaded kernel. `function` holds its module."""

    def __init__(self, driver: Any, function: Any) -> None:
        self.function = function
        self._driver = driver
        self._granted = FREE_SHARED_BYTES
        self._most_blocks: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()

    def most_blocks(self, threads: int, shared_bytes: int) -> int:
        """Blocks that a multiprocessor holds at once; asked at the first time, when they are granted their memory."""
        with self._lock:
            if shared_bytes > self._granted:
                attribute = self._driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
                self._driver.funcSetAttribute(self.function.ptr, attribute, shared_bytes)
                self._granted = shared_bytes
            if (threads, shared_bytes) not in self._most_blocks:
                self._most_blocks[threads, shared_bytes] = self._driver.occupancyMaxActiveBlocksPerMultiprocessor(
                    self.function.ptr, threads, shared_bytes
                )
            return self._most_blocks[threads, shared_bytes]


def parameters(values: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Values, and the address of each of them, which is how the driver wants a kernel's arguments."""
    packed = np.array(values, np.int64)
    return packed, np.arange(len(packed), dtype=np.uint64) * np.uint64(packed.itemsize) + np.uint64(packed.ctypes.data)


@contextlib.contextmanager
def _shortage(status: int, what: str) -> Iterator[None]:
    """Raise MemoryError in place of a CUDA library's error with this status."""
    try:
        yield
    except RuntimeError as error:
        if getattr(error, "status", None) != status:
            raise
        raise MemoryError(f"no memory on the GPU for {what}: {error}") from error

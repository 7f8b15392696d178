"""A stand-in for CuPy without a GPU: its arrays are NumPy's, and it records what is asked of the driver and of cuBLAS.

cuBLAS's products are computed from addresses, column by column, as its documentation defines them.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncore_kernels.cuda import cupy_device

KINDS: dict[type, Any] = {np.float32: ctypes.c_float, np.float64: ctypes.c_double}


class DeviceArray(np.ndarray[Any, Any]):
    """An array with what CuPy's have beside."""

    number = 0

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data, device_id=self.number)

    def get(self) -> NDArray[Any]:
        return np.array(self)


class OtherDeviceArray(DeviceArray):
    number = 1


class CudaError(RuntimeError):
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class FakeCupy:
    """The part of the package that `CupyDevice` and the probe use, of an imaginary GPU with a driver for CUDA 13.2.

    `calls` are those of the driver, of the runtime and of cuBLAS, in order; those named in `failing` fail with a status.
    """

    ndarray = DeviceArray

    def __init__(self, blocks: int = 2, math_mode: int = 0) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.arguments: list[list[int]] = []
        self.current = 0
        self.stream = 7
        self.math_mode = math_mode
        self.driver_version = 13020
        self.attributes = {"MultiProcessorCount": 10, "MaxSharedMemoryPerBlockOptin": 200_000, "CooperativeLaunch": 1}
        self.capability = "120"
        self.failing: dict[str, int] = {}
        self._blocks = blocks
        self.cuda = SimpleNamespace(
            Device=self._device,
            Module=self._module,
            driver=SimpleNamespace(
                CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8,
                launchCooperativeKernel=self._launch,
                funcSetAttribute=self._recorder("funcSetAttribute"),
                occupancyMaxActiveBlocksPerMultiprocessor=self._recorder("occupancy", blocks),
            ),
            runtime=SimpleNamespace(
                getDevice=lambda: self.current,
                setDevice=self._recorder("setDevice"),
                runtimeGetVersion=lambda: 13020,
                driverGetVersion=lambda: self.driver_version,
                getDeviceCount=self._recorder("getDeviceCount", 1),
                getDeviceProperties=lambda number: {"name": b"Imaginary GPU"},
            ),
            get_current_stream=lambda: SimpleNamespace(ptr=self.stream),
            device=SimpleNamespace(get_cublas_handle=self._recorder("handle", 99)),
            cublas=SimpleNamespace(
                getMathMode=lambda handle: self.math_mode,
                setMathMode=self._set_math_mode,
                sgemm=lambda *arguments: self._gemm(np.float32, *arguments),
                dgemm=lambda *arguments: self._gemm(np.float64, *arguments),
            ),
        )

    def named(self, *names: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] in names]

    @staticmethod
    def zeros(shape: Any, dtype: Any) -> Any:
        return np.zeros(shape, dtype).view(DeviceArray)

    @staticmethod
    def asarray(values: Any) -> Any:
        return np.asarray(values).view(DeviceArray)

    @staticmethod
    def ascontiguousarray(values: Any) -> Any:
        return np.ascontiguousarray(values).view(DeviceArray)

    def _recorder(self, name: str, result: Any = None) -> Any:
        def record(*arguments: Any) -> Any:
            self.calls.append((name, *arguments))
            if name in self.failing:
                raise CudaError(self.failing[name])
            return result

        return record

    def _device(self, number: int) -> Any:
        return SimpleNamespace(attributes=self.attributes, compute_capability=self.capability)

    def _module(self) -> Any:
        def function(name: str) -> Any:
            self.calls.append(("get_function", name))
            return SimpleNamespace(ptr=1000 + len(self.named("get_function")))

        return SimpleNamespace(load=self._recorder("load"), get_function=function)

    def _launch(self, *arguments: int) -> None:
        *sizes, addresses = arguments
        self.calls.append(("launch", *sizes))
        count = len(self.expected)
        pointers = (ctypes.c_uint64 * count).from_address(addresses)
        self.arguments.append([ctypes.c_int64.from_address(pointer).value for pointer in pointers])
        self.kernel(self.arguments[-1])

    expected: tuple[str, ...] = ()
    """The arguments of the kernel that is launched: the driver is not told how many there are."""

    def kernel(self, arguments: list[int]) -> None:
        """What a launch computes."""

    def _set_math_mode(self, handle: int, mode: int) -> None:
        self.calls.append(("setMathMode", handle, mode))
        self.math_mode = mode

    def _gemm(self, kind: type, handle: int, transa: int, transb: int, m: int, n: int, k: int, *rest: int) -> None:
        alpha, a, lda, b, ldb, beta, c, ldc = rest
        self.calls.append(("gemm", kind, handle, self.math_mode))
        if "gemm" in self.failing:
            raise CudaError(self.failing["gemm"])
        first = stored(kind, a, k, m, lda).T if transa else stored(kind, a, m, k, lda)
        second = stored(kind, b, n, k, ldb).T if transb else stored(kind, b, k, n, ldb)
        out = stored(kind, c, m, n, ldc)
        one, kept = (KINDS[kind].from_address(address).value for address in (alpha, beta))
        # With beta = 0, what is there is not read: it may be NaN.
        out[...] = one * (first @ second) + (kept * out if kept else 0)


def stored(kind: type, address: int, rows: int, columns: int, distance: int) -> NDArray[Any]:
    """The matrix that lies at an address, column by column."""
    assert distance >= max(1, rows), f"cuBLAS expects at least {rows} between columns, got {distance}"
    flat = np.ctypeslib.as_array((KINDS[kind] * ((columns - 1) * distance + rows)).from_address(address))
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), (flat.itemsize, distance * flat.itemsize))


def device(cupy: FakeCupy) -> cupy_device.CupyDevice:
    """The device under test; machine code is the kernel's name and capability."""
    return cupy_device.CupyDevice(cupy, lambda source, capability: f"{source.name} {capability}".encode())

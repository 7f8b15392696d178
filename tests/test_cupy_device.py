"""The CUDA engine's device without a GPU: what it asks of the driver and of cuBLAS, on a stand-in for CuPy."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fake_cupy import DeviceArray, FakeCupy, OtherDeviceArray, device

from rnncore_kernels.cells import LSTM
from rnncore_kernels.contract import BackwardRun, LayerWeights, Rows, Run, Sizes
from rnncore_kernels.cuda.compiler import Source
from rnncore_kernels.cuda.device import GpuLimits
from rnncore_kernels.cuda.engine import CudaEngine
from rnncore_kernels.cuda.gemm import gemm_arguments, leading
from rnncore_kernels.program.derive import make_program

FIELDS = ("n", "x", "y")
SOURCE = Source("kernel", "key", lambda: lambda run, ends: None, FIELDS, 0, 256)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> FakeCupy:
    fake = FakeCupy()
    fake.expected = FIELDS
    return fake


def arrays(kind: Any = np.float32) -> tuple[Any, Any]:
    return tuple(np.zeros(3, kind).view(DeviceArray) for _ in range(2))  # type: ignore[return-value]


def test_limits_are_the_current_gpus(cupy: FakeCupy) -> None:
    limits = device(cupy).limits
    assert (limits.capability, limits.multiprocessors, limits.shared_bytes) == ((12, 0), 10, 200_000)


def test_a_launch(cupy: FakeCupy) -> None:
    x, y = arrays()
    device(cupy).launch(SOURCE, 5, 256, 1024, [-3, x, y[1:]])
    assert cupy.calls == [
        ("setDevice", 0),
        ("load", b"kernel (12, 0)"),
        ("get_function", "kernel"),
        ("occupancy", 1001, 256, 1024),
        ("launch", 1001, 5, 1, 1, 256, 1, 1, 1024, 7),
    ]
    assert cupy.arguments == [[-3, x.ctypes.data, y.ctypes.data + 4]]


def test_a_kernel_is_loaded_and_asked_about_once(cupy: FakeCupy) -> None:
    x, y = arrays()
    gpu = device(cupy)
    other = Source("kernel", "another key", SOURCE.make, FIELDS, 0, 256)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda source: gpu.launch(source, 1, 32, 64, [1, x, y]), [SOURCE, other] * 10))
    assert len(cupy.named("load")) == len(cupy.named("occupancy")) == 2
    gpu.launch(SOURCE, 1, 64, 64, [1, x, y])
    assert len(cupy.named("load")) == 2
    assert len(cupy.named("occupancy")) == 3


def test_shared_memory_is_granted_beyond_48_kib(cupy: FakeCupy) -> None:
    x, y = arrays()
    gpu = device(cupy)
    for shared_bytes in (49152, 60_000, 50_000, 60_000, 100_000):
        gpu.launch(SOURCE, 1, 32, shared_bytes, [1, x, y])
    assert cupy.named("funcSetAttribute") == [
        ("funcSetAttribute", 1001, 8, 60_000),
        ("funcSetAttribute", 1001, 8, 100_000),
    ]
    # Before the GPU is asked how many fit.
    assert [call[0] for call in cupy.calls if call[-1] == 60_000] == ["funcSetAttribute", "occupancy"]


def test_the_stream_is_the_callers(cupy: FakeCupy) -> None:
    x, y = arrays()
    gpu = device(cupy)
    for stream in (0, 1234):
        cupy.stream = stream
        gpu.launch(SOURCE, 1, 32, 0, [1, x, y])
    assert [call[-1] for call in cupy.named("launch")] == [0, 1234]


def test_blocks_that_could_not_meet_are_refused() -> None:
    cupy = FakeCupy(blocks=2)
    cupy.expected = FIELDS
    x, y = arrays()
    gpu = device(cupy)
    gpu.launch(SOURCE, 20, 256, 1024, [1, x, y])
    message = (
        "kernel: 21 blocks of 256 threads with 1024 bytes of shared memory must be resident at once, and GPU 0 holds 20"
    )
    with pytest.raises(RuntimeError, match=re.escape(message)):
        gpu.launch(SOURCE, 21, 256, 1024, [1, x, y])
    assert len(cupy.named("launch")) == 1


def test_another_gpu_is_refused(cupy: FakeCupy) -> None:
    x, _ = arrays()
    elsewhere = np.zeros((1, 1), np.float32).view(OtherDeviceArray)
    gpu = device(cupy)
    message = "expected arrays on GPU 0, where the network was made, got one on GPU 1: nothing moves between devices by"
    with pytest.raises(ValueError, match=message):
        gpu.launch(SOURCE, 1, 32, 0, [1, x, elsewhere])
    with pytest.raises(ValueError, match=message):
        gpu.multiply(elsewhere, elsewhere, elsewhere)
    cupy.current = 1
    message = "expected a call while GPU 0 is current, where the network was made, got one on GPU 1: call within"
    with pytest.raises(ValueError, match=message):
        gpu.launch(SOURCE, 1, 32, 0, [1, x, x])
    assert not cupy.named("launch", "gemm")


SHAPES = ((3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 5), (1, 4, 1), (3, 1, 1), (1, 1, 1), (17, 33, 8))


def laid_out(values: Any, layout: str) -> Any:
    """The same matrix, in another place."""
    rows, columns = values.shape
    if layout == "columns":
        values = np.asfortranarray(values)
    elif layout == "wide":
        wide = np.full((rows, columns + 3), np.nan, values.dtype)
        wide[:, 1 : columns + 1] = values
        values = wide[:, 1 : columns + 1]
    elif layout == "tall":
        values = laid_out(values.T, "wide").T
    elif layout == "backwards":
        values = np.ascontiguousarray(values[::-1])[::-1]
    elif layout == "strided":
        twice = np.full((rows, 2 * columns), np.nan, values.dtype)
        twice[:, ::2] = values
        values = twice[:, ::2]
    return values.view(DeviceArray)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("of_a", ["rows", "columns", "wide", "tall", "backwards", "strided"])
@pytest.mark.parametrize("of_b", ["rows", "columns", "wide", "tall", "strided"])
def test_products(cupy: FakeCupy, dtype: Any, of_a: str, of_b: str) -> None:
    rng = np.random.default_rng(0)
    gpu = device(cupy)
    for rows, inner, columns in SHAPES:
        for of_out in ("rows", "wide"):
            a, b = rng.integers(-4, 5, (rows, inner)).astype(dtype), rng.integers(-4, 5, (inner, columns)).astype(dtype)
            out = laid_out(np.full((rows, columns), np.nan, dtype), of_out)
            gpu.multiply(laid_out(a, of_a), laid_out(b, of_b), out)
            np.testing.assert_array_equal(out, a @ b)
            gpu.multiply(laid_out(a, of_a), laid_out(b, of_b), out, accumulate=True)
            np.testing.assert_array_equal(out, 2 * (a @ b))
    assert {call[1:] for call in cupy.named("gemm")} == {(dtype, 99, 0)}


def test_rows_that_are_one(cupy: FakeCupy) -> None:
    row = np.arange(3, dtype=np.float32).view(DeviceArray)
    out = np.empty((4, 2), np.float32).view(DeviceArray)
    b = np.ones((3, 2), np.float32).view(DeviceArray)
    device(cupy).multiply(np.broadcast_to(row, (4, 3), subok=True), b, out)
    np.testing.assert_array_equal(out, np.full((4, 2), 3))


def test_nothing_to_multiply(cupy: FakeCupy) -> None:
    gpu = device(cupy)

    def empty(*shape: int) -> Any:
        return np.full(shape, np.nan, np.float32).view(DeviceArray)

    out = empty(3, 4)
    gpu.multiply(empty(3, 0), empty(0, 4), out)
    np.testing.assert_array_equal(out, np.zeros((3, 4)))
    out[...] = 7
    gpu.multiply(empty(3, 0), empty(0, 4), out, accumulate=True)
    np.testing.assert_array_equal(out, np.full((3, 4), 7))
    gpu.multiply(empty(0, 3), empty(3, 4), empty(0, 4))
    gpu.multiply(empty(3, 2), empty(2, 0), empty(3, 0))
    assert not cupy.named("gemm")


def test_cublas_does_not_shorten_numbers() -> None:
    """CuPy's handle is the thread's: somebody may have allowed TF32 on it, and has it back so."""
    cupy = FakeCupy(math_mode=3)
    a = np.ones((2, 2), np.float32).view(DeviceArray)
    device(cupy).multiply(a, a, np.empty((2, 2), np.float32).view(DeviceArray))
    assert cupy.named("setMathMode", "gemm") == [
        ("setMathMode", 99, 0),
        ("gemm", np.float32, 99, 0),
        ("setMathMode", 99, 3),
    ]


def test_no_memory_is_a_memory_error(cupy: FakeCupy) -> None:
    x, y = arrays()
    square = np.ones((2, 2), np.float32).view(DeviceArray)
    gpu = device(cupy)
    cupy.failing = {"load": 2, "gemm": 3}
    with pytest.raises(MemoryError, match="no memory on the GPU for the kernel kernel: status 2"):
        gpu.launch(SOURCE, 1, 32, 0, [1, x, y])
    with pytest.raises(MemoryError, match="no memory on the GPU for cuBLAS: status 3"):
        gpu.multiply(square, square, square.copy())
    cupy.failing = {"load": 700, "gemm": 13}
    with pytest.raises(RuntimeError, match="status 700"):
        gpu.launch(SOURCE, 1, 32, 0, [1, x, y])
    with pytest.raises(RuntimeError, match="status 13"):
        gpu.multiply(square, square, square.copy())
    cupy.failing = {}
    gpu.launch(SOURCE, 1, 32, 0, [1, x, y])
    assert len(cupy.named("launch")) == 1


def test_matrices_that_cublas_cannot_read() -> None:
    a = np.ones((4, 4), np.float32)
    assert leading(a) == (False, 4)
    assert leading(a.T) == (True, 4)
    assert leading(a[:, :2]) == (False, 4)
    assert leading(a[:, :1]) == (False, 4)
    assert leading(a[:1]) == (False, 4)
    assert leading(a[:, ::2]) is None
    assert leading(a[::-1]) is None
    assert leading(np.lib.stride_tricks.as_strided(a, (3, 3), (4, 4))) is None
    with pytest.raises(ValueError, match=re.escape("expected (M, K) @ (K, N) = (M, N), got (4, 4) @ (3, 4) = (4, 4)")):
        gemm_arguments(a, a[:3], a)
    with pytest.raises(ValueError, match="expected contiguous rows or columns, and rows of the result, got strides"):
        gemm_arguments(a, a, np.ones((4, 4), np.float32).T)
    huge = np.lib.stride_tricks.as_strided(a, (2**31, 1), (4, 4))
    with pytest.raises(ValueError, match="expected sizes and distances up to 2147483647, got Gemm"):
        gemm_arguments(huge, a[:1], np.lib.stride_tricks.as_strided(a, (2**31, 4), (16, 4)))


class _SmallGpu:
    """A device that computes nothing, with room for some arrays only."""

    limits = GpuLimits((9, 0), 4, 200_000)
    room = 10**9

    def __init__(self) -> None:
        self.xp: Any = self

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def empty(self, shape: Any, dtype: Any) -> Any:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size > self.room:
            raise MemoryError(f"Out of memory allocating {size:,} bytes (allocated so far: 0 bytes).")
        return np.zeros(shape, dtype)

    def launch(self, source: Any, blocks: int, threads: int, shared_bytes: int, arguments: Any) -> None:
        pass

    def multiply(self, a: Any, b: Any, out: Any, *, accumulate: bool = False) -> None:
        pass


def test_the_engine_says_what_there_was_no_memory_for() -> None:
    gpu = _SmallGpu()
    engine = CudaEngine(gpu)
    weights = LayerWeights(np.zeros((16, 3)), np.zeros((16, 4)), np.zeros(16), np.zeros(16))
    packed = engine.pack(make_program(LSTM()), Sizes(4, 3, np.dtype(np.float64)), weights, copy=True, backward=True)
    state = np.zeros((2, 4)), np.zeros((2, 4))
    run = Run(packed, np.zeros((5, 2, 3)), state, None, None, Rows(), False)
    (residuals,) = engine.forward([run])
    backward = BackwardRun(packed, residuals, None, state)
    calls: tuple[tuple[Any, str], ...] = (
        (lambda: engine.infer([run]), "inference"),
        (lambda: engine.forward([run]), "the forward pass"),
        (lambda: engine.backward([backward]), "the backward pass"),
    )
    for call, what in calls:
        gpu.room = 200
        message = (
            f"not enough memory on the GPU for {what} of a layer with T=5, B=2, I=3, H=4 in float64: Out of memory "
            f"allocating "
        )
        with pytest.raises(MemoryError, match=re.escape(message)):
            call()
        gpu.room = 10**9
        call()

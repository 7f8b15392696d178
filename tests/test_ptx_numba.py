"""Kernels that numba-cuda compiles, for architectures of both flavours of its PTX, in the executor."""

from __future__ import annotations

import importlib
import math
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ptx.errors import DataRace, Uninitialised
from ptx.memory import empty
from ptx.numba_kernels import CAPABILITIES, ptx_of, run, without

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")

# Without their types, which are not those of what kernels do with them.
cuda: Any = importlib.import_module("numba.cuda")
types: Any = importlib.import_module("numba.core.types")

float32, float64, int32, uint32 = types.float32, types.float64, types.int32, types.uint32

Array = NDArray[Any]


# Elementary functions.


def functions(x: Array, y: Array) -> None:
    i = cuda.grid(1)
    if i < x.size:
        v = x[i]
        y[0, i] = math.exp(v)
        y[1, i] = math.tanh(v)
        y[2, i] = math.log(abs(v))
        y[3, i] = math.sqrt(abs(v))
        y[4, i] = math.sin(v)
        y[5, i] = math.cos(v)
        y[6, i] = math.exp(-v) / (v * v + v)
        y[7, i] = math.pow(abs(v), v)
        y[8, i] = math.floor(v) + math.copysign(v, -v)
        y[9, i] = math.erf(v)


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elementary_functions(capability: tuple[int, int], dtype: str) -> None:
    x = np.concatenate([np.linspace(-9, 9, 98), [1e-3, 1000.0]]).astype(dtype)
    y = empty((10, x.size), dtype)
    kind = getattr(types, dtype)
    run(ptx_of(functions, types.void(kind[::1], kind[:, ::1]), capability), 2, 64, [x, y])
    v = x.astype(np.float64)
    with np.errstate(all="ignore"):
        expected = [np.exp(v), np.tanh(v), np.log(abs(v)), np.sqrt(abs(v)), np.sin(v), np.cos(v)]
        expected += [
            np.exp(-v) / (v * v + v),
            abs(v) ** v,
            np.floor(v) + np.copysign(v, -v),
            np.array([math.erf(e) for e in v]),
        ]
        reference = np.array(expected).astype(dtype)
    tolerance = {"float32": 4e-6, "float64": 1e-13}[dtype]
    np.testing.assert_allclose(y, reference, rtol=tolerance, atol=tolerance)


# A product of matrices by tiles in shared memory.

TILE = 8


def product(a: Array, b: Array, c: Array) -> None:
    tile_a = cuda.shared.array((TILE, TILE), float32)
    tile_b = cuda.shared.array((TILE, TILE), float32)
    x, y = cuda.threadIdx.x % TILE, cuda.threadIdx.x // TILE
    columns = c.shape[1] // TILE
    row, column = cuda.blockIdx.x // columns * TILE + y, cuda.blockIdx.x % columns * TILE + x
    total = float32(0)
    for k in range(0, a.shape[1], TILE):
        tile_a[y, x] = a[row, k + x]
        tile_b[y, x] = b[k + y, column]
        cuda.syncthreads()
        for i in range(TILE):
            total += tile_a[y, i] * tile_b[i, x]
        cuda.syncthreads()
    # Threads of other rows may still read the tile, but for the barrier.
    tile_a[y, x] = total
    c[row, column] = tile_a[y, x]


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_product_of_matrices(capability: tuple[int, int]) -> None:
    matrix = types.float32[:, ::1]
    text = ptx_of(product, types.void(matrix, matrix, matrix), capability)
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((16, 40)).astype("f"), generator.standard_normal((40, 24)).astype("f")
    for seed in range(3):
        c = empty((16, 24), "f")
        run(text, 6, TILE * TILE, [a, b, c], seed=seed)
        np.testing.assert_allclose(c, a @ b, rtol=1e-5, atol=1e-5)
    mutants = list(without(text, r"bar\.sync"))
    assert len(mutants) >= 2
    for mutant in mutants:
        with pytest.raises((DataRace, Uninitialised)):
            run(mutant, 6, TILE * TILE, [a, b, empty((16, 24), "f")])


# What numba-cuda has of its own.


def summed(x: Array, y: Array) -> None:
    """The sum of each block, with memory of two kinds and a barrier of the grid."""
    partial = cuda.shared.array(0, float64)
    own = cuda.local.array(4, float64)
    i = cuda.threadIdx.x
    for k in range(4):
        own[k] = x[cuda.blockIdx.x, i] * (k + 1)
    partial[i] = own[i % 4]
    cuda.syncthreads()
    half = cuda.blockDim.x // 2
    while half > 0:
        if i < half:
            partial[i] += partial[i + half]
        cuda.syncthreads()
        half //= 2
    if i == 0:
        y[cuda.blockIdx.x] = partial[0]
    cuda.cg.this_grid().sync()
    if i == 0 and cuda.blockIdx.x == 0:
        total = float64(0)
        for b in range(cuda.gridDim.x):
            total += y[b]
        y[cuda.gridDim.x] = total
    cuda.atomic.add(y, cuda.gridDim.x + 1, x[cuda.blockIdx.x, i])


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_shared_local_and_atomic_operations_and_the_grid(capability: tuple[int, int]) -> None:
    text = ptx_of(summed, types.void(types.float64[:, ::1], types.float64[::1]), capability)
    x = np.random.default_rng(0).integers(0, 100, (5, 64)).astype(np.float64)
    sums = (x * (np.arange(64) % 4 + 1)).sum(axis=1)
    for seed in range(3):
        y = np.zeros(7)
        run(text, 5, 64, [x, y], 512, seed)
        np.testing.assert_array_equal(y, [*sums, sums.sum(), x.sum()])
    for mutant in [
        *without(text, r"bar\.sync"),
        re.sub(
            r"call\.uni \(retval0\),\s*cudaCGSynchronize,\s*\(\s*param0,\s*param1\s*\);",
            "st.param.b32 [retval0], 0;",
            text,
        ),
    ]:
        assert mutant != text
        with pytest.raises((DataRace, Uninitialised)):
            run(mutant, 5, 64, [x, np.zeros(7)], 512)


def counted(x: Array, y: Array, limit: int) -> None:
    """Ballots, exchanges of each kind, and integers of several widths."""
    i = cuda.grid(1)
    lane = cuda.laneid
    v = x[i]
    ballot = cuda.ballot_sync(0xFFFFFFFF, v > limit)
    below = cuda.popc(ballot & ((1 << lane) - 1))
    up = cuda.shfl_up_sync(0xFFFFFFFF, v, 1)
    down = cuda.shfl_down_sync(0xFFFFFFFF, v, 3)
    first = cuda.shfl_sync(0xFFFFFFFF, v, 0)
    y[i, 0] = below
    y[i, 1] = up
    y[i, 2] = down
    y[i, 3] = first
    y[i, 4] = cuda.clz(int32(v)) + cuda.ffs(int32(v))
    y[i, 5] = (v * 37) // 7 - (v * 37) % 11
    y[i, 6] = (v << 3) ^ (v >> 2)
    y[i, 7] = cuda.brev(uint32(v)) >> 8
    cuda.syncwarp()


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_exchanges_and_integers(capability: tuple[int, int]) -> None:
    text = ptx_of(counted, types.void(types.int32[::1], types.int64[:, ::1], types.int32), capability)
    x = np.random.default_rng(0).integers(-1000, 1000, 64).astype(np.int32)
    y = empty((64, 8), np.int64)
    run(text, 1, 64, [x, y, 100])
    for i, v in enumerate(x.tolist()):
        warp, lane = x[i // 32 * 32 :][:32].tolist(), i % 32
        bits = v % 2**32
        expected = [
            sum(e > 100 for e in warp[:lane]),
            warp[lane - 1] if lane else v,
            warp[lane + 3] if lane < 29 else v,
            warp[0],
        ]
        expected += [32 - bits.bit_length() + (bits & -bits).bit_length(), v * 37 // 7 - v * 37 % 11, v << 3 ^ v >> 2]
        expected.append(int(f"{bits:032b}"[::-1], 2) >> 8)
        assert y[i].tolist() == expected

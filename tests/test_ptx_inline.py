"""A kernel of numba-cuda with PTX of its own, in the executor: vectors, exchanges, and a barrier of all blocks."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ptx.errors import DataRace
from ptx.memory import empty
from ptx.numba_kernels import CAPABILITIES, Address, ptx_of, run, without

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")

cuda: Any = importlib.import_module("numba.cuda")
types: Any = importlib.import_module("numba.core.types")
cgutils: Any = importlib.import_module("numba.core.cgutils")
intrinsic: Any = importlib.import_module("numba.cuda.extending").intrinsic
ir: Any = importlib.import_module("llvmlite.ir")

float32, uint32, uint64 = types.float32, types.uint32, types.uint64
F32, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)

Array = NDArray[Any]


def _load4(typing: Any, address: Any) -> Any:
    """Four float32 at an address in shared memory."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(F32, 4)
        pointer = builder.inttoptr(arguments[0], ir.PointerType(F32, 3))
        loaded = builder.load(builder.bitcast(pointer, ir.PointerType(vector, 3)), align=16)
        return cgutils.pack_array(builder, [builder.extract_element(loaded, I32(i)) for i in range(4)])

    return types.UniTuple(types.float32, 4)(types.uint64), generate


load4 = intrinsic(_load4)


def _assembly(text: str, constraints: str, result: Any, kinds: list[Any], signature: Any) -> Any:
    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        function = ir.InlineAsm(ir.FunctionType(result, kinds), text, constraints, side_effect=True)
        value = builder.call(function, arguments)
        return context.get_dummy_value() if isinstance(result, ir.VoidType) else value

    return signature, generate


def _shared_base(typing: Any) -> Any:
    """Address of dynamic shared memory."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        name = "rnncore_shared"
        if name in builder.module.globals:
            memory = builder.module.globals[name]
        else:
            memory = ir.GlobalVariable(builder.module, ir.ArrayType(ir.IntType(8), 0), name, 3)
            memory.linkage, memory.align = "external", 16
        return builder.ptrtoint(memory, I64)

    return types.uint64(), generate


shared_base = intrinsic(_shared_base)


def _add_release(typing: Any, address: Any, value: Any) -> Any:
    return _assembly(
        "red.release.gpu.global.add.u32 [$0], $1;",
        "l,r,~{memory}",
        ir.VoidType(),
        [I64, I32],
        types.void(types.uint64, types.uint32),
    )


add_release = intrinsic(_add_release)


def _wait_at_least(typing: Any, address: Any, count: Any) -> Any:
    """A spinning loop in inline PTX, with a label of its own."""
    return _assembly(
        "{ .reg .pred %p; .reg .u32 %v; AGAIN: ld.acquire.gpu.global.u32 %v, [$0]; setp.lt.u32 %p, %v, $1; @%p bra AGAIN; }",
        "l,r,~{memory}",
        ir.VoidType(),
        [I64, I32],
        types.void(types.uint64, types.uint32),
    )


wait_at_least = intrinsic(_wait_at_least)


def _store_shared(typing: Any, address: Any, value: Any) -> Any:
    return _assembly(
        "st.shared.f32 [$0], $1;",
        "l,f,~{memory}",
        ir.VoidType(),
        [I64, F32],
        types.void(types.uint64, types.float32),
    )


store_shared = intrinsic(_store_shared)


def recurrent(weights: Array, inputs: Array, states: Array, counter: int, steps: int, size: int) -> None:
    """h[t + 1] = tanh(inputs[t] + weights h[t]): each block has some rows of the weights in shared memory."""
    base = shared_base()
    thread, threads, blocks = cuda.threadIdx.x, cuda.blockDim.x, cuda.gridDim.x
    rows = size // blocks
    first = cuda.blockIdx.x * rows
    for i in range(thread, rows * size, threads):
        store_shared(base + uint64(4 * i), weights[first + i // size, i % size])
    cuda.syncthreads()
    lane, warp = thread % 32, thread // 32
    arrived = uint32(0)
    for t in range(steps):
        for row in range(warp, rows, threads // 32):
            total = float32(0)
            for k in range(4 * lane, size, 128):
                w = load4(base + uint64(4 * (row * size + k)))
                total += (
                    w[0] * states[t, k] + w[1] * states[t, k + 1] + w[2] * states[t, k + 2] + w[3] * states[t, k + 3]
                )
            for distance in (16, 8, 4, 2, 1):
                total += cuda.shfl_xor_sync(0xFFFFFFFF, total, distance)
            if lane == 0:
                states[t + 1, first + row] = math.tanh(total + inputs[t, first + row])
        cuda.syncthreads()
        if thread == 0:
            arrived += uint32(blocks)
            add_release(uint64(counter), uint32(1))
            wait_at_least(uint64(counter), arrived)
        cuda.syncthreads()


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_persistent_kernel_with_inline_ptx(capability: tuple[int, int]) -> None:
    matrix = types.float32[:, ::1]
    signature = types.void(matrix, matrix, matrix, types.int64, types.int32, types.int32)
    text = ptx_of(recurrent, signature, capability)
    steps, size, blocks = 4, 128, 4
    generator = np.random.default_rng(0)
    weights = (generator.standard_normal((size, size)) / 16).astype("f")
    inputs = generator.standard_normal((steps, size)).astype("f")
    expected = np.zeros((steps + 1, size))
    for t in range(steps):
        expected[t + 1] = np.tanh(inputs[t] + weights @ expected[t])

    def launch(kernel: str, seed: int) -> Array:
        states, counter = empty((steps + 1, size), "f"), np.zeros(1, np.uint32)
        states[0] = 0
        arguments = [weights, inputs, states, Address(counter), steps, size]
        run(kernel, blocks, 64, arguments, 4 * size * size // blocks, seed)
        return states

    for seed in range(3):
        np.testing.assert_allclose(launch(text, seed), expected, rtol=1e-5, atol=1e-5)
    mutants = list(without(text, r"bar\.sync"))
    assert len(mutants) >= 3
    mutants += [
        text.replace("red.release.gpu.", "red."),
        text.replace("ld.acquire.", "ld.relaxed."),
        text.replace("ld.acquire.gpu", "ld.volatile"),
    ]
    for mutant in mutants:
        with pytest.raises(DataRace):
            launch(mutant, 0)

"""The compiled code of the engine, loaded when it is first needed.

What loops, multiplies and synchronises is compiled once for a dtype, by Numba; what is a cell's own is a few functions
on vectors, which need LLVM alone.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..program.program import Program
from . import toolchain
from .code.ir import PREFIX, Definition
from .shape import Shape
from .target import Target, host_target

FORWARD, BACKWARD = ("pack", "forward"), ("pack_back", "backward")
THREADS = ("serve", "start", "dispatch", "await", "run_team", "member")
FORWARD_TILES, BACKWARD_TILES, TRIAL = ("convert", "forward_tiles"), ("convert_back", "backward_tiles"), ("trial",)


def host_shape(dtype: np.dtype[Any]) -> Shape:
    """Vectors and tiles of this machine, or of the processor that Numba's environment variables name."""
    return Shape(host_target(), dtype)


@functools.cache
def forward_kernels(shape: Shape) -> toolchain.Library:
    """`pack` and `forward`."""

    def define() -> Mapping[str, Definition]:
        from .code import emitted, forward, gemm, packing

        packing.make_pack(shape)
        forward.make_forward(shape, gemm.make_vector_gemm(shape))
        return emitted.DEFINITIONS

    return toolchain.load(shape.target, f"forward {shape.dtype.name}", FORWARD, define)


@functools.cache
def backward_kernels(shape: Shape) -> toolchain.Library:
    """`pack_back` and `backward`."""

    def define() -> Mapping[str, Definition]:
        from .code import backward, emitted, gemm, packing

        packing.make_pack_back(shape)
        backward.make_backward(shape, gemm.make_vector_gemm(shape))
        return emitted.DEFINITIONS

    return toolchain.load(shape.target, f"backward {shape.dtype.name}", BACKWARD, define)


@functools.cache
def forward_tile_kernels(shape: Shape) -> toolchain.Library:
    """`convert` and `forward_tiles`, for tile registers."""

    def define() -> Mapping[str, Definition]:
        from .code import emitted, forward, packing, tile_registers

        packing.make_convert(shape)
        forward.make_forward(shape, tile_registers.make_tile_gemm(shape))
        return emitted.DEFINITIONS

    return toolchain.load(shape.target, f"forward tiles {shape.dtype.name}", FORWARD_TILES, define)


@functools.cache
def backward_tile_kernels(shape: Shape) -> toolchain.Library:
    """`convert_back` and `backward_tiles`, for tile registers."""

    def define() -> Mapping[str, Definition]:
        from .code import backward, emitted, packing, tile_registers

        packing.make_convert(shape)
        backward.make_backward(shape, tile_registers.make_tile_gemm(shape))
        return emitted.DEFINITIONS

    return toolchain.load(shape.target, f"backward tiles {shape.dtype.name}", BACKWARD_TILES, define)


@functools.cache
def thread_kernels(target: Target) -> toolchain.Library:
    """`serve`, which workers run, `start`, `dispatch` and `await`; `run_team` and `member`."""

    def define() -> Mapping[str, Definition]:
        from .code import emitted, pool, team

        assert {PREFIX + name for name in THREADS} <= {*emitted.DEFINITIONS}, (pool.__name__, team.__name__)
        return emitted.DEFINITIONS

    return toolchain.load(target, "threads", THREADS, define)


@functools.cache
def trial_kernel(target: Target) -> toolchain.Library:
    """`trial`, which nobody calls: where it could be compiled, by these versions, so can the others."""

    def define() -> Mapping[str, Definition]:
        from .code import emitted, trial

        assert {trial.trial.__name__} == {*TRIAL}
        return emitted.DEFINITIONS

    return toolchain.load(target, f"trial {platform.python_version()} {np.__version__}", TRIAL, define)


@functools.cache
def cell_functions(shape: Shape, program: Program) -> toolchain.Library:
    """The code of a cell's phases: `forward_0`, `forward_0_keep`, ..., `backward_0`, ...; not of those without any."""
    count = len(program.forward.phases)
    back = [number for number, phase in enumerate(program.backward.phases) if phase.code.outputs]
    names = [name for number in range(count) for name in (f"forward_{number}", f"forward_{number}_keep")]

    def define() -> Mapping[str, Definition]:
        from .code.programs import make_cell

        return {definition.name: definition for definition in make_cell(shape, program)}

    key = f"cell {shape.dtype.name}\n{program.text}"
    return toolchain.load(shape.target, key, [*names, *(f"backward_{number}" for number in back)], define)

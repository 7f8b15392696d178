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

from ..codegen.program import Program
from . import toolchain
from .code.ir import PREFIX, Definition
from .shape import Shape
from .target import Target, host_target

FORWARD, BACKWARD, THREADS = ("pack", "forward"), ("pack_back", "backward"), ("serve", "start", "dispatch", "await")
SPLIT, TRIAL = ("convert", "convert_back"), ("trial",)


def host_shape(dtype: np.dtype[Any]) -> Shape:
    """Vectors and tiles of this machine, or of the processor that Numba's environment variables name."""
    return Shape(host_target(), dtype)


@functools.cache
def forward_kernels(shape: Shape) -> toolchain.Library:
    """`pack` and `forward`."""

    def define() -> Mapping[str, Definition]:
        from .code import emitted, forward, packing

        packing.make_pack(shape)
        forward.make_forward(shape)
        return emitted.DEFINITIONS

    return toolchain.load(shape.target, f"forward {shape.dtype.name}", FORWARD, define)


@functools.cache
def backward_kernels(shape: Shape) -> toolchain.Library:
    """`pack_back` and `backward`."""

    def define() -> Mapping[str, Definition]:
        from .code import backward, emitted, packing

        packing.make_pack_back(shape)
        backward.make_backward(shape)
        return emitted.DEFINITIONS

    return toolchain.load(shape.target, f"backward {shape.dtype.name}", BACKWARD, define)


@functools.cache
def conversion_kernels(shape: Shape) -> toolchain.Library:
    """`convert` and `convert_back`."""

    def define() -> Mapping[str, Definition]:
        from .code import emitted, packing

        packing.make_convert(shape)
        return emitted.DEFINITIONS

    return toolchain.load(shape.target, f"split {shape.dtype.name}", SPLIT, define)


@functools.cache
def thread_kernels(target: Target) -> toolchain.Library:
    """`serve`, which workers run, and `start`, `dispatch` and `await`."""

    def define() -> Mapping[str, Definition]:
        from .code import emitted, pool

        assert {PREFIX + name for name in THREADS} <= {*emitted.DEFINITIONS}, pool.__name__
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
    """The functions of a cell's stages, `forward_0`, `forward_0_keep`, `backward_0` and so on."""

    def define() -> Mapping[str, Definition]:
        from .code.cellcode import make_cell

        return {definition.name: definition for definition in make_cell(shape, program)}

    kinds = ("forward_{}", "forward_{}_keep", "backward_{}")
    names = [kind.format(number) for number in range(len(program.stages)) for kind in kinds]
    return toolchain.load(shape.target, f"cell {shape.dtype.name}\n{program.text}", names, define)

"""The compiled code of the engine, loaded when it is first needed.

What loops, multiplies and synchronises is compiled once for a dtype, by Numba; what is a cell's own is a few functions
on vectors, which need LLVM alone.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..program.program import Program
from . import toolchain
from .code.ir import PREFIX, Definition
from .shape import Shape
from .target import Target, host_target

THREADS, TRIAL = ("serve", "start", "dispatch", "await", "run_team", "member"), ("trial",)


def host_shape(dtype: np.dtype[Any]) -> Shape:
    """Vectors and tiles of this machine, or of the processor that Numba's environment variables name."""
    return Shape(host_target(), dtype)


ENDS = {"forward": "", "backward": "_back"}
"""What names of kernels that make weights for a pass end in."""


def kernel_name(name: str, products: str) -> str:
    """The kernel of a pass, "forward" or "backward", with products of a name of `products`."""
    return f"{name}_{products}" if products else name


@functools.cache
def pack_kernels(shape: Shape, name: str) -> toolchain.Library:
    """`pack` or `pack_back`, for weights of a pass."""

    def define() -> Mapping[str, Definition]:
        from .code import emitted, packing

        (packing.make_pack if name == "forward" else packing.make_pack_back)(shape)
        return emitted.DEFINITIONS

    return toolchain.load(shape.target, f"pack {name} {shape.dtype.name}", [f"pack{ENDS[name]}"], define)


@functools.cache
def pass_kernels(shape: Shape, name: str, products: str) -> toolchain.Library:
    """The kernel of a pass, see `kernel_name`; also `convert` or `convert_back` where weights are converted."""

    def define() -> Mapping[str, Definition]:
        from .amx import blocks
        from .amx.gemm import make_tile_gemm
        from .code import backward, bfloat16, emitted, forward, gemm, int8, packing

        makers: dict[str, Callable[[Shape], Any]] = {
            "": gemm.make_vector_gemm,
            "tiles": functools.partial(make_tile_gemm, parts=blocks.EXACT),
            "bfloat16_tiles": functools.partial(make_tile_gemm, parts=blocks.ROUNDED),
            "bfloat16": bfloat16.make_bfloat16_gemm,
            "int8": int8.make_int8_gemm,
        }
        made = makers[products](shape)
        if products:
            packing.make_convert(shape, made)
        (forward.make_forward if name == "forward" else backward.make_backward)(shape, made)
        return emitted.DEFINITIONS

    wanted = [kernel_name(name, products), *([f"convert{ENDS[name]}"] if products else [])]
    return toolchain.load(shape.target, f"{name} {products} {shape.dtype.name}", wanted, define)


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
    """The code of a cell's phases: `forward_0`, `forward_0_keep`, ..., `backward_0`, ...; not of those without any.

    Each stays for the life of the process, as its machine code does, which is never freed.
    """
    count = len(program.forward.phases)
    back = [number for number, phase in enumerate(program.backward.phases) if phase.code.outputs]
    names = [name for number in range(count) for name in (f"forward_{number}", f"forward_{number}_keep")]

    def define() -> Mapping[str, Definition]:
        from .code.programs import make_cell

        return {definition.name: definition for definition in make_cell(shape, program)}

    key = f"cell {shape.dtype.name}\n{program.text}"
    return toolchain.load(shape.target, key, [*names, *(f"backward_{number}" for number in back)], define)

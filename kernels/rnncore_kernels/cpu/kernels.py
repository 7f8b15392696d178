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

THREADS, TRIAL = ("serve", "start", "dispatch", "await", "run_team", "member"), ("trial",)


def host_shape(dtype: np.dtype[Any]) -> Shape:
    """Vectors and tiles of this machine, or of the processor that Numba's environment variables name."""
    return Shape(host_target(), dtype)


@functools.cache
def names(name: str, products: str) -> tuple[str, str]:
    """Kernels of a pass: one that packs weights, or converts packed ones for other products, and the pass itself."""
    end = "" if name == "forward" else "_back"
    return f"convert{end}" if products else f"pack{end}", f"{name}_{products}" if products else name


@functools.cache
def pass_kernels(shape: Shape, name: str, products: str) -> toolchain.Library:
    """The kernels of a pass, "forward" or "backward", with products of a name of `products`, see `names`."""

    def define() -> Mapping[str, Definition]:
        from .amx.gemm import make_tile_gemm
        from .code import backward, bfloat16, emitted, forward, gemm, int8, packing

        is_forward = name == "forward"
        made = {
            "": gemm.make_vector_gemm,
            "tiles": make_tile_gemm,
            "bfloat16": bfloat16.make_bfloat16_gemm,
            "int8": int8.make_int8_gemm,
        }[products](shape)
        if products:
            packing.make_convert(shape, made)
        else:
            (packing.make_pack if is_forward else packing.make_pack_back)(shape)
        (forward.make_forward if is_forward else backward.make_backward)(shape, made)
        return emitted.DEFINITIONS

    return toolchain.load(shape.target, f"{name} {products} {shape.dtype.name}", names(name, products), define)


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

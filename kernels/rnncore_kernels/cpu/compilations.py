"""All that the engine compiles for some cells, one thing after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from ..contract import Compilation
from ..precision import BFLOAT16, INT8
from ..program.program import Program
from . import kernels
from .amx.blocks import EXACT, ROUNDED
from .shape import Shape
from .target import host_target

TILES = {"": EXACT.name, BFLOAT16: ROUNDED.name}
"""Names of products on tile registers, by those on vector registers."""


def compilations(
    programs: Mapping[str, Program], dtypes: Sequence[str], precisions: Sequence[str], training: bool
) -> Iterator[Compilation]:
    """See `contract.EngineModule.warm_up`."""
    yield "threads", partial(kernels.thread_kernels, host_target())
    passes = ("forward", "backward") if training else ("forward",)
    packed = [*dtypes, "float32"] if precisions else dtypes
    for dtype in dict.fromkeys(packed):
        shape = kernels.host_shape(np.dtype(dtype))
        for name in passes:
            yield f"{dtype} {name} weights", partial(kernels.pack_kernels, shape, name)
        if dtype in dtypes:
            yield from _products(shape, dtype, "", passes)
        if dtype == "float32":
            for precision in dict.fromkeys(precisions):
                yield from _products(shape, precision, precision, ("forward",) if precision == INT8 else passes)
        for name, program in programs.items():
            yield f"{dtype} {name}", partial(kernels.cell_functions, shape, program)


def _products(shape: Shape, words: str, products: str, passes: Sequence[str]) -> Iterator[Compilation]:
    """Passes with products of a name, and with those on tile registers, where there are any."""
    for each in (products, TILES[products]) if shape.matrix and products in TILES else (products,):
        for name in passes:
            where = "" if each == products else " on tile registers"
            yield f"{words} {name}{where}", partial(kernels.pass_kernels, shape, name, each)

"""All that the engine compiles for some cells, one thing after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from ..contract import Compilation
from ..program.program import Program
from . import kernels
from .target import host_target


def compilations(programs: Mapping[str, Program], dtypes: Sequence[str], training: bool) -> Iterator[Compilation]:
    """See `contract.EngineModule.warm_up`."""
    yield "threads", partial(kernels.thread_kernels, host_target())
    for dtype in dict.fromkeys(dtypes):
        shape = kernels.host_shape(np.dtype(dtype))
        passes = ("forward", "backward") if training else ("forward",)
        for products in ("", "tiles") if shape.matrix else ("",):
            for name in passes:
                where = " on tile registers" if products else ""
                yield f"{dtype} {name}{where}", partial(kernels.pass_kernels, shape, name, products)
        for name, program in programs.items():
            yield f"{dtype} {name}", partial(kernels.cell_functions, shape, program)

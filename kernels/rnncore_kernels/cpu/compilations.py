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
        yield f"{dtype} forward", partial(kernels.forward_kernels, shape)
        if training:
            yield f"{dtype} backward", partial(kernels.backward_kernels, shape)
        if shape.matrix:
            yield f"{dtype} forward on tile registers", partial(kernels.forward_tile_kernels, shape)
            if training:
                yield f"{dtype} backward on tile registers", partial(kernels.backward_tile_kernels, shape)
        for name, program in programs.items():
            yield f"{dtype} {name}", partial(kernels.cell_functions, shape, program)

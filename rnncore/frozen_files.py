"""Frozen networks on disk: as networks, but matrices are as precise as the products that they are for.

A bfloat16 is its 16 bits as an unsigned integer. A matrix of int8 comes with a vector of the scales of its rows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from rnncore_kernels.cells import Cell
from rnncore_kernels.contract import Array
from rnncore_kernels.precision import BFLOAT16, scales, to_bfloat16, to_whole
from rnncore_kernels.quiet import quiet

from . import storage
from .devices import on_host

if TYPE_CHECKING:
    from .frozen import Frozen


SCALE = ".scale"
"""The end of the name of a matrix's scales."""


def save(frozen: Frozen, path: str | os.PathLike[str]) -> None:
    """See `Frozen.save`."""
    arch, parameters = frozen._architecture, {name: on_host(a) for name, a in frozen._weights().items()}
    weights = arch.precision
    if weights is not None:
        parameters = _narrowed(parameters, weights)
        arch = replace(arch, precision=None)
    storage.write(path, arch, parameters, weights)


def load(path: str | os.PathLike[str], *, backend: str, cell: str | Cell | None, num_threads: int | None) -> Frozen:
    """See `Frozen.load`."""
    from .recurrent import Recurrent

    tensors, metadata = storage.read(path)
    weights = metadata.get("weights")
    rnn = storage.network(
        Recurrent, path, metadata, _widened(tensors), backend=backend, cell=cell, num_threads=num_threads, seed=None
    )
    return replace(rnn.freeze(weights), _from_file=True)


@quiet
def _narrowed(parameters: Mapping[str, Array], weights: str) -> dict[str, Array]:
    """The parameters with each matrix as what its products multiply."""
    made: dict[str, Array] = {}
    for name, values in parameters.items():
        if values.ndim != 2 or not name.startswith("weight_"):
            made[name] = values
        elif weights == BFLOAT16:
            made[name] = (to_bfloat16(values).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        else:
            scale = scales(values)
            made[name] = to_whole(values, scale).astype(np.int8)
            made[f"{name}{SCALE}"] = scale[:, 0]
    return made


def _widened(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The inverse, in float32."""
    made: dict[str, Array] = {}
    for name, values in tensors.items():
        if values.dtype == np.uint16:
            values = (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
        elif values.dtype == np.int8:
            values = values * tensors[f"{name}{SCALE}"][:, None]
        if not name.endswith(SCALE):
            made[name] = values
    return made

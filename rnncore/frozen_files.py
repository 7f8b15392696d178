"""Frozen networks on disk: as networks, but matrices are as precise as the products that they are for.

A bfloat16 is its 16 bits as an unsigned integer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from rnncore_kernels.cells import Cell
from rnncore_kernels.contract import Array
from rnncore_kernels.precision import BFLOAT16, to_bfloat16

from . import storage
from .devices import on_host

if TYPE_CHECKING:
    from .frozen import Frozen


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
    options = {"backend": backend, "cell": cell, "num_threads": num_threads, "seed": None}
    rnn = storage.network(Recurrent, path, metadata, _widened(tensors), **options)
    return replace(rnn.freeze(weights), _from_file=True)


def _narrowed(parameters: Mapping[str, Array], weights: str) -> dict[str, Array]:
    """The parameters with each matrix as what its products multiply."""
    made: dict[str, Array] = {}
    for name, values in parameters.items():
        made[name] = values
        if name.startswith("weight_") and weights == BFLOAT16:
            made[name] = (to_bfloat16(values).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return made


def _widened(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The inverse, in float32."""
    return {
        name: (values.astype(np.uint32) << np.uint32(16)).view(np.float32) if values.dtype == np.uint16 else values
        for name, values in tensors.items()
    }

"""All that the engine compiles for some cells on the current GPU, one kernel after the other."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from ..contract import Compilation
from ..program.program import Program
from .compiler import machine_code
from .cupy_device import CupyDevice
from .libraries import backward_source, forward_source


def compilations(programs: Mapping[str, Program], dtypes: Sequence[str], training: bool) -> Iterator[Compilation]:
    """See `contract.EngineModule.warm_up`."""
    capability = CupyDevice(importlib.import_module("cupy")).limits.capability
    kernels = {"forward": forward_source} | ({"backward": backward_source} if training else {})
    for dtype, name, (kernel, source), few in itertools.product(
        dict.fromkeys(dtypes), programs, kernels.items(), (True, False)
    ):
        rows = "few" if few else "many"
        code = partial(machine_code, source(programs[name], np.dtype(dtype), few), capability)
        yield f"{dtype} {name} {kernel}, {rows} rows", code

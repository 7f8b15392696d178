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
from .libraries import make_source
from .steps import backward_steps, forward_steps


def compilations(programs: Mapping[str, Program], dtypes: Sequence[str], training: bool) -> Iterator[Compilation]:
    """See `contract.EngineModule.warm_up`."""
    capability = CupyDevice(importlib.import_module("cupy")).limits.capability
    passes = {"forward": forward_steps} | ({"backward": backward_steps} if training else {})
    for dtype, name, (kernel, steps_of), few in itertools.product(
        dict.fromkeys(dtypes), programs, passes.items(), (True, False)
    ):
        source = make_source(steps_of(programs[name]), np.dtype(dtype), few)
        yield f"{dtype} {name} {kernel}, {'few' if few else 'many'} rows", partial(machine_code, source, capability)

"""A tape in memory that is given: for libraries that own all arrays between a forward and a backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncore_kernels.alignment import round_up
from rnncore_kernels.contract import Array, Engine
from rnncore_kernels.program.program import Program

from .architecture import Architecture


class TapeMemory(NamedTuple):
    """The parts of a tape.

    Attributes:
        between: (T, B, D*P) output of each layer but the last.
        runs: the tape of each layer and direction, see `contract.Run`.
    """

    between: list[Array]
    runs: list[Array]


def tape_bytes(
    architecture: Architecture, engine: Engine[Any, Any], programs: Sequence[Program], steps: int, batch: int
) -> int:
    """Size of the memory of a call whose layers compute some programs, whenever its rows end."""
    return sum(_part_sizes(architecture, engine, programs, steps, batch))


def divide_tape(
    architecture: Architecture,
    engine: Engine[Any, Any],
    programs: Sequence[Program],
    steps: int,
    batch: int,
    memory: Array,
) -> TapeMemory:
    """The parts of `tape_bytes` bytes, which begin at a cache line."""
    parts, start = [], 0
    for size in _part_sizes(architecture, engine, programs, steps, batch):
        parts.append(memory[start : start + size])
        start += size
    shape, dtype, count = (steps, batch, architecture.output_size), architecture.dtype, architecture.num_layers - 1
    size = int(np.prod(shape)) * dtype.itemsize
    return TapeMemory([part[:size].view(dtype).reshape(shape) for part in parts[:count]], parts[count:])


def _part_sizes(
    architecture: Architecture, engine: Engine[Any, Any], programs: Sequence[Program], steps: int, batch: int
) -> list[int]:
    """Sizes of the outputs between layers, then of the tapes of layers and directions."""
    output = steps * batch * architecture.output_size * architecture.dtype.itemsize
    sizes = [output] * (architecture.num_layers - 1)
    for layer, program in enumerate(programs):
        run = engine.tape_bytes(program, architecture.sizes(layer), steps, batch)
        sizes += [run] * architecture.num_directions
    return list(map(round_up, sizes))

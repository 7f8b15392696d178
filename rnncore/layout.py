"""How the caller's arrays lie, and the one form that engines take: time first."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from rnncore_kernels.contract import Array, Rows

from .architecture import Architecture


@dataclass(frozen=True, eq=False)
class Layout:
    """How the caller's arrays lie: makes the engine's (T, B, ...) of them, and the caller's of results."""

    architecture: Architecture
    xp: ModuleType
    steps: int
    batch: int
    unbatched: bool
    lengths: NDArray[np.int64] | None
    rows: Rows

    @property
    def _swap(self) -> bool:
        return self.architecture.batch_first and not self.unbatched

    def sequence_in(self, array: Array) -> Array:
        """A checked sequence as engines want it: (T, B, ...), aligned, the last axis contiguous; a view if possible."""
        return engine_ready(self.xp, self.time_first(array))

    def time_first(self, array: Array) -> Array:
        """A view (T, B, ...) of a checked sequence."""
        if self.unbatched:
            return array[:, None]
        return array.swapaxes(0, 1) if self._swap else array

    def sequence_out(self, array: Array) -> Array:
        """(T, B, ...) as the caller wants it."""
        if self.unbatched:
            return array[:, 0]
        return array.swapaxes(0, 1) if self._swap else array

    @property
    def is_time_first(self) -> bool:
        """Whether the caller's sequences are (T, B, ...), as engines have them."""
        return not self.unbatched and not self.architecture.batch_first

    @functools.cached_property
    def _step_shape(self) -> tuple[int, ...]:
        width = self.architecture.output_size
        return (width,) if self.unbatched else (self.batch, width)

    def empty_step(self) -> Array:
        """A new array for the output of a step, (B, D*P) or (D*P,)."""
        empty: Array = self.xp.empty(self._step_shape, self.architecture.dtype)
        return empty

    def empty_sequence(self, width: int) -> Array:
        """A new (T, B, width) array that lies in memory as the caller will see it."""
        shape = (self.batch, self.steps, width) if self._swap else (self.steps, self.batch, width)
        empty: Array = self.xp.empty(shape, self.architecture.dtype)
        return empty.swapaxes(0, 1) if self._swap else empty

    @functools.cached_property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each state as the caller has it, (L*D, B, width) or (L*D, width)."""
        shapes = self.architecture.state_shapes(self.batch)
        return tuple((shape[0], shape[2]) if self.unbatched else shape for shape in shapes)

    def new_states(self, states: Sequence[Array] | None) -> tuple[Array, ...]:
        """New arrays of the caller's shapes with the values of checked states, zeros for None."""
        if states is None:
            return tuple([self.xp.zeros(shape, self.architecture.dtype) for shape in self.state_shapes])
        return tuple([self.xp.array(state, order="C") for state in states])

    def engine_states(self, states: Sequence[Array]) -> tuple[Array, ...]:
        """New states as engines want them, (L*D, B, width), in the same memory."""
        if not self.unbatched:
            return tuple(states)
        return tuple(state[:, None] for state in states)

    def step_out(self, output: Array) -> Array:
        """(B, D*P) as the caller wants it."""
        return output[0] if self.unbatched else output

    def clear_padding(self, x: Array) -> None:
        """Set (T, B, ...) to 0 past each row's end."""
        if self.lengths is None:
            return
        ended = self.xp.arange(self.steps)[:, None] >= self.xp.asarray(self.lengths)
        if self.xp is np:
            x[ended] = 0
        else:
            # An assignment by a mask waits for the GPU in CuPy.
            self.xp.copyto(x, 0, where=ended[..., None])


def engine_ready(xp: ModuleType, array: Array, *, contiguous: bool = True) -> Array:
    """`array`, or a copy, with what the contract promises an engine of an array that it reads.

    The last axis is contiguous unless the contract asks for no more than whole strides.
    """
    whole = all(stride % array.itemsize == 0 for stride in array.strides)
    last = not contiguous or array.strides[-1] == array.itemsize
    if last and whole and getattr(array.flags, "aligned", True):
        return array
    copied: Array = xp.array(array, order="C")
    return copied

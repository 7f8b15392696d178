"""How the caller's arrays lie, and the one form that engines take: time first."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncore_kernels.contract import Array, Rows

from .architecture import Architecture
from .rows import DENSE


class Layout:
    """How the caller's arrays lie: makes the engine's (T, B, ...) of them, and the caller's of results.

    Attributes:
        shape: of x, as the caller gave it: a sequence, or a step.
        dtype: the network's. It is NumPy's own object, which is compared faster than that of an unpickled network.
        state_shapes: the shape of each state as the caller has it, (L*D, B, width) or (L*D, width).
        output_shape: that of the output.
        is_time_first: whether the caller's arrays have the engines' (T, B, ...) in memory.
    """

    def __init__(
        self,
        architecture: Architecture,
        xp: ModuleType,
        shape: tuple[int, ...],
        steps: int,
        batch: int,
        *,
        unbatched: bool,
        lengths: NDArray[np.int64] | None = None,
        rows: Rows = DENSE,
    ) -> None:
        self.architecture, self.xp, self.shape = architecture, xp, shape
        self.steps, self.batch, self.unbatched = steps, batch, unbatched
        self.lengths, self.rows = lengths, rows
        self.dtype = np.dtype(architecture.dtype.type)
        shapes = architecture.state_shapes(batch)
        self.state_shapes = tuple([(depth, width) if unbatched else (depth, _, width) for depth, _, width in shapes])
        self.output_shape = (*shape[:-1], architecture.output_size)
        self.is_time_first = unbatched or not architecture.batch_first

    def fits(self, x: Any) -> bool:
        """Whether another x has this layout, and engines can read it as it is: a look instead of a check."""
        return (
            type(x) is np.ndarray
            and x.shape == self.shape
            and x.dtype is self.dtype
            and x.flags.carray
            and self.xp is np
        )

    def sequence_in(self, array: Array) -> Array:
        """A checked sequence as engines want it: (T, B, ...), aligned, the last axis contiguous; a view if possible."""
        return engine_ready(self.xp, self.time_first(array))

    def time_first(self, array: Array) -> Array:
        """A view (T, B, ...) of a checked sequence."""
        if self.unbatched:
            return array[:, None]
        return array if self.is_time_first else array.swapaxes(0, 1)

    def sequence_out(self, array: Array) -> Array:
        """(T, B, ...) as the caller wants it."""
        if self.unbatched:
            return array[:, 0]
        return array if self.is_time_first else array.swapaxes(0, 1)

    def fits_output(self, array: Any) -> bool:
        """The same of an array in the shape of the output."""
        return (
            type(array) is np.ndarray
            and array.shape == self.output_shape
            and array.dtype is self.dtype
            and array.flags.carray
            and self.xp is np
        )

    def empty_output(self) -> Array:
        """A new array for the output, as the caller has it."""
        empty: Array = self.xp.empty(self.output_shape, self.dtype)
        return empty

    def new_states(self, states: Sequence[Array] | None) -> tuple[Array, ...]:
        """New arrays of the caller's shapes with the values of checked states, zeros for None."""
        if states is None:
            return tuple([self.xp.zeros(shape, self.dtype) for shape in self.state_shapes])
        return tuple([self.xp.array(state, order="C") for state in states])

    def engine_states(self, states: Sequence[Array]) -> tuple[Array, ...]:
        """New states as engines want them, (L*D, B, width), in the same memory."""
        if not self.unbatched:
            return tuple(states)
        return tuple(state[:, None] for state in states)

    def step_out(self, output: Array) -> Array:
        """(B, D*P) as the caller wants it."""
        return output[0] if self.unbatched else output

    def clear_padding(self, x: Array, first: int = 0) -> None:
        """Set (T, B, ...), the steps from one on, to 0 past each row's end."""
        if self.lengths is None:
            return
        ended = self.xp.arange(first, first + len(x))[:, None] >= self.xp.asarray(self.lengths)
        if self.xp is np:
            x[ended] = 0
        else:
            # An assignment by a mask waits for the GPU in CuPy.
            self.xp.copyto(x, 0, where=ended[..., None])


def is_behaved(array: Array) -> bool:
    """Whether it is C-contiguous and aligned."""
    return bool(array.flags.c_contiguous and getattr(array.flags, "aligned", True))


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

"""The arguments of a call: checked with a message for people, then brought to one form (time first, rows sorted)."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncore_kernels.contract import Array

from .architecture import Architecture
from .errors import describe
from .rows import Rows, arrange


@dataclass(frozen=True)
class Layout:
    """How the caller's arrays lie: turns them into the engine's (T, B, ...) with sorted rows, and results back."""

    architecture: Architecture
    xp: ModuleType
    steps: int
    batch: int
    unbatched: bool
    rows: Rows

    @property
    def _swap(self) -> bool:
        return self.architecture.batch_first and not self.unbatched

    def sequence_in(self, array: Array) -> Array:
        """A checked sequence as (T, B, ...), rows sorted; a view where possible."""
        if self.unbatched:
            array = array[:, None]
        elif self._swap:
            array = array.swapaxes(0, 1)
        return self.rows.sort(self.xp, array)

    def sequence_out(self, array: Array) -> Array:
        """(T, B, ...) in the engine's order of rows, as the caller wants it."""
        array = self.rows.unsort(self.xp, array)
        if self.unbatched:
            return array[:, 0]
        return array.swapaxes(0, 1) if self._swap else array

    def empty_sequence(self, width: int) -> Array:
        """A new (T, B, width) array that lies in memory as the caller will see it."""
        dtype = self.architecture.dtype
        if self._swap:
            swapped: Array = self.xp.empty((self.batch, self.steps, width), dtype).swapaxes(0, 1)
            return swapped
        empty: Array = self.xp.empty((self.steps, self.batch, width), dtype)
        return empty

    def state_in(self, state: tuple[Array, ...] | None) -> tuple[Array, ...]:
        """New (L*D, B, H) arrays with the values of a checked state, rows sorted; zeros for None."""
        shape, dtype = self.architecture.state_shape(self.batch), self.architecture.dtype
        if state is None:
            return tuple(self.xp.zeros(shape, dtype) for _ in range(self.architecture.state_count))
        return tuple(self.xp.array(self.rows.sort(self.xp, s.reshape(shape)), order="C") for s in state)

    def state_out(self, state: tuple[Array, ...]) -> Any:
        """The state as the caller wants it: one array, or a tuple where the cell has several."""
        arrays = tuple(self.rows.unsort(self.xp, s) for s in state)
        if self.unbatched:
            arrays = tuple(s[:, 0] for s in arrays)
        return arrays if len(arrays) != 1 else arrays[0]

    def last_out(self, output: Array) -> Array:
        """(B, D*H) in the engine's order of rows, as the caller wants it."""
        output = self.rows.unsort(self.xp, output, axis=0)
        return output[0] if self.unbatched else output


def read_sequence(architecture: Architecture, xp: ModuleType, x: Any, lengths: Any) -> Layout:
    """Check `x` and `lengths`; their layout."""
    width = f"input_size={architecture.input_size}"
    axes = "B, T" if architecture.batch_first else "T, B"
    _check_array("x", x, f"({axes}, {width})", architecture, xp)
    if x.ndim not in (2, 3):
        raise ValueError(
            f"x: expected ({axes}, {width}), or (T, {width}) for one sequence without a batch, got {x.shape}"
        )
    if x.shape[-1] != architecture.input_size:
        raise ValueError(f"x: expected ({'T' if x.ndim == 2 else axes}, {width}), got {x.shape}")
    unbatched = x.ndim == 2
    if unbatched:
        steps, batch = x.shape[0], 1
    else:
        batch, steps = x.shape[:2] if architecture.batch_first else x.shape[1::-1]
    rows = arrange(_read_lengths(lengths, architecture, steps, batch), steps, batch)
    return Layout(architecture, xp, steps, batch, unbatched, rows)


def read_step(architecture: Architecture, xp: ModuleType, x: Any, name: str = "x_t") -> Layout:
    """Check the input of one step; the layout of the sequence `x[None]`."""
    if architecture.bidirectional:
        raise ValueError(
            "step: expected one direction, got bidirectional=True: the reverse direction starts at the end"
        )
    axes = f"(B, input_size={architecture.input_size})"
    _check_array(name, x, axes, architecture, xp)
    if x.ndim not in (1, 2) or x.shape[-1] != architecture.input_size:
        raise ValueError(f"{name}: expected {axes}, or ({axes[4:]} without a batch, got {x.shape}")
    batch = 1 if x.ndim == 1 else len(x)
    return Layout(architecture, xp, 1, batch, x.ndim == 1, arrange(None, 1, batch))


def read_state(layout: Layout, state: Any, name: str = "state") -> tuple[Array, ...] | None:
    """Check a state, or the cotangent of one, and return it as a tuple of arrays."""
    if state is None:
        return None
    architecture = layout.architecture
    names = architecture.cell.states
    if len(names) == 1:
        arrays, labels = (state,), [name]
    elif isinstance(state, (tuple, list)) and len(state) == len(names):
        arrays, labels = tuple(state), [f"{name}[{i}] ({state_name})" for i, state_name in enumerate(names)]
    else:
        got = f"{len(state)} values" if isinstance(state, (tuple, list)) else describe(state)
        raise TypeError(f"{name}: expected a tuple ({', '.join(names)}) of arrays, got {got}")
    depth, batch, hidden = architecture.state_shape(layout.batch)
    shape = (depth, hidden) if layout.unbatched else (depth, batch, hidden)
    first = f"num_layers{'*2' if architecture.bidirectional else ''}={depth}"
    axes = ", ".join([first, *([] if layout.unbatched else [f"B={batch}"]), f"hidden_size={hidden}"])
    for label, array in zip(labels, arrays, strict=True):
        _check_array(label, array, f"({axes})", architecture, layout.xp)
        if array.shape != shape:
            came = array.shape[1] if array.ndim == 3 else None
            hint = _swap_hint(architecture, layout.steps, layout.batch, came, layout.unbatched)
            raise ValueError(f"{label}: expected ({axes}), got {array.shape}{hint}")
    return arrays


def read_grad_output(layout: Layout, grad_output: Any) -> Array | None:
    """Check the cotangent of the output of `forward`; as (T, B, D*H) with sorted rows."""
    if grad_output is None:
        return None
    architecture = layout.architecture
    sizes = {"T": layout.steps, "B": layout.batch}
    order = ["T"] if layout.unbatched else ["B", "T"] if architecture.batch_first else ["T", "B"]
    width = f"{'2*' if architecture.bidirectional else ''}hidden_size={architecture.output_size}"
    axes = f"({', '.join(f'{axis}={sizes[axis]}' for axis in order)}, {width})"
    _check_array("grad_output", grad_output, axes, architecture, layout.xp)
    shape = (*(sizes[axis] for axis in order), architecture.output_size)
    if grad_output.shape != shape:
        swapped = grad_output.ndim == 3 and (*grad_output.shape[1::-1], grad_output.shape[2]) == shape
        hint = f": time and batch look swapped; batch_first={architecture.batch_first} here" if swapped else ""
        raise ValueError(f"grad_output: expected {axes}, got {grad_output.shape}{hint}")
    return unit_stride(layout.xp, layout.sequence_in(grad_output))


def engine_input(layout: Layout, x: Array) -> Array:
    """A checked x as (T, B, I), rows sorted, its last axis contiguous; a view where possible."""
    return unit_stride(layout.xp, layout.sequence_in(x))


def unit_stride(xp: ModuleType, array: Array) -> Array:
    """`array`, or a copy whose last axis is contiguous, as engines want it."""
    if array.strides[-1] == array.itemsize:
        return array
    contiguous: Array = xp.ascontiguousarray(array)
    return contiguous


def _check_array(name: str, value: Any, axes: str, architecture: Architecture, xp: ModuleType) -> None:
    expected = f"{name}: expected a {xp.__name__}.ndarray {axes} of {architecture.dtype}"
    if not isinstance(value, xp.ndarray):
        if hasattr(value, "__cuda_array_interface__"):
            raise TypeError(
                f"{expected}, got {describe(value)}, which is on a GPU: nothing moves between devices by itself; "
                f"copy it to the host, or use backend='cuda'"
            )
        raise TypeError(f"{expected}, got {describe(value)}: convert it with {xp.__name__}.asarray")
    if value.dtype != architecture.dtype:
        usable = value.dtype in (np.float32, np.float64)
        raise TypeError(
            f"{name}: expected {architecture.dtype}, got {value.dtype}: convert it with "
            f".astype({architecture.dtype.name!r})"
            + (f" or make the network with dtype={value.dtype.name!r}" if usable else "")
        )


def _read_lengths(lengths: Any, architecture: Architecture, steps: int, batch: int) -> NDArray[np.int64] | None:
    if lengths is None:
        return None
    try:
        array = np.asarray(lengths)
    except (TypeError, ValueError):
        raise TypeError(f"lengths: expected (B={batch},) integers, got {describe(lengths)}") from None
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"lengths: expected (B={batch},) integers, got {array.dtype}")
    if array.shape != (batch,):
        came = array.shape[0] if array.ndim == 1 else None
        hint = _swap_hint(architecture, steps, batch, came)
        raise ValueError(f"lengths: expected (B={batch},) integers, one for each row, got {array.shape}{hint}")
    for row, length in enumerate(array.tolist()):
        if not 0 <= length <= steps:
            raise ValueError(f"lengths: expected 0 to T={steps}, got {length} at index {row}")
    return array.astype(np.int64)


def _swap_hint(architecture: Architecture, steps: int, batch: int, came: int | None, unbatched: bool = False) -> str:
    """What to add to a message when a batch of `came` rows would be right had x its first two axes swapped."""
    if unbatched or came != steps or steps == batch:
        return ""
    read = f"(B={batch}, T={steps}, ...)" if architecture.batch_first else f"(T={steps}, B={batch}, ...)"
    return (
        f": x was read as {read}; if these axes are swapped, "
        f"make the network with batch_first={not architecture.batch_first} or swap them"
    )

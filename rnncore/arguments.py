"""The arguments of a call: checked with a message for people, then brought to one form, time first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncore_kernels.contract import Array, Rows

from .architecture import Architecture
from .devices import as_array, check_current, is_anothers, is_on_gpu, shared
from .errors import describe
from .rows import DENSE, arrange
from .states import as_given


@dataclass(frozen=True)
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
        if self.unbatched:
            array = array[:, None]
        elif self._swap:
            array = array.swapaxes(0, 1)
        return _engine_ready(self.xp, array)

    def sequence_out(self, array: Array) -> Array:
        """(T, B, ...) as the caller wants it."""
        if self.unbatched:
            return array[:, 0]
        return array.swapaxes(0, 1) if self._swap else array

    def empty_sequence(self, width: int) -> Array:
        """A new (T, B, width) array that lies in memory as the caller will see it."""
        shape = (self.batch, self.steps, width) if self._swap else (self.steps, self.batch, width)
        empty: Array = self.xp.empty(shape, self.architecture.dtype)
        return empty.swapaxes(0, 1) if self._swap else empty

    def new_states(self, states: tuple[Array, ...] | None) -> tuple[Array, ...]:
        """New (L*D, B, H) arrays with the values of checked states, zeros for None."""
        shape, dtype = self.architecture.state_shape(self.batch), self.architecture.dtype
        if states is None:
            return tuple(self.xp.zeros(shape, dtype) for _ in self.architecture.cell.states)
        return tuple(self.xp.array(s.reshape(shape), order="C") for s in states)

    def states_out(self, states: tuple[Array, ...]) -> Any:
        """States as the caller wants them."""
        return as_given(tuple(s[:, 0] for s in states) if self.unbatched else states)

    def step_out(self, output: Array) -> Array:
        """(B, D*H) as the caller wants it."""
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


def read_sequence(architecture: Architecture, xp: ModuleType, x: Any, lengths: Any) -> tuple[Layout, Array]:
    """Check `x` and `lengths`; their layout, and x as (T, B, I)."""
    width = f"input_size={architecture.input_size}"
    axes = f"({'B, T' if architecture.batch_first else 'T, B'}, {width})"
    x = _read_array("x", x, lambda: axes, architecture, xp)
    if x.ndim not in (2, 3):
        raise ValueError(f"x: expected {axes}, or (T, {width}) for one sequence without a batch, got {x.shape}")
    if x.shape[-1] != architecture.input_size:
        raise ValueError(f"x: expected {f'(T, {width})' if x.ndim == 2 else axes}, got {x.shape}")
    unbatched = x.ndim == 2
    if unbatched:
        steps, batch = x.shape[0], 1
    else:
        batch, steps = x.shape[:2] if architecture.batch_first else x.shape[1::-1]
    ends = _read_lengths(lengths, architecture, steps, batch)
    layout = Layout(architecture, xp, steps, batch, unbatched, ends, arrange(ends, steps, batch))
    return layout, layout.sequence_in(x)


def read_step(architecture: Architecture, xp: ModuleType, x: Any, name: str = "x_t") -> tuple[Layout, Array]:
    """Check the input of one step; the layout of a sequence of this step, and x as (1, B, I)."""
    if architecture.bidirectional:
        raise ValueError(
            f"{name}: expected a network in one direction, got bidirectional=True, which needs whole sequences"
        )
    x = _read_array(name, x, lambda: f"(B, input_size={architecture.input_size})", architecture, xp)
    if x.ndim not in (1, 2) or x.shape[-1] != architecture.input_size:
        width = f"input_size={architecture.input_size}"
        raise ValueError(f"{name}: expected (B, {width}), or ({width},) without a batch, got {x.shape}")
    batch = 1 if x.ndim == 1 else len(x)
    layout = Layout(architecture, xp, 1, batch, x.ndim == 1, None, DENSE)
    return layout, _engine_ready(xp, x.reshape(1, batch, architecture.input_size))


def read_states(layout: Layout, state: Any, name: str = "state") -> tuple[Array, ...] | None:
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

    def axes() -> str:
        first = f"num_layers{'*2' if architecture.bidirectional else ''}={depth}"
        return f"({first}, {'' if layout.unbatched else f'B={batch}, '}hidden_size={hidden})"

    checked = tuple(
        _read_array(label, array, axes, architecture, layout.xp) for label, array in zip(labels, arrays, strict=True)
    )
    for label, array in zip(labels, checked, strict=True):
        if array.shape != shape:
            came = array.shape[1] if array.ndim == 3 and not layout.unbatched else None
            hint = _swap_hint(architecture, layout.steps, layout.batch, came)
            raise ValueError(f"{label}: expected {axes()}, got {array.shape}{hint}")
    return checked


def read_grad_output(layout: Layout, grad_output: Any) -> Array | None:
    """Check the cotangent of the output of `forward`; as (T, B, D*H)."""
    if grad_output is None:
        return None
    architecture = layout.architecture
    sizes = {"T": layout.steps, "B": layout.batch}
    order = ["T"] if layout.unbatched else ["B", "T"] if architecture.batch_first else ["T", "B"]
    width = f"{'2*' if architecture.bidirectional else ''}hidden_size={architecture.output_size}"
    axes = f"({', '.join(f'{axis}={sizes[axis]}' for axis in order)}, {width})"
    grad = _read_array("grad_output", grad_output, lambda: axes, architecture, layout.xp)
    shape = (*(sizes[axis] for axis in order), architecture.output_size)
    if grad.shape != shape:
        swapped = grad.ndim == 3 and (*grad.shape[1::-1], grad.shape[2]) == shape
        hint = f": time and batch look swapped; batch_first={architecture.batch_first} here" if swapped else ""
        if grad.shape == _last_axes(layout)[1]:
            hint = ": the cotangent of each row's last output is grad_last"
        raise ValueError(f"grad_output: expected {axes}, got {grad.shape}{hint}")
    return layout.sequence_in(grad)


def read_grad_last(layout: Layout, grad_last: Any) -> Array | None:
    """Check the cotangent of the output of each row's last step; as (B, D*H)."""
    if grad_last is None:
        return None
    axes, shape = _last_axes(layout)
    grad = _read_array("grad_last", grad_last, lambda: axes, layout.architecture, layout.xp)
    if grad.shape != shape:
        hint = ": the cotangent of the whole output is grad_output" if grad.ndim == len(shape) + 1 else ""
        raise ValueError(f"grad_last: expected {axes}, got {grad.shape}{hint}")
    return grad.reshape(layout.batch, layout.architecture.output_size)


def refuse_grad_output(layout: Layout, grad_output: Any) -> None:
    """Raise ValueError for a cotangent of the output that `forward` with return_sequence=False did not return."""
    if grad_output is not None:
        raise ValueError(
            f"grad_output: expected None, as forward with return_sequence=False has no such output, got "
            f"{describe(grad_output)}: pass the cotangent of its first result, {_last_axes(layout)[0]}, as grad_last"
        )


def _last_axes(layout: Layout) -> tuple[str, tuple[int, ...]]:
    """Axes and shape of the output of each row's last step."""
    architecture = layout.architecture
    width = f"{'2*' if architecture.bidirectional else ''}hidden_size={architecture.output_size}"
    if layout.unbatched:
        return f"({width},)", (architecture.output_size,)
    return f"(B={layout.batch}, {width})", (layout.batch, architecture.output_size)


def _engine_ready(xp: ModuleType, array: Array) -> Array:
    """`array`, or a copy, with what the contract promises an engine of an array that it reads."""
    whole = all(stride % array.itemsize == 0 for stride in array.strides)
    if array.strides[-1] == array.itemsize and whole and getattr(array.flags, "aligned", True):
        return array
    contiguous: Array = xp.array(array, order="C")
    return contiguous


def _read_array(name: str, value: Any, axes: Callable[[], str], architecture: Architecture, xp: ModuleType) -> Array:
    """`value`, if it is an array of the network's kind and dtype; `axes()` says in a message what it should be."""
    given = value
    if type(value) is not xp.ndarray:
        value = _plain_array(name, value, axes, architecture, xp)
    check_current(name, value, xp)
    if value.dtype != architecture.dtype:
        dtype = architecture.dtype.name
        fix = f"convert it with .astype({dtype!r})" if hasattr(given, "astype") else f"convert it to {dtype}"
        if (came := str(value.dtype)) in ("float32", "float64"):
            fix += f" or make the network with dtype={came!r}"
        raise TypeError(f"{name}: expected {architecture.dtype}, got {value.dtype}: {fix}")
    array: Array = value
    return array


def _plain_array(name: str, value: Any, axes: Callable[[], str], architecture: Architecture, xp: ModuleType) -> Array:
    expected = f"{name}: expected a {xp.__name__}.ndarray {axes()} of {architecture.dtype}, got {describe(value)}"
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{expected}: its mask would be ignored; fill it, and give the steps of each row in lengths")
    return shared(value, xp, expected) if is_anothers(value, xp) else as_array(value, xp, expected)


def _read_lengths(lengths: Any, architecture: Architecture, steps: int, batch: int) -> NDArray[np.int64] | None:
    if lengths is None:
        return None
    expected = f"lengths: expected (B={batch},) integers"
    if is_on_gpu(lengths):
        raise TypeError(f"{expected} in the host's memory, got {describe(lengths)}: copy it there")
    if isinstance(lengths, np.ma.MaskedArray):
        raise TypeError(f"{expected}, got {describe(lengths)}: its mask would be ignored; fill it")
    if is_anothers(lengths, np):
        lengths = shared(lengths, np, f"{expected}, got {describe(lengths)}")
    try:
        array = np.asarray(lengths)
    except (TypeError, ValueError):
        raise TypeError(f"{expected}, got {describe(lengths)}") from None
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{expected}, got {array.dtype}")
    if array.shape != (batch,):
        hint = _swap_hint(architecture, steps, batch, array.shape[0] if array.ndim == 1 else None)
        raise ValueError(f"{expected}, one for each row, got {array.shape}{hint}")
    for row, length in enumerate(array.tolist()):
        if not 0 <= length <= steps:
            raise ValueError(f"lengths: expected 0 to T={steps}, got {length} at index {row}")
    return array.astype(np.int64)


def _swap_hint(architecture: Architecture, steps: int, batch: int, came: int | None) -> str:
    """What to add to a message when a batch of `came` rows would be right had x its first two axes swapped."""
    if came != steps or steps == batch:
        return ""
    read = f"(B={batch}, T={steps}, ...)" if architecture.batch_first else f"(T={steps}, B={batch}, ...)"
    return (
        f": x was read as {read}; if these axes are swapped, "
        f"make the network with batch_first={not architecture.batch_first} or swap them"
    )

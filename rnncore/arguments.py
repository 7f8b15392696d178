"""The arguments of a call: checked with a message for people, then brought to one form, time first."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncore_kernels.cells.symbol import Width
from rnncore_kernels.contract import Array

from . import shapes
from .architecture import Architecture
from .devices import as_array, check_current, is_anothers, is_on_gpu, shared
from .errors import describe
from .initial import Own, own_states
from .layout import Layout
from .options import check_flag
from .rows import arrange


def read_sequence(architecture: Architecture, xp: ModuleType, x: Any, lengths: Any) -> tuple[Layout, Array]:
    """Check `x` and `lengths`; their layout, and x as an array of `xp`."""
    width = architecture.x_axis
    axes = f"({'B, T' if architecture.batch_first else 'T, B'}, {width})"
    x = read_array("x", x, lambda: axes, architecture, xp)
    if x.ndim not in (2, 3):
        raise ValueError(f"x: expected {axes}, or (T, {width}) for one sequence without a batch, got {x.shape}")
    if x.shape[-1] != architecture.x_size:
        raise ValueError(f"x: expected {f'(T, {width})' if x.ndim == 2 else axes}, got {x.shape}")
    unbatched = x.ndim == 2
    if unbatched:
        steps, batch = x.shape[0], 1
    else:
        batch, steps = x.shape[:2] if architecture.batch_first else x.shape[1::-1]
    ends = _read_lengths(lengths, architecture, steps, batch, unbatched=unbatched)
    layout = Layout(
        architecture, xp, x.shape, steps, batch, unbatched=unbatched, lengths=ends, rows=arrange(ends, steps, batch)
    )
    return layout, x


def read_step(architecture: Architecture, xp: ModuleType, x: Any, name: str = "x_t") -> tuple[Layout, Array]:
    """Check the input of one step; the layout of a sequence of this step, and x as an array of `xp`."""
    if not architecture.is_forward:
        got = "bidirectional=True" if architecture.bidirectional else f"direction={architecture.direction!r}"
        wanted = "in one direction" if architecture.bidirectional else "that runs forward"
        raise ValueError(f"{name}: expected a network {wanted}, got {got}, which needs whole sequences")
    width = architecture.x_axis
    x = read_array(name, x, lambda: f"(B, {width})", architecture, xp)
    if x.ndim not in (1, 2) or x.shape[-1] != architecture.x_size:
        raise ValueError(f"{name}: expected (B, {width}), or ({width},) without a batch, got {x.shape}")
    batch = 1 if x.ndim == 1 else len(x)
    layout = Layout(architecture, xp, x.shape, 1, batch, unbatched=x.ndim == 1)
    return layout, x


def read_states(layout: Layout, state: Any, name: str = "state") -> tuple[Array, ...] | None:
    """Check a state, or the cotangent of one, and return it as a tuple of arrays."""
    states = shapes.read_states(layout, state, name, reader(layout))
    return None if states is None else tuple(states)


def reader(layout: Layout) -> shapes.Read:
    """`read_array` for a layout."""
    return lambda name, value, axes: read_array(name, value, axes, layout.architecture, layout.xp)


def new_states(layout: Layout, state: Any, own: Own) -> tuple[Array, ...]:
    """Check a state; new arrays with its values, of the caller's shapes, the network's own or zeros for None."""
    if state is None:
        return layout.new_states(own_states(layout, own))
    shapes, dtype = layout.state_shapes, layout.dtype
    states = state if len(shapes) > 1 else (state,)
    if layout.xp is np and type(states) is tuple and len(states) == len(shapes):
        # What a step returned is given to the next: to look at it takes a tenth of the time that a check does.
        copies = []
        for array, shape in zip(states, shapes):  # noqa: B905 (they are as many, and the argument takes time)
            if type(array) is not np.ndarray or array.shape != shape or array.dtype is not dtype:
                break
            copies.append(array.copy())
        else:
            return tuple(copies)
    return layout.new_states(read_states(layout, state))


def check_states(states: Any, *, return_sequence: bool) -> None:
    """Raise an error unless `states` is None, or "all" where there is a sequence to return, which is a flag."""
    check_flag("return_sequence", return_sequence)
    if states is not None and (not isinstance(states, str) or states != "all"):
        raise ValueError(f"states: expected None or 'all', got {describe(states)}")
    if states is not None and not return_sequence:
        raise ValueError(
            "states: expected None with return_sequence=False, got 'all': the final states are the second result"
        )


def read_grad_output(layout: Layout, grad_output: Any) -> Array | None:
    """Check the cotangent of the output of `forward`; as (T, B, D*P)."""
    if layout.fits_output(grad_output):
        return layout.time_first(grad_output)
    return _read_grad(layout, grad_output, "grad_output", layout.architecture.program.output_width)


def read_grad_states(layout: Layout, grad_output: Any) -> list[Array | None]:
    """Check the cotangents of every state at each step, from `forward` with states="all"; as (T, B, D*width) each."""
    if grad_output is None:
        return [None] * len(layout.architecture.program.states)
    names, widths = layout.architecture.definition.states, layout.architecture.program.states
    if len(names) == 1:
        return [read_grad_output(layout, grad_output)]
    if not isinstance(grad_output, (tuple, list)) or len(grad_output) != len(names):
        raise TypeError(
            f"grad_output: expected a tuple ({', '.join(names)}) of arrays or None, as forward had states='all', got "
            f"{describe(grad_output)}"
        )
    labels = [f"grad_output[{k}] ({name})" for k, name in enumerate(names)]
    return [_read_grad(layout, *one) for one in zip(grad_output, labels, widths, strict=True)]


def _read_grad(layout: Layout, grad_output: Any, name: str, width: Width) -> Array | None:
    if grad_output is None:
        return None
    architecture = layout.architecture
    units = architecture.num_directions * architecture.units(width)
    sizes = {"T": layout.steps, "B": layout.batch}
    order = ["T"] if layout.unbatched else ["B", "T"] if architecture.batch_first else ["T", "B"]
    axes = f"({', '.join(f'{axis}={sizes[axis]}' for axis in order)}, {architecture.sequence_axis(width)})"
    grad = read_array(name, grad_output, lambda: axes, architecture, layout.xp)
    shape = (*(sizes[axis] for axis in order), units)
    if grad.shape != shape:
        hint = shapes.swap_hint(layout, grad.shape, shape)
        if grad.shape == _last_axes(layout)[1]:
            hint = ": the cotangent of each row's last output is grad_last"
        raise ValueError(f"{name}: expected {axes}, got {grad.shape}{hint}")
    return layout.sequence_in(grad)


def read_grad_last(layout: Layout, grad_last: Any) -> Array | None:
    """Check the cotangent of the output of each row's last step; as (B, D*P)."""
    if grad_last is None:
        return None
    axes, shape = _last_axes(layout)
    grad = read_array("grad_last", grad_last, lambda: axes, layout.architecture, layout.xp)
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
    width = architecture.output_axis
    if layout.unbatched:
        return f"({width},)", (architecture.output_size,)
    return f"(B={layout.batch}, {width})", (layout.batch, architecture.output_size)


def read_array(name: str, value: Any, axes: Callable[[], str], architecture: Architecture, xp: ModuleType) -> Array:
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


def _read_lengths(
    lengths: Any, architecture: Architecture, steps: int, batch: int, *, unbatched: bool
) -> NDArray[np.int64] | None:
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
    shapes.check_lengths(shapes.CallAxes(architecture, steps, batch, unbatched), array.shape)
    array = array.reshape(batch)
    for row, length in enumerate(array.tolist()):
        if not 0 <= length <= steps:
            raise ValueError(f"lengths: expected 0 to T={steps}, got {length} at index {row}")
    return array.astype(np.int64)

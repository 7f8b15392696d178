"""The shapes of what a call is given beside x, of any library's arrays: checked, with a message for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from rnncore_kernels.cells.symbol import Width
from rnncore_kernels.contract import Array

from .architecture import Architecture
from .errors import describe

Named = list[tuple[str, int]]
"""Axes: the name and the length of each."""

Read = Callable[[str, Any, Callable[[], str]], Any]
"""Makes an array of a library and of the network's dtype, or raises: of its name, the value, and its axes in words."""


class Axes(Protocol):
    """How a call's sequences lie, as its `Layout` says."""

    @property
    def architecture(self) -> Architecture:
        """The network."""
        ...

    @property
    def steps(self) -> int:
        """T."""
        ...

    @property
    def batch(self) -> int:
        """B, 1 without a batch."""
        ...

    @property
    def unbatched(self) -> bool:
        """Whether there is no batch."""
        ...


class CallAxes(NamedTuple):
    """The `Axes` of a call where there is no `Layout`."""

    architecture: Architecture
    steps: int
    batch: int
    unbatched: bool


def spoken(axes: Named) -> str:
    """A shape in words."""
    named = [f"{axis}={size}" for axis, size in axes]
    return f"({named[0]},)" if len(named) == 1 else f"({', '.join(named)})"


def lengths_of(axes: Named) -> tuple[int, ...]:
    """The shape of these axes."""
    return tuple([size for _, size in axes])


def sequence_axes(axes: Axes, tail: Named, *, steps: bool = True) -> Named:
    """Axes of time, if there are steps, and rows, in the caller's order, and behind them others."""
    time, rows = [("T", axes.steps)] if steps else [], [] if axes.unbatched else [("B", axes.batch)]
    return [*(rows + time if axes.architecture.batch_first else time + rows), *tail]


def swap_hint(axes: Axes, shape: Sequence[int], expected: Sequence[int]) -> str:
    """What to add to a message where an array with its first two axes swapped would be right."""
    turned = len(shape) > 1 and (shape[1], shape[0], *shape[2:]) == (*expected,)
    if axes.unbatched or not turned or shape[0] == shape[1]:
        return ""
    return f": time and batch look swapped; batch_first={axes.architecture.batch_first} here"


def rows_hint(axes: Axes, came: int | None) -> str:
    """The same where `came` rows would be right, had x its first two axes swapped."""
    if came != axes.steps or axes.steps == axes.batch or axes.unbatched:
        return ""
    read = spoken(sequence_axes(axes, []))[:-1]
    other = not axes.architecture.batch_first
    return f": x was read as {read}, ...); if these axes are swapped, write batch_first={other} or swap them"


def read_states(axes: Axes, state: Any, name: str, read: Read) -> list[Any] | None:
    """A state, or the cotangent of one, as a list of arrays; None for None."""
    if state is None:
        return None
    arch = axes.architecture
    names = arch.definition.states
    if len(names) == 1:
        given = [(name, state)]
    elif isinstance(state, (tuple, list)) and len(state) == len(names):
        given = [(f"{name}[{k}] ({of})", each) for k, (of, each) in enumerate(zip(names, state, strict=True))]
    else:
        got = f"{len(state)} values" if isinstance(state, (tuple, list)) else describe(state)
        raise TypeError(f"{name}: expected a tuple ({', '.join(names)}) of arrays, got {got}")
    checked = []
    for (label, value), width, (depth, batch, units) in zip(
        given, arch.program.states, arch.state_shapes(axes.batch), strict=True
    ):
        array = read(label, value, partial(_state_axes, axes, width))
        shape = (*array.shape,)
        if shape != ((depth, units) if axes.unbatched else (depth, batch, units)):
            hint = rows_hint(axes, shape[1] if len(shape) == 3 else None)
            raise ValueError(f"{label}: expected {_state_axes(axes, width)}, got {shape}{hint}")
        checked.append(array)
    return checked


def _state_axes(axes: Axes, width: Width) -> str:
    arch = axes.architecture
    both = "*2" if arch.bidirectional else ""
    first = f"num_layers{both}={arch.num_layers * arch.num_directions}"
    return f"({first}, {'' if axes.unbatched else f'B={axes.batch}, '}{arch.axis(width)})"


class Input(NamedTuple):
    """An input of a call.

    Attributes:
        name: as the cell declares it.
        array: as it was given; a number is one without axes.
        constant: axes, of time and of rows, along which it is the same.
        tail: its shape behind these.
    """

    name: str
    array: Any
    constant: tuple[int, ...]
    tail: tuple[int, ...]


def read_inputs(
    axes: Axes, inputs: Any, read: Read, from_number: Callable[[Any], Any], *, steps: bool = True
) -> list[Input]:
    """The inputs of a call, in the cell's order; with or without a time axis, which only `steps` allow.

    `from_number` makes an array of a number, which a row input may be.
    """
    cell = axes.architecture.definition
    if inputs is not None and not isinstance(inputs, Mapping):
        raise TypeError(f"inputs: expected a mapping from names to arrays, got {describe(inputs)}")
    named: Mapping[str, Any] = {} if inputs is None else inputs
    unknown = [name for name in named if name not in cell.inputs]
    if unknown and not cell.inputs:
        raise ValueError(f"inputs: expected None, as {cell.cell!r} takes no inputs, got {_listed(unknown)}")
    if unknown:
        raise ValueError(f"inputs: expected {_listed(cell.inputs)}, got the unknown {_listed(unknown)}")
    missing = [name for name in cell.inputs if name not in named]
    if missing:
        shapes = _input_axes(axes, missing[0], steps=steps)
        raise ValueError(
            f"inputs: expected {_listed(cell.inputs)}, which {cell.cell!r} takes, got none for {_listed(missing)}: "
            f"write inputs={{{missing[0]!r}: ...}} with an array {shapes}"
        )
    numbers = {name: from_number(named[name]) for name in cell.row_inputs if _is_number(named[name])}
    return [_read_input(axes, name, numbers.get(name, named[name]), read, steps=steps) for name in cell.inputs]


def _read_input(axes: Axes, name: str, value: Any, read: Read, *, steps: bool) -> Input:
    tail = _tail(axes, name)
    array = read(f"inputs[{name!r}]", value, lambda: _input_axes(axes, name, steps=steps))
    shape = (*array.shape,)
    sequence, constant = (lengths_of(sequence_axes(axes, tail, steps=timed)) for timed in (True, False))
    if steps and shape == sequence:
        along: tuple[int, ...] = ()
    elif shape == constant:
        along = (0,)
    elif not shape and not tail:
        along = (0, 1)
    else:
        hint = _input_hint(axes, shape, sequence, steps=steps)
        raise ValueError(f"inputs[{name!r}]: expected {_input_axes(axes, name, steps=steps)}, got {shape}{hint}")
    return Input(name, array, along, lengths_of(tail))


def _is_number(value: Any) -> bool:
    """Whether a row input may be this for all rows and steps."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.complexfloating))


def _tail(axes: Axes, name: str) -> Named:
    """The axis of the units, where an input has one."""
    arch = axes.architecture
    return [("hidden_size", arch.hidden_size)] if name in arch.definition.unit_inputs else []


def _input_axes(axes: Axes, name: str, *, steps: bool) -> str:
    tail = _tail(axes, name)
    accepted = [sequence_axes(axes, tail)] if steps else []
    return " or ".join(map(spoken, [*accepted, sequence_axes(axes, tail, steps=False)]))


def _input_hint(axes: Axes, shape: tuple[int, ...], sequence: tuple[int, ...], *, steps: bool) -> str:
    if len(shape) != len(sequence):
        return ""
    if not steps:
        return ": a step has no time axis"
    time = 1 if axes.architecture.batch_first and not axes.unbatched else 0
    if hint := swap_hint(axes, shape, sequence):
        return hint
    if shape[:time] + shape[time + 1 :] == sequence[:time] + sequence[time + 1 :]:
        return f": its time axis has {shape[time]} steps instead of {sequence[time]}"
    return ""


def check_resets(axes: Axes, resets: Any, *, steps: bool = True) -> None:
    """Raise ValueError for an array with other axes than those of resets."""
    expected = sequence_axes(axes, [], steps=steps)
    shape = (*resets.shape,)
    if shape != lengths_of(expected):
        hint = swap_hint(axes, shape, lengths_of(expected))
        raise ValueError(f"resets: expected {spoken(expected)}, got {shape}{hint}")


def check_reset_state(resets: Any, reset_state: Any) -> None:
    """Raise ValueError for a state that rows begin anew with, where none says which do."""
    if resets is None and reset_state is not None:
        raise ValueError(
            f"reset_state: expected None without resets, got {describe(reset_state)}: resets say which rows begin "
            f"with it"
        )


def check_lengths(axes: Axes, shape: Sequence[int]) -> None:
    """Raise ValueError for lengths of this shape, where there are other rows."""
    if (*shape,) != (() if axes.unbatched and not shape else (axes.batch,)):
        hint = rows_hint(axes, shape[0] if len(shape) == 1 else None)
        raise ValueError(f"lengths: expected (B={axes.batch},) integers, one for each row, got {(*shape,)}{hint}")


def check_ends(lengths: Array, steps: int) -> None:
    """Raise ValueError for lengths outside of 0 to T."""
    if lengths.size and not 0 <= lengths.min() <= lengths.max() <= steps:
        raise ValueError(f"lengths: expected integers from 0 to T={steps}, got {lengths.tolist()}")


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names))

"""Inputs of a call beside x: one number a row, or one for each unit, at every step or for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncore_kernels.contract import Array, Inputs
from rnncore_kernels.quiet import quiet

from .arguments import read_array
from .errors import describe
from .layout import Layout, engine_ready

NO_INPUTS = Inputs()


class Given(NamedTuple):
    """How an input was given.

    Attributes:
        shape: of the caller's array.
        constant: axes, of time and of rows, along which it is the same.
    """

    shape: tuple[int, ...]
    constant: tuple[int, ...]


def read_inputs(
    layout: Layout, inputs: Any, *, copy: bool = False, steps: bool = True
) -> tuple[Inputs, dict[str, Given]]:
    """Check the inputs of a call, and how each was given.

    Args:
        layout: of x; of as many steps as the inputs may have.
        inputs: a mapping from the names that the cell declares to arrays; None is an empty one.
        copy: whether the arrays may be changed while the result is used.
        steps: whether there may be a time axis.

    Raises:
        ValueError: a name is unknown or missing, or a shape is wrong.
        TypeError: something is no mapping, no array, or of another dtype.
    """
    cell = layout.architecture.definition
    if not cell.inputs and are_none(inputs):
        return NO_INPUTS, {}
    if inputs is not None and not isinstance(inputs, Mapping):
        raise TypeError(f"inputs: expected a mapping from names to arrays, got {describe(inputs)}")
    named = {} if inputs is None else inputs
    unknown = [name for name in named if name not in cell.inputs]
    if unknown and not cell.inputs:
        raise ValueError(f"inputs: expected None, as {cell.cell!r} takes no inputs, got {_listed(unknown)}")
    if unknown:
        raise ValueError(f"inputs: expected {_listed(cell.inputs)}, got the unknown {_listed(unknown)}")
    missing = [name for name in cell.inputs if name not in named]
    if missing:
        shapes = _shapes(layout, missing[0], steps=steps)[0]
        raise ValueError(
            f"inputs: expected {_listed(cell.inputs)}, which {cell.cell!r} takes, got none for {_listed(missing)}: "
            f"write inputs={{{missing[0]!r}: ...}} with an array {shapes}"
        )
    given: dict[str, Given] = {}
    arrays: dict[str, Array] = {}
    for name in cell.inputs:
        arrays[name], given[name] = _read(layout, name, named[name], copy=copy, steps=steps)
    rows, units = (tuple(arrays[name] for name in names) for names in (cell.row_inputs, cell.unit_inputs))
    return Inputs(rows, units), given


def are_none(inputs: Any) -> bool:
    """Whether a caller gave no inputs."""
    return inputs is None or (type(inputs) is dict and not inputs)


def at_steps(inputs: Inputs, steps: slice) -> Inputs:
    """The inputs of some of the steps."""
    return Inputs(tuple(a[steps] for a in inputs.rows), tuple(a[steps] for a in inputs.units))


def gradients_as_given(layout: Layout, gradients: Inputs, given: Mapping[str, Given]) -> dict[str, Array]:
    """The cotangents (T, B) and (T, B, H) of inputs, by name, in the shapes that were given."""
    result: dict[str, Array] = {}
    for (name, (shape, constant)), array in zip(given.items(), (*gradients.rows, *gradients.units), strict=True):
        if constant:
            result[name] = layout.xp.asarray(quiet(array.sum)(constant)).reshape(shape)
        else:
            result[name] = layout.sequence_out(array)
    return result


def _read(layout: Layout, name: str, value: Any, *, copy: bool, steps: bool) -> tuple[Array, Given]:
    """An input as an engine wants it, (T, B) or (T, B, H), with strides of 0 along the axes where it is constant."""
    architecture, xp, who = layout.architecture, layout.xp, f"inputs[{name!r}]"
    per_unit = name in architecture.definition.unit_inputs
    axes, sequence, constant = _shapes(layout, name, steps=steps)
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.complexfloating))
    if is_number and not per_unit:
        value = xp.asarray(value, architecture.dtype)
    array = read_array(who, value, lambda: axes, architecture, xp)
    shape = tuple(array.shape)
    if shape not in ((sequence, constant) if steps else (constant,)) and (per_unit or shape):
        raise ValueError(f"{who}: expected {axes}, got {shape}{_hint(layout, shape, sequence, steps=steps)}")
    array = xp.array(array, order="C") if copy else engine_ready(xp, array, contiguous=per_unit)
    tail = sequence[len(sequence) - per_unit :]
    along: tuple[int, ...] = ()
    if shape == sequence and steps:
        array = layout.time_first(array)
    elif shape == constant:
        array, along = array.reshape(1, layout.batch, *tail), (0,)
    else:
        along = (0, 1)
    return xp.broadcast_to(array, (layout.steps, layout.batch, *tail)), Given(shape, along)


def _shapes(layout: Layout, name: str, *, steps: bool) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """The shapes in words, that with a time axis, and that without."""
    architecture = layout.architecture
    time, rows = [("T", layout.steps)], [] if layout.unbatched else [("B", layout.batch)]
    tail = [("hidden_size", architecture.hidden_size)] if name in architecture.definition.unit_inputs else []
    order = rows + time if architecture.batch_first else time + rows
    accepted = ([order + tail] if steps else []) + [rows + tail]
    words = " or ".join(map(spoken, accepted))
    sequence, constant = (tuple(size for _, size in axes) for axes in (order + tail, rows + tail))
    return words, sequence, constant


def spoken(axes: Sequence[tuple[str, int]]) -> str:
    """A shape in words."""
    named = [f"{axis}={size}" for axis, size in axes]
    return f"({named[0]},)" if len(named) == 1 else f"({', '.join(named)})"


def _hint(layout: Layout, shape: tuple[int, ...], sequence: tuple[int, ...], *, steps: bool) -> str:
    if len(shape) != len(sequence):
        return ""
    if not steps:
        return ": a step has no time axis"
    time = 1 if layout.architecture.batch_first and not layout.unbatched else 0
    if not layout.unbatched and (shape[1], shape[0], *shape[2:]) == sequence:
        return f": time and batch look swapped; batch_first={layout.architecture.batch_first} here"
    if shape[:time] + shape[time + 1 :] == sequence[:time] + sequence[time + 1 :]:
        return f": its time axis has {shape[time]} steps instead of {sequence[time]}"
    return ""


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names))

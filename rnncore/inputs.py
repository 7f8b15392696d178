"""Inputs of a call beside x: one number a row, or one for each unit, at every step or for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from rnncore_kernels.contract import Array, Inputs
from rnncore_kernels.quiet import quiet

from . import shapes
from .arguments import reader
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
    given: dict[str, Given] = {}
    arrays: dict[str, Array] = {}
    for each in shapes.read_inputs(
        layout, inputs, reader(layout), partial(layout.xp.asarray, dtype=layout.dtype), steps=steps
    ):
        arrays[each.name], given[each.name] = _placed(layout, each, copy=copy)
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


def _placed(layout: Layout, given: shapes.Input, *, copy: bool) -> tuple[Array, Given]:
    """An input as an engine wants it, (T, B) or (T, B, H), with strides of 0 along the axes where it is constant."""
    xp, array, along, tail = layout.xp, given.array, given.constant, given.tail
    shape = tuple(array.shape)
    array = xp.array(array, order="C") if copy else engine_ready(xp, array, contiguous=bool(tail))
    if not along:
        array = layout.time_first(array)
    elif along == (0,):
        array = array.reshape(1, layout.batch, *tail)
    return xp.broadcast_to(array, (layout.steps, layout.batch, *tail)), Given(shape, along)

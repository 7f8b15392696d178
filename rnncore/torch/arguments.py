"""The arguments of a call of `Recurrent`: checked with a message for people, then brought to one form, time first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor

from ..definition import Definition
from ..errors import describe
from .fallback import reason_against
from .network import DTYPES


class Layout(NamedTuple):
    """How a call's sequences lie; the batch is 1 without one, and comes second then."""

    steps: int
    batch: int
    unbatched: bool
    batch_first: bool


def check_x(x: Any, input_size: int, *, batch_first: bool) -> None:
    """Raise TypeError unless x is a tensor, ValueError unless it is one of these sizes."""
    axes = "(B, T, input_size)" if batch_first else "(T, B, input_size)"
    if not isinstance(x, Tensor):
        fix = "" if x is None else ": make one with torch.as_tensor(x)"
        raise TypeError(f"x: expected a torch.Tensor {axes} or a PackedSequence, got {describe(x)}{fix}")
    if x.dim() not in (2, 3) or x.shape[-1] != input_size:
        raise ValueError(f"x: expected {axes} or (T, input_size) with input_size={input_size}, got {(*x.shape,)}")


def read_states(
    cell: Definition, state: Any, depth: int, widths: Sequence[int], layout: Layout, name: str = "state"
) -> list[Tensor]:
    """Initial states (L*D, B, width), or those of resets; none for zeros."""
    if state is None:
        return []
    names, several = cell.states, len(cell.states) > 1
    shapes = [(depth, width) if layout.unbatched else (depth, layout.batch, width) for width in widths]
    states = list(state) if several and isinstance(state, (tuple, list)) else [state]
    if len(states) != len(names) or not all([isinstance(each, Tensor) for each in states]):  # noqa: C419
        wanted = f"a tuple ({', '.join(names)}) of tensors" if several else "a torch.Tensor"
        raise TypeError(f"{name}: expected {wanted} {', '.join(map(str, shapes))}, got {describe(state)}")
    if [(*s.shape,) for s in states] != shapes:
        got, swapped = ", ".join(str((*s.shape,)) for s in states), [(depth, layout.steps, width) for width in widths]
        hint = f": {_swapped(layout)}" if not layout.unbatched and [(*s.shape,) for s in states] == swapped else ""
        raise ValueError(
            f"{name}: expected ({', '.join(names)}) of shapes {', '.join(map(str, shapes))}, got {got}{hint}"
        )
    return [s.unsqueeze(1) for s in states] if layout.unbatched else states


def read_inputs(
    cell: Definition, inputs: Mapping[str, Any] | None, hidden_size: int, layout: Layout, like: Tensor
) -> list[Tensor]:
    """Inputs (T, B) and (T, B, H), in the order of the cell; numbers become tensors as `like` is."""
    named = {} if inputs is None else inputs
    if {*named} != {*cell.inputs}:
        wanted = ", ".join(map(repr, cell.inputs)) or "none"
        raise ValueError(f"inputs: expected {wanted}, got {', '.join(map(repr, named)) or 'none'}")
    result, (steps, batch, unbatched, batch_first) = [], layout
    for name in cell.inputs:
        per_unit = name in cell.unit_inputs
        tail = (hidden_size,) if per_unit else ()
        value = named[name]
        time = (batch, steps) if batch_first else (steps, batch)
        axes = [(*(time[:1] if unbatched else time), *tail), tail if unbatched else (batch, *tail)]
        if not per_unit and _is_number(value):
            value = like.new_full((), value)
        if not isinstance(value, Tensor):
            number = "" if per_unit else ", or a number"
            raise TypeError(
                f"inputs[{name!r}]: expected a torch.Tensor {axes[0]} or {axes[1]}{number}, got {describe(value)}"
            )
        if value.dim() or per_unit:
            if (*value.shape,) not in axes:
                turned = (*value.shape[:2][::-1], *value.shape[2:]) == axes[0] and not unbatched
                hint = f": {_swapped(layout)}" if turned else ""
                raise ValueError(f"inputs[{name!r}]: expected {axes[0]} or {axes[1]}, got {(*value.shape,)}{hint}")
            value = value.unsqueeze(-1 - len(tail)) if unbatched else value
            if batch_first and value.shape == (*time, *tail):
                value = value.transpose(0, 1)
        result.append(value.expand(steps, batch, *tail))
    return result


def read_resets(resets: Any, layout: Layout) -> Tensor | None:
    """Where rows begin anew, (T, B) of bool."""
    if resets is None:
        return None
    steps, batch, unbatched, batch_first = layout
    shape = (steps,) if unbatched else (batch, steps) if batch_first else (steps, batch)
    if not isinstance(resets, Tensor) or resets.shape != shape or resets.dtype not in (torch.bool, torch.uint8):
        got = f"{resets.dtype} {(*resets.shape,)}" if isinstance(resets, Tensor) else type(resets).__name__
        turned = isinstance(resets, Tensor) and not unbatched and (*resets.shape,) == shape[::-1]
        hint = f": {_swapped(layout)}" if turned and steps != batch else ""
        raise ValueError(f"resets: expected a tensor {shape} of torch.bool, got {got}{hint}")
    flags = resets.bool()
    return flags[:, None] if unbatched else flags.T if batch_first else flags


def refuse(reason: str, named: Sequence[tuple[str, Tensor]]) -> NoReturn:
    """Raise TypeError for tensors that the engine cannot compute with, parameters first; it names the first of them."""
    first, parameter = named[0]
    dtype = parameter.dtype
    if dtype not in DTYPES:
        raise TypeError(
            f"{first}: expected torch.float32 or torch.float64, in which the engine computes, got {dtype}: convert the "
            f"module with .float()"
        )
    for name, tensor in named:
        if tensor.dtype is not dtype:
            other = ", or the module with .double()" if tensor.dtype is torch.float64 else ""
            raise TypeError(
                f"{name}: expected {dtype}, which {first} has, got {tensor.dtype}: convert it with .to({dtype}){other}"
            )
    # A transformation or a mode is the fault of no tensor: it is said of x.
    alone = reason_against([parameter])
    named = [each for each in named if reason_against([parameter, each[1]]) == reason] if alone is None else []
    name = named[0][0] if named else "x"
    raise TypeError(f"{name}: expected dense {dtype} tensors of the processor, got {reason}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _swapped(layout: Layout) -> str:
    return f"time and batch look swapped; batch_first={layout.batch_first} here"

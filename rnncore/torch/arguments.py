"""The arguments of a call of `Recurrent`: checked with a message for people, then brought to one form, time first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from rnncore_kernels.precision import BFLOAT16

from .. import shapes
from ..architecture import Architecture
from ..errors import describe
from .fallback import reason_against
from .network import DTYPES


def read_x(architecture: Architecture, x: Any) -> shapes.CallAxes:
    """The axes of x; TypeError unless it is a tensor, ValueError unless it is one of the network's sizes."""
    batch_first, (name, _, size) = architecture.batch_first, architecture.x_axis.partition("=")
    axes = f"(B, T, {name})" if batch_first else f"(T, B, {name})"
    if not isinstance(x, Tensor):
        fix = "" if x is None else ": make one with torch.as_tensor(x)"
        raise TypeError(f"x: expected a torch.Tensor {axes} or a PackedSequence, got {describe(x)}{fix}")
    if x.dim() not in (2, 3) or x.shape[-1] != architecture.x_size:
        raise ValueError(f"x: expected {axes} or (T, {name}) with {name}={size}, got {(*x.shape,)}")
    if x.dim() == 2:
        return shapes.CallAxes(architecture, x.shape[0], 1, True)
    steps, batch = (x.shape[1], x.shape[0]) if batch_first else (x.shape[0], x.shape[1])
    return shapes.CallAxes(architecture, steps, batch, False)


def read_states(axes: shapes.CallAxes, state: Any, name: str = "state") -> list[Tensor]:
    """Initial states (L*D, B, width), or those of resets; none for zeros."""
    states = shapes.read_states(axes, state, name, _read) or []
    return [s.unsqueeze(1) for s in states] if axes.unbatched else states


def read_inputs(axes: shapes.CallAxes, inputs: Any, like: Tensor) -> list[Tensor]:
    """Inputs (T, B) and (T, B, H), in the order of the cell; numbers become tensors as `like` is."""
    if inputs is None and not axes.architecture.definition.inputs:
        return []
    result = []
    for _, value, constant, tail in shapes.read_inputs(axes, inputs, _read, lambda number: like.new_full((), number)):
        if not constant:
            value = value.unsqueeze(1) if axes.unbatched else value
            value = value.transpose(0, 1) if axes.architecture.batch_first and not axes.unbatched else value
        result.append(value.expand(axes.steps, axes.batch, *tail))
    return result


def read_resets(axes: shapes.CallAxes, resets: Any) -> Tensor | None:
    """Where rows begin anew, (T, B) of bool."""
    if resets is None:
        return None
    if not isinstance(resets, Tensor) or resets.dtype not in (torch.bool, torch.uint8):
        wanted = shapes.spoken(shapes.sequence_axes(axes, []))
        raise TypeError(f"resets: expected a torch.Tensor {wanted} of torch.bool, got {describe(resets)}")
    shapes.check_resets(axes, resets)
    flags = resets.bool()
    return flags[:, None] if axes.unbatched else flags.T if axes.architecture.batch_first else flags


def read_lengths(axes: shapes.CallAxes, lengths: Any) -> Tensor | None:
    """The steps of each row, on the host; None where all rows have all steps."""
    if lengths is None:
        return None
    values = torch.as_tensor(lengths, device="cpu")
    if values.dtype.is_floating_point or values.dtype is torch.bool:
        raise ValueError(f"lengths: expected (B={axes.batch},) integers, got {values.dtype} {(*values.shape,)}")
    shapes.check_lengths(axes, values.shape)
    return values.reshape(axes.batch)


def check_compute(precision: str | None, dtype: torch.dtype) -> None:
    """Raise ValueError for products that are rounded to fewer digits than float64's, of parameters that have those."""
    if precision == BFLOAT16 and dtype is torch.float64:
        raise ValueError(
            f"compute: expected parameters of torch.float32 with {precision!r}, got {dtype}: call .float(), or set "
            f"compute=None"
        )


def refuse(reason: str, named: Sequence[tuple[str, Tensor]]) -> NoReturn:
    """Raise TypeError for tensors that the engine cannot compute with, any parameters first; it names the first."""
    first, parameter = named[0]
    dtype = parameter.dtype
    if dtype not in DTYPES:
        raise TypeError(
            f"{first}: expected torch.float32 or torch.float64, in which the engine computes, got {dtype}: convert "
            f"{'it' if first == 'x' else 'the module'} with .float()"
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
    raise TypeError(f"{name}: expected dense {dtype} tensors where an engine computes, got {reason}")


def _read(name: str, value: Any, axes: Callable[[], str]) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor {axes()}, got {describe(value)}")
    return value

"""The options of a network as they are given, each checked, and the architecture that they make."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from rnncore_kernels.cells import LSTM, Cell
from rnncore_kernels.precision import BFLOAT16

from .architecture import OPTIONS, Architecture
from .definition import Definition, define
from .errors import did_you_mean, one_of


def make_architecture(
    cell: str | Cell | Definition,
    *,
    input_size: int | None,
    hidden_size: int,
    num_layers: int,
    bidirectional: bool,
    bias: bool,
    batch_first: bool,
    dropout: float,
    dtype: DTypeLike,
    direction: str = "forward",
    heads: int = 1,
    proj_size: int = 0,
    learn_initial_state: bool = False,
    compute: str | None = None,
    zoneout: float | Mapping[str, float] = 0.0,
    recurrent_dropout: float = 0.0,
    input_dropout: float = 0.0,
    variational: bool = False,
) -> Architecture:
    """Check every argument and return the architecture; ValueError or TypeError names the one that is wrong."""
    definition = projected(define(cell), proj_size)
    kept = _zoneout(definition, zoneout)
    rates = tuple([kept.get(name, 0.0) if isinstance(kept, dict) else kept for name in definition.states])
    recurrent_dropout = check_probability("recurrent_dropout", recurrent_dropout)
    if recurrent_dropout and not definition.program.h_gates:
        raise ValueError(
            f"recurrent_dropout: expected 0 with {definition.cell!r}, no gate of which multiplies a state by recurrent "
            f"weights, got {recurrent_dropout}"
        )
    architecture = Architecture(
        definition=definition.regularised(rates, recurrent_dropout),
        input_size=None if input_size is None else check_integer("input_size", input_size, 0),
        hidden_size=check_integer("hidden_size", hidden_size, 1),
        num_layers=check_integer("num_layers", num_layers, 1),
        bidirectional=check_flag("bidirectional", bidirectional),
        bias=check_flag("bias", bias),
        batch_first=check_flag("batch_first", batch_first),
        dropout=check_probability("dropout", dropout),
        dtype=_float_dtype(dtype),
        direction=direction,
        heads=check_integer("heads", heads, 1),
        learn_initial_state=check_flag("learn_initial_state", learn_initial_state),
        precision=check_precision("compute", compute, dtype, [BFLOAT16]),
        zoneout=kept,
        recurrent_dropout=recurrent_dropout,
        input_dropout=check_probability("input_dropout", input_dropout),
        variational=check_flag("variational", variational),
    )
    if architecture.input_dropout and input_size is None:
        raise ValueError(
            f"input_dropout: expected 0 with input_size=None, as x holds the gates' parts, got {input_dropout}: drop "
            f"elements of what they are computed from"
        )
    if direction not in ("forward", "reverse"):
        raise ValueError(f"direction: expected 'forward' or 'reverse', got {direction!r}")
    if architecture.bidirectional and direction == "reverse":
        raise ValueError("direction: expected 'forward' with bidirectional=True, which is both, got 'reverse'")
    if input_size is None and not architecture.program.x_gates:
        raise ValueError(f"input_size: expected a number for {architecture.cell!r}, no gate of which reads x, got None")
    _check_projections(architecture)
    _check_heads(architecture)
    return architecture


def check_options(options: Iterable[str], known: Sequence[str] = ()) -> None:
    """Raise TypeError for the name of an option that is not known; if none are given, those of any network are."""
    known = known or [*{**OPTIONS, **(make_architecture.__kwdefaults__ or {})}]
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known)
            raise TypeError(f"{name}: expected options of Recurrent, which are {', '.join(known)}, got another{hint}")


def projected(definition: Definition, proj_size: int) -> Definition:
    """An LSTM whose output is projected to so many units as PyTorch's is; any cell for 0."""
    cell, size = definition.cell, check_integer("proj_size", proj_size, 0)
    if size == 0:
        return definition
    if type(cell) is not LSTM or cell.projection not in (None, size):
        raise ValueError(f"proj_size: expected 0 with {cell!r}, as LSTM() alone takes a width, got {size}")
    return define(replace(cell, projection=size))


def _check_heads(architecture: Architecture) -> None:
    heads, cell = architecture.heads, architecture.cell
    if heads > 1 and not architecture.program.h_gates:
        raise ValueError(f"heads: expected 1 for {cell!r}, which has no recurrent weights, got {heads}")
    if architecture.hidden_size % heads:
        raise ValueError(f"heads: expected a divisor of hidden_size={architecture.hidden_size}, got {heads}")
    if architecture.output_width % heads:
        raise ValueError(
            f"heads: expected a divisor of {architecture.output_width}, the width of the output of {cell!r}, got "
            f"{heads}"
        )


def _check_projections(architecture: Architecture) -> None:
    cell, hidden = architecture.definition, architecture.hidden_size
    for name, (width, _) in zip(cell.projections, cell.program.projections, strict=True):
        if width > hidden:
            raise ValueError(
                f"cell: {cell.cell!r}: expected projections of at most hidden_size={hidden} units, got {name!r} of "
                f"{width}: make it narrower, or hidden_size larger"
            )


def check_integer(name: str, value: Any, least: int) -> int:
    """`value` as an int of at least `least`; TypeError or ValueError names the argument."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__} {value!r}") from None
    if isinstance(value, (bool, np.bool_)) or number < least:
        raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r}")
    return number


def check_flag(name: str, value: Any) -> bool:
    """`value` as a bool; TypeError names the argument."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {type(value).__name__} {value!r}")
    return bool(value)


def check_probability(name: str, value: Any) -> float:
    """`value` as a float from 0 to 1; ValueError names the argument."""
    is_number = isinstance(value, (int, float, np.floating, np.integer)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a probability from 0 to 1, got {value!r}")
    return float(value)


def _zoneout(definition: Definition, value: Any) -> float | dict[str, float]:
    """One probability, or some by the names of states."""
    if not isinstance(value, Mapping):
        return check_probability("zoneout", value)
    unknown = [name for name in value if name not in definition.states]
    if unknown:
        raise ValueError(
            f"zoneout: expected states of {definition.cell!r}, {', '.join(map(repr, definition.states))}, got the "
            f"unknown {', '.join(map(repr, unknown))}"
        )
    return {name: check_probability(f"zoneout[{name!r}]", value[name]) for name in definition.states if name in value}


def _float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        resolved = None if dtype is None else np.dtype(dtype)
    except TypeError:
        resolved = None
    if resolved is None or resolved not in (np.float32, np.float64):
        raise ValueError(f"dtype: expected 'float32' or 'float64', got {dtype!r}")
    return resolved


def check_precision(argument: str, value: str | None, dtype: DTypeLike, known: Sequence[str]) -> str | None:
    """The precision of products that an argument names, one of those known; None for that of the dtype."""
    name = np.dtype(dtype).name
    if value is None or value == name:
        return None
    allowed = (name, *known) if name == "float32" else (name,)
    if value not in allowed:
        why = f" with dtype={name!r}" if value in ("float32", *known) else ""
        hint = ": freeze(weights='int8') has it, for inference" if argument == "compute" and value == "int8" else ""
        raise ValueError(f"{argument}: expected {one_of(allowed)}{why}, got {value!r}{hint}")
    return value


def check_threads(num_threads: int | None) -> int | None:
    """A number of threads, at least 1, or None for as many as the machine has cores."""
    return None if num_threads is None else check_integer("num_threads", num_threads, 1)


def check_seed(seed: int | None) -> int | None:
    """A seed, at least 0, or None for a fresh one."""
    return None if seed is None else check_integer("seed", seed, 0)

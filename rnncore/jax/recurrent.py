"""`recurrent`: a network of any cell as a function of its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from rnncore_kernels.cells import Cell

from ..architecture import Architecture
from ..definition import cell_key, define
from ..errors import describe
from .flax import from_flax
from .network import Signature
from .parameters import check_tree, has_own_names, read_architecture
from .primitives import recurrence


def recurrent(
    params: Any,
    x: Any,
    state: Any = None,
    *,
    cell: str | Cell = "lstm",
    lengths: Any = None,
    inputs: Mapping[str, Any] | None = None,
    resets: Any = None,
    reset_state: Any = None,
    batch_first: bool = False,
    direction: str = "forward",
) -> tuple[Any, Any]:
    """Compute a sequence on the processor, under any of jit, grad, vmap, scan and checkpoint.

    Sizes, layers, directions and biases are those of the parameters. Gradients are of reverse mode, and once. Under
    vmap, one call computes all rows together, unless each has weights of its own.

    Args:
        params: parameters by the names of `rnncore.Recurrent`, as `init` makes them; or those of Flax's LSTMCell,
            OptimizedLSTMCell, GRUCell or SimpleCell, see `from_flax`. Gradients come in the same form.
        x: (T, B, I), (B, T, I) with batch_first, or (T, I); float32 or float64 as the parameters are.
        state: the initial state, (L*D, B, width), or (L*D, width) without a batch; a tuple of them where the cell has
            several, (h, c) for the LSTM; None is zeros.
        cell: the name of a cell, or an instance of `rnncore.cells.Cell`, one of your own too.
        lengths: (B,) integers from 0 to T, in any order: the steps of each row, without a batch a number. None: every
            row has T steps.
        inputs: what the cell takes beside x, by name: row inputs (T, B) or (B,), unit inputs (T, B, H) or (B, H);
            (B, T) and (B, T, H) with batch_first; without B where there is no batch; a row input may be a number.
        resets: (T, B), (B, T) with batch_first, or (T,), of bool: where a row begins anew. Its state becomes
            `reset_state` before that step, in the reverse direction behind it.
        reset_state: the state that rows begin anew with, as `state`; None is zeros.
        batch_first: whether sequences are (B, T, ...) instead of (T, B, ...).
        direction: "forward", or "reverse" for layers that run from the end of each row to its start.

    Returns:
        (output, state): output (T, B, D*P), (B, T, D*P) or (T, D*P), 0 past a row's end; the state at each row's end.

    Raises:
        ValueError, TypeError: an argument is wrong; the message says what was expected.
    """
    if isinstance(state, (str, Cell)):
        given_cell = repr(state) if isinstance(state, str) else "..."
        raise TypeError(
            f"state: expected None or arrays, got {describe(state)}: a cell is given by its keyword, cell={given_cell}"
        )
    named = params
    if not has_own_names(params):
        check_tree(params)
        named = from_flax(params, cell)
    if x is None or isinstance(x, Mapping):
        raise TypeError(f"x: expected an array (T, B, input_size) or (T, input_size), got {type(x).__name__}")
    x = jnp.asarray(x)
    architecture = read_architecture(define(cell), named, direction)
    _check_x(architecture, x, batch_first=batch_first)
    unbatched = x.ndim == 2
    if unbatched:
        # As under vmap most often, where rows come first.
        x, batch_first = x[None], True
    batch, steps = x.shape[:2] if batch_first else (x.shape[1], x.shape[0])
    swapped = "" if unbatched or batch == steps else f": time and batch look swapped; batch_first={batch_first} here"
    states = _states("state", architecture, state, batch, steps, swapped, unbatched=unbatched)
    given = _inputs(architecture, inputs, steps, batch, swapped, unbatched=unbatched, batch_first=batch_first)
    ends = [] if lengths is None else [_lengths(lengths, batch, steps, swapped, unbatched=unbatched)]
    flags, begins = [], []
    if resets is not None:
        flags = [_resets(resets, (batch, steps) if batch_first else (steps, batch), swapped, unbatched=unbatched)]
        if reset_state is not None:
            begins = _states("reset_state", architecture, reset_state, batch, steps, swapped, unbatched=unbatched)
    elif reset_state is not None:
        raise ValueError("reset_state: expected None without resets, which say which rows begin with it")
    for values in ends:
        ended = jnp.arange(steps) >= values[:, None]
        ended = ended if batch_first else ended.T
        x, flags = jnp.where(ended[..., None], 0, x), [f & ~ended for f in flags]
    signature = Signature(
        cell_key(architecture.definition), architecture.input_size, architecture.hidden_size, architecture.num_layers,
        architecture.bidirectional, architecture.bias, architecture.dtype.name, batch_first, bool(ends),
        "given" if begins else "zeros" if flags else "", direction,
    )  # fmt: skip
    weights = [named[name] for name in architecture.parameters()]
    output, *finals = recurrence.bind(x, *states, *ends, *flags, *begins, *given, *weights, signature=signature)
    if unbatched:
        output, finals = output[0], [s[:, 0] for s in finals]
    return output, finals[0] if len(finals) == 1 else tuple(finals)


def _check_x(architecture: Architecture, x: Any, *, batch_first: bool) -> None:
    size = architecture.input_size
    if x.ndim not in (2, 3) or x.shape[-1] != size:
        axes = "(B, T, input_size)" if batch_first else "(T, B, input_size)"
        raise ValueError(f"x: expected {axes} or (T, input_size) with input_size={size}, got {x.shape}")
    _check_dtype("x", x, architecture)


def _check_dtype(name: str, value: Any, architecture: Architecture) -> None:
    if value.dtype != architecture.dtype:
        raise TypeError(
            f"{name}: expected {architecture.dtype.name} as the parameters are, got {value.dtype}: convert it with "
            f".astype({architecture.dtype.name!r})"
        )


def _states(
    who: str, architecture: Architecture, state: Any, batch: int, steps: int, swapped: str, *, unbatched: bool
) -> list[Any]:
    """Initial states (L*D, B, width)."""
    shapes, names = architecture.state_shapes(batch), architecture.definition.states
    if state is None:
        return [jnp.zeros(shape, architecture.dtype) for shape in shapes]
    several = isinstance(state, (tuple, list))
    if several != (len(names) > 1) or (several and len(state) != len(names)):
        wanted = f"an array, the state {names[0]}" if len(names) == 1 else f"a tuple ({', '.join(names)}) of arrays"
        got = f"a {type(state).__name__} of {len(state)}" if several else describe(state)
        raise TypeError(f"{who}: expected {wanted} of {architecture.cell!r}, got {got}")
    states = [jnp.asarray(s) for s in (state if several else [state])]
    wanted_shapes = [(shape[0], shape[2]) if unbatched else shape for shape in shapes]
    if [s.shape for s in states] != wanted_shapes:
        wanted, got = (", ".join(map(str, each)) for each in (wanted_shapes, [s.shape for s in states]))
        hint = swapped if all(s.ndim == 3 and s.shape[1] == steps for s in states) else ""
        raise ValueError(f"{who}: expected ({', '.join(names)}) of shapes {wanted}, got {got}{hint}")
    for s in states:
        _check_dtype(who, s, architecture)
    return [s[:, None] for s in states] if unbatched else states


def _inputs(
    architecture: Architecture, inputs: Any, steps: int, batch: int, swapped: str, *, unbatched: bool, batch_first: bool
) -> list[Any]:
    """Inputs (T, B) and (T, B, H), or (B, T) and (B, T, H), in the order of the cell."""
    if inputs is not None and not isinstance(inputs, Mapping):
        raise TypeError(f"inputs: expected a mapping from names to arrays, got a {type(inputs).__name__}")
    cell, named = architecture.definition, {} if inputs is None else inputs
    if {*named} != {*cell.inputs}:
        wanted = ", ".join(map(repr, cell.inputs)) or "none"
        raise ValueError(f"inputs: expected {wanted}, got {', '.join(map(repr, named)) or 'none'}")
    result = []
    for name in cell.inputs:
        given, who = named[name], f"inputs[{name!r}]"
        is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
        value = jnp.asarray(given, architecture.dtype if is_number else None)
        _check_dtype(who, value, architecture)
        tail = (architecture.hidden_size,) if name in cell.unit_inputs else ()
        rows = () if unbatched else (batch,)
        sequence = (*rows, steps, *tail) if batch_first else (steps, *rows, *tail)
        if value.shape == (*rows, *tail):
            value = jnp.expand_dims(value, len(rows) if batch_first else 0)
        elif value.shape != sequence and (value.shape or tail):
            hint = swapped if (*value.shape[1::-1], *value.shape[2:]) == sequence else ""
            raise ValueError(f"{who}: expected {sequence} or {(*rows, *tail)}, got {value.shape}{hint}")
        value = jnp.broadcast_to(value, sequence)
        result.append(value[None] if unbatched else value)
    return result


def _resets(resets: Any, shape: tuple[int, int], swapped: str, *, unbatched: bool) -> Any:
    flags, wanted = jnp.asarray(resets), shape[1:] if unbatched else shape
    if flags.shape != wanted or flags.dtype != bool:
        hint = swapped if flags.shape == shape[::-1] else ""
        raise ValueError(f"resets: expected bool of shape {wanted}, got {flags.dtype} {flags.shape}{hint}")
    return flags.reshape(shape)


def _lengths(lengths: Any, batch: int, steps: int, swapped: str, *, unbatched: bool) -> Any:
    values = jnp.asarray(lengths)
    wanted: Sequence[int] = () if unbatched else (batch,)
    if values.shape != tuple(wanted) or not jnp.issubdtype(values.dtype, jnp.integer):
        hint = swapped if values.shape == (steps,) else ""
        raise ValueError(
            f"lengths: expected integers of shape {tuple(wanted)}, got {values.dtype} {values.shape}{hint}"
        )
    return values.reshape(batch).astype(jnp.int32)

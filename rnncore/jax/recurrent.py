"""`recurrent`: a network of any cell as a function of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnncore_kernels.cells import Cell
from rnncore_kernels.codegen.philox import MASK

from .. import observed, shapes
from ..architecture import Architecture, options_of
from ..arguments import check_states
from ..definition import cell_key, define
from ..errors import describe
from ..keyed import How, text_of
from ..options import check_options
from ..spans import make_plan
from ..states import unwrap_state
from .flax import from_flax
from .network import Signature, host_engine
from .parameters import check_tree, has_own_names, read_architecture
from .primitives import recurrence
from .segments import bind_in_segments


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
    states: str | None = None,
    flow: Any = None,
    key: Any = None,
    burn_in: int = 0,
    truncate: int | None = None,
    recompute: bool = False,
    batch_first: bool = False,
    **options: Any,
) -> tuple[Any, Any]:
    """Compute a sequence on the processor, under any of jit, grad, vmap, scan and checkpoint.

    Sizes, layers, directions and biases are those of the parameters. Gradients are of reverse mode, and once. Under
    vmap, one call computes all rows together, unless each has weights of its own.

    Args:
        params: parameters by the names of `rnncore.Recurrent`, as `init` makes them; or those of Flax's LSTMCell,
            OptimizedLSTMCell, GRUCell or SimpleCell, see `from_flax`. Gradients come in the same form.
        x: (T, B, I), (B, T, I) with batch_first, or (T, I); float32 or float64 as the parameters are.
        state: the initial state, (L*D, B, width), or (L*D, width) without a batch; a tuple of them where the cell has
            several, (h, c) for the LSTM; None is zeros, or that of the parameters, h_0 say, where it is learnt.
        cell: the name of a cell, or an instance of `rnncore.cells.Cell`, one of your own too.
        lengths: (B,) integers from 0 to T, in any order: the steps of each row, without a batch a number. None: every
            row has T steps.
        inputs: what the cell takes beside x, by name: row inputs (T, B) or (B,), unit inputs (T, B, H) or (B, H);
            (B, T) and (B, T, H) with batch_first; without B where there is no batch; a row input may be a number.
        resets: (T, B), (B, T) with batch_first, or (T,), of bool: where a row begins anew. Its state becomes
            `reset_state` before that step, in the reverse direction behind it.
        reset_state: the state that rows begin anew with, as `state`; None as for `state`.
        states: "all" for every state of the last layer at each step in the place of the output, in a tuple where the
            cell has several.
        flow: zeros (L*D, T), in a tuple where the cell has several states, that nothing reads: their gradients are the
            norms of the cotangents of the states at each step, over rows and units.
        key: an integer or a key of JAX's, by which zoneout and dropout are drawn, as training does; another one for
            each call. None computes their expectation, as inference does.
        burn_in: number of first steps through which no gradient passes; their output has none either.
        truncate: steps, counted from the end of burn-in, after which back-propagation is cut: the state is passed on,
            its cotangent is not. None: never.
        recompute: whether the backward pass computes segments of steps again instead of keeping what it needs of them,
            so that memory grows with sqrt(T); of a network that runs back, all steps at once.
        batch_first: whether sequences are (B, T, ...) instead of (T, B, ...).
        options: others of `rnncore.Recurrent` that parameters do not tell, as direction="reverse".

    Returns:
        (output, state): output (T, B, D*P), (B, T, D*P) or (T, D*P), 0 past a row's end; the state at each row's end.

    Raises:
        ValueError, TypeError: an argument is wrong; the message says what was expected.
    """
    named, architecture = _network(params, state, cell, x, batch_first=batch_first, **options)
    x = jnp.asarray(x)
    _check_x(architecture, x)
    unbatched = x.ndim == 2
    first, second = (x.shape[0], 1) if unbatched else x.shape[:2]
    steps, batch = (second, first) if batch_first and not unbatched else (first, second)
    axes = shapes.CallAxes(architecture, steps, batch, unbatched)
    if unbatched:
        # As under vmap most often, where rows come first.
        x, batch_first = x[None], True
    own = _own_state(axes, named)
    initial = _states(axes, own if state is None else state, "state")
    given = _inputs(axes, inputs, batch_first=batch_first)
    ends = [] if lengths is None else [_lengths(axes, lengths)]
    shapes.check_reset_state(resets, reset_state)
    flags, begins = [], []
    if resets is not None:
        flags = [_resets(axes, resets, batch_first=batch_first)]
        reset_state = own if reset_state is None else reset_state
        begins = [] if reset_state is None else _states(axes, reset_state, "reset_state")
    check_states(states, return_sequence=True)
    probes = _flow(axes, flow)
    keys = [_key(key)] if key is not None and architecture.draws else []
    for values in ends:
        ended = jnp.arange(steps) >= values[:, None]
        ended = ended if batch_first else ended.T
        x, flags = jnp.where(ended[..., None], 0, x), [f & ~ended for f in flags]
    sizes = {"input_size": architecture.input_size, "hidden_size": architecture.hidden_size}
    text = text_of(cell_key(architecture.definition), {**sizes, **options_of(architecture), "batch_first": False})
    how = How(states == "all", bool(probes), drawn=bool(keys))
    reset = "given" if begins else "zeros" if flags else ""
    signature = Signature(text, architecture.dtype.name, batch_first, bool(ends), reset, (*how,))
    weights = [named[name] for name in architecture.layer_names]
    arguments = (x, *initial, *ends, *flags, *begins, *probes, *keys, *given, *weights)
    plan = make_plan(axes, burn_in, truncate, recompute, host_engine().min_block_steps)
    if plan is None:
        results = recurrence.bind(*arguments, signature=signature)
    else:
        results = bind_in_segments(arguments, signature, plan)
    outputs, finals = results[: -len(initial)], results[-len(initial) :]
    if unbatched:
        outputs, finals = [output[0] for output in outputs], [s[:, 0] for s in finals]
    return unwrap_state(tuple(outputs)), unwrap_state(tuple(finals))


def observe(
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
    **options: Any,
) -> list[dict[str, Any]]:
    """Compute a sequence, to look at what its steps compute, as `rnncore.Recurrent.observe` does; not under jit.

    Arguments are those of `recurrent`.

    Returns:
        For each layer by name, arrays (T, B, D*H), or (B, T, D*H) with batch_first.

    Raises:
        ValueError, TypeError: an argument is wrong, or a transformation of JAX's traces it.
    """
    given = {"x": x, "state": state, "lengths": lengths, "inputs": inputs, "resets": resets, "reset_state": reset_state}
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((params, given))):
        raise TypeError(
            "observe: expected arrays with values, got ones that JAX traces: call it outside of jit and grad"
        )
    named, architecture = _network(params, state, cell, x, batch_first=batch_first, **options)
    engine, parameters = host_engine(), {name: np.asarray(value) for name, value in named.items()}
    arrays = jax.tree.map(lambda leaf: np.asarray(leaf) if hasattr(leaf, "shape") else leaf, given)
    found = observed.observe(architecture, engine, parameters, **arrays)
    return [{name: jnp.asarray(value) for name, value in layer.items()} for layer in found]


def _network(
    params: Any, state: Any, cell: str | Cell, x: Any, **options: Any
) -> tuple[Mapping[str, Any], Architecture]:
    """The parameters by our names, and their network."""
    if isinstance(state, (str, Cell)):
        given_cell = repr(state) if isinstance(state, str) else "..."
        raise TypeError(
            f"state: expected None or arrays, got {describe(state)}: a cell is given by its keyword, cell={given_cell}"
        )
    check_options(options)
    named = params
    if not has_own_names(params):
        check_tree(params)
        named = from_flax(params, cell)
    if x is None or isinstance(x, Mapping):
        raise TypeError(f"x: expected an array (T, B, input_size) or (T, input_size), got {type(x).__name__}")
    return named, read_architecture(define(cell), named, **options)


def _check_x(architecture: Architecture, x: Any) -> None:
    if x.ndim not in (2, 3) or x.shape[-1] != architecture.x_size:
        name, _, size = architecture.x_axis.partition("=")
        axes = f"(B, T, {name})" if architecture.batch_first else f"(T, B, {name})"
        raise ValueError(f"x: expected {axes} or (T, {name}) with {name}={size}, got {x.shape}")
    _check_dtype("x", x, architecture)


def _check_dtype(name: str, value: Any, architecture: Architecture) -> None:
    if value.dtype != architecture.dtype:
        raise TypeError(
            f"{name}: expected {architecture.dtype.name} as the parameters are, got {value.dtype}: convert it with "
            f".astype({architecture.dtype.name!r})"
        )


def _reader(architecture: Architecture) -> shapes.Read:
    def read(name: str, value: Any, axes: Callable[[], str]) -> Any:
        if isinstance(value, (tuple, list, str)) or value is None:
            raise TypeError(f"{name}: expected an array {axes()}, got {describe(value)}")
        array = jnp.asarray(value)
        _check_dtype(name, array, architecture)
        return array

    return read


def _states(axes: shapes.CallAxes, state: Any, name: str) -> list[Any]:
    """Initial states (L*D, B, width)."""
    arch = axes.architecture
    if state is None:
        return [jnp.zeros(shape, arch.dtype) for shape in arch.state_shapes(axes.batch)]
    states = shapes.read_states(axes, state, name, _reader(arch)) or []
    return [s[:, None] for s in states] if axes.unbatched else states


def _own_state(axes: shapes.CallAxes, named: Mapping[str, Any]) -> Any:
    """The network's own initial state for this batch, as a caller gives one."""
    if (own := axes.architecture.initial_states(named)) is None:
        return None
    rows = [jnp.broadcast_to(state, (state.shape[0], axes.batch, state.shape[-1])) for state in own]
    return unwrap_state(tuple([state[:, 0] for state in rows] if axes.unbatched else rows))


def _inputs(axes: shapes.CallAxes, inputs: Any, *, batch_first: bool) -> list[Any]:
    """Inputs (T, B) and (T, B, H), or (B, T) and (B, T, H), in the order of the cell."""
    arch, result = axes.architecture, []
    from_number = partial(jnp.asarray, dtype=arch.dtype)
    for _, value, constant, tail in shapes.read_inputs(axes, inputs, _reader(arch), from_number):
        order = (axes.batch, axes.steps) if batch_first else (axes.steps, axes.batch)
        if constant == (0,):
            value = jnp.expand_dims(value, 1 if batch_first and not axes.unbatched else 0)
        result.append(jnp.broadcast_to(value, (*order, *tail)))
    return result


def _resets(axes: shapes.CallAxes, resets: Any, *, batch_first: bool) -> Any:
    flags = jnp.asarray(resets)
    if flags.dtype != bool:
        wanted = shapes.spoken(shapes.sequence_axes(axes, []))
        raise TypeError(f"resets: expected an array {wanted} of bool, got {flags.dtype} {flags.shape}")
    shapes.check_resets(axes, flags)
    return flags.reshape((axes.batch, axes.steps) if batch_first else (axes.steps, axes.batch))


def _lengths(axes: shapes.CallAxes, lengths: Any) -> Any:
    values = jnp.asarray(lengths)
    if not jnp.issubdtype(values.dtype, jnp.integer):
        raise ValueError(f"lengths: expected (B={axes.batch},) integers, got {values.dtype} {values.shape}")
    shapes.check_lengths(axes, values.shape)
    if not isinstance(values, jax.core.Tracer):
        shapes.check_ends(np.asarray(values), axes.steps)
    return values.reshape(axes.batch).astype(jnp.int32)


def _flow(axes: shapes.CallAxes, flow: Any) -> list[Any]:
    """What nothing reads, (L*D, T) of each state; none where nobody asks for norms."""
    if flow is None:
        return []
    arch = axes.architecture
    count, shape = len(arch.definition.states), (arch.num_layers * arch.num_directions, axes.steps)
    probes: Sequence[Any] = flow if count > 1 and isinstance(flow, (tuple, list)) else [flow]
    arrays = [jnp.asarray(probe) for probe in probes]
    if len(arrays) != count or any(array.shape != shape for array in arrays):
        got = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(f"flow: expected zeros (L*D={shape[0]}, T={shape[1]}) for each of {count} states, got {got}")
    for array in arrays:
        _check_dtype("flow", array, arch)
    return arrays


def _key(key: Any) -> Any:
    """Two words of uint32 of an integer or a key of JAX's, and the number of the first step."""
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        if not 0 <= key < 1 << 64:
            raise ValueError(f"key: expected an integer from 0 to 2**64 - 1, got {key}")
        return jnp.asarray([int(key) & MASK, int(key) >> 32, 0], jnp.uint32)
    try:
        return jnp.append(jax.random.bits(key, (2,), jnp.uint32), jnp.uint32(0))
    except (TypeError, ValueError) as error:
        raise TypeError(f"key: expected an integer or a key of jax.random, got {describe(key)}: {error}") from None

"""What a network's steps compute, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rnncore_kernels.cells.symbol import ROW
from rnncore_kernels.contract import Array, Engine
from rnncore_kernels.program.transform import observable

from .architecture import Architecture
from .arguments import new_states, read_sequence
from .inputs import read_inputs
from .layout import Layout
from .resets import changes_for, read_resets
from .stack import Stack


def observe(
    architecture: Architecture,
    engine: Engine[Any, Any],
    parameters: Mapping[str, Array],
    x: Any,
    state: Any = None,
    lengths: Any = None,
    inputs: Mapping[str, Any] | None = None,
    resets: Any = None,
    reset_state: Any = None,
) -> list[dict[str, Array]]:
    """See `Recurrent.observe`, here of any parameters."""
    arch, xp = architecture, engine.xp
    layout, x = read_sequence(arch, xp, x, lengths)
    own = partial(arch.initial_states, parameters)
    states, (given, _) = new_states(layout, state, own), read_inputs(layout, inputs)
    begun = read_resets(layout, resets, reset_state, own)
    x = xp.array(layout.time_first(x), order="C")
    layout.clear_padding(x)
    changes = changes_for(begun, observed=True)
    stack = Stack.pack(arch, engine, arch.by_layer(parameters), copy=False, backward=False, changes=changes)
    widths, depth = arch.definition.changed(changes).states, arch.num_layers * arch.num_directions
    more = [xp.zeros((depth, layout.batch, arch.units(width)), arch.dtype) for width in widths[len(states) :]]
    tapes = stack.forward(x, (*layout.engine_states(states), *more), layout.rows, None, None, given, begun)
    return [_named(layout, stack.states(tapes[layer], layer)) for layer in range(arch.num_layers)]


def _named(layout: Layout, values: Sequence[Array]) -> dict[str, Array]:
    """The states of a layer, (T, B, D*width) each, and behind them what can be observed, as a caller has it."""
    arch = layout.architecture
    found = observable(arch.definition.recorded)
    result = dict(zip((*arch.definition.states, *found), values, strict=True))
    for name, symbol in found.items():
        if symbol.width == ROW:
            result[name] = result[name][..., :: arch.hidden_size]
    return {name: layout.sequence_out(value) for name, value in result.items()}

"""Inference with weights that do not change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rnncore_kernels.contract import Array

from .arguments import engine_input, read_sequence, read_state, read_step, unit_stride
from .stack import Stack


@dataclass(frozen=True, eq=False, repr=False)
class Frozen:
    """An immutable network for inference, from `Recurrent.freeze`. Calls from several threads at once are safe."""

    _stack: Stack

    def __call__(
        self, x: Array, state: Any = None, lengths: Any = None, return_sequence: bool = True
    ) -> tuple[Array, Any]:
        """Compute a sequence: arguments, results and errors as in `Recurrent.__call__`."""
        stack = self._stack
        arch, xp = stack.architecture, stack.engine.xp
        layout = read_sequence(arch, xp, x, lengths)
        first = read_state(layout, state)
        states = layout.state_in(first)
        if return_sequence:
            output = layout.empty_sequence(arch.output_size)
            stack.infer(engine_input(layout, x), states, layout.rows, output)
            return layout.sequence_out(output), layout.state_out(states)
        top_input = stack.infer(engine_input(layout, x), states, layout.rows, None)
        first_states = layout.state_in(first) if arch.bidirectional else states
        last = stack.last_output(top_input, first_states, states[0], layout.rows)
        return layout.last_out(last), layout.state_out(states)

    def step(self, x_t: Array, state: Any = None) -> tuple[Array, Any]:
        """Compute one step: arguments, results and errors as in `Recurrent.step`."""
        stack = self._stack
        arch, xp = stack.architecture, stack.engine.xp
        layout = read_step(arch, xp, x_t)
        states = layout.state_in(read_state(layout, state))
        output = xp.empty((1, layout.batch, arch.output_size), arch.dtype)
        stack.infer(unit_stride(xp, x_t.reshape(1, layout.batch, arch.input_size)), states, layout.rows, output)
        return layout.last_out(output[0]), layout.state_out(states)

    def __repr__(self) -> str:
        return f"Frozen({self._stack.architecture.describe()})"

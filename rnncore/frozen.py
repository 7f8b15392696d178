"""Inference: whole sequences, steps, and generation, with weights that do not change meanwhile."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore_kernels.contract import Array

from .architecture import check_integer
from .arguments import read_sequence, read_states, read_step
from .devices import is_anothers, shared
from .errors import describe
from .plain import Plain
from .stack import Stack


@dataclass(frozen=True, eq=False, repr=False)
class Frozen:
    """An immutable network for inference, from `Recurrent.freeze`. Calls from several threads at once are safe."""

    _stack: Stack

    def __call__(
        self, x: Array, state: Any = None, lengths: Any = None, return_sequence: bool = True
    ) -> tuple[Array, Any]:
        """Compute a sequence: arguments, results and errors as in `Recurrent.__call__`."""
        if return_sequence and lengths is None and (plain := self._plain) is not None:
            result = plain.sequence(x, state)
            if result is not None:
                return result
        stack = self._stack
        layout, x = read_sequence(stack.architecture, stack.engine.xp, x, lengths)
        states = layout.new_states(read_states(layout, state))
        if return_sequence:
            output = layout.empty_sequence(stack.architecture.output_size)
            stack.infer(x, states, layout.rows, output, None)
            return layout.sequence_out(output), layout.states_out(states)
        last = stack.engine.xp.zeros((layout.batch, stack.architecture.output_size), stack.architecture.dtype)
        stack.infer(x, states, layout.rows, None, last)
        return layout.step_out(last), layout.states_out(states)

    def step(self, x_t: Array, state: Any = None) -> tuple[Array, Any]:
        """Compute one step: arguments, results and errors as in `Recurrent.step`."""
        if (plain := self._plain) is not None and (result := plain.step(x_t, state)) is not None:
            return result
        stack = self._stack
        layout, x = read_step(stack.architecture, stack.engine.xp, x_t)
        states = layout.new_states(read_states(layout, state))
        output = layout.empty_sequence(stack.architecture.output_size)
        stack.infer(x, states, layout.rows, output, None)
        return layout.step_out(output[0]), layout.states_out(states)

    @functools.cached_property
    def _plain(self) -> Plain | None:
        """None unless the network is of one layer, in one direction, on the host."""
        arch, engine = self._stack.architecture, self._stack.engine
        if arch.num_layers > 1 or arch.bidirectional or engine.xp is not np:
            return None
        return Plain(arch, engine, self._stack.packed[0], self._stack.most_rows)

    def generate(
        self, x_0: Array, steps: int, state: Any = None, feedback: Callable[[Array], Array] | None = None
    ) -> tuple[Array, Any]:
        """Compute a sequence from its first input: arguments, results and errors as in `Recurrent.generate`."""
        arch, xp = self._stack.architecture, self._stack.engine.xp
        steps = check_integer("steps", steps, 0)
        layout, first = read_step(arch, xp, x_0, "x_0")
        x_0 = layout.step_out(first[0])
        if feedback is not None and not callable(feedback):
            raise TypeError(f"feedback: expected a function from an output to the next input, got {describe(feedback)}")
        if feedback is None and arch.input_size != arch.hidden_size:
            raise ValueError(
                f"feedback: expected a function from an output (B, hidden_size={arch.hidden_size}) to the next input "
                f"(B, input_size={arch.input_size}), got None, which needs equal sizes"
            )
        state = layout.states_out(layout.new_states(read_states(layout, state)))
        outputs = xp.empty((steps, *x_0.shape[:-1], arch.hidden_size), arch.dtype)
        x_t = x_0
        for t in range(steps):
            if t > 0:
                x_t = outputs[t - 1] if feedback is None else self._fed_back(feedback(outputs[t - 1].copy()))
                if not isinstance(x_t, xp.ndarray) or (x_t.shape, x_t.dtype) != (x_0.shape, x_0.dtype):
                    raise ValueError(f"feedback: expected to return {describe(x_0)}, like x_0, got {describe(x_t)}")
            outputs[t], state = self.step(x_t, state)
        return outputs.swapaxes(0, 1) if arch.batch_first and outputs.ndim == 3 else outputs, state

    def _fed_back(self, value: Any) -> Any:
        """What `feedback` returned, as an array of ours where it is another library's in the same memory."""
        xp = self._stack.engine.xp
        if not is_anothers(value, xp):
            return value
        return shared(value, xp, f"feedback: expected to return a {xp.__name__}.ndarray, got {describe(value)}")

    def __copy__(self) -> Frozen:
        return self

    def __deepcopy__(self, memo: object) -> Frozen:
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a frozen network does not pickle: pickle the Recurrent, and freeze the copy")

    def __repr__(self) -> str:
        return f"Frozen({self._stack.architecture.describe()})"

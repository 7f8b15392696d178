"""Inference: whole sequences, steps, and generation, with weights that do not change meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from rnncore_kernels.contract import Array, Inputs, LayerWeights, Stepper
from rnncore_kernels.program.program import Program

from .architecture import check_integer
from .arguments import check_states, new_states, read_sequence, read_step
from .devices import is_anothers, shared
from .errors import describe
from .inputs import NO_INPUTS, at_steps, read_inputs
from .layout import Layout
from .resets import Beginnings, Resets, program_for, read_resets
from .stack import Stack
from .states import as_given


class _Known(NamedTuple):
    """The shape of an x that was checked: the same again takes a look, where checking takes as long as a small step.

    Attributes:
        shape: as the caller gave it, time first if there is time.
        layout: what follows from it.
        stepper: what computes a step; None for a sequence, and where nothing is faster than `Stack.infer`.
    """

    shape: tuple[int, ...]
    layout: Layout
    stepper: Stepper | None = None

    def is_of(self, x: Any) -> bool:
        """Whether x is of this shape, an array of NumPy's that engines can read as it is."""
        return (
            type(x) is np.ndarray
            and x.shape == self.shape
            and x.dtype == self.layout.architecture.dtype
            and x.flags.carray
            and self.layout.xp is np
        )


@dataclass(frozen=True, eq=False, repr=False)
class Frozen:
    """An immutable network for inference, from `Recurrent.freeze`. Calls from several threads at once are safe."""

    _stack: Stack
    _weights: Callable[[], Sequence[LayerWeights]]
    _stacks: dict[Program, Stack] = field(default_factory=dict, init=False)
    _known: dict[str, _Known] = field(default_factory=dict, init=False)

    def __call__(
        self,
        x: Array,
        state: Any = None,
        lengths: Any = None,
        return_sequence: bool = True,
        inputs: Mapping[str, Any] | None = None,
        resets: Array | None = None,
        reset_state: Any = None,
        states: str | None = None,
    ) -> tuple[Any, Any]:
        """Compute a sequence: arguments, results and errors as in `Recurrent.__call__`."""
        stack, known = self._stack, self._known.get("sequence")
        arch = stack.architecture
        if known is not None and lengths is None and known.is_of(x):
            layout = known.layout
        else:
            layout, x = read_sequence(arch, stack.engine.xp, x, lengths)
            if lengths is None and layout.is_time_first:
                self._known["sequence"] = _Known(x.shape, layout)
        check_states(states, return_sequence=return_sequence)
        state, given = new_states(layout, state), self._read_inputs(layout, inputs)
        begun = None
        if resets is not None or reset_state is not None:
            begun = read_resets(layout, resets, reset_state)
            stack = self._stack_for(begun)
        if states is not None:
            kept = stack.engine.xp.array(x, order="C")
            layout.clear_padding(kept)
            tapes = stack.forward(kept, layout.engine_states(state), layout.rows, None, None, given, None, begun)
            return as_given(tuple(map(layout.sequence_out, stack.states(tapes, arch.num_layers - 1)))), as_given(state)
        if return_sequence:
            output = layout.empty_sequence(arch.output_size)
            stack.infer(x, layout.engine_states(state), layout.rows, output, None, given, begun)
            return layout.sequence_out(output), as_given(state)
        last = stack.engine.xp.zeros((layout.batch, arch.output_size), arch.dtype)
        stack.infer(x, layout.engine_states(state), layout.rows, None, last, given, begun)
        return layout.step_out(last), as_given(state)

    def step(
        self,
        x_t: Array,
        state: Any = None,
        inputs: Mapping[str, Any] | None = None,
        resets: Array | None = None,
        reset_state: Any = None,
    ) -> tuple[Array, Any]:
        """Compute one step: arguments, results and errors as in `Recurrent.step`."""
        known, x = self._read_step(x_t)
        layout, stepper = known.layout, known.stepper
        states = new_states(layout, state)
        if resets is not None or reset_state is not None:
            Beginnings(layout, resets, reset_state, steps=False).set(layout.engine_states(states))
        output = layout.empty_step()
        if stepper is not None and inputs is None:
            stepper(x, states, output)
        else:
            self._compute_step(known, x, states, output, self._read_inputs(layout, inputs, steps=False))
        return output, as_given(states)

    def generate(
        self,
        x_0: Array,
        steps: int,
        state: Any = None,
        feedback: Callable[[Array], Array] | None = None,
        inputs: Mapping[str, Any] | None = None,
        resets: Array | None = None,
        reset_state: Any = None,
    ) -> tuple[Array, Any]:
        """Compute a sequence from its first input: arguments, results and errors as in `Recurrent.generate`."""
        arch, xp = self._stack.architecture, self._stack.engine.xp
        steps = check_integer("steps", steps, 0)
        layout, first = read_step(arch, xp, x_0, "x_0")
        x_t = x_0 = layout.step_out(first[0])
        if feedback is not None and not callable(feedback):
            raise TypeError(f"feedback: expected a function from an output to the next input, got {describe(feedback)}")
        if feedback is None and arch.input_size != arch.output_size:
            raise ValueError(
                f"feedback: expected a function from an output (B, {arch.output_axis}) to the next input "
                f"(B, input_size={arch.input_size}), got None, which needs equal sizes"
            )
        states = new_states(layout, state)
        whole = replace(layout, steps=steps)
        given, _ = read_inputs(whole, inputs, copy=True)
        begins = Beginnings(whole, resets, reset_state, steps=True)
        outputs = xp.empty((steps, *x_0.shape[:-1], arch.output_size), arch.dtype)
        for t in range(steps):
            if t > 0:
                x_t = outputs[t - 1] if feedback is None else self._fed_back(feedback(outputs[t - 1].copy()))
                if not isinstance(x_t, xp.ndarray) or (x_t.shape, x_t.dtype) != (x_0.shape, x_0.dtype):
                    raise ValueError(f"feedback: expected to return {describe(x_0)}, like x_0, got {describe(x_t)}")
            known, x = self._read_step(x_t)
            begins.set(layout.engine_states(states), t)
            self._compute_step(known, x, states, outputs[t], at_steps(given, slice(t, t + 1)))
        return outputs.swapaxes(0, 1) if arch.batch_first and outputs.ndim == 3 else outputs, as_given(states)

    def _read_step(self, x_t: Any) -> tuple[_Known, Array]:
        """What is known of a step's input, and the input, contiguous: as it is, or (1, B, I)."""
        known = self._known.get("step")
        if known is not None and known.is_of(x_t):
            return known, x_t
        stack = self._stack
        layout, x = read_step(stack.architecture, stack.engine.xp, x_t)
        shape = x.shape[2:] if layout.unbatched else x.shape[1:]
        if known is None or known.shape != shape:
            known = self._known["step"] = _Known(shape, layout, stack.stepper(layout.batch))
        return known, x if x.flags.c_contiguous else x.copy()

    def _compute_step(self, known: _Known, x: Array, states: tuple[Array, ...], output: Array, inputs: Inputs) -> None:
        """One step; `states` are overwritten, and `output` is written."""
        if known.stepper is not None:
            known.stepper(x, states, output)
            return
        layout, arch = known.layout, self._stack.architecture
        whole, above = x.reshape(1, layout.batch, arch.input_size), output.reshape(1, layout.batch, arch.output_size)
        self._stack.infer(whole, layout.engine_states(states), layout.rows, above, None, inputs)

    def _stack_for(self, resets: Resets | None) -> Stack:
        """The weights for calls with such resets: packed when they are first needed, then kept."""
        if resets is None:
            return self._stack
        arch, engine = self._stack.architecture, self._stack.engine
        program = program_for(arch, resets)
        if program not in self._stacks:
            packed = Stack.pack(arch, engine, self._weights(), copy=True, backward=False, program=program)
            self._stacks[program] = packed
        return self._stacks[program]

    def _read_inputs(self, layout: Layout, inputs: Mapping[str, Any] | None, *, steps: bool = True) -> Inputs:
        if inputs is None and not self._stack.architecture.definition.inputs:
            return NO_INPUTS
        return read_inputs(layout, inputs, steps=steps)[0]

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

"""A network without parameters: its engine, and calls on PyTorch's tensors without autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnncore_kernels.contract import Array, Inputs, LayerWeights, Needs, Rows
from rnncore_kernels.program.transform import NOTHING, Changes
from rnncore_kernels.quiet import quiet

from ..architecture import Architecture, in_order
from ..cotangents import by_direction
from ..draws import Draws
from ..inputs import NO_INPUTS
from ..keyed import PLAIN, How
from ..layers import States
from ..layout import Layout
from ..needs import needed
from ..resets import Resets, changes_for, make_resets
from ..rows import lengths_of
from ..segments import Call as SegmentedCall
from ..segments import Segments
from ..spans import Plan, make_plan
from ..stack import Drop, Stack
from .memory import Memory
from .sequences import Sequences

DTYPES: dict[Any, np.dtype[Any]] = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
"""The dtypes that the engines compute in."""


class Forward(NamedTuple):
    """What a forward pass leaves for the backward pass.

    Attributes:
        kept: of `Network.compute`.
        sequences: how the sequences lie.
        steps, batch: T and B.
        changes: of the program.
    """

    kept: Any
    sequences: Sequences
    steps: int
    batch: int
    changes: Changes


class Network:
    """An architecture on an engine.

    Attributes:
        architecture: what it is.
        names: of the parameters, in the order in which they are given.
        inputs: how many there are.
    """

    def __init__(self, architecture: Architecture, memory: Memory) -> None:
        self.architecture, self.memory, self.engine = architecture, memory, memory.engine
        definition = architecture.definition
        self.names = architecture.layer_names
        self.inputs, self._row_inputs = len(definition.inputs), len(definition.row_inputs)
        self._depth = architecture.num_layers * architecture.num_directions
        self.state_widths = [architecture.units(width) for width in architecture.program.states]
        self._needs: dict[tuple[bool, ...], list[Needs]] = {}

    @property
    def compared_bytes(self) -> int:
        """Most bytes of weights that are kept packed: none on a GPU, where streams would have to know of each other."""
        return self.engine.compared_bytes if self.engine.xp is np else -1

    def infer(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        inputs: Sequence[Tensor],
        stack: Stack,
        sequences: Sequences,
        resets: Resets | None = None,
    ) -> list[Tensor]:
        """The output and the final states; initial states are zeros if there are none."""
        array = self._read(x, sequences)
        above = self._new_output(array, sequences)
        finals = self._new_states(states, array.shape[1])
        stack.infer(array, finals, sequences.rows, above, None, self._read_inputs(inputs), resets)
        return [self._write(above, sequences), *map(self.memory.tensor, finals)]

    def forward(
        self,
        x: Tensor,
        states: Sequence[Tensor],
        inputs: Sequence[Tensor],
        weights: Sequence[LayerWeights],
        sequences: Sequences,
        masks: Sequence[Tensor] = (),
        resets: Resets | None = None,
        how: How = PLAIN,
    ) -> tuple[list[Tensor], Forward]:
        """The outputs, one or every state, and the final states, and what `backward` needs; refers to x and inputs.

        `weights` are the parameters, from `split`. `masks` are of dropout, of what layers read from the second on, or
        one number, the key of what the network draws itself, see `Draws`.
        """
        array = self._read(x, sequences)
        steps, batch, _ = array.shape
        plan = None if how is PLAIN else self._plan(array, sequences, how)
        above = None if how.every else self._new_output(array, sequences)
        finals = self._new_states(states, batch)
        arch, given = self.architecture, self._read_inputs(inputs)
        draws: Draws | None = None
        drop: Callable[[slice], Drop] | None = None
        if masks and masks[0].dtype == torch.int64:
            draws = Draws(arch, self.engine, int(masks[0]))
            drop = draws.drop_at
            if arch.input_dropout and plan is None:
                array = array.copy()
        elif masks:
            drop = self._drop_by([self._read(mask, sequences) for mask in masks])
        changes = NOTHING
        if not (resets is None and how is PLAIN and draws is None):
            changes = changes_for(resets, states=how.every, flow=how.flow, drawn=draws is not None)
        if plan is None:
            kept = self.compute(
                weights, array, finals, sequences.rows, above, given, resets, changes,
                draws=draws, drop=None if drop is None else drop(slice(0, steps)),
            )  # fmt: skip
            outputs = kept[0].states(kept[1][-1], self.architecture.num_layers - 1) if above is None else [above]
        else:
            widths = [width * arch.num_directions for width in self.state_widths] if above is None else []
            every = tuple([self.engine.xp.empty((steps, batch, width), arch.dtype) for width in widths])
            stack = self.pack(weights, changes, copy=True, backward=True)
            call = SegmentedCall(plan[0], array, given, resets, draws, drop)
            kept = stack, Segments.forward(stack, call, plan[1], finals, above, None, every)
            outputs = every if above is None else [above]
        results = [*[self._write(o, sequences) for o in outputs], *map(self.memory.tensor, finals)]
        return results, Forward(kept, sequences, steps, batch, changes)

    def backward(
        self,
        tape: Forward,
        grad_outputs: Sequence[Tensor | None],
        grad_states: Sequence[Tensor | None],
        wanted: tuple[bool, ...] | None = None,
        flow: Sequence[Tensor] = (),
    ) -> list[Tensor | None]:
        """Gradients of x, of the initial states and those of resets, of inputs and parameters: the wanted, or all.

        `flow` are written, (L*D, T) for each state, where the forward pass was asked for them.
        """
        kept, sequences, steps, batch, changes = tape
        above, *others = [None if grad is None else self._read(grad, sequences) for grad in grad_outputs]
        every = by_direction(self.engine.xp, self.architecture, others, steps, batch) if others else []
        states = self._zeros(batch)
        for number, grad in enumerate(grad_states):
            if grad is not None:
                states[number][...] = self.memory.array(grad.detach())
        begun = self._zeros(batch) if changes.reset_state else None
        needs = None if wanted is None else self._needed(wanted)
        norms = tuple(map(self.memory.array, flow)) or None
        for each in norms or ():
            each[...] = 0  # of steps without gradients
        grad_x, weights, inputs = self.compute_back(kept, above, states, needs, begun, every, norms)
        arrays = [*states, *(begun or ()), *inputs.rows, *inputs.units, *in_order(weights)]
        tensor = self.memory.tensor
        if wanted is None:
            return [self._write(grad_x, sequences), *map(tensor, arrays)]
        of_x, *of_others = wanted
        return [
            self._write(grad_x, sequences) if of_x else None,
            *[tensor(a) if each else None for a, each in zip(arrays, of_others, strict=True)],
        ]

    def _plan(self, x: Array, sequences: Sequences, how: How) -> tuple[Layout, Plan] | None:
        """How a call is divided, see `Recurrent.forward`; None where it is not."""
        steps, batch, _ = x.shape
        rows, ends = sequences.rows, lengths_of(sequences.rows, batch)
        layout = Layout(
            self.architecture, self.engine.xp, x.shape, steps, batch, unbatched=False, lengths=ends, rows=rows
        )
        plan = make_plan(layout, how.burn_in, how.truncate, how.recompute, self.engine.min_block_steps)
        return None if plan is None else (layout, plan)

    def compute(
        self,
        weights: Sequence[LayerWeights],
        x: Array,
        states: States,
        rows: Rows,
        output: Array | None,
        inputs: Inputs,
        resets: Resets | None,
        changes: Changes,
        *,
        draws: Draws | None,
        drop: Drop | None,
    ) -> Any:
        """As `Stack.forward`; returns what `compute_back` needs. Without an output, every state is an output."""
        stack = self.pack(weights, changes, copy=True, backward=True)
        return stack, stack.forward(x, states, rows, output, None, inputs, resets, draws=draws, drop=drop)

    def pack(self, weights: Sequence[LayerWeights], changes: Changes, *, copy: bool, backward: bool = False) -> Stack:
        """See `Stack.pack`."""
        return Stack.pack(self.architecture, self.engine, weights, copy=copy, backward=backward, changes=changes)

    def compute_back(
        self,
        kept: Any,
        grad_output: Array | None,
        grad_states: States,
        needs: Sequence[Needs] | None,
        grad_resets: States | None,
        grad_every: Sequence[Sequence[Array]],
        flow: States | None,
    ) -> tuple[Array, list[LayerWeights], Inputs]:
        """See `Stack.backward`."""
        stack, layers = kept
        if isinstance(layers, Segments):
            return layers.backward(stack.parts(grad_output), grad_states, grad_resets, grad_every, flow)
        return stack.backward(layers, stack.parts(grad_output), grad_states, needs, grad_resets, grad_every, flow)  # type: ignore[no-any-return]

    def make_resets(self, flags: Tensor, states: Sequence[Tensor]) -> Resets:
        """Where rows begin anew, (T, B) of bool, and with which states, (L*D, B, width) each; none for zeros."""
        copies = [self._copy(state) for state in states]
        return make_resets(self.engine.xp, self.memory.array(flags), copies or None, self.architecture.dtype)

    def split(self, arrays: Sequence[Array]) -> list[LayerWeights]:
        """Parameters in the order of `names` by layer and direction."""
        return self.architecture.by_layer(dict(zip(self.names, arrays, strict=True)))

    def layers(self, weights: Sequence[Tensor]) -> list[LayerWeights]:
        """The same of tensors."""
        return self.split([self.memory.array(w.detach()) for w in weights])

    def _needed(self, wanted: tuple[bool, ...]) -> list[Needs]:
        """Which gradients of layers and directions are needed for those that are wanted, in the order of `backward`."""
        needs = self._needs.get(wanted)
        if needs is None:
            needs = self._needs[wanted] = needed(self.architecture, wanted[0], wanted[len(wanted) - len(self.names) :])
        return needs

    def _drop_by(self, masks: Sequence[Array]) -> Callable[[slice], Drop]:
        """Dropout of what layers read from the second on in some steps, by masks of all."""
        scale = 1 / (1 - self.architecture.dropout) if self.architecture.dropout < 1 else 0.0

        def at(steps: slice) -> Drop:
            @quiet
            def drop(layer: int, values: Array) -> Array:
                return values * masks[layer - 1][steps] * scale if layer else values

            return drop

        return at

    def _read(self, values: Tensor, sequences: Sequences) -> Array:
        """A sequence as engines take it, (T, B, ...)."""
        array = self.memory.array(sequences.padded(values))
        return array.swapaxes(0, 1) if sequences.batch_first else array

    def _write(self, array: Array, sequences: Sequences) -> Tensor:
        """The inverse of `_read`."""
        return sequences.as_given(self.memory.tensor(array.swapaxes(0, 1) if sequences.batch_first else array))

    def _new_output(self, x: Array, sequences: Sequences) -> Array:
        """A new (T, B, D*P) array that lies in memory as the caller will see it."""
        (steps, batch, _), empty = x.shape, self.engine.xp.empty
        width, dtype = self.architecture.output_size, self.architecture.dtype
        if sequences.batch_first:
            return empty((batch, steps, width), dtype).swapaxes(0, 1)  # type: ignore[no-any-return]
        return empty((steps, batch, width), dtype)  # type: ignore[no-any-return]

    def _zeros(self, batch: int) -> States:
        zeros = self.engine.xp.zeros
        return tuple([zeros((self._depth, batch, width), self.architecture.dtype) for width in self.state_widths])

    def _new_states(self, states: Sequence[Tensor], batch: int) -> States:
        return tuple([self._copy(s) for s in states]) if states else self._zeros(batch)

    def _copy(self, state: Tensor) -> Array:
        return self.engine.xp.array(self.memory.array(state.detach()), order="C")  # type: ignore[no-any-return]

    def _read_inputs(self, inputs: Sequence[Tensor]) -> Inputs:
        """Inputs, (T, B) those of a row, then (T, B, H) those with units."""
        if not inputs:
            return NO_INPUTS
        arrays = [
            self.memory.array((i if i.dim() == 2 or i.stride(-1) == 1 else i.contiguous()).detach()) for i in inputs
        ]
        return Inputs(tuple(arrays[: self._row_inputs]), tuple(arrays[self._row_inputs :]))

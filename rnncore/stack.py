"""All layers of a network: in which order they are computed, and what flows between them.

Arrays here have the engine's form: sequences (T, B, ...), states (L*D, B, width).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnncore_kernels.contract import (
    Array,
    BackwardRun,
    Engine,
    Inputs,
    LayerGradients,
    LayerWeights,
    Needs,
    Prepared,
    Rows,
)
from rnncore_kernels.quiet import quiet

from .architecture import Architecture
from .draws import Draws
from .inputs import at_steps
from .layers import Lane, Layers, LayerTape, States, whole
from .options import check_integer
from .resets import Resets
from .rows import block
from .tape_memory import TapeMemory

Drop = Callable[[int, Array], Array]
"""`drop(layer, values)`: dropout of the input of a layer, or of its cotangent."""

ALL = Needs()

BLOCK_BYTES = 1 << 17
"""Size of the sequences between the layers of a deep network in one direction, where the engine asks for no more."""

BLOCKS = 8
"""Number of blocks of a deep network in one direction: with few, its layers wait for each other's first and last."""

SHORT_CALL, LONG_CALL = 10_000_000, 20_000_000_000
"""FLOPs of a call that costs little beside its work, and of one that takes some tenths of a second."""


class Stack(Layers):
    """What a network computes: all its layers, in inference and training."""

    def infer(
        self,
        x: Array,
        states: States,
        rows: Rows,
        output: Array | None,
        last: Array | None,
        inputs: Inputs,
        resets: Resets | None = None,
    ) -> None:
        """Run all layers.

        Args:
            x: (T, B, I).
            states: the initial states, overwritten with the final ones.
            rows: when rows end.
            output: (T, B, D*P), written; None where nobody wants it.
            last: (B, D*P), the output at each row's last step, written for rows that have one; None likewise.
            inputs: of every layer and direction.
            resets: where rows begin anew; the weights must be packed for it.
        """
        if self.architecture.num_layers == 1 and x.shape[0] * x.shape[1] <= self._most_rows:
            # The same as below, for which a short call would take a fifth longer.
            self.engine.infer(self._runs(0, x, states, output, last, rows, inputs, resets))
            return
        arch, block_steps = self.architecture, self._block_steps(x)
        blocks = [slice(first, first + block_steps) for first in range(0, len(x), block_steps)]
        top = arch.num_layers - 1
        outputs: list[Any] = [None] * arch.num_layers
        # Layer k computes a block while layer k-1 computes the next: the runs of one call are independent.
        for turn in range(len(blocks) + top if blocks else 0):
            runs, made = [], outputs.copy()
            for layer in range(max(0, turn - len(blocks) + 1), min(top, turn) + 1):
                span = blocks[turn - layer]
                below = x[span] if layer == 0 else outputs[layer - 1]
                above: Array | None = None
                if layer < top:
                    above = self.empty_output(below)
                elif output is not None:
                    above = output[span]
                here = (last if layer == top else None, block(rows, span), at_steps(inputs, span))
                resets_here = None if resets is None else resets.at_steps(span)
                runs += self._runs(layer, below, states, above, *here, resets_here)
                made[layer] = above
            self.engine.infer(runs)
            outputs = made

    def forward(
        self,
        x: Array,
        states: States,
        rows: Rows,
        output: Array | None,
        last: Array | None,
        inputs: Inputs,
        resets: Resets | None = None,
        memory: TapeMemory | None = None,
        draws: Draws | None = None,
        drop: Drop | None = None,
        lane: Lane | None = None,
    ) -> tuple[LayerTape, ...]:
        """As `infer`, keeping what `backward` needs, in `memory` if there is any.

        `x`, `inputs` and `resets` must not change while that lives, and x must be 0 past a row's end. `draws` are for
        programs that draw. `drop(layer, values)` is dropout of the input of a layer, and of its cotangent: it may write
        to them, and returns the result. With a lane it is computed alone: x is what its first layer reads, and `output`
        that of its last one.
        """
        arch, tapes = self.architecture, []
        lane = lane or whole(arch)
        below: Any = x
        for layer in lane.layers:
            drop_here = None if drop is None else functools.partial(drop, layer)
            if drop_here is not None:
                below = drop_here(below)
            top = layer == lane.layers[-1]
            above = output if top else self.empty_output(below) if memory is None else memory.between[layer]
            last_here = last if layer == arch.num_layers - 1 else None
            runs = self._runs(
                layer, below, states, above, last_here, rows, inputs, resets, memory, draws, lane.directions
            )
            tapes.append(LayerTape(self.engine.forward(runs), [run.inputs for run in runs], drop_here))
            below = above
        return tuple(tapes)

    def recall(
        self,
        x: Array,
        states: States,
        rows: Rows,
        inputs: Inputs,
        resets: Resets | None,
        memory: TapeMemory,
        draws: Draws | None = None,
        drop: Drop | None = None,
    ) -> tuple[LayerTape, ...]:
        """What `forward` returned for the same, from the memory that it was given; may overwrite the states."""
        below, tapes = x if drop is None else drop(0, x), []
        for layer, above in enumerate([*memory.between, None]):
            runs = self._runs(layer, below, states, None, None, rows, inputs, resets, memory, draws)
            drop_here = None if drop is None else functools.partial(drop, layer)
            tapes.append(LayerTape(self.engine.recall(runs), [run.inputs for run in runs], drop_here))
            below = x if above is None else above
        return tuple(tapes)

    def backward(
        self,
        tapes: Sequence[LayerTape],
        grad_output: Sequence[Array | None],
        grad_states: States,
        needs: Sequence[Needs] | None = None,
        grad_resets: States | None = None,
        grad_every: Sequence[Sequence[Array]] = (),
        flow: States | None = None,
        lane: Lane | None = None,
    ) -> tuple[Array, list[LayerWeights], Inputs]:
        """Gradients: of x, of the weights of each layer and direction in the order of the states, and of the inputs.

        Args:
            tapes: of the layers, from `forward`.
            grad_output: (T, B, P) cotangent of each direction's output; None is 0.
            grad_states: cotangents of the final states, overwritten with those of the initial states.
            needs: which gradients of each layer and direction are needed; None for all.
            grad_resets: cotangents of the states that rows began anew with, (L*D, B, width) each, added to; None where
                these were zeros.
            grad_every: (T, B, width) cotangents of every state but the output, of each direction of the last layer,
                whose program has them; empty where it has none.
            flow: (L*D, T) norms of the cotangent of each state at each step, written; None where nobody wants them.
            lane: that of `forward`.
        """
        arch = self.architecture
        lane = lane or whole(arch)
        gradients: list[LayerWeights] = []
        of_inputs: list[Inputs] = []
        grad: Any = None
        for layer, tape in zip(reversed(lane.layers), reversed(tapes), strict=True):
            runs = []
            parts = grad_output if layer == lane.layers[-1] else self.parts(grad)
            of_ready: list[Array] = []
            for number, (direction, residuals, part) in enumerate(
                zip(lane.directions, tape.residuals, parts, strict=True)
            ):
                index = arch.state_index(layer, direction)
                states = tuple([g[index] for g in grad_states])
                needed = ALL if needs is None else needs[index]
                given, inputs = tape.inputs[number], None
                if grad_every and layer == arch.num_layers - 1:
                    inputs = self._with_cotangents(given, grad_every[number], flow)
                grad_units: tuple[Array, ...] = ()
                if self._is_ready(layer):
                    of_ready.append(self.engine.xp.empty((*given.units[0].shape[:2], arch.x_size), arch.dtype))
                    grad_units = self._gates_of(of_ready[-1])
                run = BackwardRun(self.packed[index], residuals, part, states, needed, inputs, grad_units)
                runs.append(run)
            here = self.engine.backward(runs)
            if of_ready:
                here = [self._with_x(*each) for each in zip(here, of_ready, strict=True)]
            grad = here[0].x if len(here) == 1 else _added(here[0].x, here[1].x)
            if (drop := tape.drop) is not None:
                grad = drop(grad)
            gradients = [*(g.weights for g in here), *gradients]
            of_inputs += [self._given(g.inputs) for g in here]
            if grad_resets is not None or flow is not None:
                self._sum(here, layer, lane.directions, grad_resets or (), flow or ())
        return grad, gradients, _summed(of_inputs)

    @quiet
    def _sum(
        self, here: Sequence[LayerGradients], layer: int, directions: range, grad_resets: States, flow: States
    ) -> None:
        """Add the cotangents of the states that rows began anew with, and write the norms of all, of a layer."""
        cell = self.architecture.definition
        count = len(cell.states)
        for direction, g in zip(directions, here, strict=True):
            index = self.architecture.state_index(layer, direction)
            of_resets = g.inputs.units[len(cell.unit_inputs) :][:count]
            for target, values in zip(grad_resets, of_resets, strict=False):
                target[index] += values.sum(axis=0)
            for target, values in zip(flow, g.inputs.units[-count:], strict=False):
                target[index] = self.engine.xp.sqrt((values * values).sum(axis=(1, 2)))

    def prepare(self, steps: int, batch: int) -> Prepared | None:
        """A function that does with less around it what `infer` does, where there is one."""
        arch = self.architecture
        if arch.num_layers > 1 or not arch.is_forward or steps * batch > self._most_rows or self.engine.xp is not np:
            return None
        return self.engine.prepare(self.packed[0], steps, batch)

    def _block_steps(self, x: Array) -> int:
        """Steps that a layer computes in one call.

        The blocks of a deep network rise through its layers together, so that what is between them need not be a whole
        sequence. Not every engine's call can be interrupted, so a single layer has blocks too, if large ones.
        """
        arch = self.architecture
        steps, batch = max(1, int(x.shape[0])), max(1, int(x.shape[1]))
        if not arch.is_forward:
            return steps
        if arch.num_layers == 1:
            return max(self.engine.min_block_steps, self._most_rows // batch)
        step_flops = 2 * batch * self._weights
        step_bytes = batch * arch.output_size * arch.dtype.itemsize
        wanted = max(-(-steps // BLOCKS), SHORT_CALL // step_flops)
        return max(self.engine.min_block_steps, min(BLOCK_BYTES // step_bytes, wanted))

    @functools.cached_property
    def _most_rows(self) -> int:
        """Rows of all steps together that a layer computes in one call which can be interrupted soon enough."""
        return LONG_CALL // (2 * self._weights)

    @functools.cached_property
    def _weights(self) -> int:
        """Number of weights of the first layer."""
        return max(1, sum(math.prod(parameter.shape) for parameter in self.architecture.layer_parameters(0)))


@quiet
def _added(total: Array, part: Array) -> Array:
    total += part
    return total


def _summed(inputs: Sequence[Inputs]) -> Inputs:
    """The sums of what layers and directions give for each input."""
    first, *others = inputs
    for other in others:
        for total, part in zip((*first.rows, *first.units), (*other.rows, *other.units), strict=True):
            _added(total, part)
    return first


def impl(architecture: Architecture, engine: Engine[Any, Any], steps: int, batch: int, *, training: bool) -> str:
    """See `Recurrent.impl`."""
    steps, batch = check_integer("steps", steps, 1), check_integer("batch", batch, 1)
    return engine.impl(architecture.programs()[0], architecture.sizes(0), steps, batch, training=training)

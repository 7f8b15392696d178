"""The layers of a network: their packed weights, and their runs, one in each direction.

Arrays here have the engine's form: sequences (T, B, ...), states (L*D, B, width).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from rnncore_kernels.contract import Array, Engine, Inputs, LayerGradients, LayerWeights, Rows, Run
from rnncore_kernels.program.program import Program
from rnncore_kernels.program.transform import NOTHING, Changes

from .architecture import Architecture
from .draws import Draws
from .resets import Resets
from .tape_memory import TapeMemory

States = tuple[Array, ...]


class Lane(NamedTuple):
    """Layers and directions that are computed apart from the others, one after the other."""

    layers: range
    directions: range

    def indices(self, architecture: Architecture) -> list[int]:
        """Their places in a state."""
        return [architecture.state_index(layer, direction) for layer in self.layers for direction in self.directions]


def whole(architecture: Architecture) -> Lane:
    """All layers and directions."""
    return Lane(range(architecture.num_layers), range(architecture.num_directions))


class LayerTape(NamedTuple):
    """What the backward pass needs of one layer.

    Attributes:
        residuals: of each direction that was computed.
        inputs: of each direction.
        drop: the same as it was with the layer's input is done with its cotangent; None for nothing.
    """

    residuals: list[Any]
    inputs: list[Inputs]
    drop: Callable[[Array], Array] | None = None


@dataclass(frozen=True)
class Layers:
    """The layers of a network: an architecture on an engine, with one set of packed weights.

    Attributes:
        packed: weights of each layer and direction.
        programs: what each layer computes.
    """

    architecture: Architecture
    engine: Engine[Any, Any]
    packed: tuple[Any, ...]
    programs: tuple[Program, ...]

    @classmethod
    def pack(
        cls,
        architecture: Architecture,
        engine: Engine[Any, Any],
        weights: Sequence[LayerWeights],
        *,
        copy: bool,
        backward: bool,
        changes: Changes = NOTHING,
    ) -> Self:
        """Pack the weights of each layer and direction; `copy` and `backward` as in `Engine.pack`."""
        programs, packed = architecture.programs(changes), []
        for index, layer in enumerate(weights):
            number = index // architecture.num_directions
            sizes = architecture.sizes(number)
            packed.append(engine.pack(programs[number], sizes, layer, copy=copy, backward=backward))
        return cls(architecture, engine, tuple(packed), programs)

    def parts(self, array: Array | None) -> list[Array | None]:
        """The part of each direction, (..., P), in (..., D*P); None where there is no array."""
        width, directions = self.architecture.output_width, self.architecture.num_directions
        if array is None or directions == 1:
            return [array] * directions
        return [array[..., :width], array[..., width:]]

    def _runs(
        self,
        layer: int,
        below: Array,
        states: States,
        above: Array | None,
        last: Array | None,
        rows: Rows,
        inputs: Inputs,
        resets: Resets | None = None,
        memory: TapeMemory | None = None,
        draws: Draws | None = None,
        directions: range | None = None,
    ) -> list[Run[Any]]:
        """The runs of a layer, one for each direction."""
        runs, outputs, lasts = [], self.parts(above), self.parts(last)
        for direction in directions or range(self.architecture.num_directions):
            output, last_here = outputs[direction], lasts[direction]
            index = self.architecture.state_index(layer, direction)
            state, reverse = tuple([s[index] for s in states]), self.architecture.runs_back(direction)
            given = inputs if draws is None else draws.inputs(inputs, below, layer, direction)
            given = given if resets is None else resets.inputs(given, index, reverse=reverse)
            x = below
            if self._is_ready(layer):
                x, given = below[..., :0], Inputs(given.rows, (*self._gates_of(below), *given.units))
            given = self._with_zeros(given, layer, below)
            tape = None if memory is None else memory.runs[index]
            runs.append(Run(self.packed[index], x, state, output, last_here, rows, reverse, given, tape))
        return runs

    def _is_ready(self, layer: int) -> bool:
        """Whether a layer reads the gates' parts of x, which are unit inputs, see `transform.with_ready_x`."""
        return layer == 0 and self.architecture.input_size is None

    def _gates_of(self, x: Array) -> tuple[Array, ...]:
        """Views of the gates' parts, (T, B, H) each, of (T, B, Gx*H)."""
        hidden = self.architecture.hidden_size
        return tuple([x[..., first : first + hidden] for first in range(0, x.shape[-1], hidden)])

    def _with_x(self, gradients: LayerGradients, grad_x: Array) -> LayerGradients:
        """The gradients of a run whose unit inputs begin with the gates' parts of x."""
        rows, units = gradients.inputs
        inputs = Inputs(rows, units[len(self.architecture.program.x_gates) :])
        return LayerGradients(grad_x, gradients.weights, inputs)

    def _with_zeros(self, inputs: Inputs, layer: int, below: Array) -> Inputs:
        """The inputs of a run, and zeros for those that are cotangents, or stand for them."""
        missing = self.programs[layer].unit_inputs[len(inputs.units) :]
        if not missing:
            return inputs
        xp, arch = self.engine.xp, self.architecture
        shapes = [(*below.shape[:2], arch.units(width)) for width in missing]
        # The last axis is contiguous, as engines expect.
        rows = [xp.broadcast_to(xp.zeros(shape[2], arch.dtype), shape) for shape in shapes]
        return Inputs(inputs.rows, (*inputs.units, *rows))

    def _with_cotangents(self, inputs: Inputs, cotangents: Sequence[Array], flow: States | None) -> Inputs:
        """The inputs of a run, with cotangents in their places."""
        end = len(inputs.units) - (0 if flow is None else len(self.architecture.definition.states))
        first = end - len(cotangents)
        return Inputs(inputs.rows, (*inputs.units[:first], *cotangents, *inputs.units[end:]))

    def states(self, tape: LayerTape, layer: int, directions: range | None = None) -> States:
        """(T, B, width) of every state behind each step, of all or some directions of a layer; 0 past a row's end."""
        xp, first = self.engine.xp, self.architecture.state_index(layer, 0)
        numbered = zip(directions or range(self.architecture.num_directions), tape.residuals, strict=True)
        parts = [self.engine.states(self.packed[first + d], residuals) for d, residuals in numbered]
        if len(parts) == 1:
            return tuple(parts[0])
        return tuple(xp.concatenate(of_state, axis=-1) for of_state in zip(*parts, strict=True))

    def _given(self, inputs: Inputs) -> Inputs:
        """The gradients of what the caller gave, without those of resets."""
        cell = self.architecture.definition
        return Inputs(inputs.rows[: len(cell.row_inputs)], inputs.units[: len(cell.unit_inputs)])

    def empty_output(self, below: Array) -> Array:
        """A new array (T, B, D*P) for the output of a layer that reads (T, B, ...)."""
        arch = self.architecture
        empty: Array = self.engine.xp.empty((*below.shape[:2], arch.output_size), arch.dtype)
        return empty

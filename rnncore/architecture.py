"""A recurrent network by its sizes and options, and all shapes and names that follow from them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from rnncore_kernels.cells import Cell
from rnncore_kernels.cells.symbol import HIDDEN, Width
from rnncore_kernels.contract import Array, LayerWeights, Sizes
from rnncore_kernels.program.program import Program, units_of
from rnncore_kernels.program.transform import NOTHING, Changes

from .definition import Definition

PYTORCH_OPTIONS = {"num_layers": 1, "bidirectional": False, "bias": True, "batch_first": False, "dropout": 0.0}
"""The options that a network shares with PyTorch's modules, by name, and their defaults."""

REGULARISATION: dict[str, Any] = {"zoneout": 0.0, "recurrent_dropout": 0.0, "input_dropout": 0.0, "variational": False}
"""What acts in training beside PyTorch's dropout, by name, and the defaults."""

OPTIONS = {**PYTORCH_OPTIONS, "direction": "forward", "heads": 1, "learn_initial_state": False, "compute": None}
OPTIONS |= REGULARISATION
"""All options of a network by name, and their defaults."""


class Parameter(NamedTuple):
    """A parameter of one layer and direction.

    Attributes:
        name: without its ending, which says of which layer and direction it is.
        shape: of the array.
        axes: the shape in words, for messages.
        initial: the number that it begins with; None where its values are drawn.
    """

    name: str
    shape: tuple[int, ...]
    axes: str
    initial: float | None = None


@dataclass(frozen=True, eq=False)
class Architecture:
    """What a network is, apart from its parameters and the backend that runs it; for the fields see `Recurrent`.

    `initial_batch` is B where the network's own initial states are for batches of B rows alone, else None. `precision`
    is that of products, None where it is the dtype's.
    """

    definition: Definition
    input_size: int | None
    hidden_size: int
    num_layers: int
    bidirectional: bool
    bias: bool
    batch_first: bool
    dropout: float
    dtype: np.dtype[Any]
    direction: str = "forward"
    heads: int = 1
    learn_initial_state: bool = False
    initial_batch: int | None = None
    precision: str | None = None
    zoneout: float | dict[str, float] = 0.0
    recurrent_dropout: float = 0.0
    input_dropout: float = 0.0
    variational: bool = False

    @property
    def cell(self) -> Cell:
        """The cell, an instance of Cell also where its name was given."""
        return self.definition.cell

    @property
    def program(self) -> Program:
        """The cell, as engines run it."""
        return self.definition.program

    @functools.cached_property
    def num_directions(self) -> int:
        """D, 1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def is_forward(self) -> bool:
        """Whether all layers run from the first step to the last, and nowhere back."""
        return not self.bidirectional and self.direction == "forward"

    @property
    def compute(self) -> str:
        """The precision of products, "float32" say."""
        return self.precision or self.dtype.name

    @functools.cached_property
    def draws(self) -> bool:
        """Whether training draws random numbers."""
        return self.definition.draws or self.dropout > 0 or self.input_dropout > 0

    def without_draws(self) -> Architecture:
        """The same, whose training computes what inference does."""
        return replace(self, definition=self.definition.without_draws(), dropout=0.0, input_dropout=0.0)

    def input_rate(self, layer: int) -> float:
        """Probability of dropping an element of what a layer reads."""
        return self.dropout if layer else self.input_dropout

    def runs_back(self, direction: int) -> bool:
        """Whether a direction, 0 or 1, runs from the last step to the first."""
        return direction == 1 or self.direction == "reverse"

    @functools.cached_property
    def output_width(self) -> int:
        """P, the width of the output of one direction: that of the first state."""
        return self.units(self.program.output_width)

    @functools.cached_property
    def output_size(self) -> int:
        """D*P, the width of the output."""
        return self.num_directions * self.output_width

    def units(self, width: Width) -> int:
        """The number of units of a width."""
        return units_of(width, self.hidden_size)

    def programs(self, changes: Changes = NOTHING) -> tuple[Program, ...]:
        """What each layer computes with changes: every state has a cotangent in the last one alone."""
        top = self.num_layers - 1
        each = [changes if layer == top else changes._replace(states=False) for layer in range(self.num_layers)]
        each[0] = each[0]._replace(ready=self.input_size is None)
        return tuple([self.definition.changed(own) for own in each])

    @property
    def x_size(self) -> int:
        """Width of x: `input_size`, or that of the gates' parts of x side by side where these are given."""
        return len(self.program.x_gates) * self.hidden_size if self.input_size is None else self.input_size

    @property
    def x_axis(self) -> str:
        """The last axis of x and its length, for messages."""
        name = "input_size" if self.input_size is not None else f"{len(self.program.x_gates)}*hidden_size"
        return f"{name}={self.x_size}"

    def layer_input_size(self, layer: int) -> int:
        """Width of what the input weights of a layer multiply: x, then the output of the layer below; 0 for none."""
        return self.output_size if layer else self.input_size or 0

    def sizes(self, layer: int) -> Sizes:
        """A layer's sizes, for an engine."""
        return Sizes(self.hidden_size, self.layer_input_size(layer), self.dtype, self.heads, self.precision)

    def state_shapes(self, batch: int) -> list[tuple[int, int, int]]:
        """(L*D, B, width) of each state, in the order of `state_index`."""
        return [(depth, batch, width) for depth, width in self._state_sizes]

    @functools.cached_property
    def _state_sizes(self) -> list[tuple[int, int]]:
        """L*D and the width of each state."""
        return [(self.num_layers * self.num_directions, self.units(width)) for width in self.program.states]

    def state_index(self, layer: int, direction: int) -> int:
        """Place of a layer and direction in a state, and in all lists of layers and directions."""
        return layer * self.num_directions + direction

    def parameter_suffixes(self) -> list[str]:
        """Ends of the parameters' names, by layer and direction in the order of the state: l0, l0_reverse, l1, ..."""
        ends = ("", "_reverse")[: self.num_directions]
        return [f"l{layer}{end}" for layer in range(self.num_layers) for end in ends]

    def layer_parameters(self, layer: int) -> Iterator[Parameter]:
        """The parameters of each direction of a layer, in PyTorch's order, and then the cell's own."""
        cell, program, hidden = self.definition, self.program, self.hidden_size
        gates = {"ih": len(program.x_gates), "hh": len(program.h_gates)}
        if layer == 0 and self.input_size is None:
            gates["ih"] = 0
        sides = {side: count for side, count in gates.items() if count}
        widths = {"ih": self.layer_input_size(layer), "hh": self.output_width // self.heads}
        of_head = f"/{self.heads}" if self.heads > 1 else ""
        words = {"ih": "input_size of the layer", "hh": f"{self.width_name(program.output_width)}{of_head}"}
        for side, count in sides.items():
            yield Parameter(f"weight_{side}", (count * hidden, widths[side]), f"({count}*hidden_size, {words[side]})")
        for side, count in sides.items() if self.bias else ():
            yield Parameter(f"bias_{side}", (count * hidden,), f"({count}*hidden_size,)")
        for name, (result, operand) in zip(cell.projections, program.projections, strict=True):
            axes = f"({self.width_name(result)}, {self.width_name(operand)})"
            yield Parameter(f"weight_{name}", (self.units(result), self.units(operand)), axes)
        for name in cell.units:
            yield Parameter(name, (hidden,), "(hidden_size,)", cell.initial.get(name))
        for name in cell.scalars:
            yield Parameter(name, (), "no axes", cell.initial.get(name))

    def parameters(self) -> dict[str, Parameter]:
        """All parameters by their whole names: of layers and directions in their order, then the initial states."""
        of_layers = {
            f"{parameter.name}_{suffix}": parameter
            for index, suffix in enumerate(self.parameter_suffixes())
            for parameter in self.layer_parameters(index // self.num_directions)
        }
        return of_layers | {parameter.name: parameter for parameter in self._initial_parameters()}

    def _initial_parameters(self) -> Iterator[Parameter]:
        """The network's own initial states, which begin as zeros."""
        batch = [] if self.initial_batch is None else [self.initial_batch]
        first = f"{'2*' * self.bidirectional}num_layers{', B' * len(batch)}"
        sizes = zip(self.initial_names, self.program.states, self._state_sizes, strict=False)
        for name, width, (depth, units) in sizes:
            yield Parameter(name, (depth, *batch, units), f"({first}, {self.width_name(width)})", 0.0)

    @functools.cached_property
    def initial_names(self) -> tuple[str, ...]:
        """Names of the parameters that are the network's own initial states; none where these are zeros."""
        return tuple([f"{name}_0" for name in self.definition.states]) if self.learn_initial_state else ()

    def initial_states(self, named: Mapping[str, Array]) -> list[Array] | None:
        """The network's own initial states among its parameters, (L*D, B or 1, width) each; None where they are zeros.

        These are views.
        """
        if not self.initial_names:
            return None
        arrays = [named[name] for name in self.initial_names]
        return arrays if self.initial_batch is not None else [array[:, None] for array in arrays]

    def by_layer(self, named: Mapping[str, Array]) -> list[LayerWeights]:
        """Parameters, or their gradients, of each layer and direction in the order of the state, from those by name."""
        get = named.get
        return [
            LayerWeights(*map(get, gates), *[tuple([named[name] for name in group]) for group in groups])  # type: ignore[arg-type]
            for gates, groups in self._names_by_layer
        ]

    @functools.cached_property
    def _names_by_layer(self) -> list[tuple[list[str], list[list[str]]]]:
        """Names of the parameters of each layer and direction: those of gates, then of matrices, units and scalars."""
        cell = self.definition
        groups = ([f"weight_{name}" for name in cell.projections], cell.units, cell.scalars)
        return [
            (
                [f"{n}_{suffix}" for n in LayerWeights._fields[:4]],
                [[f"{n}_{suffix}" for n in names] for names in groups],
            )
            for suffix in self.parameter_suffixes()
        ]

    @functools.cached_property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the parameters of layers, in the order of `parameters`."""
        return tuple([name for name in self.parameters() if name not in self.initial_names])

    def by_name(self, layers: Sequence[LayerWeights]) -> dict[str, Array]:
        """The inverse of `by_layer`, in the order of `parameters`."""
        return dict(zip(self.layer_names, in_order(layers), strict=True))

    def width_name(self, width: Width) -> str:
        """A width in words, for messages."""
        return "hidden_size" if width == HIDDEN else str(self.units(width))

    def axis(self, width: Width) -> str:
        """An axis of a width and its length, for messages."""
        return f"{'hidden_size' if width == HIDDEN else 'width'}={self.units(width)}"

    @property
    def output_axis(self) -> str:
        """The last axis of the output and its length, for messages."""
        return self.sequence_axis(self.program.output_width)

    def sequence_axis(self, width: Width) -> str:
        """The last axis of a sequence of values of a width, of all directions, and its length, for messages."""
        name = "hidden_size" if width == HIDDEN else "width"
        return f"{'2*' if self.bidirectional else ''}{name}={self.num_directions * self.units(width)}"

    def describe(self) -> str:
        """The constructor's arguments, those that differ from their defaults."""
        parts = [repr(self.cell), f"input_size={self.input_size}", f"hidden_size={self.hidden_size}"]
        options = {**options_of(self), "compute": self.precision}
        parts += [f"{k}={v!r}" for k, v in options.items() if v != OPTIONS[k]]
        return ", ".join([*parts, f"dtype={self.dtype.name!r}"])


def in_order(layers: Sequence[LayerWeights]) -> list[Array]:
    """The arrays of layers and directions, in the order of `Architecture.layer_names`."""
    arrays: list[Array] = []
    for layer in layers:
        arrays += [array for array in layer[:4] if array is not None]
        arrays += [*layer.projections, *layer.units, *layer.scalars]
    return arrays


def options_of(network: Any, options: Iterable[str] = OPTIONS) -> dict[str, Any]:
    """The values of these options of an architecture, a network, or of PYTORCH_OPTIONS of a module of PyTorch."""
    return {name: getattr(network, name) for name in options}

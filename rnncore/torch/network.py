"""A network without parameters: its engine, and calls on PyTorch's tensors without autograd."""

from __future__ import annotations

import functools
from ast import literal_eval
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnncore_kernels.cells import GRU, LSTM, Cell, Elman
from rnncore_kernels.contract import Array, Engine, Inputs, LayerWeights, Needs, Rows

from ..architecture import Architecture, in_order
from ..definition import DEFINITIONS, Definition, define
from ..inputs import NO_INPUTS
from ..registry import make_engine, resolve_on_host
from ..rows import DENSE
from ..stack import LayerTape, Stack

DTYPES: dict[Any, np.dtype[Any]] = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
"""The dtypes that the engines compute in."""


class Options(NamedTuple):
    """What a network is, beside its cell and dtype."""

    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    bias: bool
    dropout: float = 0.0
    num_threads: int | None = None


class Packing(NamedTuple):
    """How the rows of a PackedSequence, (rows of all steps together, ...), lie in (T, B, ...).

    Attributes:
        steps, batch: T and B.
        places: of each row among T * B; None if there are as many.
    """

    steps: int
    batch: int
    places: Tensor | None


class Sequences(NamedTuple):
    """How the sequences of a call lie, and when rows end.

    Attributes:
        batch_first: whether they are (B, T, ...) instead of (T, B, ...).
        rows: when rows end.
        packing: of the PackedSequence that x and the output are the data of; None if they are padded.
    """

    batch_first: bool = False
    rows: Rows = DENSE
    packing: Packing | None = None

    def batch(self, x: Tensor) -> int:
        """B, the number of rows of a sequence."""
        return self.packing.batch if self.packing is not None else x.shape[0 if self.batch_first else 1]


class Forward(NamedTuple):
    """What a forward pass leaves for the backward pass."""

    stack: Stack
    sequences: Sequences
    layers: tuple[LayerTape, ...]


class Network:
    """An architecture on an engine of the processor.

    Attributes:
        architecture: what it is.
        names, shapes: of the parameters, in the order in which they are given.
        states, inputs, row_inputs: how many there are.
    """

    def __init__(self, cell: str, options: Options, dtype: np.dtype[Any]) -> None:
        sizes, definition = options._asdict(), _definition(cell)
        threads = sizes.pop("num_threads")
        self.architecture = Architecture(definition, **sizes, batch_first=False, dtype=dtype)
        self.engine = _engine(threads)
        self.names = tuple(self.architecture.parameters())
        self.shapes = [p.shape for p in self.architecture.parameters().values()]
        self.states, self.inputs = len(definition.states), len(definition.inputs)
        self.row_inputs = len(definition.row_inputs)

    def infer(
        self, x: Tensor, states: Sequence[Tensor] | None, inputs: Sequence[Tensor], stack: Stack, sequences: Sequences
    ) -> list[Tensor]:
        """The output and the final states."""
        array = _read(x, sequences)
        above = self._new_output(array, sequences)
        finals = self._new_states(states, array.shape[1])
        stack.infer(array, finals, sequences.rows, above, None, self._read_inputs(inputs))
        return [_write(above, sequences), *map(torch.from_numpy, finals)]

    def forward(
        self,
        x: Tensor,
        states: Sequence[Tensor] | None,
        inputs: Sequence[Tensor],
        arrays: Sequence[Array],
        sequences: Sequences,
        masks: Sequence[Tensor],
    ) -> tuple[list[Tensor], Forward]:
        """The output and the final states, and what `backward` needs; refers to x and inputs.

        `arrays` are the parameters.
        """
        stack = Stack.pack(self.architecture, self.engine, self.split(arrays), copy=True, backward=True)
        array = _read(x, sequences)
        above = self._new_output(array, sequences)
        finals = self._new_states(states, array.shape[1])
        masks_left = iter(masks)

        def draw(_: tuple[int, ...]) -> Array:
            return _read(next(masks_left), sequences)

        tapes = stack.forward(
            array, finals, sequences.rows, above, None, self._read_inputs(inputs), draw if masks else None
        )
        results = [_write(above, sequences), *map(torch.from_numpy, finals)]
        return results, Forward(stack, sequences, tapes)

    def backward(
        self,
        tape: Forward,
        grad_output: Tensor | None,
        grad_states: Sequence[Tensor | None],
        batch: int,
        needs: Sequence[Needs] | None = None,
    ) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
        """Gradients of x, of the initial states, of inputs and of parameters.

        What `needs` says of a layer and direction that nobody needs may hold anything.
        """
        stack, sequences, layers = tape
        above = None if grad_output is None else _read(grad_output, sequences)
        shapes = self.architecture.state_shapes(batch)
        states = tuple(
            np.zeros(shape, self.architecture.dtype) if g is None else g.detach().contiguous().numpy().copy()
            for g, shape in zip(grad_states, shapes, strict=True)
        )
        grad_x, weights, inputs = stack.backward(layers, stack.parts(above), states, needs)
        return (
            _write(grad_x, sequences),
            [torch.from_numpy(s) for s in states],
            [torch.from_numpy(a) for a in (*inputs.rows, *inputs.units)],
            [torch.from_numpy(a) for a in in_order(weights)],
        )

    def needs(self, x: bool, weights: Sequence[bool]) -> list[Needs]:
        """Which gradients of layers and directions are needed, by whether those of x and of each parameter are."""
        count = len(weights) // (self.architecture.num_layers * self.architecture.num_directions)
        layers = [any(weights[first : first + count]) for first in range(0, len(weights), count)]
        return [Needs(x or k >= self.architecture.num_directions, each) for k, each in enumerate(layers)]

    def split(self, arrays: Sequence[Array]) -> list[LayerWeights]:
        """Parameters in the order of `names` by layer and direction."""
        return self.architecture.by_layer(dict(zip(self.names, arrays, strict=True)))

    def _new_output(self, x: Array, sequences: Sequences) -> Array:
        """A new (T, B, D*P) array that lies in memory as the caller will see it."""
        steps, batch, _ = x.shape
        width, dtype = self.architecture.output_size, self.architecture.dtype
        if sequences.batch_first:
            return np.empty((batch, steps, width), dtype).swapaxes(0, 1)
        return np.empty((steps, batch, width), dtype)

    def _new_states(self, states: Sequence[Tensor] | None, batch: int) -> tuple[Array, ...]:
        arch = self.architecture
        if states is None:
            return tuple([np.zeros(shape, arch.dtype) for shape in arch.state_shapes(batch)])
        return tuple([np.array(s.detach().numpy(), order="C") for s in states])

    def _read_inputs(self, inputs: Sequence[Tensor]) -> Inputs:
        """Inputs, (T, B) those of a row, then (T, B, H) those with units."""
        if not inputs:
            return NO_INPUTS
        arrays = [(i if i.dim() == 2 or i.stride(-1) == 1 else i.contiguous()).detach().numpy() for i in inputs]
        return Inputs(tuple(arrays[: self.row_inputs]), tuple(arrays[self.row_inputs :]))


def _read(values: Tensor, sequences: Sequences) -> Array:
    """A sequence as engines take it, (T, B, ...) with a contiguous last axis, 0 past a row's end."""
    values = values.detach()
    if sequences.packing is not None:
        steps, batch, places = sequences.packing
        if places is not None:
            values = values.new_zeros(steps * batch, values.shape[-1]).index_copy_(0, places, values)
        return values.contiguous().view(steps, batch, -1).numpy()  # type: ignore[no-any-return]
    if values.stride(-1) != 1:
        values = values.contiguous()
    array: Array = values.numpy()
    return array.swapaxes(0, 1) if sequences.batch_first else array


def _write(array: Array, sequences: Sequences) -> Tensor:
    """The inverse of `_read`."""
    if sequences.packing is not None:
        rows, places = torch.from_numpy(array).reshape(-1, array.shape[-1]), sequences.packing.places
        return rows if places is None else rows.index_select(0, places)
    return torch.from_numpy(array.swapaxes(0, 1) if sequences.batch_first else array)


def _definition(key: str) -> Definition:
    """The definition of a key: of `cell_key`, or a mode of PyTorch's modules with its proj_size."""
    if key not in DEFINITIONS:
        mode, projection = key.split(" ")
        cells: dict[str, Cell] = {"LSTM": LSTM(projection=int(projection) or None), "GRU": GRU(update="carry")}
        cells |= {"RNN_TANH": Elman("tanh"), "RNN_RELU": Elman("relu")}
        DEFINITIONS[key] = define(cells[mode])
    return DEFINITIONS[key]


@functools.lru_cache(maxsize=1024)
def make_network(cell: str, options: Options, dtype: torch.dtype) -> Network:
    """The one network of a cell's key, options and dtype."""
    return Network(cell, options, DTYPES[dtype])


@functools.lru_cache(maxsize=1024)
def find_network(text: str, dtype: torch.dtype) -> Network:
    """The network of a cell's key and options in a text, "LSTM 0|5 7 1 False True 0.0": what graphs have of it."""
    cell, options = text.rsplit("|", 1)
    return make_network(cell, Options(*map(literal_eval, options.split())), dtype)


@functools.cache
def _engine(num_threads: int | None) -> Engine[Any, Any]:
    return make_engine(resolve_on_host(), num_threads)

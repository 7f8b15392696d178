"""A network without parameters: its engine, and calls on PyTorch's tensors without autograd."""

from __future__ import annotations

import functools
from ast import literal_eval
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnncore_kernels.cells import GRU, LSTM, Cell, Elman
from rnncore_kernels.contract import Array, BackwardRun, Engine, Inputs, LayerWeights, Needs, Rows, Run

from ..architecture import Architecture, in_order
from ..definition import DEFINITIONS, Definition, define
from ..inputs import NO_INPUTS
from ..registry import make_engine, resolve_on_host
from ..resets import Resets, changes_for
from ..rows import DENSE
from ..stack import Stack, States

DTYPES: dict[Any, np.dtype[Any]] = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
"""The dtypes that the engines compute in."""


class Options(NamedTuple):
    """What a network is, beside its cell and dtype."""

    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    bias: bool
    reverse: bool = False
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


def packed_sequences(batch_sizes: Tensor) -> Sequences:
    """How the rows of a PackedSequence with these batch sizes lie."""
    sizes = batch_sizes.numpy()
    steps, batch = len(sizes), int(sizes[0])
    if int(sizes[-1]) == batch:
        return Sequences(packing=Packing(steps, batch, None))
    places = torch.from_numpy(np.flatnonzero(np.arange(batch) < sizes[:, None]))
    return Sequences(rows=Rows(None, sizes), packing=Packing(steps, batch, places))


def read_lengths(lengths: Tensor, steps: int, batch: int) -> NDArray[np.int64]:
    """The steps of each row, checked."""
    if lengths.shape != (batch,) or lengths.dtype.is_floating_point or lengths.dtype is torch.bool:
        raise ValueError(f"lengths: expected (B={batch},) integers, got {lengths.dtype} {(*lengths.shape,)}")
    values = np.asarray(lengths.numpy(), np.int64)
    if batch and not 0 <= values.min() <= values.max() <= steps:
        raise ValueError(f"lengths: expected integers from 0 to T={steps}, got {values.tolist()}")
    return values


class Forward(NamedTuple):
    """What a forward pass leaves for the backward pass.

    Attributes:
        kept: of `Network.compute`.
        sequences: how the sequences lie.
        steps, batch: T and B.
        resets: whether rows began anew with states that were given.
    """

    kept: Any
    sequences: Sequences
    steps: int
    batch: int
    resets: bool


def make_resets(resets: Tensor, states: Sequence[Tensor], dtype: np.dtype[Any]) -> Resets:
    """Where rows begin anew, (T, B) of bool, and with which states, (L*D, B, width) each; none for zeros."""
    steps, batch = resets.shape
    rows = np.zeros((steps + 1, batch), dtype)
    rows[:-1] = resets.numpy()
    if not states:
        return Resets(rows, None)
    arrays = [np.array(s.detach().numpy(), order="C")[:, None] for s in states]
    return Resets(rows, tuple([np.broadcast_to(a, (a.shape[0], steps, *a.shape[2:])) for a in arrays]))


class Network:
    """An architecture on an engine of the processor.

    Attributes:
        architecture: what it is.
        names: of the parameters, in the order in which they are given.
        inputs, row_inputs: how many there are.
    """

    def __init__(self, architecture: Architecture, engine: Engine[Any, Any]) -> None:
        self.architecture, self.engine = architecture, engine
        definition = architecture.definition
        self.names = tuple(architecture.parameters())
        self.inputs, self.row_inputs = len(definition.inputs), len(definition.row_inputs)
        self._depth = architecture.num_layers * architecture.num_directions
        self._widths = [architecture.units(width) for width in architecture.program.states]
        self._needs: dict[tuple[bool, ...], list[Needs]] = {}

    def outputs(self, every: bool) -> int:
        """The number of outputs of a call."""
        return len(self._widths) if every else 1

    def infer(
        self,
        x: Tensor,
        states: Sequence[Tensor] | None,
        inputs: Sequence[Tensor],
        stack: Stack,
        sequences: Sequences,
        resets: Resets | None = None,
    ) -> list[Tensor]:
        """The output and the final states."""
        array = _read(x, sequences)
        above = self._new_output(array, sequences)
        finals = self._new_states(states, array.shape[1])
        stack.infer(array, finals, sequences.rows, above, None, self._read_inputs(inputs), resets)
        return [_write(above, sequences), *map(torch.from_numpy, finals)]

    def forward(
        self,
        x: Tensor,
        states: Sequence[Tensor] | None,
        inputs: Sequence[Tensor],
        weights: Sequence[LayerWeights],
        sequences: Sequences,
        masks: Sequence[Tensor],
        resets: Resets | None = None,
        every: bool = False,
    ) -> tuple[list[Tensor], Forward]:
        """The output and the final states, and what `backward` needs; refers to x and inputs.

        `weights` are the parameters, from `split`. With `every` the outputs are every state of the last layer.
        """
        array = _read(x, sequences)
        steps, batch, _ = array.shape
        above = None if every else self._new_output(array, sequences)
        finals = self._new_states(states, batch)
        masks_left = iter(masks)

        def draw(_: tuple[int, ...]) -> Array:
            return _read(next(masks_left), sequences)

        given = self._read_inputs(inputs)
        kept = self.compute(weights, array, finals, sequences.rows, above, given, draw if masks else None, resets)
        tape = Forward(kept, sequences, steps, batch, resets is not None and resets.states is not None)
        outputs = kept[0].states(kept[1], self.architecture.num_layers - 1) if above is None else [above]
        return [*[_write(o, sequences) for o in outputs], *map(torch.from_numpy, finals)], tape

    def backward(
        self,
        tape: Forward,
        grad_outputs: Sequence[Tensor | None],
        grad_states: Sequence[Tensor | None],
        wanted: tuple[bool, ...] | None = None,
    ) -> list[Tensor | None]:
        """Gradients of x, of the initial states and those of resets, of inputs and parameters: the wanted, or all."""
        kept, sequences, steps, batch, resets = tape
        above, *others = [None if grad is None else _read(grad, sequences) for grad in grad_outputs]
        every = [
            np.broadcast_to(np.zeros(width, self.architecture.dtype), (steps, batch, width)) if grad is None else grad
            for grad, width in zip(
                others, [n * self.architecture.num_directions for n in self._widths[1:]], strict=False
            )
        ]
        states = self._zeros(batch)
        for number, grad in enumerate(grad_states):
            if grad is not None:
                states[number][...] = grad.detach().numpy()
        begun = self._zeros(batch) if resets else None
        needs = None if wanted is None else self._needed(wanted)
        grad_x, weights, inputs = self.compute_back(kept, above, states, needs, begun, every)
        arrays = [*states, *(begun or ()), *inputs.rows, *inputs.units, *in_order(weights)]
        if wanted is None:
            return [_write(grad_x, sequences), *map(torch.from_numpy, arrays)]
        of_x, *of_others = wanted
        return [
            _write(grad_x, sequences) if of_x else None,
            *[torch.from_numpy(a) if each else None for a, each in zip(arrays, of_others, strict=True)],
        ]

    def compute(
        self,
        weights: Sequence[LayerWeights],
        x: Array,
        states: States,
        rows: Rows,
        output: Array | None,
        inputs: Inputs,
        draw: Callable[[tuple[int, ...]], Array] | None,
        resets: Resets | None,
    ) -> Any:
        """As `Stack.forward`; returns what `compute_back` needs. Without an output, every state is an output."""
        stack = self.pack(weights, resets, every=output is None, backward=True)
        return stack, stack.forward(x, states, rows, output, None, inputs, draw, resets)

    def pack(
        self, weights: Sequence[LayerWeights], resets: Resets | None, *, every: bool = False, backward: bool
    ) -> Stack:
        """The weights, packed for a call."""
        arch, changes = self.architecture, changes_for(resets, states=every)
        return Stack.pack(arch, self.engine, weights, copy=backward, backward=backward, changes=changes)

    def compute_back(
        self,
        kept: Any,
        grad_output: Array | None,
        grad_states: States,
        needs: Sequence[Needs] | None,
        grad_resets: States | None,
        grad_every: Sequence[Array],
    ) -> tuple[Array, list[LayerWeights], Inputs]:
        """As `Stack.backward`; `grad_every` are of every state but the output, both directions side by side."""
        stack, layers = kept
        count = self.architecture.num_directions if grad_every else 0
        every = [[np.split(grad, count, axis=-1)[direction] for grad in grad_every] for direction in range(count)]
        return stack.backward(layers, stack.parts(grad_output), grad_states, needs, grad_resets, every)  # type: ignore[no-any-return]

    def _needed(self, wanted: tuple[bool, ...]) -> list[Needs]:
        """Which gradients of layers and directions are needed for those that are wanted, in the order of `backward`."""
        needs = self._needs.get(wanted)
        if needs is None:
            weights = wanted[-len(self.names) :]
            count = len(weights) // self._depth
            layers = [any(weights[first : first + count]) for first in range(0, len(weights), count)]
            directions = self.architecture.num_directions
            needs = [Needs(wanted[0] or k >= directions, each) for k, each in enumerate(layers)]
            self._needs[wanted] = needs
        return needs

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

    def _zeros(self, batch: int) -> States:
        return tuple([np.zeros((self._depth, batch, width), self.architecture.dtype) for width in self._widths])

    def _new_states(self, states: Sequence[Tensor] | None, batch: int) -> States:
        if states is None:
            return self._zeros(batch)
        return tuple([np.array(s.detach().numpy(), order="C") for s in states])

    def _read_inputs(self, inputs: Sequence[Tensor]) -> Inputs:
        """Inputs, (T, B) those of a row, then (T, B, H) those with units."""
        if not inputs:
            return NO_INPUTS
        arrays = [(i if i.dim() == 2 or i.stride(-1) == 1 else i.contiguous()).detach().numpy() for i in inputs]
        return Inputs(tuple(arrays[: self.row_inputs]), tuple(arrays[self.row_inputs :]))


class SingleNetwork(Network):
    """The same of one layer in one direction, with less around the engine's calls: most of what a small one costs."""

    def __init__(self, architecture: Architecture, engine: Engine[Any, Any]) -> None:
        super().__init__(architecture, engine)
        self._program, self._sizes, self._reverse = (
            architecture.program,
            architecture.sizes(0),
            architecture.runs_back(0),
        )

    def compute(
        self,
        weights: Sequence[LayerWeights],
        x: Array,
        states: States,
        rows: Rows,
        output: Array | None,
        inputs: Inputs,
        draw: Callable[[tuple[int, ...]], Array] | None,
        resets: Resets | None,
    ) -> Any:
        """Without dropout, as there is no layer above."""
        if resets is not None or output is None:
            return super().compute(weights, x, states, rows, output, inputs, draw, resets)
        packed = self.engine.pack(self._program, self._sizes, weights[0], copy=True, backward=True)
        run = Run(packed, x, tuple([s[0] for s in states]), output, None, rows, self._reverse, inputs)
        return packed, self.engine.forward((run,))[0]

    def compute_back(
        self,
        kept: Any,
        grad_output: Array | None,
        grad_states: States,
        needs: Sequence[Needs] | None,
        grad_resets: States | None,
        grad_every: Sequence[Array],
    ) -> tuple[Array, list[LayerWeights], Inputs]:
        """See `Network.compute_back`."""
        packed, residuals = kept
        if isinstance(packed, Stack):
            return super().compute_back(kept, grad_output, grad_states, needs, grad_resets, grad_every)
        states = tuple([s[0] for s in grad_states])
        run = BackwardRun(packed, residuals, grad_output, states, Needs() if needs is None else needs[0])
        (gradients,) = self.engine.backward((run,))
        return gradients.x, [gradients.weights], gradients.inputs


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
        mode, _, projection = key.partition(" ")
        if not projection.isdecimal():
            raise ValueError(
                f"rnncore: expected a graph of a cell that this process has, got one of {key!r}, or of other equations "
                "under its name: make a rnncore.torch.Recurrent of that cell before the graph runs"
            )
        cells: dict[str, Cell] = {"LSTM": LSTM(projection=int(projection) or None), "GRU": GRU(update="carry")}
        cells |= {"RNN_TANH": Elman("tanh"), "RNN_RELU": Elman("relu")}
        DEFINITIONS[key] = define(cells[mode])
    return DEFINITIONS[key]


@functools.lru_cache(maxsize=1024)
def make_network(cell: str, options: Options, dtype: torch.dtype) -> Network:
    """The one network of a cell's key, options and dtype."""
    sizes = options._asdict()
    engine, direction = _engine(sizes.pop("num_threads")), "reverse" if sizes.pop("reverse") else "forward"
    definition = _definition(cell)
    architecture = Architecture(definition, **sizes, batch_first=False, dtype=DTYPES[dtype], direction=direction)
    single = architecture.num_layers * architecture.num_directions == 1
    return SingleNetwork(architecture, engine) if single else Network(architecture, engine)


@functools.lru_cache(maxsize=1024)
def find_network(text: str, dtype: torch.dtype) -> Network:
    """The network of a cell's key and options in a text, "LSTM 0|5 7 1 False True 0.0": what graphs have of it."""
    cell, options = text.rsplit("|", 1)
    return make_network(cell, Options(*map(literal_eval, options.split())), dtype)


@functools.cache
def _engine(num_threads: int | None) -> Engine[Any, Any]:
    return make_engine(resolve_on_host(), num_threads)

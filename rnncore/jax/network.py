"""A network without parameters, and its calls on arrays of the processor."""

from __future__ import annotations

import functools
import itertools
from ast import literal_eval
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncore_kernels.alignment import aligned, is_at_line
from rnncore_kernels.contract import Array, Engine, Inputs, Needs, Rows
from rnncore_kernels.program.transform import Changes

from ..architecture import Architecture, in_order
from ..definition import DEFINITIONS
from ..registry import make_engine, resolve_on_host
from ..resets import Resets
from ..rows import DENSE, arrange
from ..stack import Stack
from ..tape_memory import TapeMemory, divide_tape, tape_bytes
from .kept import Kept


class Signature(NamedTuple):
    """What a call is, beside its arrays; in graphs it is a text.

    Attributes:
        cell: a key of `DEFINITIONS`.
        dtype: "float32" or "float64", of all arrays but lengths.
        batch_first: whether sequences are (B, T, ...) instead of (T, B, ...).
        ragged: whether there are lengths.
        resets: whether rows begin anew: "" for never, "zeros" or "given" for the state that they begin with.
    """

    cell: str
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    bias: bool
    dtype: str
    batch_first: bool
    ragged: bool
    resets: str
    direction: str


class Parts(NamedTuple):
    """The arguments of a call in their order.

    Attributes:
        begins: the states that rows begin anew with.
        others are called as those of `recurrent`, and may be none.
    """

    x: Any
    states: Sequence[Any]
    lengths: Sequence[Any]
    resets: Sequence[Any]
    begins: Sequence[Any]
    inputs: Sequence[Any]
    weights: Sequence[Any]


class Network:
    """An architecture on an engine of the processor, see `find_network`."""

    def __init__(self, signature: Signature) -> None:
        if signature.cell not in DEFINITIONS:
            raise ValueError(
                f"rnncore.jax: expected a cell that this process has called, got a compiled function with "
                f"{signature.cell!r}: call rnncore.jax.recurrent with it once before"
            )
        self.signature, definition = signature, DEFINITIONS[signature.cell]
        self.architecture = Architecture(
            definition, signature.input_size, signature.hidden_size, signature.num_layers, signature.bidirectional,
            signature.bias, batch_first=False, dropout=0.0, dtype=np.dtype(signature.dtype),
            direction=signature.direction,
        )  # fmt: skip
        self.engine = _engine()
        self._kept = Kept(self._pack, self.engine.compared_bytes)
        self.names = tuple(self.architecture.parameters())
        self.states, self.inputs, self.row_inputs = map(
            len, (definition.states, definition.inputs, definition.row_inputs)
        )
        self._changes = Changes(resets=bool(signature.resets), reset_state=signature.resets == "given")
        self._programs = self.architecture.programs(self._changes)
        begins = self.states if signature.resets == "given" else 0
        named = int(signature.ragged), int(bool(signature.resets)), begins
        self._counts = (1, self.states, *named, self.inputs, len(self.names))
        self.arguments = sum(self._counts)

    def split(self, arguments: Sequence[Any]) -> Parts:
        """The arguments by what they are."""
        left = iter(arguments)
        (x,), *others = [[*itertools.islice(left, count)] for count in self._counts]
        return Parts(x, *others)

    def size(self, shape: Sequence[int]) -> tuple[int, int]:
        """T and B of an x of this shape."""
        return (shape[1], shape[0]) if self.signature.batch_first else (shape[0], shape[1])

    def tape_bytes(self, shape: Sequence[int]) -> int:
        """Size of the tape of a call with an x of this shape."""
        return tape_bytes(self.architecture, self.engine, self._programs, *self.size(shape))

    def forward(self, arguments: Sequence[Array], results: Sequence[Array]) -> None:
        """Write the output and the final states, and the tape if there is one among the results."""
        parts, (output, *others) = self.split(arguments), results
        finals, tapes = tuple(others[: self.states]), others[self.states :]
        for final, state in zip(finals, parts.states, strict=True):
            final[...] = state
        x, above, rows, inputs = (
            self._time_first(parts.x),
            self._time_first(output),
            self._rows(parts),
            self._inputs(parts),
        )
        stack = self._kept.find(parts.weights, backward=bool(tapes))
        if not tapes:
            stack.infer(x, finals, rows, above, None, inputs, self._resets(parts))
            return
        memory = _at_line(tapes[0])
        stack.forward(x, finals, rows, above, None, inputs, None, self._resets(parts), self._divide(parts, memory))
        if memory is not tapes[0]:
            tapes[0][...] = memory

    def backward(
        self, wanted: Sequence[bool], given: Sequence[bool], arguments: Sequence[Array], results: Sequence[Array]
    ) -> None:
        """Write the gradients of the arguments that are wanted.

        After the arguments of `forward` come its tape, and the cotangents of those of its results that have any.
        """
        parts = self.split(arguments[: self.arguments])
        tape, *cotangents = arguments[self.arguments :]
        batch = self.size(parts.x.shape)[1]
        left = iter(cotangents)
        grad_output, *grad_states = [next(left) if is_given else None for is_given in given]
        states = tuple(
            np.zeros(shape, self.architecture.dtype) if grad is None else grad.copy()
            for grad, shape in zip(grad_states, self.architecture.state_shapes(batch), strict=True)
        )
        rows, inputs = self._rows(parts), self._inputs(parts)
        stack = self._kept.find(parts.weights, backward=True)
        # An engine without a tape computes the states again.
        before = tuple([s.copy() for s in parts.states])
        x, memory = self._time_first(parts.x), self._divide(parts, _at_line(tape, copy=True))
        layers = stack.recall(x, before, rows, inputs, self._resets(parts), memory)
        begins = tuple([np.zeros_like(s) for s in parts.begins])
        above = None if grad_output is None else self._time_first(grad_output)
        grad_x, weights, of_inputs = stack.backward(
            layers, stack.parts(above), states, self._needs(wanted), begins or None
        )
        sequences = [grad_x, *of_inputs.rows, *of_inputs.units]
        if self.signature.batch_first:
            sequences = [s.swapaxes(0, 1) for s in sequences]
        others = [*parts.lengths, *parts.resets]
        gradients = [sequences[0], *states, *others, *begins, *sequences[1:], *in_order(weights)]
        targets = iter(results)
        for gradient, is_wanted in zip(gradients, wanted, strict=True):
            if is_wanted:
                next(targets)[...] = gradient

    def _pack(self, weights: Sequence[Array], backward: bool) -> Stack:
        layers = self.architecture.by_layer(dict(zip(self.names, weights, strict=True)))
        return Stack.pack(self.architecture, self.engine, layers, copy=True, backward=backward, changes=self._changes)

    def _divide(self, parts: Parts, memory: Array) -> TapeMemory:
        return divide_tape(self.architecture, self.engine, self._programs, *self.size(parts.x.shape), memory)

    def _time_first(self, array: Array) -> Array:
        return array.swapaxes(0, 1) if self.signature.batch_first else array

    def _rows(self, parts: Parts) -> Rows:
        if not parts.lengths:
            return DENSE
        (steps, batch), lengths = self.size(parts.x.shape), np.asarray(parts.lengths[0], np.int64)
        if batch and not 0 <= lengths.min() <= lengths.max() <= steps:
            raise ValueError(f"lengths: expected integers from 0 to T={steps}, got {lengths.tolist()}")
        return arrange(lengths, steps, batch)

    def _resets(self, parts: Parts) -> Resets | None:
        if not parts.resets:
            return None
        steps, batch = self.size(parts.x.shape)
        rows = np.zeros((steps + 1, batch), self.architecture.dtype)
        rows[:-1] = self._time_first(parts.resets[0])
        if not parts.begins:
            return Resets(rows, None)
        shapes = [(len(s), steps, *s.shape[1:]) for s in parts.begins]
        return Resets(rows, tuple(np.broadcast_to(s[:, None], to) for s, to in zip(parts.begins, shapes, strict=True)))

    def _inputs(self, parts: Parts) -> Inputs:
        arrays = [self._time_first(array) for array in parts.inputs]
        return Inputs(tuple(arrays[: self.row_inputs]), tuple(arrays[self.row_inputs :]))

    def _needs(self, wanted: Sequence[bool]) -> list[Needs]:
        parts, directions = self.split(wanted), self.architecture.num_directions
        per_layer = len(self.names) // (self.architecture.num_layers * directions)
        weights = [any(parts.weights[k : k + per_layer]) for k in range(0, len(self.names), per_layer)]
        return [Needs(parts.x or layer >= directions, each) for layer, each in enumerate(weights)]


@functools.lru_cache(maxsize=1024)
def find_network(signature: Signature) -> Network:
    """The one network of a signature."""
    return Network(signature)


def forward_text(signature: Signature) -> str:
    """What a graph says of a forward pass."""
    return repr((*signature,))


def backward_text(signature: Signature, wanted: Sequence[bool], given: Sequence[bool]) -> str:
    """What a graph says of a backward pass."""
    return repr(((*signature,), (*wanted,), (*given,)))


def compute(text: str, arguments: Sequence[Array], results: Sequence[Array]) -> None:
    """Compute what a graph says."""
    network, *how = _parse(text)
    if how:
        network.backward(*how, arguments, results)
    else:
        network.forward(arguments, results)


@functools.lru_cache(maxsize=1024)
def _parse(text: str) -> tuple[Any, ...]:
    values = literal_eval(text)
    if isinstance(values[0], str):
        return (find_network(Signature(*values)),)
    return (find_network(Signature(*values[0])), *values[1:])


def _at_line(memory: Array, *, copy: bool = False) -> Array:
    """The bytes, or as many elsewhere if they do not begin at a cache line; XLA's do."""
    if is_at_line(memory):
        return memory
    elsewhere = aligned(len(memory))
    if copy:
        elsewhere[...] = memory
    return elsewhere


@functools.cache
def _engine() -> Engine[Any, Any]:
    return make_engine(resolve_on_host(), None)

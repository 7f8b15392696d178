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

from ..architecture import in_order
from ..cotangents import by_direction
from ..draws import Draws
from ..kept import KeptStacks
from ..keyed import PLAIN, How, architecture_of
from ..needs import needed
from ..registry import make_engine, resolve_on_host
from ..resets import Resets, make_resets
from ..rows import DENSE, arrange
from ..shapes import check_ends
from ..stack import Stack
from ..tape_memory import TapeMemory, divide_tape, tape_bytes

MOST_KEPT = 4
"""Packed weights that are kept: those of as many networks of the same sizes."""


class Signature(NamedTuple):
    """What a call is, beside its arrays; in graphs it is a text.

    Attributes:
        network: its text, see `keyed.text_of`.
        dtype: "float32" or "float64", of all arrays but lengths.
        batch_first: whether sequences are (B, T, ...) instead of (T, B, ...).
        ragged: whether there are lengths.
        resets: whether rows begin anew: "" for never, "zeros" or "given" for the state that they begin with.
        how: see `How`.
    """

    network: str
    dtype: str
    batch_first: bool
    ragged: bool
    resets: str
    how: tuple[Any, ...] = (*PLAIN,)


class Parts(NamedTuple):
    """The arguments of a call in their order.

    Attributes:
        begins: the states that rows begin anew with.
        flow: what nothing reads, and whose gradients are the norms of cotangents, (L*D, T) of each state.
        keys: two words of uint32 by which training draws, and the number of x's first step in what it draws for.
        others are called as those of `recurrent`, and may be none.
    """

    x: Any
    states: Sequence[Any]
    lengths: Sequence[Any]
    resets: Sequence[Any]
    begins: Sequence[Any]
    flow: Sequence[Any]
    keys: Sequence[Any]
    inputs: Sequence[Any]
    weights: Sequence[Any]


class Network:
    """An architecture on an engine of the processor, see `find_network`."""

    def __init__(self, signature: Signature) -> None:
        self.signature, self.how = signature, How(*signature.how)
        self.architecture = arch = architecture_of(signature.network, signature.dtype)
        self.engine, definition = host_engine(), arch.definition
        self._kept = KeptStacks(self._pack, self.engine.compared_bytes, MOST_KEPT)
        self.names = arch.layer_names
        self.states, self.inputs, self.row_inputs = map(
            len, (definition.states, definition.inputs, definition.row_inputs)
        )
        self.outputs = self.states if self.how.every else 1
        self.changes = Changes(
            resets=bool(signature.resets), reset_state=signature.resets == "given", states=self.how.every,
            flow=self.how.flow, drawn=self.how.drawn and definition.draws,
        )  # fmt: skip
        self.programs = arch.programs(self.changes)
        begins, flow = (self.states if some else 0 for some in (signature.resets == "given", self.how.flow))
        named = int(signature.ragged), int(bool(signature.resets)), begins, flow
        self._counts = (1, self.states, *named, int(self.how.drawn), self.inputs, len(self.names))
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
        return tape_bytes(self.architecture, self.engine, self.programs, *self.size(shape))

    def output_widths(self) -> list[int]:
        """The last axes of the outputs."""
        arch = self.architecture
        widths = [arch.num_directions * arch.units(width) for width in arch.program.states]
        return widths if self.how.every else [arch.output_size]

    def forward(self, arguments: Sequence[Array], results: Sequence[Array]) -> None:
        """Write the outputs and the final states, and the tape if there is one among the results."""
        parts, outputs = self.split(arguments), [self._time_first(output) for output in results[: self.outputs]]
        others = results[self.outputs :]
        finals, tapes = tuple(others[: self.states]), others[self.states :]
        for final, state in zip(finals, parts.states, strict=True):
            final[...] = state
        x, rows, inputs, resets = (
            self._time_first(parts.x), self._rows(parts), self._inputs(parts), self._resets(parts)
        )  # fmt: skip
        stack = self._kept.find(parts.weights, self.changes, backward=bool(tapes))
        if not tapes and not self.how.every and not self.how.drawn:
            stack.infer(x, finals, rows, outputs[0], None, inputs, resets)
            return
        memory = _at_line(tapes[0]) if tapes else None
        above = None if self.how.every else outputs[0]
        divided = None if memory is None else self._divide(parts, memory)
        x, draws = self._draws(x, parts)
        layers = stack.forward(
            x, finals, rows, above, None, inputs, resets, divided, draws, None if draws is None else draws.drop
        )
        if self.how.every:
            for output, values in zip(outputs, stack.states(layers[-1], self.architecture.num_layers - 1), strict=True):
                output[...] = values
        if memory is not None and memory is not tapes[0]:
            tapes[0][...] = memory

    def backward(
        self, wanted: Sequence[bool], given: Sequence[bool], arguments: Sequence[Array], results: Sequence[Array]
    ) -> None:
        """Write the gradients of the arguments that are wanted.

        After the arguments of `forward` come its tape, and the cotangents of those of its results that have any.
        """
        parts = self.split(arguments[: self.arguments])
        tape, *cotangents = arguments[self.arguments :]
        arch, (steps, batch) = self.architecture, self.size(parts.x.shape)
        left = iter(cotangents)
        grads = [next(left) if is_given else None for is_given in given]
        grad_output, *others = [None if g is None else self._time_first(g) for g in grads[: self.outputs]]
        states = tuple(
            np.zeros(shape, arch.dtype) if grad is None else grad.copy()
            for grad, shape in zip(grads[self.outputs :], arch.state_shapes(batch), strict=True)
        )
        rows, inputs, resets = self._rows(parts), self._inputs(parts), self._resets(parts)
        stack = self._kept.find(parts.weights, self.changes, backward=True)
        # An engine without a tape computes the states again.
        before = tuple([s.copy() for s in parts.states])
        x, memory = self._time_first(parts.x), self._divide(parts, _at_line(tape, copy=True))
        x, draws = self._draws(x, parts)
        layers = stack.recall(x, before, rows, inputs, resets, memory, draws, None if draws is None else draws.drop)
        begins = tuple([np.zeros_like(s) for s in parts.begins])
        flow = tuple([np.zeros_like(s) for s in parts.flow])
        every = by_direction(np, arch, others, steps, batch) if self.how.every else []
        grad_x, weights, of_inputs = stack.backward(
            layers, stack.parts(grad_output), states, self._needs(wanted), begins or None, every, flow or None
        )
        sequences = [grad_x, *of_inputs.rows, *of_inputs.units]
        if self.signature.batch_first:
            sequences = [s.swapaxes(0, 1) for s in sequences]
        unread = [*parts.lengths, *parts.resets]
        gradients = [sequences[0], *states, *unread, *begins, *flow, *parts.keys, *sequences[1:], *in_order(weights)]
        targets = iter(results)
        for gradient, is_wanted in zip(gradients, wanted, strict=True):
            if is_wanted:
                next(targets)[...] = gradient

    def _pack(self, weights: Sequence[Array], changes: Changes, **how: bool) -> Stack:
        layers = self.architecture.by_layer(dict(zip(self.names, weights, strict=True)))
        return Stack.pack(self.architecture, self.engine, layers, changes=changes, **how)

    def _divide(self, parts: Parts, memory: Array) -> TapeMemory:
        return divide_tape(self.architecture, self.engine, self.programs, *self.size(parts.x.shape), memory)

    def _time_first(self, array: Array) -> Array:
        return array.swapaxes(0, 1) if self.signature.batch_first else array

    def _rows(self, parts: Parts) -> Rows:
        if not parts.lengths:
            return DENSE
        (steps, batch), lengths = self.size(parts.x.shape), np.asarray(parts.lengths[0], np.int64)
        check_ends(lengths, steps)
        return arrange(lengths, steps, batch)

    def _resets(self, parts: Parts) -> Resets | None:
        if not parts.resets:
            return None
        return make_resets(np, self._time_first(parts.resets[0]), parts.begins or None, self.architecture.dtype)

    def _inputs(self, parts: Parts) -> Inputs:
        arrays = [self._time_first(array) for array in parts.inputs]
        return Inputs(tuple(arrays[: self.row_inputs]), tuple(arrays[self.row_inputs :]))

    def _draws(self, x: Array, parts: Parts) -> tuple[Array, Draws | None]:
        """What training draws, and an x that dropout may write to."""
        if not parts.keys:
            return x, None
        low, high, first = map(int, parts.keys[0])
        draws = Draws(self.architecture, self.engine, low | high << 32, first)
        return x.copy() if self.architecture.input_dropout else x, draws

    def _needs(self, wanted: Sequence[bool]) -> list[Needs]:
        parts = self.split(wanted)
        return needed(self.architecture, parts.x, parts.weights)


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
def host_engine() -> Engine[Any, Any]:
    """The engine of the processor."""
    return make_engine(resolve_on_host(), None)

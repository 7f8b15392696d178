"""Operators for graphs of torch.compile, where a call is traced instead of computed.

Eager calls do without: an operator costs ten microseconds. Shapes of results follow from those of arguments, so that
graphs are made without computing anything. The tape goes from the forward to the backward operator as a tensor whose
memory it belongs to.
"""

from __future__ import annotations

import functools
from ast import literal_eval
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..keyed import How
from ..rows import arrange
from .network import DTYPES, Forward, Network
from .networks import find_network
from .recurrence import find_tape, make_token
from .sequences import Sequences, packed_sequences, read_ends

_library = torch.library.Library("rnncore", "DEF")


class Call(NamedTuple):
    """The arguments that both operators have.

    Attributes:
        lengths: of rows, or the batch sizes where x is packed.
        network: its text, see `keyed.text_of`.
        how: of `written`.
    """

    x: Tensor
    lengths: Tensor | None
    resets: Tensor | None
    states: list[Tensor]
    begun: list[Tensor]
    inputs: list[Tensor]
    weights: list[Tensor]
    masks: list[Tensor]
    network: str
    how: str
    batch_first: bool
    packed: bool

    def find(self) -> Network:
        """The network. Engines read all memory as x's dtype says."""
        for tensor in (*self.states, *self.begun, *self.inputs, *self.weights):
            if tensor.dtype is not self.x.dtype or self.x.dtype not in DTYPES:
                raise TypeError(
                    f"x: expected tensors of torch.float32 or of torch.float64, got {self.x.dtype} and {tensor.dtype}"
                )
        return find_network(self.network, self.x.dtype, self.x.device)

    def state_shapes(self, found: Network) -> list[tuple[int, int, int]]:
        """Those of the states. What is packed comes with initial states, since its shape does not say B."""
        batch = self.states[0].shape[1] if self.packed else self.x.shape[0 if self.batch_first else 1]
        return found.architecture.state_shapes(batch)

    def compute(self, found: Network) -> tuple[list[Tensor], Forward]:
        """See `Network.forward`."""
        with found.memory.entered():
            again = None if self.resets is None else found.make_resets(self.resets, self.begun)
            weights, sequences = found.layers(self.weights), self._sequences()
            return found.forward(
                self.x, self.states, self.inputs, weights, sequences, self.masks, again, _read(self.how)
            )

    def _sequences(self) -> Sequences:
        """How the sequences lie."""
        x, lengths = self.x, self.lengths
        if lengths is None:
            return Sequences(self.batch_first)
        if self.packed:
            if int(lengths[0]) != self.states[0].shape[1]:
                raise ValueError(
                    f"state: expected batch_sizes[0]={int(lengths[0])} rows, got {self.states[0].shape[1]}"
                )
            return packed_sequences(lengths)
        steps, batch = (x.shape[1], x.shape[0]) if self.batch_first else (x.shape[0], x.shape[1])
        return Sequences(self.batch_first, arrange(read_ends(lengths, steps), steps, batch))


ARGUMENTS = (
    "Tensor x, Tensor? lengths, Tensor? resets, Tensor[] states, Tensor[] begun, Tensor[] inputs, Tensor[] weights, "
    "Tensor[] masks, str network, str how, bool batch_first, bool packed"
)
"""The fields of `Call`."""

_library.define(f"forward({ARGUMENTS}, bool keep) -> Tensor[]")
_library.define(f"backward(Tensor token, Tensor?[] grad_outputs, Tensor?[] grad_states, {ARGUMENTS}) -> Tensor[]")


def _forward(*arguments: Any) -> list[Tensor]:
    """The output, the final states and the token of the tape, which is empty without `keep`."""
    *others, keep = arguments
    call = Call(*others)
    results, tape = call.compute(call.find())
    if _read(call.how).every:
        results = [result.contiguous() for result in results]
    return [*results, make_token(tape) if keep else torch.empty(0, dtype=torch.uint8)]


@torch.library.register_fake("rnncore::forward", lib=_library)
def _fake_forward(*arguments: Any) -> list[Tensor]:
    *others, keep = arguments
    call = Call(*others)
    found, x = call.find(), call.x
    architecture, shapes = found.architecture, call.state_shapes(found)
    widths = [shape[2] for shape in shapes] if _read(call.how).every else [architecture.output_width]
    outputs = [x.new_empty((*x.shape[:-1], architecture.num_directions * width)) for width in widths]
    return [*outputs, *(x.new_empty(shape) for shape in shapes), torch.empty(1 if keep else 0, dtype=torch.uint8)]


def _backward(
    token: Tensor, grad_outputs: Sequence[Tensor | None], grad_states: Sequence[Tensor | None], *arguments: Any
) -> list[Tensor | None]:
    """Gradients of x, of the initial states, of inputs and of parameters.

    A copy of the token has no tape: then the forward pass is computed again.
    """
    call, tape = Call(*arguments), find_tape(token)
    found = call.find()
    if tape is None:
        tape = call.compute(found)[1]
    with found.memory.entered():
        return found.backward(tape, grad_outputs, grad_states)


@torch.library.register_fake("rnncore::backward", lib=_library)
def _fake_backward(_token: Tensor, _grad_outputs: Any, _grad_states: Any, *arguments: Any) -> list[Tensor]:
    call = Call(*arguments)
    x, shapes = call.x, call.state_shapes(call.find())
    grad_x = (
        x.new_empty((x.shape[1], x.shape[0], x.shape[2])).transpose(0, 1) if call.batch_first else x.new_empty(x.shape)
    )
    return [
        grad_x,
        *(x.new_empty(shape) for shape in shapes),
        *(x.new_empty(array.shape) for array in (*call.begun, *call.inputs, *call.weights)),
    ]


def written(how: How) -> str:
    """How a graph is computed, as a text of it."""
    return " ".join([str(value) for value in how])


@functools.lru_cache(maxsize=64)
def _read(how: str) -> How:
    return How(*map(literal_eval, how.split()))


for _device in ("CPU", "CUDA"):
    _library.impl("forward", _forward, _device)
    _library.impl("backward", _backward, _device)


class Traced(torch.autograd.Function):
    """`Recurrence` in a graph: the call (texts of the network and of `How`, batch_first, packed), numbers of outputs,
    and of states, states of resets, inputs and masks, x, lengths, resets, then these tensors and weights."""

    @staticmethod
    def forward(
        ctx: Any,
        call: tuple[str, str, bool, bool],
        outputs: int,
        counts: tuple[int, int, int, int],
        x: Tensor,
        lengths: Tensor | None,
        resets: Tensor | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        """The output and the final states."""
        *results, token = torch.ops.rnncore.forward(x, lengths, resets, *_parts(tensors, *counts), *call, True)
        ctx.save_for_backward(x, lengths, resets, token, *tensors)
        ctx.call = call, outputs, counts
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        """Back-propagation through time."""
        x, lengths, resets, token, *tensors = ctx.saved_tensors
        call, outputs, counts = ctx.call
        states, begun, inputs, masks = counts
        arguments = x, lengths, resets, *_parts(tensors, *counts), *call
        grad_x, *gradients = torch.ops.rnncore.backward(token, grads[:outputs], grads[outputs:], *arguments)
        count = len(grads) - outputs
        first, others = gradients[:count] if states else [], gradients[count:]
        given, of_weights = others[: begun + inputs], others[begun + inputs :]
        return None, None, None, grad_x, None, None, *first, *given, *[None] * masks, *of_weights


def _parts(tensors: Sequence[Tensor], *counts: int) -> tuple[list[Tensor], ...]:
    """States, states of resets, inputs, weights and masks."""
    left = list(tensors)
    states, begun, inputs, masks = ([left.pop(0) for _ in range(count)] for count in counts)
    return states, begun, inputs, left, masks

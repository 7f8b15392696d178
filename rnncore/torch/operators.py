"""Operators for graphs of torch.compile, where a call is traced instead of computed.

Eager calls do without: an operator costs ten microseconds. Shapes of results follow from those of arguments, so that
graphs are made without computing anything. The tape goes from the forward to the backward operator as a tensor whose
memory it belongs to.
"""

from __future__ import annotations

import functools
from ast import literal_eval
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..keyed import How
from ..rows import arrange
from .network import DTYPES, Forward, Network
from .networks import find_network
from .recurrence import find_tape, make_token
from .sequences import Sequences, packed_sequences, read_ends

_library = torch.library.Library("rnncore", "DEF")
ARGUMENTS = (
    "Tensor x, Tensor? lengths, Tensor? resets, Tensor[] states, Tensor[] begun, Tensor[] inputs, Tensor[] weights, "
    "Tensor[] masks, str network, str how, bool batch_first, bool packed"
)
"""The arguments of both operators."""

_library.define(f"forward({ARGUMENTS}, bool keep) -> Tensor[]")
_library.define(f"backward(Tensor token, Tensor?[] grad_outputs, Tensor?[] grad_states, {ARGUMENTS}) -> Tensor[]")


def _forward(
    x: Tensor,
    lengths: Tensor | None,
    resets: Tensor | None,
    states: Sequence[Tensor],
    begun: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
    network: str,
    how: str,
    batch_first: bool,
    packed: bool,
    keep: bool,
) -> list[Tensor]:
    """The output, the final states and the token of the tape, which is empty without `keep`."""
    found = _network(network, x, *states, *begun, *inputs, *weights)
    results, tape = _compute(found, x, lengths, resets, states, begun, inputs, weights, masks, how, batch_first, packed)
    if _read(how).every:
        results = [result.contiguous() for result in results]
    return [*results, make_token(tape) if keep else torch.empty(0, dtype=torch.uint8)]


def _compute(
    found: Network,
    x: Tensor,
    lengths: Tensor | None,
    resets: Tensor | None,
    states: Sequence[Tensor],
    begun: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
    how: str,
    batch_first: bool,
    packed: bool,
) -> tuple[list[Tensor], Forward]:
    """See `Network.forward`."""
    sequences = _sequences(x, lengths, states, batch_first, packed)
    with found.memory.entered():
        again = None if resets is None else found.make_resets(resets, begun)
        return found.forward(x, states, inputs, found.layers(weights), sequences, masks, again, _read(how))


def written(how: How) -> str:
    """How a graph is computed, as a text of it."""
    return " ".join([str(value) for value in how])


@functools.lru_cache(maxsize=64)
def _read(how: str) -> How:
    return How(*map(literal_eval, how.split()))


def _sequences(
    x: Tensor, lengths: Tensor | None, states: Sequence[Tensor], batch_first: bool, packed: bool
) -> Sequences:
    """How the sequences of a call lie; `lengths` are of its rows, or the batch sizes where it is packed."""
    if lengths is None:
        return Sequences(batch_first)
    if packed:
        if int(lengths[0]) != states[0].shape[1]:
            raise ValueError(f"state: expected batch_sizes[0]={int(lengths[0])} rows, got {states[0].shape[1]}")
        return packed_sequences(lengths)
    steps, batch = (x.shape[1], x.shape[0]) if batch_first else (x.shape[0], x.shape[1])
    return Sequences(batch_first, arrange(read_ends(lengths, steps), steps, batch))


def _batch(x: Tensor, states: Sequence[Tensor], batch_first: bool, packed: bool) -> int:
    """B. What is packed comes with initial states, since its shape does not say."""
    batch: int = states[0].shape[1] if packed else x.shape[0 if batch_first else 1]
    return batch


def _network(network: str, x: Tensor, *others: Tensor) -> Network:
    """The network of a graph. Engines read all memory as x's dtype says."""
    for tensor in others:
        if tensor.dtype is not x.dtype or x.dtype not in DTYPES:
            raise TypeError(
                f"x: expected tensors of torch.float32 or of torch.float64, got {x.dtype} and {tensor.dtype}"
            )
    return find_network(network, x.dtype, x.device)


@torch.library.register_fake("rnncore::forward", lib=_library)
def _fake_forward(
    x: Tensor,
    lengths: Tensor | None,
    resets: Tensor | None,
    states: Sequence[Tensor],
    begun: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
    network: str,
    how: str,
    batch_first: bool,
    packed: bool,
    keep: bool,
) -> list[Tensor]:
    architecture = _network(network, x, *states, *begun, *inputs, *weights).architecture
    shapes = architecture.state_shapes(_batch(x, states, batch_first, packed))
    widths = [shape[2] for shape in shapes] if _read(how).every else [architecture.output_width]
    outputs = [x.new_empty((*x.shape[:-1], architecture.num_directions * width)) for width in widths]
    return [*outputs, *(x.new_empty(shape) for shape in shapes), torch.empty(1 if keep else 0, dtype=torch.uint8)]


def _backward(
    token: Tensor,
    grad_outputs: Sequence[Tensor | None],
    grad_states: Sequence[Tensor | None],
    x: Tensor,
    lengths: Tensor | None,
    resets: Tensor | None,
    states: Sequence[Tensor],
    begun: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
    network: str,
    how: str,
    batch_first: bool,
    packed: bool,
) -> list[Tensor | None]:
    """Gradients of x, of the initial states, of inputs and of parameters.

    A copy of the token has no tape: then the forward pass is computed again.
    """
    found, tape = find_network(network, x.dtype, x.device), find_tape(token)
    if tape is None:
        others = states, begun, inputs, weights, masks, how, batch_first, packed
        tape = _compute(found, x, lengths, resets, *others)[1]
    with found.memory.entered():
        return found.backward(tape, grad_outputs, grad_states)


@torch.library.register_fake("rnncore::backward", lib=_library)
def _fake_backward(
    token: Tensor,
    grad_outputs: Sequence[Tensor | None],
    grad_states: Sequence[Tensor | None],
    x: Tensor,
    lengths: Tensor | None,
    resets: Tensor | None,
    states: Sequence[Tensor],
    begun: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
    network: str,
    how: str,
    batch_first: bool,
    packed: bool,
) -> list[Tensor]:
    shapes = find_network(network, x.dtype, x.device).architecture.state_shapes(_batch(x, states, batch_first, packed))
    grad_x = x.new_empty((x.shape[1], x.shape[0], x.shape[2])).transpose(0, 1) if batch_first else x.new_empty(x.shape)
    return [
        grad_x,
        *(x.new_empty(shape) for shape in shapes),
        *(x.new_empty(array.shape) for array in (*begun, *inputs, *weights)),
    ]


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

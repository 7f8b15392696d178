"""Operators for graphs of torch.compile, where a call is traced instead of computed.

Eager calls do without: an operator costs ten microseconds. Shapes of results follow from those of arguments, so that
graphs are made without computing anything. The tape goes from the forward to the backward operator as a tensor whose
memory it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rnncore_kernels.contract import LayerWeights

from ..rows import arrange
from .network import DTYPES, Network, Sequences, find_network, make_resets, packed_sequences, read_lengths
from .recurrence import find_tape, make_token

_library = torch.library.Library("rnncore", "DEF")
ARGUMENTS = (
    "Tensor x, Tensor? lengths, Tensor? resets, Tensor[] states, Tensor[] begun, Tensor[] inputs, Tensor[] weights, "
    "Tensor[] masks, str network, bool batch_first, bool packed, bool every"
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
    batch_first: bool,
    packed: bool,
    every: bool,
    keep: bool,
) -> list[Tensor]:
    """The output, the final states and the token of the tape, which is empty without `keep`."""
    found = _network(network, x, *states, *begun, *inputs, *weights)
    sequences = _sequences(x, lengths, states, batch_first, packed)
    again = None if resets is None else make_resets(resets, begun, found.architecture.dtype)
    results, tape = found.forward(x, states or None, inputs, _layers(found, weights), sequences, masks, again, every)
    if every:
        results = [result.contiguous() for result in results]
    return [*results, make_token(tape) if keep else x.new_empty(0, dtype=torch.uint8)]


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
    return Sequences(batch_first, arrange(read_lengths(lengths, steps, batch), steps, batch))


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
    return find_network(network, x.dtype)


def _layers(network: Network, weights: Sequence[Tensor]) -> list[LayerWeights]:
    return network.split([w.detach().numpy() for w in weights])


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
    batch_first: bool,
    packed: bool,
    every: bool,
    keep: bool,
) -> list[Tensor]:
    architecture = _network(network, x, *states, *begun, *inputs, *weights).architecture
    shapes = architecture.state_shapes(_batch(x, states, batch_first, packed))
    widths = [shape[2] for shape in shapes] if every else [architecture.output_width]
    outputs = [x.new_empty((*x.shape[:-1], architecture.num_directions * width)) for width in widths]
    return [*outputs, *(x.new_empty(shape) for shape in shapes), x.new_empty(1 if keep else 0, dtype=torch.uint8)]


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
    batch_first: bool,
    packed: bool,
    every: bool,
) -> list[Tensor | None]:
    """Gradients of x, of the initial states, of inputs and of parameters.

    A copy of the token has no tape: then the forward pass is computed again.
    """
    found, tape = find_network(network, x.dtype), find_tape(token)
    if tape is None:
        sequences = _sequences(x, lengths, states, batch_first, packed)
        again = None if resets is None else make_resets(resets, begun, found.architecture.dtype)
        tape = found.forward(x, states or None, inputs, _layers(found, weights), sequences, masks, again, every)[1]
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
    batch_first: bool,
    packed: bool,
    every: bool,
) -> list[Tensor]:
    shapes = find_network(network, x.dtype).architecture.state_shapes(_batch(x, states, batch_first, packed))
    grad_x = x.new_empty((x.shape[1], x.shape[0], x.shape[2])).transpose(0, 1) if batch_first else x.new_empty(x.shape)
    return [
        grad_x,
        *(x.new_empty(shape) for shape in shapes),
        *(x.new_empty(array.shape) for array in (*begun, *inputs, *weights)),
    ]


_library.impl("forward", _forward, "CPU")
_library.impl("backward", _backward, "CPU")


class Traced(torch.autograd.Function):
    """`Recurrence` in a graph: how (the key of a network, batch_first, packed, every), numbers of states, states of
    resets, inputs and masks, x, lengths, resets, then these tensors and weights."""

    @staticmethod
    def forward(
        ctx: Any,
        how: tuple[str, bool, bool, bool],
        counts: tuple[int, int, int, int],
        x: Tensor,
        lengths: Tensor | None,
        resets: Tensor | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        """The output and the final states."""
        *results, token = torch.ops.rnncore.forward(x, lengths, resets, *_parts(tensors, *counts), *how, True)
        ctx.save_for_backward(x, lengths, resets, token, *tensors)
        ctx.call = how, counts
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        """Back-propagation through time."""
        x, lengths, resets, token, *tensors = ctx.saved_tensors
        how, counts = ctx.call
        states, begun, inputs, masks = counts
        arguments = x, lengths, resets, *_parts(tensors, *counts), *how
        count = len(grads) // 2 if how[3] else len(grads) - 1
        grad_x, *gradients = torch.ops.rnncore.backward(token, grads[:-count], grads[-count:], *arguments)
        first, others = gradients[:count] if states else [], gradients[count:]
        given, of_weights = others[: begun + inputs], others[begun + inputs :]
        return None, None, grad_x, None, None, *first, *given, *[None] * masks, *of_weights


def _parts(tensors: Sequence[Tensor], *counts: int) -> tuple[list[Tensor], ...]:
    """States, states of resets, inputs, weights and masks."""
    left = list(tensors)
    states, begun, inputs, masks = ([left.pop(0) for _ in range(count)] for count in counts)
    return states, begun, inputs, left, masks

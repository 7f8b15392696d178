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

from rnncore_kernels.contract import Array

from .network import Sequences, find_network
from .recurrence import find_tape, make_token

_library = torch.library.Library("rnncore", "DEF")
_library.define(
    "forward(Tensor x, Tensor[] states, Tensor[] inputs, Tensor[] weights, Tensor[] masks, str network, "
    "bool batch_first, bool keep) -> Tensor[]"
)
_library.define(
    "backward(Tensor token, Tensor? grad_output, Tensor?[] grad_states, Tensor x, Tensor[] states, Tensor[] inputs, "
    "Tensor[] weights, Tensor[] masks, str network, bool batch_first) -> Tensor[]"
)


def _forward(
    x: Tensor,
    states: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
    network: str,
    batch_first: bool,
    keep: bool,
) -> list[Tensor]:
    """The output, the final states and the token of the tape, which is empty without `keep`."""
    found, sequences = find_network(network, x.dtype), Sequences(batch_first)
    results, tape = found.forward(x, states or None, inputs, _arrays(weights), sequences, masks)
    return [*results, make_token(tape) if keep else x.new_empty(0, dtype=torch.uint8)]


def _arrays(weights: Sequence[Tensor]) -> list[Array]:
    return [w.detach().numpy() for w in weights]


@torch.library.register_fake("rnncore::forward", lib=_library)
def _fake_forward(
    x: Tensor,
    states: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
    network: str,
    batch_first: bool,
    keep: bool,
) -> list[Tensor]:
    architecture = find_network(network, x.dtype).architecture
    batch = x.shape[0 if batch_first else 1]
    output = x.new_empty((*x.shape[:2], architecture.output_size))
    shapes = architecture.state_shapes(batch)
    return [output, *(x.new_empty(shape) for shape in shapes), x.new_empty(1 if keep else 0, dtype=torch.uint8)]


def _backward(
    token: Tensor,
    grad_output: Tensor | None,
    grad_states: Sequence[Tensor | None],
    x: Tensor,
    states: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
    network: str,
    batch_first: bool,
) -> list[Tensor]:
    """Gradients of x, of the initial states, of inputs and of parameters.

    A copy of the token has no tape: then the forward pass is computed again.
    """
    found, batch = find_network(network, x.dtype), x.shape[0 if batch_first else 1]
    tape = find_tape(token)
    if tape is None:
        tape = found.forward(x, states or None, inputs, _arrays(weights), Sequences(batch_first), masks)[1]
    grad_x, of_states, of_inputs, of_weights = found.backward(tape, grad_output, grad_states, batch)
    return [grad_x, *of_states, *of_inputs, *of_weights]


@torch.library.register_fake("rnncore::backward", lib=_library)
def _fake_backward(
    token: Tensor,
    grad_output: Tensor | None,
    grad_states: Sequence[Tensor | None],
    x: Tensor,
    states: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
    network: str,
    batch_first: bool,
) -> list[Tensor]:
    shapes = find_network(network, x.dtype).architecture.state_shapes(x.shape[0 if batch_first else 1])
    grad_x = x.new_empty((x.shape[1], x.shape[0], x.shape[2])).transpose(0, 1) if batch_first else x.new_empty(x.shape)
    return [
        grad_x,
        *(x.new_empty(shape) for shape in shapes),
        *(x.new_empty(array.shape) for array in (*inputs, *weights)),
    ]


_library.impl("forward", _forward, "CPU")
_library.impl("backward", _backward, "CPU")


class Traced(torch.autograd.Function):
    """`Recurrence` in a graph: the key of a network, batch_first, numbers of states, inputs and masks, then tensors."""

    @staticmethod
    def forward(
        ctx: Any, network: str, batch_first: bool, states: int, inputs: int, masks: int, x: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """The output and the final states; x comes first, then states, inputs, masks and weights."""
        parts = _parts(tensors, states, inputs, masks)
        *results, token = torch.ops.rnncore.forward(x, *parts, network, batch_first, True)
        ctx.save_for_backward(x, token, *tensors)
        ctx.how = network, batch_first, states, inputs, masks
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, *grad_states: Tensor | None) -> Any:
        """Back-propagation through time."""
        x, token, *tensors = ctx.saved_tensors
        network, batch_first, states, inputs, masks = ctx.how
        parts = _parts(tensors, states, inputs, masks)
        grad_x, *gradients = torch.ops.rnncore.backward(
            token, grad_output, grad_states, x, *parts, network, batch_first
        )
        count = len(grad_states)
        first, others = gradients[:count] if states else [], gradients[count:]
        given, of_weights = others[:inputs], others[inputs:]
        return None, None, None, None, None, grad_x, *first, *given, *[None] * masks, *of_weights


def _parts(tensors: Sequence[Tensor], states: int, inputs: int, masks: int) -> tuple[list[Tensor], ...]:
    """States, inputs, weights and masks."""
    first, second = states + inputs, states + inputs + masks
    return list(tensors[:states]), list(tensors[states:first]), list(tensors[second:]), list(tensors[first:second])

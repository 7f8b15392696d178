"""The recurrence as one operation of autograd, for eager calls."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnncore_kernels.contract import Array

from .network import Forward, Network, Sequences

NO_SECOND_DERIVATIVE = (
    "rnncore: expected the gradient of a network to be differentiated once, got a second time (create_graph=True): its "
    "backward pass has no derivative. PyTorch's own modules have one on the CPU: take torch.nn's class here, or undo "
    "with rnncore.torch.accelerate(model, undo=True)"
)

COPIED = (
    "rnncore: expected what the forward pass saved, got a copy of it: let hooks on saved tensors (save_on_cpu, say) "
    "return tensors of torch.uint8 as they are"
)


class _Memory(np.ndarray[Any, Any]):
    """An array of one number, to which the tape of a forward pass belongs."""

    tape: Forward


_memories: weakref.WeakValueDictionary[int, _Memory] = weakref.WeakValueDictionary()


def make_token(tape: Forward) -> Tensor:
    """A tensor whose memory keeps a tape alive, so that the tape goes when autograd frees what it has saved."""
    memory = np.zeros(1, np.uint8).view(_Memory)
    memory.tape = tape
    token = torch.from_numpy(memory)
    _memories[token.data_ptr()] = memory
    return token


def find_tape(token: Tensor) -> Forward | None:
    """The tape of a token, or of another tensor with its memory; None of a copy."""
    memory = _memories.get(token.data_ptr())
    return None if memory is None else memory.tape


class Call(NamedTuple):
    """What an eager call is made of, beside tensors with gradients.

    Attributes:
        network: what computes it.
        sequences: how its sequences lie.
        masks: of dropout, by layer from the second on.
        states: number of initial states that are given, 0 for zeros.
        weights: the parameters as arrays.
    """

    network: Network
    sequences: Sequences
    masks: Sequence[Tensor]
    states: int
    weights: Sequence[Array]


class Recurrence(torch.autograd.Function):
    """`apply(call, x, *states, *inputs, *weights)` gives the output and the final states."""

    @staticmethod
    def forward(ctx: Any, call: Call, x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Compute a call and keep its tape."""
        network, first = call.network, call.states
        inputs, states = tensors[first : first + network.inputs], tensors[:first] if first else None
        results, tape = network.forward(x, states, inputs, call.weights, call.sequences, call.masks)
        ctx.call = call._replace(weights=())
        ctx.save_for_backward(x, make_token(tape))
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, *grad_states: Tensor | None) -> Any:
        """Back-propagation through time; its results, where they have a graph, refuse to be differentiated."""
        x, token = ctx.saved_tensors
        call, needs, tape = ctx.call, ctx.needs_input_grad, find_tape(token)
        if tape is None:
            raise RuntimeError(COPIED)
        network = call.network
        parts = network.needs(needs[1], needs[-len(network.names) :])
        batch = call.sequences.batch(x)
        grad_x, states, inputs, weights = network.backward(tape, grad_output, grad_states, batch, parts)
        gradients = [None, grad_x, *states[: call.states], *inputs, *weights]
        wanted = [g if n else None for g, n in zip(gradients, needs, strict=True)]
        return _Once.apply(_anchor(), *wanted) if torch.is_grad_enabled() else tuple(wanted)


class _Once(torch.autograd.Function):
    """Gradients as they are, with a graph that refuses to be differentiated."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, *gradients: Tensor | None) -> Any:
        """The gradients."""
        return tuple(None if g is None else g.detach() for g in gradients)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        """Refuse."""
        raise NotImplementedError(NO_SECOND_DERIVATIVE)


def _anchor() -> Tensor:
    return torch.zeros((), requires_grad=True)

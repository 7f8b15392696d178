"""The recurrence as one operation of autograd, for eager calls."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnncore_kernels.contract import LayerWeights

from ..keyed import How
from ..resets import Resets
from .network import Forward, Network
from .sequences import Sequences

NO_SECOND_DERIVATIVE = (
    "rnncore: expected the gradient of a network to be differentiated once, got a second time (create_graph=True): its "
    "backward pass has no derivative. PyTorch's own LSTM, GRU and RNN have one on the CPU: take torch.nn's class, to "
    "which rnncore.torch.accelerate(model, undo=True) goes back; write the steps of another cell in PyTorch"
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
    memory = _Memory(1, np.uint8)
    memory[0] = 0  # operators give the same numbers each time
    memory.tape = tape
    token = torch.from_numpy(memory)
    _memories[token.data_ptr()] = memory
    return token


def find_tape(token: Tensor) -> Forward | None:
    """The tape of a token, or of another tensor with its memory; None of a copy."""
    memory = _memories.get(token.data_ptr())
    return None if memory is None else memory.tape


class Call(NamedTuple):
    """An eager call, beside the tensors that may get gradients.

    Attributes:
        network: what computes it.
        weights: the parameters as arrays.
        sequences: how its sequences lie.
        masks: of dropout, of what layers read from the second on.
        resets: where rows begin anew.
        states: the number of initial states that are given, 0 for zeros.
        flow: what the backward pass writes norms to, where `how` asks for it.
        how: see `How`.
    """

    network: Network
    weights: Sequence[LayerWeights]
    sequences: Sequences
    masks: Sequence[Tensor]
    resets: Resets | None
    states: int
    flow: Sequence[Tensor]
    how: How


class Recurrence(torch.autograd.Function):
    """`compute(call, x, *states, *begun, *inputs, *weights)` gives the output and the final states.

    `begun` are the states of resets, of which the call has copies.
    """

    @staticmethod
    def forward(ctx: Any, call: Call, x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Compute a call and keep its tape."""
        network, weights, sequences, masks, resets, count, flow, how = call
        end = len(tensors) - len(network.names)
        inputs, states = tensors[end - network.inputs : end], tensors[:count]
        results, tape = network.forward(x, states, inputs, weights, sequences, masks, resets, how)
        ctx.call = network, count, len(results) - len(network.state_widths), flow
        # The tape refers to x and inputs: PyTorch refuses the backward pass if one was changed in place.
        ctx.save_for_backward(x, *inputs, make_token(tape))
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        """Back-propagation through time; its results, where they have a graph, refuse to be differentiated."""
        tape = find_tape(ctx.saved_tensors[-1])
        if tape is None:
            raise RuntimeError(COPIED)
        network, count, outputs, flow = ctx.call
        grad_states = grads[outputs:]
        _, of_x, *others = ctx.needs_input_grad
        absent = 0 if count else len(grad_states)
        wanted = (of_x, *[False] * absent, *others)
        with network.memory.entered():
            first, *gradients = network.backward(tape, grads[:outputs], grad_states, wanted, flow)
        result = None, first, *gradients[absent:]
        return _Once.apply(_anchor(), *result) if torch.is_grad_enabled() else result


def compute(*arguments: Any) -> Any:
    """`Recurrence.apply` without what it does for transformations of torch.func, which calls here are not part of."""
    return super(torch.autograd.Function, Recurrence).apply(*arguments)


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

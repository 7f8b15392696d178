"""Calls of a network on tensors: with autograd, without, and in graphs of torch.compile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnncore_kernels.contract import Rows

from ..rows import DENSE
from .dynamo import leave
from .kept import Kept
from .network import Sequences, make_resets, packed_sequences
from .operators import Traced
from .recurrence import compute

KEPT = "_rnncore_kept"
"""Attribute of a module that holds its `Kept`."""


def read_parameters(module: torch.nn.Module, names: Sequence[str]) -> list[Tensor]:
    """The parameters as they are, also where something computes them: a parametrization or torch.func, say."""
    own: Any = module._parameters
    try:
        return [own[name] for name in names]
    except KeyError:
        return [getattr(module, name) for name in names]


class Caller(Protocol):
    """What a module tells of the network that it calls."""

    training: bool
    dropout: float
    num_layers: int
    bidirectional: bool
    output_size: int
    state_widths: Sequence[int]

    def network_arguments(self) -> tuple[str, tuple[Any, ...]]:
        """The key of the cell, and `Options`, the last of which is the dropout."""
        ...


def padded(
    module: Any,
    x: Tensor,
    states: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    *,
    batch_first: bool,
    rows: Rows = DENSE,
    resets: Tensor | None = None,
    begun: Sequence[Tensor] = (),
    every: bool = False,
) -> Sequence[Tensor]:
    """The output and the final states of a batch (T, B, I), or (B, T, I) with `batch_first`.

    Args:
        module: whose call it is, a `Caller`; keeps packed weights.
        x: 0 past a row's end.
        states: (L*D, B, width) each; none for zeros.
        inputs: (T, B) or (T, B, H) each.
        weights: in the order of `Network.names`.
        batch_first: of x and the output.
        rows: when rows end.
        resets: (T, B) of bool, where rows begin anew.
        begun: (L*D, B, width) each, with which states; none for zeros.
        every: whether every state of the last layer at each step comes in the place of the output.
    """
    steps, batch = (x.shape[1], x.shape[0]) if batch_first else (x.shape[0], x.shape[1])
    masks = _masks(module, (steps, batch), x)
    if batch_first:
        masks = [m.transpose(0, 1) for m in masks]
    return _call(module, x, states, inputs, weights, masks, Sequences(batch_first, rows), resets, begun, every)


def count_rows(sequence: PackedSequence) -> int:
    """B of a PackedSequence: of its order where it has one, since a graph of torch.compile has no values of sizes."""
    _, sizes, order, _ = sequence
    return order.shape[0] if order is not None else int(sizes[0])


def packed(
    module: Any, sequence: PackedSequence, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor]
) -> tuple[PackedSequence, Sequence[Tensor]]:
    """The same of a PackedSequence, whose data are x."""
    _, sizes, order, back = sequence
    if order is not None:
        states = [s.index_select(1, order) for s in states]
    if torch.compiler.is_compiling():
        if not states:
            depth, batch = module.num_layers * (2 if module.bidirectional else 1), count_rows(sequence)
            states = [x.new_zeros(depth, batch, width) for width in module.state_widths]
        results = traced(module, x, states, (), weights, batch_first=False, lengths=sizes, packed=True)
    else:
        masks = _masks(module, (x.shape[0],), x)
        results = _call(module, x, states, (), weights, masks, packed_sequences(sizes))
    output, *finals = results
    if back is not None:
        finals = [s.index_select(1, back) for s in finals]
    return PackedSequence(output, sizes, order, back), finals


def traced(
    module: Any,
    x: Tensor,
    states: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    *,
    batch_first: bool,
    lengths: Tensor | None = None,
    packed: bool = False,
    resets: Tensor | None = None,
    begun: Sequence[Tensor] = (),
    every: bool = False,
) -> Sequence[Tensor]:
    """The same as `padded`, or as `packed`, in a graph of torch.compile; `lengths` are of rows, or the batch sizes."""
    cell, options = module.network_arguments()
    # The tracer's float is a symbol, of which there is no text: masks are what values are multiplied with here.
    network = f"{cell}|{' '.join([str(option) for option in options[:-1]])}"
    masks: list[Tensor] = []
    if module.dropout and module.training:
        ones = x.new_ones((*x.shape[:-1], module.output_size))
        masks = [torch.nn.functional.dropout(ones, module.dropout) for _ in range(module.num_layers - 1)]
    if torch.is_grad_enabled():
        counts = len(states), len(begun), len(inputs), len(masks)
        how, tensors = (network, batch_first, packed, every), (*states, *begun, *inputs, *masks, *weights)
        first, *others = _distinct((x, *tensors))
        results: Sequence[Tensor] = Traced.apply(how, counts, first, lengths, resets, *others)
        return results
    arguments = list(states), list(begun), list(inputs), list(weights), list(masks)
    return torch.ops.rnncore.forward(x, lengths, resets, *arguments, network, batch_first, packed, every, False)[:-1]  # type: ignore[no-any-return]


def _distinct(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors, views of those that came before: the tracer refuses to give a function one twice."""
    result: list[Tensor] = []
    for tensor in tensors:
        result.append(tensor.view_as(tensor) if any([tensor is t for t in result]) else tensor)  # noqa: C419
    return result


def _call(
    module: Any,
    x: Tensor,
    states: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
    sequences: Sequences,
    resets: Tensor | None = None,
    begun: Sequence[Tensor] = (),
    every: bool = False,
) -> Sequence[Tensor]:
    kept: Kept | None = module.__dict__.get(KEPT)
    if kept is None:
        kept = module.__dict__[KEPT] = Kept()
    network = kept.network(module.network_arguments(), x.dtype)
    again = None if resets is None else make_resets(resets, begun, network.architecture.dtype)
    tensors = (x, *states, *begun, *inputs, *weights)
    if torch.is_grad_enabled() and (weights[0].requires_grad or any([t.requires_grad for t in tensors])):  # noqa: C419
        call = network, kept.views(network, weights).layers, sequences, masks, again, len(states), every
        results: Sequence[Tensor] = compute(call, *tensors)
        return results
    if masks or every:
        layers = kept.views(network, weights).layers
        return network.forward(x, states or None, inputs, layers, sequences, masks, again, every)[0]
    if again is not None:
        stack = network.pack(kept.views(network, weights).layers, again, backward=False)
        return network.infer(x, states or None, inputs, stack, sequences, again)
    return network.infer(x, states or None, inputs, kept.stack(network, weights), sequences)


def _masks(module: Caller, rows: tuple[int, ...], x: Tensor) -> list[Tensor]:
    """Masks of dropout for what layers but the first read, drawn as PyTorch's own modules do: the same for a seed."""
    if not module.dropout or not module.training:
        return []
    shape = (*rows, module.output_size)
    return [x.new_empty(shape).bernoulli_(1 - module.dropout).bool() for _ in range(module.num_layers - 1)]


leave(padded)
leave(packed)

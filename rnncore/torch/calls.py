"""Calls of a network on tensors: with autograd, without, and in graphs of torch.compile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from rnncore_kernels.contract import Rows

from ..rows import DENSE
from .kept import Kept
from .network import Options, Packing, Sequences, make_network
from .operators import Traced
from .recurrence import Call, Recurrence

KEPT = "_rnncore_kept"
"""Attribute of a module that holds its `Kept`."""


class Caller(Protocol):
    """What a module tells of the network that it calls."""

    training: bool
    dropout: float
    num_layers: int
    output_size: int

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
    """
    steps, batch = (x.shape[1], x.shape[0]) if batch_first else (x.shape[0], x.shape[1])
    masks = _masks(module, (steps, batch), x)
    if batch_first:
        masks = [m.transpose(0, 1) for m in masks]
    return _call(module, x, states, inputs, weights, masks, Sequences(batch_first, rows))


def packed(
    module: Any,
    x: Tensor,
    batch_sizes: Tensor,
    states: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
) -> Sequence[Tensor]:
    """The same of the data and the batch sizes of a PackedSequence; states are in its order."""
    sizes = batch_sizes.numpy()
    steps, batch = len(sizes), int(sizes[0])
    masks = _masks(module, (x.shape[0],), x)
    if int(sizes[-1]) == batch:
        sequences = Sequences(packing=Packing(steps, batch, None))
    else:
        places = torch.from_numpy(np.flatnonzero(np.arange(batch) < sizes[:, None]))
        sequences = Sequences(rows=Rows(None, sizes), packing=Packing(steps, batch, places))
    return _call(module, x, states, inputs, weights, masks, sequences)


def traced(
    module: Any,
    x: Tensor,
    states: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    *,
    batch_first: bool,
) -> Sequence[Tensor]:
    """The same as `padded`, in a graph of torch.compile."""
    cell, options = module.network_arguments()
    # The tracer's float is a symbol, of which there is no text: masks are what values are multiplied with here.
    network = f"{cell}|{' '.join([str(option) for option in options[:-1]])}"
    masks: list[Tensor] = []
    if module.dropout and module.training:
        ones = x.new_ones((*x.shape[:2], module.output_size))
        masks = [torch.nn.functional.dropout(ones, module.dropout) for _ in range(module.num_layers - 1)]
    if torch.is_grad_enabled():
        counts = len(states), len(inputs), len(masks)
        results: Sequence[Tensor] = Traced.apply(network, batch_first, *counts, x, *states, *inputs, *masks, *weights)
        return results
    arguments = list(states), list(inputs), list(weights), list(masks)
    return torch.ops.rnncore.forward(x, *arguments, network, batch_first, False)[:-1]  # type: ignore[no-any-return]


def _call(
    module: Any,
    x: Tensor,
    states: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
    sequences: Sequences,
) -> Sequence[Tensor]:
    cell, options = module.network_arguments()
    network = make_network(cell, Options(*options), x.dtype)
    kept = module.__dict__.get(KEPT)
    if kept is None:
        kept = module.__dict__[KEPT] = Kept()
    if torch.is_grad_enabled() and any([t.requires_grad for t in (*weights, x, *states, *inputs)]):  # noqa: C419
        call = Call(network, sequences, masks, len(states), kept.arrays(weights))
        results: Sequence[Tensor] = Recurrence.apply(call, x, *states, *inputs, *weights)
        return results
    if masks:
        return network.forward(x, states or None, inputs, kept.arrays(weights), sequences, masks)[0]
    return network.infer(x, states or None, inputs, kept.stack(network, weights), sequences)


def _masks(module: Caller, rows: tuple[int, ...], x: Tensor) -> list[Tensor]:
    """Masks of dropout for what layers but the first read, drawn as PyTorch's own modules do: the same for a seed."""
    if not module.dropout or not module.training:
        return []
    shape = (*rows, module.output_size)
    return [x.new_empty(shape).bernoulli_(1 - module.dropout).bool() for _ in range(module.num_layers - 1)]

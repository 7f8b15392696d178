"""Calls of a network on tensors: with autograd, without, and in graphs of torch.compile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.utils._pytree  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnncore_kernels.contract import Rows

from .. import observed
from ..architecture import Architecture
from ..keyed import PLAIN, How
from ..resets import changes_for
from ..rows import DENSE
from .autocast import asked_precision
from .dynamo import leave
from .kept import Kept
from .networks import find_network
from .operators import Traced, written
from .recurrence import Call, compute
from .sequences import Sequences, packed_sequences

KEPT = "_rnncore_kept"
"""Attribute of a module that holds its `Kept`."""


def read_parameters(module: torch.nn.Module, names: Sequence[str]) -> list[Tensor]:
    """The parameters as they are, also where something computes them: a parametrization or torch.func, say."""
    own: Any = module._parameters
    try:
        return [own[name] for name in names]
    except KeyError:
        return [getattr(module, name) for name in names]


def like_of(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """A tensor of the dtype and on the device of a network: its first parameter; x where it has none."""
    return weights[0] if weights else x


class Caller(Protocol):
    """What a module tells of the network that it calls."""

    training: bool
    dropout: float
    draws_by_key: bool
    num_layers: int
    bidirectional: bool
    output_size: int
    state_widths: Sequence[int]

    def network_key(self) -> Any:
        """What is the same as long as the network is."""
        ...

    def network_text(self, precision: str | None = None) -> str:
        """The text of the network, see `keyed.text_of`, without its dropout; None is its own precision of products."""
        ...


class Given(NamedTuple):
    """What a call is given beside x and the parameters.

    Attributes:
        states: the initial states, (L*D, B, width) each; none for zeros.
        inputs: (T, B) or (T, B, H) each.
        resets: (T, B) of bool, where rows begin anew.
        begun: (L*D, B, width) each, with which states; none for zeros.
        flow: (L*D, T) of each state, that the backward pass writes, where `how` asks for it.
        how: see `How`.
    """

    states: Sequence[Tensor] = ()
    inputs: Sequence[Tensor] = ()
    resets: Tensor | None = None
    begun: Sequence[Tensor] = ()
    flow: Sequence[Tensor] = ()
    how: How = PLAIN


def padded(
    module: Any, x: Tensor, given: Given, weights: Sequence[Tensor], *, batch_first: bool, rows: Rows = DENSE
) -> Sequence[Tensor]:
    """The outputs and the final states of a batch (T, B, I), or (B, T, I) with `batch_first`.

    Args:
        module: whose call it is, a `Caller`; keeps packed weights.
        x: 0 past a row's end.
        given: what there is beside.
        weights: in the order of `Network.names`.
        batch_first: of x and the output.
        rows: when rows end.
    """
    steps, batch = (x.shape[1], x.shape[0]) if batch_first else (x.shape[0], x.shape[1])
    masks = _masks(module, (steps, batch), x)
    if batch_first and not module.draws_by_key:
        masks = [m.transpose(0, 1) for m in masks]
    return _call(module, x, given, weights, masks, Sequences(batch_first, rows))


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
        results = traced(module, x, Given(states), weights, batch_first=False, lengths=sizes, packed=True)
    else:
        masks = _masks(module, (x.shape[0],), x)
        results = _call(module, x, Given(states), weights, masks, packed_sequences(sizes))
    output, *finals = results
    if back is not None:
        finals = [s.index_select(1, back) for s in finals]
    return PackedSequence(output, sizes, order, back), finals


def traced(
    module: Any,
    x: Tensor,
    given: Given,
    weights: Sequence[Tensor],
    *,
    batch_first: bool,
    lengths: Tensor | None = None,
    packed: bool = False,
) -> Sequence[Tensor]:
    """The same as `padded`, or as `packed`, in a graph of torch.compile; `lengths` are of rows, or the batch sizes."""
    masks: list[Tensor] = []
    if module.draws_by_key and module.training:
        masks = [_key()]
    elif module.dropout and module.training:
        # The tracer's float is a symbol, of which there is no text: masks are what values are multiplied with here.
        ones = x.new_ones((*x.shape[:-1], module.output_size))
        masks = [torch.nn.functional.dropout(ones, module.dropout) for _ in range(module.num_layers - 1)]
    states, inputs, resets, begun, _, how = given
    network = module.network_text(asked_precision(like_of(weights, x))), written(how), batch_first, packed
    if torch.is_grad_enabled():
        outputs = len(module.state_widths) if how.every else 1
        counts = len(states), len(begun), len(inputs), len(masks)
        first, *others = _distinct((x, *states, *begun, *inputs, *masks, *weights))
        results: Sequence[Tensor] = Traced.apply(network, outputs, counts, first, lengths, resets, *others)
        return results
    arguments = list(states), list(begun), list(inputs), list(weights), list(masks)
    return torch.ops.rnncore.forward(x, lengths, resets, *arguments, *network, False)[:-1]  # type: ignore[no-any-return]


def _distinct(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors, views of those that came before: the tracer refuses to give a function one twice."""
    result: list[Tensor] = []
    for tensor in tensors:
        result.append(tensor.view_as(tensor) if any([tensor is t for t in result]) else tensor)  # noqa: C419
    return result


def _call(
    module: Any, x: Tensor, given: Given, weights: Sequence[Tensor], masks: Sequence[Tensor], sequences: Sequences
) -> Sequence[Tensor]:
    every: Kept | None = module.__dict__.get(KEPT)
    if every is None:
        every = module.__dict__[KEPT] = Kept()
    like = like_of(weights, x)
    kept = every.find(module, like, asked_precision(like))
    network = kept.network
    states, inputs, resets, begun, flow, how = given
    with network.memory.entered():
        again = None if resets is None else network.make_resets(resets, begun)
        tensors = (x, *states, *begun, *inputs, *weights)
        if torch.is_grad_enabled() and (like.requires_grad or any([t.requires_grad for t in tensors])):  # noqa: C419
            layers = kept.views(weights).layers
            call = Call(network, layers, sequences, masks, again, len(states), flow, how)
            results: Sequence[Tensor] = compute(call, *tensors)
            return results
        if masks or how.every:
            layers = kept.views(weights).layers
            return network.forward(x, states, inputs, layers, sequences, masks, again, how)[0]
        stack = kept.stack(weights, changes_for(again))
        return network.infer(x, states, inputs, stack, sequences, again)


def observe(
    module: Any, architecture: Architecture, weights: Sequence[Tensor], arguments: Mapping[str, Any]
) -> list[dict[str, Tensor]]:
    """See `Recurrent.observe`; the arguments are those of `rnncore.Recurrent.observe`, but tensors."""
    like = like_of(weights, arguments["x"])
    network = find_network(module.network_text(architecture.precision), like.dtype, like.device)
    memory, lengths = network.memory, arguments["lengths"]
    ends = None if lengths is None else torch.as_tensor(lengths, device="cpu").numpy()
    with memory.entered():
        arrays = torch.utils._pytree.tree_map_only(Tensor, lambda t: memory.array(t.detach()), arguments)
        parameters = {name: memory.array(w.detach()) for name, w in zip(network.names, weights, strict=True)}
        found = observed.observe(architecture, memory.engine, parameters, **{**arrays, "lengths": ends})
        return [{name: memory.tensor(value) for name, value in layer.items()} for layer in found]


def _masks(module: Caller, rows: tuple[int, ...], x: Tensor) -> list[Tensor]:
    """Masks of dropout for what layers but the first read, drawn as PyTorch's own modules do: the same for a seed.

    Where the network draws more than these, they are the key that it draws all by.
    """
    if module.draws_by_key and module.training:
        return [_key()]
    if not module.dropout or not module.training:
        return []
    shape = (*rows, module.output_size)
    return [x.new_empty(shape).bernoulli_(1 - module.dropout).bool() for _ in range(module.num_layers - 1)]


def _key() -> Tensor:
    """A key of PyTorch's generator."""
    return torch.randint(1 << 62, (), dtype=torch.int64)


leave(padded)
leave(packed)

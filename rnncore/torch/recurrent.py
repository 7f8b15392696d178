"""`Recurrent`: a PyTorch module of any cell, the library's or one's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnncore_kernels.cells import Cell

from ..architecture import make_architecture
from ..arguments import check_states
from ..definition import Definition, cell_key
from ..rows import DENSE, arrange
from . import calls
from .arguments import Layout, check_x, read_inputs, read_resets, read_states, refuse
from .dynamo import leave
from .fallback import reason_against
from .marks import mark, reason_to_refuse
from .network import DTYPES, read_lengths

TRACED = (
    "torch.jit.trace: expected operations of PyTorch's to record, got rnncore.torch.Recurrent, of which a trace would "
    "have the numbers alone: write torch.export.export(model, (x,))"
)


class Recurrent(torch.nn.Module):
    """A recurrent network of any cell as a module: one or more layers, in one or both directions.

    Parameters have the names and shapes of `rnncore.Recurrent`, so that each loads the other's `state_dict`.

    Args:
        cell: the name of a cell, or an instance of `rnncore.cells.Cell`, one of your own too.
        input_size, hidden_size, num_layers, bidirectional, bias, batch_first: as in `rnncore.Recurrent`.
        dropout: probability of zeroing an element of the input of each layer but the first, while training.
        device: "cpu" or None.
        dtype: torch.float32 or torch.float64; None for PyTorch's default.
        direction: "forward" or "reverse", as in `rnncore.Recurrent`.

    Raises:
        ValueError, TypeError: an argument is wrong; the message says which.
    """

    def __init__(
        self,
        cell: str | Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        direction: str = "forward",
    ) -> None:
        super().__init__()
        dtype = torch.get_default_dtype() if dtype is None else dtype
        assert dtype is not None
        if dtype not in DTYPES:
            raise ValueError(f"dtype: expected torch.float32 or torch.float64, got {dtype}")
        if device is not None and torch.device(device).type != "cpu":
            raise ValueError(f"device: expected 'cpu', got {device!r}")
        self._architecture = make_architecture(
            cell,
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            dtype=DTYPES[dtype],
            direction=direction,
        )
        arch = self._architecture
        self.input_size, self.hidden_size, self.num_layers = arch.input_size, arch.hidden_size, arch.num_layers
        self.bidirectional, self.bias, self.batch_first = arch.bidirectional, arch.bias, arch.batch_first
        self.dropout, self.direction, self.output_size = arch.dropout, arch.direction, arch.output_size
        self._cell_key = cell_key(arch.definition)
        self.state_widths = [arch.units(width) for width in arch.program.states]
        for name, parameter in arch.parameters().items():
            self.register_parameter(name, torch.nn.Parameter(torch.empty(parameter.shape, dtype=dtype)))
        self.reset_parameters()

    @property
    def cell(self) -> Cell:
        """The cell."""
        return self._architecture.cell

    @property
    def _definition(self) -> Definition:
        return self._architecture.definition

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The number that the cell says, else values from U(-1/sqrt(H), 1/sqrt(H)) of PyTorch's generator."""
        bound = 1 / math.sqrt(self.hidden_size)
        for name, parameter in self._architecture.parameters().items():
            values = self.get_parameter(name)
            if parameter.initial is None:
                values.uniform_(-bound, bound)
            else:
                values.fill_(parameter.initial)

    def forward(
        self,
        x: Any,
        state: Any = None,
        lengths: Tensor | None = None,
        inputs: Mapping[str, Tensor] | None = None,
        resets: Tensor | None = None,
        reset_state: Any = None,
        states: str | None = None,
    ) -> tuple[Any, Any]:
        """Compute a sequence.

        Args:
            x: (T, B, I), (B, T, I) with batch_first, (T, I), or a PackedSequence of such a batch.
            state: the initial state, (L*D, B, width), or (L*D, width) without a batch; a tuple of them where the cell
                has several; None is zeros.
            lengths: (B,) integers from 0 to T, in any order: the steps of each row. None: every row has T steps.
            inputs: what the cell takes beside x, by name: row inputs (T, B) or (B,), unit inputs (T, B, H) or (B, H);
                (B, T) and (B, T, H) with batch_first; a number for a row input. Differentiable.
            resets: (T, B), (B, T) with batch_first, or (T,) of bool: where a row begins anew. Its state becomes
                `reset_state` before that step, in the reverse direction behind it. None for nowhere.
            reset_state: the state that rows begin anew with, shaped like `state`; None is zeros. Differentiable.
            states: "all" for every state of the last layer at each step in the place of the output, in a tuple where
                the cell has several.

        Returns:
            (output, state): as x and the state were given; 0 past a row's end.

        Raises:
            ValueError, TypeError: an argument is wrong; the message says what was expected.
        """
        if torch._C._get_tracing_state() is not None:
            raise TypeError(TRACED)
        weights = calls.read_parameters(self, self._names)
        dtype = weights[0].dtype
        if isinstance(x, PackedSequence):
            if any(each is not None for each in (lengths, inputs, resets, reset_state, states)):
                raise ValueError("x: expected a padded batch where there is more than a state, got a PackedSequence")
            return self._packed(x, state, weights)
        compiling = torch.compiler.is_compiling()
        check_x(x, self.input_size, batch_first=self.batch_first)
        unbatched = x.dim() == 2
        batch_first = self.batch_first and not unbatched
        x = x.unsqueeze(1) if unbatched else x
        steps, batch = (x.shape[1], x.shape[0]) if batch_first else (x.shape[0], x.shape[1])
        layout = Layout(steps, batch, unbatched, batch_first)
        initial = self._states(state, layout)
        given = read_inputs(self._definition, inputs, self.hidden_size, layout, weights[0])
        begun = self._states(reset_state, layout, "reset_state")
        again = read_resets(resets, layout)
        if again is None and begun:
            raise ValueError("reset_state: expected None without resets, which say which rows begin with it")
        check_states(states, return_sequence=True)
        if torch.is_autocast_enabled("cpu"):
            x = x.to(dtype)
            initial, begun, given = ([t.to(dtype) for t in each] for each in (initial, begun, given))
        self._check(weights, x, initial, begun, given)
        how: dict[str, Any] = {"batch_first": batch_first, "begun": begun, "every": states == "all"}
        if compiling:
            if lengths is not None:
                lengths = torch.as_tensor(lengths, device="cpu")
                x, again = _cleared(x, again, lengths, steps, batch_first=batch_first)
            results = calls.traced(self, x, initial, given, weights, lengths=lengths, resets=again, **how)
        else:
            rows = DENSE
            if lengths is not None:
                values = torch.as_tensor(lengths, device="cpu")
                rows = arrange(read_lengths(values, steps, batch), steps, batch)
                if rows is not DENSE:
                    x, again = _cleared(x, again, values, steps, batch_first=batch_first)
            results = calls.padded(self, x, initial, given, weights, rows=rows, resets=again, **how)
        if unbatched:
            results = [result.squeeze(1) for result in results]
        count = len(self.state_widths)
        return _as_given(results[:-count]), _as_given(results[-count:])

    def _packed(self, x: PackedSequence, state: Any, weights: Sequence[Tensor]) -> tuple[Any, Any]:
        compiling, given = torch.compiler.is_compiling(), state
        if isinstance(state, (tuple, list)) and state:
            given = state[0]
        # In a graph of torch.compile a state says how many rows it is for, and the operator compares.
        batch = given.shape[-2] if compiling and isinstance(given, Tensor) else calls.count_rows(x)
        states = self._states(state, Layout(-1, batch, unbatched=False, batch_first=False))
        self._check(weights, x.data, states)
        packed, finals = calls.packed(self, x, x.data, states, weights)
        return packed, _as_given(finals)

    def _states(self, state: Any, layout: Layout, name: str = "state") -> list[Tensor]:
        depth = self.num_layers * (2 if self.bidirectional else 1)
        return read_states(self._definition, state, depth, self.state_widths, layout, name)

    def _check(
        self,
        weights: Sequence[Tensor],
        x: Tensor,
        states: Sequence[Tensor],
        begun: Sequence[Tensor] = (),
        inputs: Sequence[Tensor] = (),
    ) -> None:
        tensors, dtype = [*weights, x, *states, *begun, *inputs], weights[0].dtype
        if torch.compiler.is_compiling():
            fits = dtype in DTYPES and all([tensor.dtype == dtype for tensor in tensors])  # noqa: C419
            reason = None if fits else "others"
        else:
            reason = reason_against(tensors)
        if reason is not None:
            cell = self._definition
            labels = [*self._names, "x", *_labels("state", len(states)), *_labels("reset_state", len(begun))]
            labels += [f"inputs[{name!r}]" for name in cell.inputs]
            refuse(reason, list(zip(labels, tensors, strict=False)))  # a PackedSequence has no inputs

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        mark(destination, prefix, self._architecture)

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing: Any,
        unexpected: Any,
        errors: Any,
    ) -> None:
        if reason := reason_to_refuse(self.cell, local_metadata, prefix):
            errors.append(reason)
            return
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(self._architecture.parameters())

    def network_arguments(self) -> tuple[str, tuple[Any, ...]]:
        """See `calls.Caller`."""
        sizes = self.input_size, self.hidden_size, self.num_layers, self.bidirectional, self.bias
        return self._cell_key, (*sizes, self.direction == "reverse", self.dropout)

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return self._architecture.describe()

    def __getstate__(self) -> Any:
        return {name: value for name, value in self.__dict__.items() if name != calls.KEPT}

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self._cell_key = cell_key(self._definition)


leave(Recurrent._check)


def _labels(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}[{k}]" for k in range(count)]


def _as_given(tensors: Sequence[Tensor]) -> Any:
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def _cleared(
    x: Tensor, resets: Tensor | None, lengths: Tensor, steps: int, *, batch_first: bool
) -> tuple[Tensor, Tensor | None]:
    """x with zeros past the end of each row, where no row begins anew either."""
    ended = torch.arange(steps)[:, None] >= lengths
    x = x.masked_fill((ended.T if batch_first else ended)[..., None], 0)
    return x, None if resets is None else resets & ~ended

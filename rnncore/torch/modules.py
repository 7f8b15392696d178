"""PyTorch's LSTM, GRU and RNN on rnncore's engines: subclasses whose parameters, options and errors are PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnncore_kernels.cells import Cell

from . import calls
from .autocast import autocasts, is_cast, recast
from .dynamo import allow
from .fallback import fall_back, reason_against
from .marks import Marked
from .memory import reason_against_device
from .network import DTYPES
from .networks import CELLS


class _Accelerated(Marked, torch.nn.modules.rnn.RNNBase):
    """What the three classes have in common."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Compute a sequence as the class of PyTorch's does: same arguments, results and errors."""
        compiling = torch.compiler.is_compiling()
        if torch._C._get_tracing_state() is not None or (compiling and torch.compiler.is_exporting()):
            return super().forward(input, hx)
        weights = calls.read_parameters(self, self._flat_weights_names)
        packed = isinstance(input, PackedSequence)
        x = input.data if packed else input
        states = () if hx is None else (hx,) if self.mode != "LSTM" else hx
        batch_sizes = input.batch_sizes if packed and not compiling else None
        if not self._fits(x, states, weights, packed=packed, batch_sizes=batch_sizes):
            # It raises what is to be raised.
            return super().forward(input, hx)
        if autocasts(x):
            dtype = weights[0].dtype
            x, states = recast(x, dtype), [recast(s, dtype) for s in states]
        reason = None if compiling else reason_against([*weights, x, *states])
        if compiling and (reason_against_device(x.device) or x.dtype not in DTYPES):
            reason = "a graph of what only eager calls take"
        if reason is not None:
            fall_back(reason)
            return super().forward(input, hx)
        if packed:
            output, finals = calls.packed(self, input, x, states, weights)
            return output, finals[0] if self.mode != "LSTM" else (finals[0], finals[1])
        batch_first = self.batch_first and x.dim() == 3
        if x.dim() == 2:
            x, states = x.unsqueeze(1), [s.unsqueeze(1) for s in states]
        call = calls.traced if compiling else calls.padded
        output, *finals = call(self, x, calls.Given(states), weights, batch_first=batch_first)
        if input.dim() == 2:
            output, finals = output.squeeze(1), [s.squeeze(1) for s in finals]
        return output, finals[0] if self.mode != "LSTM" else (finals[0], finals[1])

    draws_by_key = False

    def network_key(self) -> tuple[Any, ...]:
        """See `calls.Caller`."""
        sizes = self.input_size, self.hidden_size, self.num_layers, self.bidirectional, self.bias
        return (self.mode, self.proj_size, self.dropout, *sizes)

    def network_text(self, precision: str | None = None) -> str:
        """See `calls.Caller`."""
        # As `text_of` has it, in operations that the tracer knows.
        return (
            f"{self.mode} {self.proj_size}|{{'input_size': {self.input_size}, 'hidden_size': {self.hidden_size}, "
            f"'num_layers': {self.num_layers}, 'bidirectional': {self.bidirectional}, 'bias': {self.bias}, "
            f"'compute': {precision!r}}}"
        )

    @property
    def output_size(self) -> int:
        """Width of the output."""
        width: int = self.proj_size or self.hidden_size
        return 2 * width if self.bidirectional else width

    @property
    def state_widths(self) -> list[int]:
        """The width of each state."""
        return [self.proj_size or self.hidden_size, self.hidden_size][: 2 if self.mode == "LSTM" else 1]

    def _fits(
        self, x: Any, states: Any, weights: Sequence[Tensor], *, packed: bool, batch_sizes: Tensor | None
    ) -> bool:
        """Whether types, axes and dtypes are such that PyTorch raises no error."""
        # An empty sequence is an error of PyTorch's; an empty batch is left to it.
        if not isinstance(x, Tensor) or x.dim() not in ((2,) if packed else (2, 3)) or x.numel() == 0:
            return False
        dtype, casts = weights[0].dtype, autocasts(x)
        if x.shape[-1] != self.input_size or (x.dtype is not dtype and not (casts and is_cast(x))):
            return False
        if len(states) == 0:
            return True
        widths = self.state_widths
        if not isinstance(states, (tuple, list)) or len(states) != len(widths):
            return False
        depth = self.num_layers * (2 if self.bidirectional else 1)
        axes = 3 if packed else x.dim()
        for state, width in zip(states, widths, strict=True):
            if not isinstance(state, Tensor) or state.dim() != axes:
                return False
            if state.shape[0] != depth or state.shape[-1] != width:
                return False
            if state.dtype is not dtype and not (casts and is_cast(state)):
                return False
            if not packed and axes == 3 and state.shape[1] != x.shape[0 if self.batch_first else 1]:
                return False
            if batch_sizes is not None and state.shape[1] != int(batch_sizes[0]):
                return False
        return True

    def _marked_cell(self) -> Cell:
        cell: Cell = CELLS[self.mode](self.proj_size)
        return cell

    def __getstate__(self) -> Any:
        state = super().__getstate__()
        state.pop(calls.KEPT, None)
        return state

    def __prepare_scriptable__(self) -> torch.nn.Module:
        # TorchScript compiles a module from its source: it gets PyTorch's own class.
        own: Any = type(self).__bases__[1]
        other = own.__new__(own)
        other.__dict__.update({k: v for k, v in self.__dict__.items() if k != calls.KEPT})
        return other


class LSTM(_Accelerated, torch.nn.LSTM):
    """`torch.nn.LSTM`, computed by rnncore."""


class GRU(_Accelerated, torch.nn.GRU):
    """`torch.nn.GRU`, computed by rnncore."""


class RNN(_Accelerated, torch.nn.RNN):
    """`torch.nn.RNN`, computed by rnncore."""


allow(_Accelerated)

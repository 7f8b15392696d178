"""`Configured`: a PyTorch module made from a network's options, with its parameters and their `state_dict`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rnncore_kernels.cells import Cell
from rnncore_kernels.precision import BFLOAT16

from ..architecture import OPTIONS, options_of
from ..definition import cell_key
from ..keyed import text_of
from ..options import check_options, make_architecture
from ..state_dict import StateDict, read_state_dict
from . import calls
from .arguments import check_compute
from .marks import Marked, mark
from .memory import reason_against_device
from .network import DTYPES

SCRIPTED = (
    "torch.jit.script: expected a module whose source TorchScript can read, got rnncore.torch.Recurrent: write "
    "torch.compile(model) or torch.export.export(model, (x,)); LSTM, GRU and RNN of rnncore.torch become PyTorch's"
)

SIZES = ("input_size", "hidden_size")


class Configured(Marked):
    """An architecture as a module: its options are attributes, its parameters PyTorch's; see `Recurrent`."""

    input_size: int | None
    hidden_size: int

    def __init__(
        self,
        cell: str | Cell,
        input_size: int | None,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        dtype = torch.get_default_dtype() if dtype is None else dtype
        assert dtype is not None
        if dtype not in DTYPES:
            raise ValueError(f"dtype: expected torch.float32 or torch.float64, got {dtype}")
        if device is not None and (reason := reason_against_device(torch.device(device))):
            raise ValueError(f"device: expected one where an engine computes, got {reason}")
        check_options(options)
        options |= {"num_layers": num_layers, "bidirectional": bidirectional, "bias": bias, "batch_first": batch_first}
        options |= {"dropout": dropout, "input_size": input_size, "hidden_size": hidden_size}
        self._architecture = arch = make_architecture(cell, dtype=DTYPES[dtype], **{**OPTIONS, **options})
        for name, parameter in arch.parameters().items():
            values = torch.empty(parameter.shape, dtype=dtype, device=device)
            self.register_parameter(name, torch.nn.Parameter(values))
        self._name_network()
        self.reset_parameters()

    def _name_network(self) -> None:
        arch = self._architecture
        # Asked for here, as a tracer of torch.compile cannot work them out.
        self._output_size, self._state_widths = arch.output_size, [width for _, _, width in arch.state_shapes(1)]
        _ = arch.layer_names, arch.initial_names
        self.draws_by_key = arch.definition.draws or arch.input_dropout > 0 or arch.variational
        sizes = {name: getattr(arch, name) for name in SIZES}
        # A graph has no layout, and no text of what may change: a number, or the dtype and that of products with it.
        apart = {"batch_first": False, "dropout": arch.dropout if self.draws_by_key else 0.0}
        options = {**sizes, **options_of(arch), **apart}
        self._texts = {
            asked: text_of(cell_key(arch.definition), {**options, "compute": asked or arch.precision})
            for asked in (None, BFLOAT16)
        }

    def _change(self, option: str, value: Any) -> None:
        """Set an option; ValueError where parameters would have other shapes, or it cannot be so."""
        arch = self._architecture
        known: dict[str, Any] = {name: getattr(arch, name) for name in (*SIZES, "dtype")}
        if option == "compute":
            # Parameters may have been converted since.
            dtype = next((p.dtype for p in self.parameters() if p.dtype in DTYPES), None)
            if dtype is not None:
                check_compute(value, dtype)
                known["dtype"] = DTYPES[dtype]
        changed = make_architecture(
            arch.cell, **{**known, **options_of(arch), "compute": arch.precision, option: value}
        )
        if changed.parameters() != arch.parameters():
            raise ValueError(
                f"{option}: expected {getattr(arch, option)!r}, from which shapes of parameters follow, got {value!r}: "
                f"make another module"
            )
        self._architecture = changed
        self._name_network()

    @property
    def cell(self) -> Cell:
        """The cell."""
        return self._architecture.cell

    @property
    def output_size(self) -> int:
        """Width of the output, D*P."""
        return self._output_size

    @property
    def state_widths(self) -> list[int]:
        """The width of each state."""
        return self._state_widths

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

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        mark(destination, prefix, self._architecture)

    def _marked_cell(self) -> Cell:
        return self.cell

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As a module of PyTorch does; one of `rnncore.Recurrent` will do, too.

        Raises:
            RuntimeError, ValueError: it is not one of this network; the message says why.
        """
        if isinstance(state_dict, StateDict):
            values = read_state_dict(self._architecture, np, state_dict, None)
            state_dict = {name: torch.from_numpy(array) for name, array in values.items()}
        return super().load_state_dict(state_dict, strict, assign)

    @property
    def _names(self) -> tuple[str, ...]:
        return self._architecture.layer_names

    def network_key(self) -> tuple[str, float]:
        """See `calls.Caller`."""
        return self._texts[None], self.dropout

    def network_text(self, precision: str | None = None) -> str:
        """See `calls.Caller`."""
        return self._texts[precision]

    def __prepare_scriptable__(self) -> Any:
        raise TypeError(SCRIPTED)

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return self._architecture.describe()

    def __getstate__(self) -> Any:
        return {name: value for name, value in self.__dict__.items() if name != calls.KEPT}

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self._name_network()  # so that this process has the cell


def _option(name: str) -> property:
    """A size or an option of the network, which is changed or refused."""
    return property(lambda self: getattr(self._architecture, name), lambda self, value: self._change(name, value))


for _name in (*SIZES, *OPTIONS):
    setattr(Configured, _name, _option(_name))

"""The sizes and options of a recurrent network, checked once, and all shapes that follow from them."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from rnncore_kernels.cells import CELLS, Cell
from rnncore_kernels.codegen.recorded import record
from rnncore_kernels.contract import Array, LayerWeights

OPTIONS = {"num_layers": 1, "bidirectional": False, "bias": True, "batch_first": False, "dropout": 0.0}
"""The options that a network shares with PyTorch's modules, by name, and their defaults."""


@dataclass(frozen=True)
class Architecture:
    """What a network is, apart from its parameters and the backend that runs it.

    `recorded` is the cell as engines compute it: the library's own, or what was recorded of another; for the other
    fields see `Recurrent`.
    """

    cell: Cell
    recorded: Cell
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    bias: bool
    batch_first: bool
    dropout: float
    dtype: np.dtype[Any]

    @property
    def num_directions(self) -> int:
        """D, 1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """Width of the output, D*H."""
        return self.num_directions * self.hidden_size

    def layer_input_size(self, layer: int) -> int:
        """Width of what a layer reads: the input's, then the output of the layer below."""
        return self.input_size if layer == 0 else self.output_size

    def state_shape(self, batch: int) -> tuple[int, int, int]:
        """(L*D, B, H), in the order of `state_index`."""
        return self.num_layers * self.num_directions, batch, self.hidden_size

    def state_index(self, layer: int, direction: int) -> int:
        """Place of a layer and direction in a state, and in all lists of layers and directions."""
        return layer * self.num_directions + direction

    def parameter_suffixes(self) -> list[str]:
        """Ends of the parameters' names, by layer and direction in the order of the state: l0, l0_reverse, l1, ..."""
        ends = ("", "_reverse")[: self.num_directions]
        return [f"l{layer}{end}" for layer in range(self.num_layers) for end in ends]

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each parameter, named and ordered as in PyTorch."""
        rows = len(self.cell.gates) * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for index, suffix in enumerate(self.parameter_suffixes()):
            shapes[f"weight_ih_{suffix}"] = (rows, self.layer_input_size(index // self.num_directions))
            shapes[f"weight_hh_{suffix}"] = (rows, self.hidden_size)
            if self.bias:
                shapes[f"bias_ih_{suffix}"] = (rows,)
                shapes[f"bias_hh_{suffix}"] = (rows,)
        return shapes

    def by_layer(self, named: Mapping[str, Array]) -> list[LayerWeights]:
        """Parameters, or their gradients, of each layer and direction in the order of the state, from those by name."""
        return [
            LayerWeights._make(named.get(f"{kind}_{suffix}") for kind in LayerWeights._fields)
            for suffix in self.parameter_suffixes()
        ]

    def by_name(self, layers: Sequence[LayerWeights]) -> dict[str, Array]:
        """The inverse of `by_layer`."""
        return {
            f"{kind}_{suffix}": values
            for suffix, layer in zip(self.parameter_suffixes(), layers, strict=True)
            for kind, values in layer._asdict().items()
            if values is not None
        }

    def describe(self) -> str:
        """The constructor's arguments, those that differ from their defaults."""
        parts = [repr(self.cell), f"input_size={self.input_size}", f"hidden_size={self.hidden_size}"]
        parts += [f"{k}={v!r}" for k, v in options_of(self).items() if v != OPTIONS[k]]
        return ", ".join([*parts, f"dtype={self.dtype.name!r}"])


def options_of(network: Any) -> dict[str, Any]:
    """The values of OPTIONS of an architecture, a network, or a module of PyTorch."""
    return {name: getattr(network, name) for name in OPTIONS}


def make_architecture(
    cell: str | Cell,
    *,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    bidirectional: bool,
    bias: bool,
    batch_first: bool,
    dropout: float,
    dtype: DTypeLike,
) -> Architecture:
    """Check every argument and return the architecture; ValueError or TypeError names the one that is wrong."""
    cell = _resolve_cell(cell)
    return Architecture(
        cell=cell,
        recorded=cell if type(cell) in CELLS.values() else record(cell),
        input_size=check_integer("input_size", input_size, 0),
        hidden_size=check_integer("hidden_size", hidden_size, 1),
        num_layers=check_integer("num_layers", num_layers, 1),
        bidirectional=_flag("bidirectional", bidirectional),
        bias=_flag("bias", bias),
        batch_first=_flag("batch_first", batch_first),
        dropout=_probability("dropout", dropout),
        dtype=_float_dtype(dtype),
    )


def _resolve_cell(cell: str | Cell) -> Cell:
    if isinstance(cell, str):
        if cell not in CELLS:
            raise ValueError(
                f"cell: expected one of {', '.join(map(repr, CELLS))} or an instance of Cell, got {cell!r}"
            )
        return CELLS[cell]()
    return cell


def check_integer(name: str, value: Any, least: int) -> int:
    """`value` as an int of at least `least`; TypeError or ValueError names the argument."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__} {value!r}") from None
    if isinstance(value, (bool, np.bool_)) or number < least:
        raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r}")
    return number


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {type(value).__name__} {value!r}")
    return bool(value)


def _probability(name: str, value: Any) -> float:
    is_number = isinstance(value, (int, float, np.floating, np.integer)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a probability from 0 to 1, got {value!r}")
    return float(value)


def _float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        resolved = None if dtype is None else np.dtype(dtype)
    except TypeError:
        resolved = None
    if resolved is None or resolved not in (np.float32, np.float64):
        raise ValueError(f"dtype: expected 'float32' or 'float64', got {dtype!r}")
    return resolved


def check_threads(num_threads: int | None) -> int | None:
    """A number of threads, at least 1, or None for as many as the machine has cores."""
    return None if num_threads is None else check_integer("num_threads", num_threads, 1)


def check_seed(seed: int | None) -> int | None:
    """A seed, at least 0, or None for a fresh one."""
    return None if seed is None else check_integer("seed", seed, 0)

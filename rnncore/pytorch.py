"""Parameters from and to PyTorch. Imports torch only to make a module of it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore_kernels.cells import GRU, LSTM, Cell, Elman
from rnncore_kernels.contract import Array

from .architecture import Architecture, options_of
from .devices import on_host
from .errors import describe

if TYPE_CHECKING:
    from .recurrent import Recurrent

CARRY_ADVICE = (
    "PyTorch's GRU computes h_t = (1-z) n + z h_{t-1} and resets after the product: "
    "use GRU(update='carry', reset='after')"
)


def is_tensor(value: Any) -> bool:
    """Whether `value` is a PyTorch tensor, without importing torch."""
    return any(base.__module__.split(".")[0] == "torch" and base.__name__ == "Tensor" for base in type(value).__mro__)


def as_arrays(architecture: Architecture, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, PyTorch tensors among them as NumPy arrays, unless they belong to another kind of GRU."""
    cell = architecture.cell
    if not isinstance(values, Mapping):
        raise TypeError(f"state_dict: expected a mapping from names to arrays, got {describe(values)}")
    if any(is_tensor(value) for value in values.values()) and isinstance(cell, GRU) and cell != GRU("carry", "after"):
        raise ValueError(f"state_dict: expected the parameters of {cell!r}, got PyTorch tensors: {CARRY_ADVICE}")
    return {name: _to_numpy(name, value) if is_tensor(value) else value for name, value in values.items()}


def from_torch(kind: type[Recurrent], module: Any, *, backend: str, num_threads: int | None) -> Recurrent:
    """See `Recurrent.from_torch`."""
    mode = getattr(module, "mode", None)
    cells: dict[str, Cell] = {
        "RNN_TANH": Elman("tanh"),
        "RNN_RELU": Elman("relu"),
        "LSTM": LSTM(),
        "GRU": GRU("carry", "after"),
    }
    if mode not in cells or not hasattr(module, "state_dict"):
        raise TypeError(f"module: expected a torch.nn.RNN, LSTM or GRU, got {describe(module)}")
    if getattr(module, "proj_size", 0):
        raise ValueError(f"module: expected proj_size=0, got {module.proj_size}: projections have no counterpart here")
    values = {name: _to_numpy(name, value) for name, value in module.state_dict().items()}
    if "weight_ih_l0" not in values or "weight_hh_l0" not in values:
        raise ValueError(f"module: expected parameters weight_ih_l0, weight_hh_l0, ..., got {', '.join(values)}")
    rnn = kind(
        cells[mode],
        module.input_size,
        module.hidden_size,
        **options_of(module),
        backend=backend,
        dtype=values["weight_ih_l0"].dtype,
        num_threads=num_threads,
    )
    rnn.load_state_dict(values)
    return rnn


def to_torch(rnn: Recurrent) -> Any:
    """See `Recurrent.to_torch`."""
    cell = rnn.cell
    name, options = "", {}
    if type(cell) is LSTM:
        name = "LSTM"
    elif cell == GRU("carry", "after"):
        name = "GRU"
    elif isinstance(cell, GRU):
        raise ValueError(f"to_torch: {cell!r} has no counterpart: {CARRY_ADVICE}")
    elif type(cell) is Elman and cell.activation in ("tanh", "relu"):
        name, options = "RNN", {"nonlinearity": cell.activation}
    else:
        raise ValueError(f"to_torch: {cell!r} has no counterpart in PyTorch, which has RNN (tanh, relu), LSTM and GRU")
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(f"to_torch: expected PyTorch to be installed: pip install torch ({error})") from error

    with warnings.catch_warnings():
        # PyTorch's remark that dropout does nothing in a network of one layer.
        warnings.simplefilter("ignore", UserWarning)
        make, dtype = getattr(torch.nn, name), getattr(torch, rnn.dtype.name)
        module = make(rnn.input_size, rnn.hidden_size, **options_of(rnn), dtype=dtype, **options)
    module.load_state_dict({name: torch.tensor(on_host(array)) for name, array in rnn.state_dict().items()})
    return module


def _to_numpy(name: str, tensor: Any) -> Array:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in ("float32", "float64"):
        raise TypeError(f"{name}: expected float32 or float64, got {dtype}: convert the module with .float()")
    array: Array = np.array(tensor.detach().cpu().numpy())
    return array

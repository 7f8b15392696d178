"""Parameters from and to PyTorch. Imports torch only to make a module of it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore_kernels.cells import GRU, LSTM, Cell, Elman
from rnncore_kernels.contract import Array

from .architecture import PYTORCH_OPTIONS, REGULARISATION, Architecture, options_of
from .devices import as_array
from .errors import describe

if TYPE_CHECKING:
    from .network import Network, SomeNetwork

CARRY = GRU("carry", "after")
"""PyTorch's GRU."""


def is_tensor(value: Any) -> bool:
    """Whether `value` is a PyTorch tensor, without importing torch."""
    return any(base.__module__.split(".")[0] == "torch" and base.__name__ == "Tensor" for base in type(value).__mro__)


def from_pytorch(architecture: Architecture, xp: ModuleType, values: Mapping[str, Any]) -> dict[str, Any]:
    """PyTorch's parameters as a network's that computes the same.

    The update gate z of PyTorch's GRU weighs the other part of the new state. As 1 - sigmoid(a) is sigmoid(-a), its
    rows are negated for GRU(update="candidate"), which is exact: both compute the same, to the bit.

    Raises:
        ValueError: PyTorch has no such cell, or x itself holds what is to be negated.
        TypeError: a value to be negated is not an array.
    """
    _counterpart(architecture.cell, "convention='torch'")
    if not _is_candidate(architecture.cell):
        return dict(values)
    if architecture.input_size is None:
        raise ValueError(
            f"convention: expected None or 'rnncore' with input_size=None and {architecture.cell!r}, got 'torch': the "
            f"update gate's part of x would have to be negated, too: make the network with GRU(update='carry'), which "
            f"is PyTorch's"
        )
    hidden, converted = architecture.hidden_size, {}
    for name, value in values.items():
        if name in architecture.initial_names:
            converted[name] = value
            continue
        expected = f"{name}: expected a {xp.__name__}.ndarray, got {describe(value)}"
        converted[name] = _update_negated(as_array(value, xp, expected), hidden)
    return converted


def from_torch(
    kind: type[SomeNetwork], module: Any, *, backend: str, num_threads: int | None, seed: int | None
) -> SomeNetwork:
    """See `Recurrent.from_torch`."""
    mode = getattr(module, "mode", None)
    cells: dict[Any, Cell] = {
        "RNN_TANH": Elman("tanh"),
        "RNN_RELU": Elman("relu"),
        "LSTM": LSTM(projection=getattr(module, "proj_size", 0) or None),
        "GRU": CARRY,
    }
    if mode not in cells or not hasattr(module, "state_dict"):
        raise TypeError(f"module: expected a torch.nn.RNN, LSTM or GRU, got {describe(module)}{_instead(module)}")
    values = {name: to_numpy(name, value) for name, value in module.state_dict().items()}
    if "weight_ih_l0" not in values or "weight_hh_l0" not in values:
        raise ValueError(f"module: expected parameters weight_ih_l0, weight_hh_l0, ..., got {', '.join(values)}")
    rnn = kind(
        cells[mode],
        module.input_size,
        module.hidden_size,
        **options_of(module, PYTORCH_OPTIONS),
        backend=backend,
        dtype=values["weight_ih_l0"].dtype,
        num_threads=num_threads,
        seed=seed,
    )
    rnn.load_state_dict(values, convention="torch")
    return rnn


def _instead(module: Any) -> str:
    """What to do with a module that is none of PyTorch's recurrent ones."""
    if type(module).__module__.startswith("rnncore.torch"):
        return ": read it with Recurrent.from_state_dict(module.state_dict())"
    named = getattr(module, "named_modules", None)
    inner = [(name, each) for name, each in (named() if named else ()) if hasattr(each, "mode")]
    found = ", ".join(f"{type(each).__name__} {name!r}" for name, each in inner)
    return f": it holds {found}: pass model.get_submodule({inner[0][0]!r})" if inner else ""


def to_torch(rnn: Network) -> Any:
    """See `Recurrent.to_torch`."""
    name, options = _counterpart(rnn.cell, "to_torch")
    if rnn.initial_state is not None:
        raise ValueError("to_torch: a network with an initial_state of its own has no counterpart in PyTorch")
    if rnn.direction != "forward":
        raise ValueError(
            f"to_torch: direction={rnn.direction!r} has no counterpart in PyTorch: make a network with "
            f"direction='forward' of its state_dict, and give PyTorch's module x turned round along T, "
            f"x.flip({int(rnn.batch_first)}), and each row within its own length where lengths differ"
        )
    if rnn.input_size is None:
        raise ValueError(
            "to_torch: input_size=None has no counterpart in PyTorch, whose modules multiply x by weight_ih: make a "
            "network with an input_size, and these weights among its own"
        )
    for option, default in REGULARISATION.items():
        if (value := getattr(rnn, option)) != default:
            raise ValueError(
                f"to_torch: {option}={value!r} has no counterpart in PyTorch: make a network without it, and let it "
                f"load_state_dict"
            )
    if options.get("proj_size", 0) >= rnn.hidden_size:
        raise ValueError(
            f"to_torch: expected a projection narrower than hidden_size={rnn.hidden_size}, as PyTorch's are, got "
            f"{options['proj_size']}"
        )
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(f"to_torch: expected PyTorch to be installed: pip install torch ({error})") from error

    with warnings.catch_warnings():
        # PyTorch's remark that dropout does nothing in a network of one layer.
        warnings.simplefilter("ignore", UserWarning)
        make, dtype = getattr(torch.nn, name), getattr(torch, rnn.dtype.name)
        module = make(rnn.input_size, rnn.hidden_size, **options_of(rnn, PYTORCH_OPTIONS), dtype=dtype, **options)
    values = rnn.parameters.without_heads()
    if _is_candidate(rnn.cell):
        values = {name: _update_negated(value, rnn.hidden_size) for name, value in values.items()}
    module.load_state_dict({name: torch.tensor(value) for name, value in values.items()})
    return module


def has_counterpart(cell: Cell) -> bool:
    """Whether PyTorch has a module that computes the same."""
    try:
        _counterpart(cell, "")
    except ValueError:
        return False
    return True


def _counterpart(cell: Cell, where: str) -> tuple[str, dict[str, Any]]:
    """Name and options of PyTorch's module of a cell; ValueError begins with `where`."""
    if type(cell) is LSTM and cell == LSTM(projection=cell.projection):
        return "LSTM", {"proj_size": cell.projection or 0}
    if type(cell) is GRU and cell.reset == "after":
        return "GRU", {}
    if type(cell) is Elman and cell.activation in ("tanh", "relu"):
        return "RNN", {"nonlinearity": cell.activation}
    raise ValueError(
        f"{where}: {cell!r} has no counterpart in PyTorch, which has RNN (tanh, relu), LSTM with projection at most, "
        f"and GRU with reset='after'"
    )


def _is_candidate(cell: Cell) -> bool:
    return isinstance(cell, GRU) and cell.update == "candidate"


def _update_negated(values: Array, hidden: int) -> Array:
    """A copy of a GRU's parameter with the rows of the update gate negated; anything else is refused later."""
    copied = values.copy()
    if copied.ndim == 0 or copied.dtype.kind != "f":
        return copied
    copied[hidden : 2 * hidden] = -copied[hidden : 2 * hidden]
    return copied


def to_numpy(name: str, tensor: Any) -> Array:
    """A PyTorch tensor as an array of its own in the host's memory."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in ("float32", "float64"):
        raise TypeError(f"{name}: expected float32 or float64, got {dtype}: convert the module with .float()")
    array: Array = np.array(tensor.detach().cpu().numpy())
    return array

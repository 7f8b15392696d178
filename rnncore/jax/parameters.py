"""Parameters as a dict of arrays: drawn, and read for the sizes of their network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnncore_kernels.cells import Cell

from ..architecture import OPTIONS, Architecture
from ..definition import Definition
from ..errors import describe
from ..network import Network
from ..options import check_options, make_architecture, projected
from ..state_dict import NUMBERED, read_options

DTYPES = ("float32", "float64")
"""The dtypes that the engines compute in."""

WITH_GATES = {1: "rnn", 3: "gru", 4: "lstm"}
"""The best known cell of so many gates."""


def init(
    key: Any,
    cell: str | Cell,
    input_size: int | None,
    hidden_size: int,
    num_layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
    dtype: Any = "float32",
    **options: Any,
) -> dict[str, Any]:
    """Parameters by the names of `rnncore.Recurrent`, in its shapes.

    Args:
        key: of jax.random.
        cell: the name of a cell, or an instance of `rnncore.cells.Cell`, one of your own too.
        input_size, hidden_size, num_layers, bidirectional, bias: as in `rnncore.Recurrent`.
        dtype: "float32", or "float64" with jax_enable_x64.
        options: others of `rnncore.Recurrent`.

    Returns:
        The number that the cell says, else values from U(-1/sqrt(H), 1/sqrt(H)).

    Raises:
        ValueError, TypeError: an argument is wrong; the message says which.
    """
    check_options(options)
    options |= {"num_layers": num_layers, "bidirectional": bidirectional, "bias": bias}
    sizes = {"input_size": input_size, "hidden_size": hidden_size}
    architecture = make_architecture(cell, dtype=dtype, **{**OPTIONS, **options, **sizes})
    if jax.dtypes.canonicalize_dtype(architecture.dtype) != architecture.dtype:
        raise ValueError("dtype: expected 'float32', or JAX with jax_enable_x64, got 'float64'")
    parameters, bound = architecture.parameters(), 1 / math.sqrt(architecture.hidden_size)
    keys = jax.random.split(key, len(parameters))
    return {
        name: jax.random.uniform(each, parameter.shape, architecture.dtype, -bound, bound)
        if parameter.initial is None
        else jnp.full(parameter.shape, parameter.initial, architecture.dtype)
        for each, (name, parameter) in zip(keys, parameters.items(), strict=True)
    }


def has_own_names(params: Any) -> bool:
    """Whether parameters have names of `rnncore.Recurrent`."""
    return isinstance(params, Mapping) and any(
        NUMBERED.fullmatch(str(name)) and not isinstance(value, Mapping) for name, value in params.items()
    )


def check_tree(params: Any) -> None:
    """Raise TypeError or ValueError for what is neither parameters by our names nor a tree of Flax's."""
    expected = "params: expected a dict of arrays by name, as of rnncore.jax.init, or Flax's"
    if isinstance(params, Network):
        raise TypeError(f"{expected}, got a network: pass dict(rnn.parameters)")
    if hasattr(params, "shape") and hasattr(params, "dtype"):
        raise TypeError(f"{expected}, got {describe(params)}: recurrent(params, x) takes them first, then x")
    if not isinstance(params, (Mapping, Sequence)) or isinstance(params, str):
        of_flax = any(base.__module__.split(".")[0] == "flax" for base in type(params).__mro__)
        hint = ": of a module of Flax pass its parameters, nnx.state(cell, nnx.Param)" if of_flax else ""
        raise TypeError(f"{expected}, got {type(params).__name__}{hint}")
    for name, value in params.items() if isinstance(params, Mapping) else enumerate(params):
        if has_own_names(value):
            raise ValueError(f"{expected}, got them under {name!r}: pass params[{name!r}]")
        if not isinstance(params, Mapping):
            check_tree(value)


def read_architecture(definition: Definition, params: Mapping[str, Any], **others: Any) -> Architecture:
    """The network that parameters are of, with others of its options."""
    shapes = {name: tuple(np.shape(value)) for name, value in params.items()}
    dtypes = {str(getattr(value, "dtype", type(value).__name__)) for value in params.values()}
    if len(dtypes) != 1 or not dtypes <= {*DTYPES}:
        raise TypeError(f"params: expected arrays of float32 or of float64, got {', '.join(sorted(dtypes))}")
    definition = projected(definition, others.get("proj_size", 0))
    if hint := other_cell(definition, shapes, others.get("heads", 1)):
        raise ValueError(f"params: expected those of {definition.cell!r}, got {hint}")
    options = read_options("params", definition, shapes)
    dtype = dtypes.pop()

    def architecture_of(hidden_size: int) -> Architecture:
        given = {**OPTIONS, **options, **others, "hidden_size": hidden_size}
        return make_architecture(definition, **given, dtype=dtype)

    architecture = architecture_of(options["hidden_size"])
    if not (wrong := _differences(architecture, shapes)):
        return architecture
    # The array that gave the hidden size may be the one that is wrong.
    gates = len(definition.program.x_gates)
    hidden = shapes.get("weight_ih_l0", (0,))[0] // gates if gates and not definition.projections else 0
    if hidden and len(fewer := _differences(architecture_of(hidden), shapes)) < len(wrong):
        wrong, options["hidden_size"] = fewer, hidden
    size = f"hidden_size={options['hidden_size']}"
    raise ValueError(f"params: expected those of {definition.cell!r} with {size}, got {'; '.join(wrong)}")


def _differences(architecture: Architecture, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """How shapes by name differ from those of a network, for messages."""
    expected = {name: parameter.shape for name, parameter in architecture.parameters().items()}
    wrong = [f"no {name} {shape}" for name, shape in expected.items() if name not in shapes]
    wrong += [f"the unknown {name!r}" for name in shapes if name not in expected]
    for name, shape in expected.items():
        if (came := shapes.get(name, shape)) != shape:
            hint = f": transpose it, {name}.T" if len(came) == len(shape) == 2 and came[1] == shape[0] else ""
            wrong.append(f"{name} {came} instead of {shape}{hint}")
    return wrong


def other_cell(definition: Definition, shapes: Mapping[str, tuple[int, ...]], heads: int = 1) -> str:
    """The gates that parameters have, where they are whole and of another number than the cell's, and what to do."""
    shape, gates = shapes.get("weight_hh_l0", ()), len(definition.program.h_gates)
    if definition.projections or not gates or len(shape) != 2 or not shape[1] or shape[0] % (shape[1] * heads):
        return ""
    rows, hidden = shape[0], shape[1] * heads
    came = rows // hidden
    if came in (0, gates):
        return ""
    what = f"cell={WITH_GATES[came]!r}" if came in WITH_GATES else "cell=... with the cell that they are of"
    if came not in WITH_GATES and heads == 1 and came % gates == 0:
        what = f"heads={came // gates} if these are its recurrent weights in heads, or {what}"
    units = f"{came} gate{'s'[: came != 1]} of {hidden} units"
    return f"weight_hh_l0 {shape}, {units} instead of {gates} gate{'s'[: gates != 1]}: write {what}"

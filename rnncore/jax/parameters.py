"""Parameters as a dict of arrays: drawn, and read for the sizes of their network."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnncore_kernels.cells import Cell

from ..architecture import Architecture, make_architecture
from ..definition import Definition
from ..state_dict import read_options

DTYPES = ("float32", "float64")
"""The dtypes that the engines compute in."""

OWN_NAME = re.compile(r".+_l\d+(_reverse)?")
"""Names of parameters end in their layer and direction."""


def init(
    key: Any,
    cell: str | Cell,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
    dtype: Any = "float32",
) -> dict[str, Any]:
    """Parameters by the names of `rnncore.Recurrent`, in its shapes.

    Args:
        key: of jax.random.
        cell: the name of a cell, or an instance of `rnncore.cells.Cell`, one of your own too.
        input_size, hidden_size, num_layers, bidirectional, bias: as in `rnncore.Recurrent`.
        dtype: "float32", or "float64" with jax_enable_x64.

    Returns:
        The number that the cell says, else values from U(-1/sqrt(H), 1/sqrt(H)).

    Raises:
        ValueError, TypeError: an argument is wrong; the message says which.
    """
    architecture = make_architecture(
        cell, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers, bidirectional=bidirectional,
        bias=bias, batch_first=False, dropout=0.0, dtype=dtype,
    )  # fmt: skip
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
    """Whether parameters have the names of `rnncore.Recurrent`."""
    return isinstance(params, Mapping) and bool(params) and all(OWN_NAME.fullmatch(str(name)) for name in params)


def read_architecture(definition: Definition, params: Mapping[str, Any], direction: str) -> Architecture:
    """The network that parameters are of, and which way it runs."""
    shapes = {name: tuple(np.shape(value)) for name, value in params.items()}
    dtypes = {str(getattr(value, "dtype", type(value).__name__)) for value in params.values()}
    if len(dtypes) != 1 or not dtypes <= {*DTYPES}:
        raise TypeError(f"params: expected arrays of float32 or of float64, got {', '.join(sorted(dtypes))}")
    options = read_options("params", definition, shapes)
    architecture = make_architecture(
        definition, **options, batch_first=False, dropout=0.0, dtype=dtypes.pop(), direction=direction
    )
    expected = {name: parameter.shape for name, parameter in architecture.parameters().items()}
    if shapes != expected:
        wrong = [f"{n} {shapes.get(n, 'missing')}" for n in expected if shapes.get(n) != expected[n]]
        wrong += [f"the unknown {name}" for name in shapes if name not in expected]
        raise ValueError(
            f"params: expected those of {definition.cell!r}, {', '.join(f'{n} {s}' for n, s in expected.items())}; "
            f"got {', '.join(wrong)}"
        )
    return architecture

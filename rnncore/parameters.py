"""The parameters of a network: a mapping from PyTorch's names to arrays that every call reads as they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rnncore_kernels.cells import Cell
from rnncore_kernels.contract import Array, LayerWeights, block_diagonal

from .architecture import Architecture
from .devices import as_array, check_current, is_anothers, namespace_of, on_host, shared
from .errors import describe
from .live import Live


class Parameters(Mapping[str, Array]):
    """Parameters by name, in writable arrays: what is written to them is what the next call computes with.

    `parameters[name] = values` and `update` check name, shape and dtype, then copy the values into the array: those of
    NumPy's arrays, or of any library's that speak DLPack.
    """

    def __init__(self, architecture: Architecture, live: Live) -> None:
        self._architecture = architecture
        self._live = live

    @property
    def cell(self) -> Cell:
        """The cell that they are of."""
        return self._architecture.cell

    @property
    def direction(self) -> str:
        """In which direction the layers of their network run."""
        return self._architecture.direction

    @property
    def heads(self) -> int:
        """How many blocks the recurrent weights of their network have on the diagonal."""
        return self._architecture.heads

    @property
    def zoneout(self) -> float | dict[str, float]:
        """The zoneout of their network, on which inference depends, too."""
        return self._architecture.zoneout

    def __getitem__(self, name: str) -> Array:
        try:
            return self._live.hand_out(name)
        except KeyError:
            raise KeyError(f"no parameter {name!r}; there are {', '.join(self)}") from None

    def __setitem__(self, name: str, values: Array) -> None:
        self.update({name: values})

    def __iter__(self) -> Iterator[str]:
        return iter(self._live.arrays)

    def __len__(self) -> int:
        return len(self._live.arrays)

    def __eq__(self, other: object) -> bool:
        # Equality of values is a question for numpy, name by name.
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"Parameters({', '.join(f'{name} {array.shape}' for name, array in self.items())})"

    def update(self, values: Mapping[str, Array]) -> None:
        """Overwrite some parameters; if one is refused (ValueError, TypeError or KeyError), none is changed."""
        if not isinstance(values, Mapping):
            raise TypeError(f"parameters: expected a mapping from names to arrays, got {describe(values)}")
        checked = {name: self._check(name, self[name], value) for name, value in values.items()}
        # Copied before the first write, as values may be views of other parameters.
        new = {name: value.copy() for name, value in checked.items() if value is not self[name]}
        before = {name: self[name].copy() for name in new}
        try:
            for name, value in new.items():
                self[name][...] = value
        except BaseException:
            # An interruption, say: all or nothing.
            for name, value in before.items():
                self[name][...] = value
            raise

    def _check(self, name: str, current: Array, value: Any) -> Array:
        xp = namespace_of(current)
        if type(value) is not type(current):
            expected = f"{name}: expected a {describe(current)}, got {describe(value)}"
            value = shared(value, xp, expected) if is_anothers(value, xp) else as_array(value, xp, expected)
        check_current(name, value, xp)
        if not getattr(current.flags, "writeable", True):
            raise ValueError(f"{name}: the parameter is read-only: call parameters[{name!r}].setflags(write=True)")
        if value.shape != current.shape:
            axes = self._architecture.parameters()[name].axes
            raise ValueError(f"{name}: expected {axes} = {current.shape}, got {value.shape}")
        if value.dtype != current.dtype:
            raise TypeError(
                f"{name}: expected {current.dtype}, got {value.dtype}: convert it with .astype({current.dtype.name!r})"
            )
        checked: Array = value
        return checked

    def without_heads(self) -> dict[str, Array]:
        """Parameters in the host's memory, for libraries that know no heads: W_hh with the zeros around these."""
        values = {name: on_host(array) for name, array in self._live.arrays.items()}
        if self.heads > 1:
            gates = len(self._architecture.program.h_gates)
            for name in [name for name in values if name.startswith("weight_hh_")]:
                values[name] = block_diagonal(np, values[name], self.heads, gates)
        return values

    def layers(self) -> list[LayerWeights]:
        """The arrays of each layer and direction, in the order of the state."""
        return self._architecture.by_layer(self)


def initial_values(architecture: Architecture, seed: np.random.SeedSequence) -> dict[str, Array]:
    """The number that the cell says, else values from U(-1/sqrt(H), 1/sqrt(H)), PyTorch's distribution.

    They are the same for a seed on every backend.
    """
    rng = np.random.default_rng(seed)
    bound = 1 / math.sqrt(architecture.hidden_size)
    return {
        name: np.asarray(rng.uniform(-bound, bound, parameter.shape), architecture.dtype)
        if parameter.initial is None
        else np.full(parameter.shape, parameter.initial, architecture.dtype)
        for name, parameter in architecture.parameters().items()
    }

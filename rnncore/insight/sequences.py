"""Sequences of a call, on the host and time first, whatever the network's layout and backend."""

from __future__ import annotations

import copy
import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncore_kernels.contract import Array

from ..devices import namespace_of, on_host
from ..errors import describe
from ..frozen import Frozen
from ..recurrent import Recurrent


def check_network(rnn: Any) -> None:
    """Raise TypeError for what is no network with parameters to look into."""
    if not isinstance(rnn, Recurrent):
        hint = ": pass the network that was frozen" if isinstance(rnn, Frozen) else ""
        raise TypeError(f"rnn: expected a Recurrent, got {describe(rnn)}{hint}")


def time_first(rnn: Recurrent, x: Array, array: Array) -> Array:
    """A sequence that a call of the network on x returned, as (T, B, ...) of NumPy's."""
    found: Array = np.asarray(on_host(array))
    if np.ndim(x) == 2:
        return found[:, None]
    return found.swapaxes(0, 1) if rnn.batch_first else found


def ends(lengths: Any, steps: int, batch: int) -> NDArray[np.int64]:
    """The number of steps of each row, (B,), of lengths that a call has taken."""
    return np.full(batch, steps) if lengths is None else np.asarray(on_host(lengths), np.int64).reshape(batch)


def index(name: str, value: Any, count: int) -> int:
    """A row, layer or direction, from 0 or, negative, from the end, as one from 0."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__} {value!r}") from None
    if not -count <= number < count:
        raise ValueError(f"{name}: expected one from 0 to {count - 1}, got {number}")
    return number % count


def undropped(rnn: Recurrent) -> Recurrent:
    """The network, or where its training draws random numbers, one with the same parameters that computes inference."""
    if not rnn._architecture.draws:
        return rnn
    plain = copy.copy(rnn)
    plain._architecture = plain._architecture.without_draws()
    return plain


def signs(like: Array) -> Array:
    """Random signs in the shape of an array, the same each time, scaled to a Euclidean norm of 1."""
    drawn = np.random.default_rng(0).choice([-1.0, 1.0], like.shape) / max(1, like.size) ** 0.5
    values: Array = namespace_of(like).asarray(drawn.astype(like.dtype))
    return values

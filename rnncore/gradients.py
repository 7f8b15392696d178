"""What `Recurrent.backward` returns, and the clipping of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnncore_kernels.contract import Array
from rnncore_kernels.quiet import quiet

from .errors import describe


@dataclass(frozen=True, eq=False)
class Gradients:
    """Cotangents of everything that went into `forward`, each in the shape of what it belongs to.

    Attributes:
        x: of the input.
        state: of the initial state; an array, or a tuple where the cell has several states.
        parameters: of each parameter, by name; a plain dict, which JAX's trees take for one.
        inputs: of each input of the cell, by name; empty where it takes none.
        reset_state: of the state that rows began anew with, as `state`; None where that was zeros, as it is without a
            `reset_state` unless the network has an `initial_state`, or there were no resets.
        flow: norms of the cotangent of each state at each step, over rows and units, (L*D, T), as `state`; None unless
            `forward` was asked for it.
    """

    x: Array
    state: Any
    parameters: dict[str, Array]
    inputs: dict[str, Array] = field(default_factory=dict)
    reset_state: Any = None
    flow: Any = None

    def __repr__(self) -> str:
        return f"Gradients(x {self.x.shape}, {len(self.parameters)} parameters)"


@quiet
def clip_grad_norm(grads: Gradients | Mapping[str, Array], max_norm: float) -> float:
    """Scale the parameters' gradients in place so that their Euclidean norm, taken together, is at most `max_norm`.

    Args:
        grads: from `backward`, or any mapping of arrays, e.g. `{**grads.parameters, "decoder": ...}` to clip a whole
            model by one norm. An array under two names counts once.
        max_norm: the largest norm, above 0.

    Returns:
        The norm before clipping, infinite where it is beyond float64. If any gradient is NaN or infinite, so is the
        norm, and all are left as they are.

    Raises:
        ValueError: `max_norm` is not above 0, or an array cannot be written to.
        TypeError: `grads` is neither, or holds something other than arrays of floating-point numbers.

    Source: R. Pascanu, T. Mikolov and Y. Bengio, On the difficulty of training recurrent neural networks, ICML 2013.
    """
    if not isinstance(max_norm, (int, float, np.number)) or not max_norm > 0:
        raise ValueError(f"max_norm: expected a number above 0, got {max_norm!r}")
    if not isinstance(grads, (Gradients, Mapping)):
        raise TypeError(f"grads: expected the result of backward or a mapping of arrays, got {describe(grads)}")
    named, max_norm = grads.parameters if isinstance(grads, Gradients) else grads, float(max_norm)
    for name, array in named.items():
        _check_scalable(name, array)
    arrays = list({id(array): array for array in named.values()}.values())
    magnitudes = [float(abs(array).max()) for array in arrays if array.size]
    largest = math.nan if any(map(math.isnan, magnitudes)) else max(magnitudes, default=0.0)
    if not math.isfinite(largest) or largest == 0:
        return largest
    # By the largest magnitude, so that no square overflows.
    ratio = math.sqrt(sum(_sum_of_squares(array, largest) for array in arrays))
    norm = largest * ratio
    if norm > max_norm:
        _scale(arrays, max_norm, largest, ratio)
    return norm


def _sum_of_squares(array: Array, divisor: float) -> float:
    """The sum of the squares of quotients, which are computed in the dtype if it has the divisor, else in float64."""
    limits = np.finfo(array.dtype)
    dtype = None if limits.tiny <= divisor <= limits.max else np.float64
    return float(np.square(np.divide(array, divisor, dtype=dtype), dtype=np.float64).sum())


def _scale(arrays: Sequence[Array], max_norm: float, largest: float, ratio: float) -> None:
    """Multiply arrays by max_norm / (largest * ratio), which is below 1; it and its divisor may be beyond any float."""
    (numerator, above), (divisor, below) = math.frexp(max_norm), math.frexp(largest)
    mantissa, shift = math.frexp(numerator / (divisor * ratio))
    exponent = above - below + shift
    factor = math.ldexp(mantissa, exponent)
    for array in arrays:
        if factor >= np.finfo(array.dtype).tiny:
            array *= factor
        else:
            array[...] = np.ldexp(array * mantissa, exponent)


def _check_scalable(name: str, array: Any) -> None:
    """Refuse what could not be scaled in place, before anything is."""
    if getattr(getattr(array, "dtype", None), "kind", "") != "f":
        raise TypeError(f"grads[{name!r}]: expected an array of floating-point numbers, got {describe(array)}")
    # CuPy's arrays can always be written to, and do not say so.
    if not getattr(array.flags, "writeable", True):
        raise ValueError(f"grads[{name!r}]: expected an array that can be written to, got a read-only one: copy it")

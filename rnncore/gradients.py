"""What `Recurrent.backward` returns, and the clipping of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore_kernels.contract import Array

from .errors import describe


@dataclass(frozen=True, eq=False)
class Gradients:
    """Cotangents of everything that went into `forward`, each in the shape of what it belongs to.

    Attributes:
        x: of the input.
        state: of the initial state; an array, or a tuple where the cell has several states.
        parameters: of each parameter, by name.
    """

    x: Array
    state: Any
    parameters: dict[str, Array]

    def __repr__(self) -> str:
        return f"Gradients(x {self.x.shape}, {len(self.parameters)} parameters)"


def clip_grad_norm(grads: Gradients | Mapping[str, Array], max_norm: float) -> float:
    """Scale the parameters' gradients in place so that their Euclidean norm, taken together, is at most `max_norm`.

    Args:
        grads: from `backward`, or any mapping of arrays, e.g. `{**grads.parameters, "decoder": ...}` to clip a whole
            model by one norm.
        max_norm: the largest norm, above 0.

    Returns:
        The norm before clipping. NaN or infinite gradients give such a norm and are left as they are.

    Raises:
        ValueError: `max_norm` is not above 0.
        TypeError: `grads` is neither.

    Source: R. Pascanu, T. Mikolov and Y. Bengio, On the difficulty of training recurrent neural networks, ICML 2013.
    """
    if not isinstance(max_norm, (int, float, np.number)) or not max_norm > 0:
        raise ValueError(f"max_norm: expected a number above 0, got {max_norm!r}")
    if not isinstance(grads, (Gradients, Mapping)):
        raise TypeError(f"grads: expected the result of backward or a mapping of arrays, got {describe(grads)}")
    arrays = list((grads.parameters if isinstance(grads, Gradients) else grads).values())
    # By the largest magnitude, so that no square overflows.
    largest = max((float(abs(array).max()) for array in arrays if array.size), default=0.0)
    if not math.isfinite(largest) or largest == 0:
        return largest
    norm = largest * math.sqrt(sum(float(np.square(array / largest, dtype=np.float64).sum()) for array in arrays))
    if norm > max_norm:
        for array in arrays:
            array *= max_norm / norm
    return norm

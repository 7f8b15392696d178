"""Adam, and a rate that falls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnncore.errors import describe

from .checks import Array


class Adam:
    """Adam with decoupled weight decay (AdamW): each parameter moves by its mean gradient over its typical size.

    Args:
        parameters: the arrays to train by name, which `step` writes to; see `collect`.
        rate: the learning rate, above 0; may be assigned to at any time.
        betas: the decay of the mean gradient and of the mean square, each from 0 to below 1.
        eps: added to the root of the mean square.
        weight_decay: the part of each parameter, times the rate, that a step takes away; biases and other vectors
            keep theirs.

    Raises:
        ValueError, TypeError: an argument is wrong; the message says which.

    Sources: D. Kingma and J. Ba, Adam, ICLR 2015, arXiv:1412.6980; I. Loshchilov and F. Hutter, Decoupled Weight
    Decay Regularization, ICLR 2019, arXiv:1711.05101.
    """

    def __init__(
        self,
        parameters: Mapping[str, Array],
        rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        for name, value in {"rate": rate, "eps": eps}.items():
            if not (isinstance(value, (int, float, np.number)) and 0 < value < math.inf):
                raise ValueError(f"{name}: expected a number above 0, got {value!r}")
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas: expected two numbers from 0 to below 1, got {betas!r}")
        if not 0 <= weight_decay < math.inf:
            raise ValueError(f"weight_decay: expected a number of at least 0, got {weight_decay!r}")
        self.parameters = dict(parameters)
        for name, array in self.parameters.items():
            if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or not array.flags.writeable:
                raise TypeError(f"parameters[{name!r}]: expected a writable array of floats, got {describe(array)}")
        self.rate, self.betas, self.eps, self.weight_decay = float(rate), betas, eps, weight_decay
        self.steps = 0
        self.mean = {name: np.zeros_like(values) for name, values in self.parameters.items()}
        self.square = {name: np.zeros_like(values) for name, values in self.parameters.items()}

    def step(self, grads: Mapping[str, Array]) -> None:
        """Update every parameter in place.

        Args:
            grads: the gradient of each parameter, under its name.

        Raises:
            KeyError: a gradient is missing, or belongs to no parameter.
            ValueError: a gradient has another shape than its parameter. Nothing has changed then.
        """
        for name in self.parameters.keys() ^ grads.keys():
            state = "has no gradient" if name in self.parameters else "is no parameter"
            raise KeyError(f"grads: expected one for each of {sorted(self.parameters)}; {name!r} {state}")
        for name, values in self.parameters.items():
            if np.shape(grads[name]) != values.shape:
                raise ValueError(f"grads[{name!r}]: expected {values.shape}, got {describe(grads[name])}")
        self.steps += 1
        first, second = self.betas
        rate = self.rate / (1 - first**self.steps)
        correction = 1 / math.sqrt(1 - second**self.steps)
        for name, values in self.parameters.items():
            grad, mean, square = grads[name], self.mean[name], self.square[name]
            mean += (1 - first) * (grad - mean)
            square += (1 - second) * (grad * grad - square)
            if self.weight_decay and values.ndim > 1:
                values *= 1 - self.rate * self.weight_decay
            values -= rate * mean / (np.sqrt(square) * correction + self.eps)

    def state_dict(self) -> dict[str, Array]:
        """A copy of the number of steps and of both means, as arrays by name, which safetensors can write."""
        state = {"steps": np.array(self.steps)}
        for kind, arrays in {"mean": self.mean, "square": self.square}.items():
            state |= {f"{kind}.{name}": values.copy() for name, values in arrays.items()}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            KeyError, ValueError: a name or a shape is another than this optimiser's. Nothing has changed then.
        """
        mine = self.state_dict()
        for name in mine.keys() ^ state.keys():
            raise KeyError(
                f"state: {name!r} is {'missing' if name in mine else 'unknown'}; it belongs to other parameters"
            )
        for name, values in mine.items():
            if np.shape(state[name]) != values.shape:
                raise ValueError(f"state[{name!r}]: expected {values.shape}, got {describe(state[name])}")
        self.steps = int(state["steps"])
        for name in self.parameters:
            self.mean[name][...] = state[f"mean.{name}"]
            self.square[name][...] = state[f"square.{name}"]


def cosine(step: int, steps: int, warmup: int = 0) -> float:
    """The factor of the learning rate at a step: it climbs from 0 to 1 within `warmup`, then falls to 0 along a cosine.

    Args:
        step: from 0 to steps - 1.
        steps: the number of all steps.
        warmup: the number of steps in which it climbs.
    """
    if not 0 <= step < steps or not 0 <= warmup < steps:
        raise ValueError(f"expected 0 <= step < steps and 0 <= warmup < steps, got {step=}, {steps=}, {warmup=}")
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (steps - warmup))

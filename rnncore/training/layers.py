"""Layers that stand before and after a recurrent network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import checks
from .checks import Array


class Linear:
    """An affine map of the last axis, y = x W^T + b.

    Args:
        input_size: I, the width of x.
        output_size: O, the width of y.
        bias: whether there is a bias.
        dtype: "float32" or "float64".
        seed: the seed of the initial weights, an integer or a generator; None for fresh ones.

    Attributes:
        parameters: live arrays, "weight" (O, I) and "bias" (O,), with PyTorch's names and shapes. Initial weights are
            drawn from U(-1/sqrt(I), 1/sqrt(I)); biases are 0.
    """

    def __init__(
        self, input_size: int, output_size: int, bias: bool = True, dtype: DTypeLike = "float32", seed: Any = None
    ) -> None:
        self.input_size = checks.size("input_size", input_size)
        self.output_size = checks.size("output_size", output_size)
        self.dtype = checks.floating("dtype", dtype)
        bound = 1 / math.sqrt(self.input_size)
        weight = np.random.default_rng(seed).uniform(-bound, bound, (self.output_size, self.input_size))
        self.parameters: dict[str, Array] = {"weight": weight.astype(self.dtype)}
        if bias:
            self.parameters["bias"] = np.zeros(self.output_size, self.dtype)

    def __call__(self, x: Array) -> Array:
        """Map x (..., I) to y (..., O)."""
        x = checks.last_axis("x", x, self.input_size, "input_size", self.dtype)
        y: Array = x @ self.parameters["weight"].T
        if "bias" in self.parameters:
            y += self.parameters["bias"]
        return y

    def backward(self, x: Array, grad_y: Array) -> tuple[Array, dict[str, Array]]:
        """The cotangents of x and of the parameters, from the x of the call and the cotangent of its result.

        Args:
            x: (..., I).
            grad_y: (..., O).

        Returns:
            (grad_x, grads): grad_x (..., I), and the gradient of each parameter by its name.
        """
        x = checks.last_axis("x", x, self.input_size, "input_size", self.dtype)
        grad_y = checks.same_shape("grad_y", grad_y, (*x.shape[:-1], self.output_size), self.dtype)
        rows = grad_y.reshape(-1, self.output_size)
        grads: dict[str, Array] = {"weight": rows.T @ x.reshape(-1, self.input_size)}
        if "bias" in self.parameters:
            grads["bias"] = rows.sum(axis=0)
        return grad_y @ self.parameters["weight"], grads

    def __repr__(self) -> str:
        bias = "" if "bias" in self.parameters else ", bias=False"
        return f"Linear({self.input_size}, {self.output_size}{bias}, dtype={self.dtype.name!r})"


class Embedding:
    """A table of vectors, one for each of `count` codes (words, characters, classes).

    Args:
        count: V, the number of codes.
        width: E, the width of a vector.
        dtype: "float32" or "float64".
        seed: the seed of the initial vectors, an integer or a generator; None for fresh ones.

    Attributes:
        parameters: the live array "weight" (V, E), drawn from N(0, 1) as PyTorch's.
    """

    def __init__(self, count: int, width: int, dtype: DTypeLike = "float32", seed: Any = None) -> None:
        self.count, self.width = checks.size("count", count), checks.size("width", width)
        self.dtype = checks.floating("dtype", dtype)
        vectors = np.random.default_rng(seed).standard_normal((self.count, self.width))
        self.parameters: dict[str, Array] = {"weight": vectors.astype(self.dtype)}

    def __call__(self, codes: Any) -> Array:
        """The vectors (..., E) of codes (...)."""
        return self.parameters["weight"][checks.codes("codes", codes, self.count)]

    def backward(self, codes: Any, grad_vectors: Array) -> dict[str, Array]:
        """The gradient of the table, from the codes of the call and the cotangent (..., E) of its result."""
        codes = checks.codes("codes", codes, self.count)
        rows = checks.same_shape("grad_vectors", grad_vectors, (*codes.shape, self.width), self.dtype)
        weight = np.zeros((self.count, self.width), self.dtype)
        # Sums over runs of equal codes; np.add.at takes ten times as long.
        flat = codes.reshape(-1)
        order = np.argsort(flat, kind="stable")
        found, starts = np.unique(flat[order], return_index=True)
        if found.size:
            weight[found] = np.add.reduceat(rows.reshape(-1, self.width)[order], starts, axis=0)
        return {"weight": weight}

    def __repr__(self) -> str:
        return f"Embedding({self.count}, {self.width}, dtype={self.dtype.name!r})"

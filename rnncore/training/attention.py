"""Dot-product attention over the steps of a sequence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnncore.errors import describe

from . import checks
from .checks import Array


def attend(queries: Array, keys: Array, values: Array, lengths: Any = None) -> tuple[Array, Array]:
    """Mean of the values, weighted by the softmax of query . key / sqrt(E) over the steps of the row.

    Args:
        queries: (T, B, E).
        keys: (S, B, E).
        values: (S, B, F).
        lengths: (B,) integers from 1 to S: the steps of each row that are no padding; None for all.

    Returns:
        (context, weights): context (T, B, F), and weights (T, B, S), which `attend_backward` takes; they are 0 at
        padding and sum to 1.

    Raises:
        ValueError, TypeError: shapes or dtypes do not fit together, or a row has no steps.

    Source: M.-T. Luong, H. Pham and C. D. Manning, Effective Approaches to Attention-based Neural Machine Translation,
    EMNLP 2015, arXiv:1508.04025; the root is from A. Vaswani et al., Attention Is All You Need, NeurIPS 2017.
    """
    _check(queries, keys, values)
    steps, batch = keys.shape[:2]
    scores = np.matmul(queries.swapaxes(0, 1), keys.transpose(1, 2, 0)) / math.sqrt(keys.shape[2])  # (B, T, S)
    if lengths is not None:
        ends = checks.codes("lengths", lengths, steps + 1, 1)
        if ends.shape != (batch,):
            raise ValueError(f"lengths: expected ({batch},), one for each row, got {describe(ends)}")
        scores = np.where(np.arange(steps) < ends[:, None, None], scores, -np.inf).astype(queries.dtype)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.matmul(weights, values.swapaxes(0, 1)).swapaxes(0, 1), weights.swapaxes(0, 1)


def attend_backward(
    grad_context: Array, queries: Array, keys: Array, values: Array, weights: Array
) -> tuple[Array, Array, Array]:
    """The cotangents of queries, keys and values, from the arguments and results of `attend`.

    Args:
        grad_context: (T, B, F), the cotangent of the context.
        queries, keys, values, weights: as they went into `attend` and came out of it.

    Returns:
        (grad_queries, grad_keys, grad_values), in the shapes of these.
    """
    _check(queries, keys, values)
    checks.same_shape("grad_context", grad_context, (*queries.shape[:2], values.shape[2]), queries.dtype)
    checks.same_shape("weights", weights, (*queries.shape[:2], keys.shape[0]), queries.dtype)
    grad, weights = grad_context.swapaxes(0, 1), weights.swapaxes(0, 1)  # (B, T, F), (B, T, S)
    grad_weights = np.matmul(grad, values.transpose(1, 2, 0))
    grad_scores = weights * (grad_weights - (weights * grad_weights).sum(axis=-1, keepdims=True))
    grad_scores /= math.sqrt(keys.shape[2])
    grad_queries = np.matmul(grad_scores, keys.swapaxes(0, 1))
    grad_keys = np.matmul(grad_scores.swapaxes(1, 2), queries.swapaxes(0, 1))
    grad_values = np.matmul(weights.swapaxes(1, 2), grad)
    return grad_queries.swapaxes(0, 1), grad_keys.swapaxes(0, 1), grad_values.swapaxes(0, 1)


def _check(queries: Any, keys: Any, values: Any) -> None:
    """Refuse arrays that do not fit together."""
    for name, array in {"queries": queries, "keys": keys, "values": values}.items():
        if not isinstance(array, np.ndarray) or array.dtype.name not in checks.DTYPES or array.ndim != 3:
            raise TypeError(f"{name}: expected an array of three axes of float32 or float64, got {describe(array)}")
    if queries.shape[1:] != keys.shape[1:]:
        raise ValueError(f"keys: expected (S, {queries.shape[1]}, {queries.shape[2]}) as the queries, got {keys.shape}")
    if values.shape[:2] != keys.shape[:2]:
        raise ValueError(f"values: expected ({keys.shape[0]}, {keys.shape[1]}, F) as the keys, got {values.shape}")
    if not queries.dtype == keys.dtype == values.dtype:
        raise TypeError(f"expected one dtype, got {queries.dtype}, {keys.dtype} and {values.dtype}")

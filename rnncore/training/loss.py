"""Softmax and its cross-entropy."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore.errors import describe

from . import checks
from .checks import Array

PADDING = -1
"""The target of a position that does not count: `pad(..., fill=-1)` writes it past the end of each row."""


def log_softmax(logits: Array) -> Array:
    """The logarithm of the softmax over the last axis, (..., V) like the logits."""
    if not isinstance(logits, np.ndarray) or logits.dtype.name not in checks.DTYPES or logits.ndim == 0:
        raise TypeError(f"logits: expected an array (..., V) of float32 or float64, got {describe(logits)}")
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def cross_entropy(logits: Array, targets: Any) -> tuple[float, Array]:
    """The mean of -log softmax(logits)[target], and its gradient.

    Args:
        logits: (..., V) of float32 or float64.
        targets: (...) integers from 0 to V - 1; -1 marks padding, which counts for nothing.

    Returns:
        (loss, grad_logits): the mean in nats over the targets that are no padding, 0 where there are none, and its
        gradient, (..., V) like the logits, 0 at padding.

    Raises:
        ValueError, TypeError: an argument has a wrong shape, dtype or value.
    """
    logs = log_softmax(logits)
    codes = checks.codes("targets", targets, logits.shape[-1], PADDING)
    if codes.shape != logits.shape[:-1]:
        raise ValueError(
            f"targets: expected {logits.shape[:-1]}, the shape of the logits but its last axis, got {codes.shape}"
        )
    counted = codes != PADDING
    number = max(int(counted.sum()), 1)
    picked = np.where(counted, codes, 0)[..., None]
    loss = -float(np.where(counted, np.take_along_axis(logs, picked, -1)[..., 0], 0).sum(dtype=np.float64)) / number
    grad = np.exp(logs)
    np.put_along_axis(grad, picked, np.take_along_axis(grad, picked, -1) - 1, -1)
    grad[~counted] = 0
    grad /= number
    return loss, grad

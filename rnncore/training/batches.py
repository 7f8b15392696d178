"""Batches of sequences of different lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rnncore.errors import describe

from . import checks
from .checks import Array

WINDOW = 20
"""Batches that are sorted together: more leave less padding, fewer mix the lengths better."""


def bucketed(lengths: Any, batch_size: int, rng: np.random.Generator | None = None) -> Iterator[NDArray[np.intp]]:
    """Divide sequences into batches of similar length, so that little of a batch is padding.

    With a generator, each pass is another: sequences are shuffled, sorted by length within windows of 20 batches, and
    the batches come in random order. Without one, they are sorted by length as a whole, and the shortest come first.

    Args:
        lengths: (N,) integers.
        batch_size: the most sequences of a batch.
        rng: a generator for training; None for evaluation.

    Yields:
        The indices of the sequences of a batch; each index occurs once.
    """
    numbers = checks.codes("lengths", lengths, np.iinfo(np.int64).max)
    if numbers.ndim != 1:
        raise ValueError(f"lengths: expected (N,), one for each sequence, got {describe(numbers)}")
    batch_size = checks.size("batch_size", batch_size)
    if rng is None:
        order = np.argsort(numbers, kind="stable")
    else:
        order = rng.permutation(len(numbers))
        for window in np.split(order, range(WINDOW * batch_size, len(order), WINDOW * batch_size)):
            window[:] = window[np.argsort(numbers[window], kind="stable")]
    starts = np.arange(0, len(order), batch_size)
    for start in (starts if rng is None else rng.permutation(starts)).tolist():
        yield order[start : start + batch_size]


def pad(sequences: Sequence[Any], fill: float = 0, dtype: DTypeLike | None = None) -> tuple[Array, NDArray[np.int64]]:
    """Put sequences side by side, each padded to the length of the longest.

    Args:
        sequences: B arrays (or lists) of T_b steps each, all of the same shape but for the first axis.
        fill: the value past a row's end; -1 for targets of `cross_entropy`.
        dtype: of the result; None for the sequences' own.

    Returns:
        (padded, lengths): padded (T, B, ...) with T the largest T_b, and the lengths (B,), as `Recurrent` takes them.
    """
    arrays = [np.asarray(sequence) for sequence in sequences]
    if not arrays:
        raise ValueError("sequences: expected at least one, got none")
    for number, array in enumerate(arrays):
        if array.ndim == 0 or array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"sequences[{number}]: expected (T_b, {', '.join(map(str, arrays[0].shape[1:]))}), as the first is, "
                f"got {describe(array)}"
            )
    lengths = np.array([len(array) for array in arrays], np.int64)
    # An empty list has NumPy's default dtype, which says nothing about the others.
    kind = dtype or np.result_type(*([array for array in arrays if len(array)] or arrays))
    padded = np.full((int(lengths.max()), len(arrays), *arrays[0].shape[1:]), fill, kind)
    for row, array in enumerate(arrays):
        padded[: len(array), row] = array
    return padded, lengths

"""Rows of different lengths, as engines want to know them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnncore_kernels.contract import Rows

DENSE = Rows()


def arrange(lengths: NDArray[np.int64] | None, steps: int, batch: int) -> Rows:
    """The order and batch sizes of rows of these lengths; None is rows that all have `steps` steps."""
    if lengths is None or (lengths == steps).all():
        return DENSE
    order = np.argsort(-lengths, kind="stable")
    ended = np.bincount(lengths, minlength=steps + 1)[:steps].cumsum()
    in_order = bool((order[1:] > order[:-1]).all())
    return Rows(None if in_order else order, batch - ended)


def lengths_of(rows: Rows, batch: int) -> NDArray[np.int64] | None:
    """The steps of each row, the inverse of `arrange`; None where rows are dense."""
    if rows.batch_sizes is None:
        return None
    ends: NDArray[np.int64] = (rows.batch_sizes[:, None] > np.arange(batch)).sum(0)
    if rows.order is None:
        return ends
    lengths = np.empty(batch, np.int64)
    lengths[rows.order] = ends
    return lengths


def block(rows: Rows, span: slice) -> Rows:
    """The rows as they are in some of the steps."""
    return rows if rows.batch_sizes is None else Rows(rows.order, rows.batch_sizes[span])

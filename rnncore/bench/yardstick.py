"""How fast the machine is at a moment: work of the kind that networks do, and none of the library's.

It is timed in every round, beside the contenders. Whatever slows down a core, or takes it away, slows it down too, so
two runs can be compared that met the machine in different states.
"""

from __future__ import annotations

import functools
import statistics
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from . import clock

SECONDS = 0.015
"""Seconds for which it is timed, after a first call: more than another process has a core at a time."""
SIZE, LENGTH, PARTS = 192, 20_000, 3
"""Rows of the matrices that are multiplied, elements of the vector that tanh is taken of, and how often in a task of
half a millisecond."""


def measure_yardstick(num_threads: int) -> float:
    """Seconds until all of `num_threads` threads have done the same work, each its own.

    The mean: in a median the moments in which others had the core would not show, and long calls meet some of them.
    """
    import threadpoolctl

    pool = _pool(num_threads)
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        return statistics.mean(clock.sample(lambda: list(pool.map(_work, range(num_threads))), SECONDS))


@functools.cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads)


def _work(seed: int) -> None:
    matrix, vector = _operands(seed)
    for _ in range(PARTS):
        np.tanh(vector)
        np.matmul(matrix, matrix)


@functools.cache
def _operands(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    matrix, vector = (rng.standard_normal(shape).astype("float32") for shape in ((SIZE, SIZE), LENGTH))
    return matrix, vector

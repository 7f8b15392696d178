"""What the NumPy engine's design rests on, measured: `python benchmarks/blas_facts.py`.

How fast BLAS multiplies W_hh with few columns and few rows with its transpose, how often its bits depend on the number
of its threads, and what its spinning threads cost the engine. docs/performance.md quotes it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import threadpoolctl

from rnncore import Recurrent
from rnncore.bench import clock

RNG = np.random.default_rng(0)


def some(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def medians(tasks: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    turns = {name: partial(clock.sample, task) for name, task in tasks.items()}
    samples = clock.take_turns(turns, rounds=5, seconds=seconds / 5)
    return {name: statistics.median(values) for name, values in samples.items()}


def rates() -> None:
    """GFLOP/s on one thread of W_hh (2048 x 512) with `rows` columns, and of `rows` rows with its transpose."""
    weight = some(2048, 512)
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        for rows in (16, 32, 64):
            h = some(rows, 512)
            h_columns = np.ascontiguousarray(h.T)
            tasks: dict[str, Callable[[], object]] = {
                "W h": partial(np.matmul, weight, h_columns),
                "h W^T": partial(np.matmul, h, weight.T),
            }
            seconds = medians(tasks, 0.3)
            print(f"{rows} rows:", {name: round(2 * rows * weight.size / s / 1e9) for name, s in seconds.items()})


def differing_bits(shapes: int = 300) -> None:
    """Share of random products whose bits differ between one thread of BLAS and all."""
    differ = 0
    for m, n, k in RNG.integers(1, 700, (shapes, 3)):
        a, b = some(m, k), some(n, k)
        with threadpoolctl.threadpool_limits(1, user_api="blas"):
            one = a @ b.T
        differ += not np.array_equal(one, a @ b.T)
    print(f"bits differ in {100 * differ / shapes:.0f} % of {shapes} shapes")


def spinning() -> None:
    """Seconds of processor time that BLAS's threads take while the caller sleeps, and what they cost an engine call."""
    large, rnn, x = some(2048, 2048), Recurrent("lstm", 103, 256, seed=0, backend="numpy"), some(50, 64, 103)
    decoder = some(3200, 256), some(256, 103)
    np.matmul(large, large)
    before = time.process_time()
    time.sleep(0.5)
    print(f"spinning after a product: {time.process_time() - before:.3f} s")
    alone = medians({"alone": lambda: rnn(x)}, 1)["alone"]
    after = []
    for _ in range(20):
        np.matmul(*decoder)
        start = time.perf_counter()
        rnn(x)
        after.append(time.perf_counter() - start)
    print(
        f"an engine call: {alone * 1e3:.1f} ms alone, {np.median(after) * 1e3:.1f} ms after a product of the caller's"
    )


if __name__ == "__main__":
    rates()
    differing_bits()
    spinning()

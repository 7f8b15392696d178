"""What is timed, by the API that every commit has; the library's own workloads change.

The library is imported in the function: asv forks its processes from one that has imported all modules here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial


def make_call(
    backend: str, cell: str, mode: str, steps: int, batch: int, size: int, num_threads: int | None = None
) -> Callable[[], object]:
    """A call of a network, I = H = `size`, float32; it returns when all is computed, on a GPU too.

    `mode` is "inference", "training" (forward and backward), or "step" (a step of a stream).
    """
    import numpy as np

    from rnncore import Recurrent

    xp = importlib.import_module("cupy" if backend == "cuda" else "numpy")
    rnn = Recurrent(cell, size, size, backend=backend, dtype="float32", num_threads=num_threads, seed=0)
    rng = np.random.default_rng(0)
    x, grad_output = (xp.asarray(rng.standard_normal((steps, batch, size)), "float32") for _ in range(2))
    call: Callable[[], object]
    if mode == "training":

        def call() -> object:
            _, _, tape = rnn.forward(x)
            return rnn.backward(tape, grad_output)

    elif mode == "step":
        frozen, x_t = rnn.freeze(), x[0]
        _, state = frozen.step(x_t)
        call = partial(frozen.step, x_t, state)
    else:
        call = partial(rnn.freeze(), x)
    if backend != "cuda":
        return call

    def call_and_wait() -> None:
        call()
        xp.cuda.get_current_stream().synchronize()

    return call_and_wait

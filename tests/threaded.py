"""A network on the Numba engine's threads, the bits that it computes, and forks that compute them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import numpy as np
import processes

from rnncore import Frozen, Recurrent
from rnncore.states import as_tuple
from rnncore_kernels.cpu import engine

X = np.random.default_rng(0).standard_normal((12, 6, 8)).astype(np.float32)


def make_network(seed: int = 0, num_threads: int | None = 2) -> Recurrent:
    return Recurrent("lstm", 8, 70, num_layers=2, backend="numba", seed=seed, num_threads=num_threads)


def infer(frozen: Frozen | Recurrent) -> bytes:
    """The bits of a sequence and of a step."""
    output, state = frozen(X)
    following, _ = frozen.step(X[0], state)
    return b"".join(array.tobytes() for array in (output, *as_tuple(state), following))


def train(rnn: Recurrent, inputs: int = 8) -> bytes:
    """The bits of a step of training."""
    output, _, tape = rnn.forward(np.ascontiguousarray(X[..., :inputs]))
    grads = rnn.backward(tape, output)
    return b"".join(array.tobytes() for array in (output, grads.x, *grads.parameters.values()))


def workers() -> int:
    """How many workers the pool has."""
    return len(vars(engine)["POOL"]._mailboxes)


def run_in_child(function: Callable[[], bool]) -> bool:
    """Whether the function returns True in a fork of this process, and in time."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            # Ends the process also where it is stuck in machine code.
            signal.alarm(processes.TIMEOUT)
            status = 0 if function() else 1
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0

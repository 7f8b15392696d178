"""Calls in a process whose threads and locks gevent or eventlet has replaced by greenlets."""

from __future__ import annotations

import functools
import importlib.util

import processes
import pytest

from rnncore import backends

SCRIPT = """
import hashlib, sys

library, backend, when = sys.argv[1:]

def patch():
    if library == "gevent":
        from gevent import monkey
        monkey.patch_all()
    elif library == "eventlet":
        import eventlet
        eventlet.monkey_patch()

if when == "first":
    patch()
import threading
import numpy as np
from rnncore import Recurrent
if when == "later":
    patch()

rnn = Recurrent("lstm", 64, 512, backend=backend, seed=0, num_threads=2)
x = np.random.default_rng(0).standard_normal((2, 64, 64)).astype(np.float32)

def train():
    output, _, tape = rnn.forward(x)
    grads = rnn.backward(tape, output)
    arrays = output, rnn(x)[0], rnn.step(x[0])[0], grads.x, *grads.parameters.values()
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()

first, others = train(), []
threads = [threading.Thread(target=lambda: others.append(train())) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert others == [first] * 3
print(first)
"""


@functools.cache
def unpatched(backend: str) -> str:
    return processes.run(SCRIPT, "none", backend, "first")


@pytest.mark.parametrize("when", ["first", "later"])
@pytest.mark.parametrize(
    "name",
    ["numpy", "numba"],
)
@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_the_same_bits(library: str, name: str, when: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    if not backends()[name].available:
        pytest.skip(backends()[name].reason)
    expected = unpatched(name)
    assert processes.run(SCRIPT, library, name, when, PYTHONWARNINGS="ignore") == expected

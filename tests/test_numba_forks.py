"""The Numba engine's threads in forks and other processes, and beside Numba's own threading layers."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import processes
import pytest
from kept_code import load
from threaded import infer, make_network, run_in_child, train

from rnncore_kernels.cpu import division
from rnncore_kernels.cpu.division import Division
from rnncore_kernels.cpu.target import host_target

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


pytestmark = pytest.mark.usefixtures("divided")


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks_of_forks_compute_the_same() -> None:
    rnn = make_network()
    expected = infer(rnn), train(rnn)

    def same() -> bool:
        return (infer(rnn), train(rnn)) == expected

    assert run_in_child(same)
    assert run_in_child(lambda: run_in_child(same))
    assert run_in_child(lambda: same() and run_in_child(same) and same())
    assert same()


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks_while_another_thread_is_in_a_call() -> None:
    rnn, frozen = make_network(), make_network().freeze()
    expected = infer(frozen), train(rnn)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            infer(frozen)
            train(rnn)

    with ThreadPoolExecutor(1) as executor:
        done = executor.submit(work)
        try:
            for _ in range(15):
                assert run_in_child(lambda: (infer(frozen), train(rnn)) == expected)
        finally:
            stop.set()
        done.result()


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks_while_another_thread_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNNCORE_CACHE_DIR", str(tmp_path))
    stop, chosen = threading.Event(), host_target()

    def work() -> None:
        for number in itertools.count():
            load(f"thread {number}", 7, chosen)
            if stop.is_set():
                return

    def compile_in_child(key: str) -> bool:
        return load(key, 5, chosen) == 5

    with ThreadPoolExecutor(1) as executor:
        done = executor.submit(work)
        try:
            for number in range(15):
                assert run_in_child(partial(compile_in_child, f"child {number}"))
        finally:
            stop.set()
        done.result()


def infer_in_worker(seed: int) -> bytes:
    """What a worker of a data loader does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(division, "divide", lambda threads, *_, **__: Division(1, threads))
        return infer(make_network(seed))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pools_of_processes(method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"the system has no {method}")
    expected = [infer(make_network(seed)) for seed in range(4)]
    with multiprocessing.get_context(method).Pool(2) as workers:
        assert workers.map_async(infer_in_worker, range(4), chunksize=1).get(processes.TIMEOUT) == expected


BESIDE_NUMBA = """
import hashlib, os, signal, sys
from concurrent.futures import ThreadPoolExecutor
import numba
import numpy as np
from threaded import make_network, run_in_child, train

from rnncore_kernels.cpu import division
from rnncore_kernels.cpu.division import Division

division.divide = lambda threads, *_, **__: Division(1, threads)
values = np.arange(1000.0)
rnn = make_network()

@numba.njit(parallel=True)
def add_up(values):
    total = 0.0
    for i in numba.prange(values.size):
        total += values[i]
    return total

def numbas():
    return add_up(values) == 499500

assert numbas()
first = train(rnn)
assert numbas()
assert train(rnn) == first
assert numbas()
layer = numba.threading_layer()
assert layer == sys.argv[1], layer

def repeat(*functions):
    return all(function() for _ in range(30) for function in functions)

def ours():
    return train(rnn) == first

# Only one thread may call into the workqueue.
both = [(numbas, ours), (ours, numbas)] if layer == "omp" else [(numbas,), (ours,)]
with ThreadPoolExecutor(2) as executor:
    assert all(executor.map(lambda functions: repeat(*functions), both))
if hasattr(os, "fork"):
    # In a fork, OpenMP ends the process.
    assert run_in_child(lambda: ours() if layer == "omp" else ours() and numbas() and ours())
assert ours() and numbas()
print(hashlib.sha256(first).hexdigest())
"""


@pytest.mark.parametrize(("layer", "module"), [("workqueue", "workqueue"), ("omp", "omppool")])
def test_beside_a_threading_layer_of_numba(layer: str, module: str) -> None:
    try:
        importlib.import_module(f"numba.np.ufunc.{module}")
    except ImportError:
        pytest.skip(f"Numba has no {layer} here")
    printed = processes.run(BESIDE_NUMBA, layer, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    assert printed.strip() == hashlib.sha256(train(make_network())).hexdigest()

"""Bits do not depend on the number of threads or the run; BLAS has its threads back afterwards; forks live."""

from __future__ import annotations

import ctypes
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import processes
import pytest
import threadpoolctl

from rnncore import Recurrent
from rnncore.states import as_tuple
from rnncore_kernels.numpy import blas


def everything(backend: str, cell: str, batch: int, hidden: int, num_threads: int | None) -> list[Any]:
    rnn = Recurrent(cell, 67, hidden, num_layers=2, backend=backend, seed=0, num_threads=num_threads)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, batch, 67)).astype(np.float32)
    lengths = rng.integers(0, 7, batch)
    output, state, tape = rnn.forward(x, lengths=lengths)
    grads = rnn.backward(tape, output)
    inferred, _ = rnn(x, lengths=lengths)
    return [output, inferred, *as_tuple(state), grads.x, *grads.parameters.values()]


@pytest.mark.parametrize(
    ("cell", "batch", "hidden"), [("lstm", 133, 301), ("gru", 70, 384), ("rnn", 64, 333), ("lstm", 9, 65)]
)
def test_same_bits_for_any_number_of_threads(backend: str, cell: str, batch: int, hidden: int) -> None:
    expected = everything(backend, cell, batch, hidden, 1)
    for num_threads in (2, 3, None, 1):
        for value, reference in zip(everything(backend, cell, batch, hidden, num_threads), expected, strict=True):
            np.testing.assert_array_equal(value, reference)


def test_same_bits_for_any_number_of_blas_threads() -> None:
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        expected = everything("numpy", "lstm", 133, 301, 1)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        for value, reference in zip(everything("numpy", "lstm", 133, 301, 1), expected, strict=True):
            np.testing.assert_array_equal(value, reference)


def blas_threads() -> list[int]:
    """Threads of NumPy's BLAS; SciPy, which Numba loads where it is installed, has one of its own."""
    libraries = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    own = [library for library in libraries if "numpy" in library["filepath"]]
    return [library["num_threads"] for library in own or libraries]


def test_blas_is_held_to_one_thread_and_given_back() -> None:
    before = blas_threads()
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        limited = blas_threads()

        def work(_: int) -> list[int]:
            return blas.single_threaded(blas.single_threaded, blas_threads)

        with ThreadPoolExecutor(4) as pool:
            for seen in pool.map(work, range(200)):
                assert set(seen) <= {1}
        assert blas_threads() == limited
    assert blas_threads() == before


class FakeBlas:
    """The function that sets threads is C's, as a BLAS's is."""

    def __init__(self) -> None:
        self.threads = 8
        limit = ctypes.PYFUNCTYPE(None, ctypes.c_int, ctypes.py_object)(self._limit)
        self.library = blas.Library(lambda: self.threads, limit)

    def _limit(self, threads: int, _: object) -> None:
        self.threads = threads


def test_a_limit_of_each_thread_is_set_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeBlas()
    monkeypatch.setattr(blas, "_libraries", lambda: ([], [fake.library]))
    assert blas.single_threaded(blas.single_threaded, lambda: fake.threads) == 1
    assert fake.threads == 8


def test_the_last_call_under_way_gives_the_threads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = [FakeBlas(), FakeBlas()]
    monkeypatch.setattr(blas, "_libraries", lambda: ([fake.library for fake in fakes], []))
    inside, outside = threading.Barrier(2), threading.Barrier(2)

    def threads_of_all() -> list[int]:
        return [fake.threads for fake in fakes]

    def stay() -> list[int]:
        inside.wait(processes.TIMEOUT)
        outside.wait(processes.TIMEOUT)
        return threads_of_all()

    with ThreadPoolExecutor(1) as executor:
        other = executor.submit(blas.single_threaded, stay)
        assert blas.single_threaded(lambda: (inside.wait(processes.TIMEOUT), threads_of_all())[1]) == [1, 1]
        assert threads_of_all() == [1, 1]
        outside.wait(processes.TIMEOUT)
        assert other.result() == [1, 1]
    assert threads_of_all() == [8, 8]


def test_an_error_inside_gives_the_threads_back() -> None:
    before = blas_threads()

    def fail(item: int) -> None:
        raise RuntimeError(f"item {item}")

    with pytest.raises(RuntimeError, match="item 0"):
        blas.single_threaded(fail, 0)
    assert blas_threads() == before


def test_an_exception_that_is_kept_keeps_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = [FakeBlas(), FakeBlas()]
    monkeypatch.setattr(blas, "_libraries", lambda: ([fake.library for fake in fakes], []))

    def interrupt() -> int:
        raise KeyboardInterrupt

    errors: list[BaseException] = []
    for interrupted in (fakes[1].library, None):
        with monkeypatch.context() as patch:
            if interrupted is not None:
                patch.setattr(blas, "_libraries", lambda: ([fakes[0].library, blas.Library(interrupt, never)], []))
            try:
                blas.single_threaded(interrupt)
            except KeyboardInterrupt as error:
                errors.append(error)
        assert [fake.threads for fake in fakes] == [8, 8]
    assert len(errors) == 2


def never(threads: int, ignored: object) -> None:
    raise AssertionError("expected no call")


AT_THE_END = """
import atexit, sys, threading
import numpy as np
from rnncore import Recurrent

rnn = Recurrent("lstm", 4, 512, backend=sys.argv[1], seed=0, num_threads=2)
x = np.random.default_rng(0).standard_normal((2, 64, 4)).astype(np.float32)
expected = rnn(x)[0]

def same(where):
    print(where, np.array_equal(rnn(x)[0], expected), flush=True)

class Last:
    def __init__(self):
        self.same, self.cycle = same, self
    def __del__(self):
        self.same("when all is gone")

def after_main():
    threading.main_thread().join()
    same("in another thread")

last = Last()
atexit.register(same, "at the exit")
threading.Thread(target=after_main).start()
"""


def test_calls_when_the_process_ends() -> None:
    printed = processes.run(AT_THE_END, "numpy")
    assert printed.splitlines() == ["in another thread True", "at the exit True", "when all is gone True"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_computes_the_same(backend: str) -> None:
    expected = everything(backend, "lstm", 70, 384, 2)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        same = all(map(np.array_equal, everything(backend, "lstm", 70, 384, 2), expected))
        os.write(writer, b"same" if same else b"different")
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        assert stream.read() == "same"
    os.waitpid(child, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_during_a_call_has_all_blas_threads() -> None:
    before = blas_threads()
    reader, writer = os.pipe()

    def fork() -> int:
        child = os.fork()
        if child == 0:
            os.write(writer, b"same" if blas_threads() == before else b"different")
            os._exit(0)
        return child

    child = blas.single_threaded(fork)
    os.close(writer)
    with os.fdopen(reader) as stream:
        assert stream.read() == "same"
    os.waitpid(child, 0)

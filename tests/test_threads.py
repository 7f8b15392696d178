"""Bits do not depend on the number of threads or the run; BLAS has its threads back afterwards; forks live."""

from __future__ import annotations

import _thread
import ctypes
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import denormals
import numpy as np
import processes
import pytest
import threadpoolctl

from rnncore import Recurrent
from rnncore.rows import arrange
from rnncore.states import as_tuple
from rnncore_kernels.numpy import blas, layout, threads


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
    """Of NumPy's BLAS; SciPy, which Numba loads where it is installed, has one of its own."""
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
    """The function that sets threads is C's, as a BLAS's is; `told` is called before and after."""

    def __init__(self) -> None:
        self.threads = 8
        self.told: Callable[[], None] = lambda: None
        limit = ctypes.PYFUNCTYPE(None, ctypes.c_int, ctypes.py_object)(self._limit)
        self.library = blas.Library(lambda: self.threads, limit)

    def _limit(self, threads: int, _: object) -> None:
        self.told()
        self.threads = threads
        self.told()


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
        threads.run_in_threads(fail, [(0,), (1,)], 10**12, 2)
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


@pytest.mark.parametrize(("num_threads", "used"), [(1, 0), (2, 1), (3, 2), (5000, 2), (None, 2)])
def test_as_many_threads_as_asked_for(num_threads: int | None, used: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    start = _thread.start_new_thread

    def record(*arguments: Any) -> int:
        made.append(arguments)
        return start(*arguments)

    monkeypatch.setattr(_thread, "start_new_thread", record)
    monkeypatch.setattr(threads, "usable_cores", lambda: 3)
    rnn = Recurrent("lstm", 4, 512, backend="numpy", num_threads=num_threads)
    rnn(np.zeros((1, 256, 4), np.float32))
    assert len(made) == used
    made.clear()
    Recurrent("lstm", 4, 8, backend="numpy", num_threads=num_threads)(np.zeros((1, 256, 4), np.float32))
    assert made == []


@denormals.needs_x86_64_linux
def test_threads_have_the_callers_floating_point_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    both = threading.Barrier(2)

    def work(value: Any) -> float:
        both.wait()
        return float((value * np.float32(1)).max())

    arguments = [(np.full(4, denormals.TINY, np.float32),)] * 2
    before = threads.run_in_threads(work, arguments, 10**12, 2)
    assert before == [float(np.float32(denormals.TINY))] * 2
    with denormals.flushed():
        assert threads.run_in_threads(work, arguments, 10**12, 2) == [0.0, 0.0]
    assert threads.run_in_threads(work, arguments, 10**12, 2) == before


def test_a_system_that_gives_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = everything("numpy", "lstm", 133, 301, 1)
    start = _thread.start_new_thread

    def refuse(*_: Any) -> int:
        raise RuntimeError("can't start new thread")

    starts: Iterator[Callable[..., int]] = itertools.cycle([start, refuse, refuse])
    for begin in (refuse, lambda *arguments: next(starts)(*arguments)):
        monkeypatch.setattr(_thread, "start_new_thread", begin)
        # Python's own class keeps the function under another name.
        monkeypatch.setattr(threading.Thread, "start", refuse)
        for value, reference in zip(everything("numpy", "lstm", 133, 301, 4), expected, strict=True):
            np.testing.assert_array_equal(value, reference)


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


def test_number_of_tiles() -> None:
    for batch, step_flops, count in (
        (0, 0, 1),
        (31, 10**12, 1),
        (32, 10**12, 2),
        (95, 10**12, 2),
        (96, 10**12, 3),
        (64, 10**6, 1),
        (999, 10**12, 8),
    ):
        assert threads.tile_count(batch, step_flops) == count


@pytest.mark.parametrize("lengths", [None, [3, 1, 0, 3, 3, 2, 1, 3, 3, 3, 0], [5, 4, 4, 3, 2, 2, 2, 1, 1, 0, 0]])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_tiles_hold_every_row_once_and_as_long_as_it_is(count: int, lengths: list[int] | None) -> None:
    steps, batch = 5, 11
    ends = None if lengths is None else np.array(lengths)
    tiles = layout.make_tiles(arrange(ends, steps, batch), steps, batch, count)
    assert len(tiles) == count
    seen = np.zeros(batch, int)
    for tile in tiles:
        rows = np.arange(batch)[tile.index]
        seen[rows] += 1
        for t in range(steps):
            expected = [row for row in rows if lengths is None or lengths[row] > t]
            assert np.arange(batch)[tile.part(0, int(tile.sizes[t]))].tolist() == expected
            assert set(np.arange(batch)[tile.part(int(tile.sizes[t]))]) == set(rows) - set(expected)
    assert (seen == 1).all()


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

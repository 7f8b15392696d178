"""Bits do not depend on the number of threads or the run; BLAS has its threads back afterwards; forks live."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
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
            with blas.single_threaded(), blas.single_threaded():
                return blas_threads()

        with ThreadPoolExecutor(4) as pool:
            for seen in pool.map(work, range(200)):
                assert set(seen) <= {1}
        assert blas_threads() == limited
    assert blas_threads() == before


class _OpenMpLibrary:
    """An OpenMP BLAS has one limit for each thread."""

    threading_layer = "openmp"
    num_threads = 8

    def set_num_threads(self, threads: int) -> None:
        self.num_threads = threads


def test_a_limit_of_each_thread_is_set_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    library = _OpenMpLibrary()
    monkeypatch.setattr(blas, "_libraries", lambda: ([], [library]))
    with blas.single_threaded():
        assert library.num_threads == 1
    assert library.num_threads == 8


def test_an_error_inside_gives_the_threads_back() -> None:
    before = blas_threads()

    def fail(item: int) -> None:
        raise RuntimeError(f"item {item}")

    with pytest.raises(RuntimeError, match="item 0"):
        threads.run_in_threads(fail, [(0,), (1,)], 10**12, 2)
    assert blas_threads() == before


@pytest.mark.parametrize("when", range(1, 9))
def test_an_interruption_anywhere_gives_the_threads_back(when: int, monkeypatch: pytest.MonkeyPatch) -> None:
    library, calls = _ProcessLibrary(), [0]

    def interrupt(*_: Any) -> None:
        calls[0] += 1
        if calls[0] == when:
            raise KeyboardInterrupt

    monkeypatch.setattr(blas, "_libraries", lambda: ([library], []))
    monkeypatch.setattr(blas, "_process_limit", blas._ProcessLimit())
    library.told = interrupt
    for _ in range(4):
        with contextlib.suppress(KeyboardInterrupt), blas.single_threaded():
            assert library.num_threads == 1
    gc.collect()
    with blas.single_threaded():
        assert library.num_threads == 1
    assert library.num_threads == 8


class _ProcessLibrary:
    """A BLAS has one limit for all threads; `told` is called before and after it changes."""

    def __init__(self) -> None:
        self.num_threads = 8
        self.told: Callable[[], None] = lambda: None

    def set_num_threads(self, threads: int) -> None:
        self.told()
        self.num_threads = threads
        self.told()


@pytest.mark.parametrize(("num_threads", "used"), [(1, []), (2, [2]), (3, [3]), (None, [2])])
def test_as_many_threads_as_asked_for(
    num_threads: int | None, used: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, max_workers: int) -> None:
            made.append(max_workers)
            super().__init__(max_workers)

    monkeypatch.setattr(threads, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    rnn = Recurrent("lstm", 4, 512, backend="numpy", num_threads=num_threads)
    rnn(np.zeros((1, 256, 4), np.float32))
    assert made == used
    made.clear()
    Recurrent("lstm", 4, 8, backend="numpy", num_threads=num_threads)(np.zeros((1, 256, 4), np.float32))
    assert made == []


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
    with blas.single_threaded():
        child = os.fork()
        if child == 0:
            os.write(writer, b"same" if blas_threads() == before else b"different")
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        assert stream.read() == "same"
    os.waitpid(child, 0)

"""Memory that is used again: only when nobody can see it any more."""

from __future__ import annotations

import gc
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rnncore import Recurrent
from rnncore_kernels.alignment import address
from rnncore_kernels.cpu import buffer_pool

SHAPE = (1 << 10, 1 << 10)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer_pool, "_listed", {})


def test_memory_is_used_again_when_the_last_view_is_gone() -> None:
    array: NDArray[np.float32] = buffer_pool.empty(SHAPE, np.dtype(np.float32))
    assert array.shape == SHAPE
    assert array.flags.writeable
    assert array.flags.c_contiguous
    first = address(array)
    view = array[3:, 5:].T
    del array
    gc.collect()
    other = buffer_pool.empty(SHAPE, np.dtype(np.float32))
    assert address(other) != first
    view[...] = 1
    other[...] = 2
    assert (view == 1).all()
    del view
    gc.collect()
    assert address(buffer_pool.empty(SHAPE, np.dtype(np.float32))) == first


def listed() -> list[int]:
    """Sizes of the memory that is listed, in the least size."""
    return [size // buffer_pool.LEAST_BYTES for size, _ in buffer_pool._listed]


def test_what_was_taken_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    least = buffer_pool.LEAST_BYTES
    monkeypatch.setattr(buffer_pool, "MOST_BYTES", 5 * least)

    def use(*sizes: int) -> list[int]:
        memory = [buffer_pool.take(size) for size in sizes]
        del memory
        gc.collect()
        return listed()

    assert use(least, least, 2 * least) == [1, 1, 2]
    assert use(least) == [1, 2, 1]
    assert use(3 * least) == [1, 3]
    assert use(4 * least) == [4]
    assert use(6 * least) == [4]


def test_many_arrays_that_die_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    least = buffer_pool.LEAST_BYTES
    arrays = [buffer_pool.take(least) for _ in range(buffer_pool.MOST_ARRAYS + 50)]
    assert len(listed()) == buffer_pool.MOST_ARRAYS
    monkeypatch.setattr(buffer_pool, "MOST_BYTES", 20 * least)
    more = [buffer_pool.take(2 * least) for _ in range(30)]
    assert listed() == [2] * 10
    del arrays, more
    assert listed() == [2] * 10


def test_memory_in_use_by_a_view_alone_is_passed_over() -> None:
    size = buffer_pool.LEAST_BYTES
    views = [buffer_pool.take(size).data for _ in range(3)]
    places = {address(np.asarray(view)) for view in views}
    free = address(np.asarray(views.pop()))
    assert address(buffer_pool.take(size)) == free
    assert address(buffer_pool.take(size)) == free
    taken = buffer_pool.take(size)
    assert address(taken) == free
    assert address(buffer_pool.take(size)) not in places
    assert len(listed()) == 4


def test_memory_is_taken_by_one_thread_alone() -> None:
    size, turns = buffer_pool.LEAST_BYTES, 3000
    mistakes: list[int] = []

    def work(number: int) -> None:
        for _ in range(turns):
            memory = buffer_pool.take(size)
            memory[:8] = number
            if buffer_pool.take(size) is memory or (memory[:8] != number).any():
                mistakes.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not mistakes
    # Not a thread's two each: memory that one thread looks at cannot be found by another, which then takes new.
    assert len(listed()) < turns / 50


def test_memory_is_used_again_for_a_little_less() -> None:
    address_of = {}
    for size in (1000 * 1000, 990 * 1000, 700 * 1000):
        memory = buffer_pool.take(size)
        assert size <= memory.size <= 1.125 * size
        address_of[size] = address(memory)
        del memory
        gc.collect()
    assert address_of[990_000] == address_of[1_000_000] != address_of[700_000]


def test_too_little_memory_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> NDArray[np.uint8]:
        raise MemoryError

    monkeypatch.setattr(np, "empty", fail)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MemoryError):
            buffer_pool.empty(SHAPE, np.dtype(np.float32))
        gc.collect()


def test_small_arrays_are_numpys_own() -> None:
    assert buffer_pool.empty((10,), np.dtype(np.float64)).base is None


def test_gradients_that_are_kept_stay_what_they_are() -> None:
    pytest.importorskip("numba")
    rnn = Recurrent("lstm", 300, 300, backend="numba", seed=0)
    x = np.random.default_rng(0).standard_normal((2, 3, 300)).astype(np.float32)

    def gradient(factor: float) -> NDArray[np.float32]:
        output, _, tape = rnn.forward(x)
        result: NDArray[np.float32] = rnn.backward(tape, factor * np.ones_like(output)).parameters["weight_hh_l0"]
        return result

    kept = gradient(1)
    before = kept.copy()
    gradient(2)
    gc.collect()
    gradient(3)
    np.testing.assert_array_equal(kept, before)

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
from rnncore_kernels.cpu import recycling
from rnncore_kernels.cpu.memory import address

SHAPE = (1 << 10, 1 << 10)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recycling, "_listed", {})


def test_memory_is_used_again_when_the_last_view_is_gone() -> None:
    array: NDArray[np.float32] = recycling.empty(SHAPE, np.dtype(np.float32))
    assert array.shape == SHAPE
    assert array.flags.writeable
    assert array.flags.c_contiguous
    first = address(array)
    view = array[3:, 5:].T
    del array
    gc.collect()
    other = recycling.empty(SHAPE, np.dtype(np.float32))
    assert address(other) != first
    view[...] = 1
    other[...] = 2
    assert (view == 1).all()
    del view
    gc.collect()
    assert address(recycling.empty(SHAPE, np.dtype(np.float32))) == first


def listed() -> list[int]:
    """Sizes of the memory that is listed, in the least size."""
    return [size // recycling.LEAST_BYTES for size, _ in recycling._listed]


def test_what_was_taken_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    least = recycling.LEAST_BYTES
    monkeypatch.setattr(recycling, "MOST_BYTES", 5 * least)

    def use(*sizes: int) -> list[int]:
        memory = [recycling.take(size) for size in sizes]
        del memory
        gc.collect()
        return listed()

    assert use(least, least, 2 * least) == [1, 1, 2]
    assert use(least) == [1, 2, 1]
    assert use(3 * least) == [1, 3]
    assert use(4 * least) == [4]
    assert use(6 * least) == [4]


def test_many_arrays_that_die_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    least = recycling.LEAST_BYTES
    arrays = [recycling.take(least) for _ in range(recycling.MOST_ARRAYS + 50)]
    assert len(listed()) == recycling.MOST_ARRAYS
    monkeypatch.setattr(recycling, "MOST_BYTES", 20 * least)
    more = [recycling.take(2 * least) for _ in range(30)]
    assert listed() == [2] * 10
    del arrays, more
    assert listed() == [2] * 10


def test_memory_in_use_by_a_view_alone_is_passed_over() -> None:
    size = recycling.LEAST_BYTES
    views = [recycling.take(size).data for _ in range(3)]
    places = {address(np.asarray(view)) for view in views}
    free = address(np.asarray(views.pop()))
    assert address(recycling.take(size)) == free
    assert address(recycling.take(size)) == free
    taken = recycling.take(size)
    assert address(taken) == free
    assert address(recycling.take(size)) not in places
    assert len(listed()) == 4


def test_memory_is_taken_by_one_thread_alone() -> None:
    size, turns = recycling.LEAST_BYTES, 3000
    mistakes: list[int] = []

    def work(number: int) -> None:
        for _ in range(turns):
            memory = recycling.take(size)
            memory[:8] = number
            if recycling.take(size) is memory or (memory[:8] != number).any():
                mistakes.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not mistakes
    assert len(listed()) <= 8


def test_memory_is_used_again_for_a_little_less() -> None:
    address_of = {}
    for size in (1000 * 1000, 990 * 1000, 700 * 1000):
        memory = recycling.take(size)
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
            recycling.empty(SHAPE, np.dtype(np.float32))
        gc.collect()


def test_small_arrays_are_numpys_own() -> None:
    assert recycling.empty((10,), np.dtype(np.float64)).base is None


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

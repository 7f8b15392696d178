"""Memory that is used again: only when nobody can see it any more."""

from __future__ import annotations

import gc
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
    monkeypatch.setattr(recycling, "_free", recycling.Free())


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


@pytest.mark.slow
def test_sizes_kept_longest_ago_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    least = recycling.LEAST_BYTES
    monkeypatch.setattr(recycling, "MOST_BYTES", 5 * least)
    kept = recycling._free

    def use(*sizes: int) -> list[int]:
        memory = [recycling.Memory(size) for size in sizes]
        while memory:
            memory.pop(0)
            gc.collect()
        return [size // least for size, arrays in kept.arrays.items() for _ in arrays]

    assert use(least, least, 2 * least) == [1, 1, 2]
    assert use(least) == [2, 1, 1]
    assert use(3 * least) == [1, 1, 3]
    assert use(4 * least) == [4]
    assert use(6 * least) == [4]
    assert kept.size == 4 * least


def test_memory_that_is_freed_while_other_memory_is_kept() -> None:
    least, kept = recycling.LEAST_BYTES, recycling._free
    freed = [recycling.Memory(least)]

    class Collecting(dict[int, list[NDArray[np.uint8]]]):
        def pop(self, *args: Any) -> Any:
            freed.clear()
            return super().pop(*args)

    kept.arrays = Collecting()
    memory = recycling.Memory(least)
    del memory
    gc.collect()
    assert not freed
    assert (len(kept.arrays[least]), kept.size) == (2, 2 * least)


def test_memory_is_used_again_for_a_little_less() -> None:
    address_of = {}
    for size in (1000 * 1000, 990 * 1000, 700 * 1000):
        memory = recycling.Memory(size)
        assert size <= memory.array.size <= 1.125 * size
        address_of[size] = address(memory.array)
        del memory
        gc.collect()
    assert address_of[990_000] == address_of[1_000_000] != address_of[700_000]


def test_too_little_memory_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(size: int) -> NDArray[np.uint8]:
        raise MemoryError

    monkeypatch.setattr(recycling, "aligned", fail)
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

"""Memory that is used again: only when nobody can see it any more."""

from __future__ import annotations

import gc
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from rnncore import Recurrent
from rnncore_kernels.cpu import recycling
from rnncore_kernels.cpu.memory import address

SHAPE = (1 << 10, 1 << 10)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recycling, "_free", [])


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

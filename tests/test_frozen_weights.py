"""Frozen networks with rounded weights: what they compute, how far that is off, and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Array

from rnncore import GRU, LSTM, Elman, Frozen, Recurrent, storage
from rnncore.cells import Cell, LayerNormLSTM, cell, tanh
from rnncore.errors import one_of
from rnncore.states import as_tuple
from rnncore_kernels.precision import PRECISIONS

BACKENDS = ("numba", "numpy")
LIMITS = {"bfloat16": 0.02, "int8": 0.06}
"""Largest difference from float32 of outputs up to 1, for networks of this size."""


def sequence(steps: int = 7, batch: int = 5, inputs: int = 33) -> Array:
    return np.random.default_rng(0).standard_normal((steps, batch, inputs)).astype(np.float32)


@pytest.mark.parametrize("weights", PRECISIONS)
@pytest.mark.parametrize(
    "cell", [LSTM(), LSTM(projection=20), GRU(reset="before"), GRU("carry"), Elman(), LayerNormLSTM()]
)
def test_engines_agree_and_are_near_float32(cell: Cell, weights: str) -> None:
    x, outputs = sequence(), []
    for backend in BACKENDS:
        rnn = Recurrent(cell, 33, 70, num_layers=2, bidirectional=True, seed=0, backend=backend)
        frozen = rnn.freeze(weights=weights)
        assert frozen.weights == weights
        assert f"weights={weights!r}" in repr(frozen)
        assert (weights in frozen.impl(7, 5)) == (backend == "numba")
        outputs.append(frozen(x)[0])
        difference = frozen.compare(x)
        far = np.abs(outputs[-1].astype(np.float64) - rnn(x)[0])
        assert (difference.largest, difference.mean) == (far.max(), far.mean())
        assert 1e-5 < difference.largest < LIMITS[weights]
    # A number that lies between two rounded ones may go either way.
    assert np.abs(outputs[0] - outputs[1]).mean() < LIMITS[weights] / 100


@pytest.mark.parametrize("weights", PRECISIONS)
@pytest.mark.parametrize("backend_name", BACKENDS)
def test_steps_rows_and_threads_do_not_change_bits(backend_name: str, weights: str, all_threads: None) -> None:
    x = sequence(4, 70)
    frozen, one = (
        Recurrent("lstm", 33, 90, seed=0, backend=backend_name, num_threads=n).freeze(weights) for n in (5, 1)
    )
    output, state = frozen(x)
    np.testing.assert_array_equal(one(x)[0], output)
    if backend_name == "numba":
        np.testing.assert_array_equal(frozen(x[:, 3:5])[0], output[:, 3:5])
        steps: list[Array] = []
        carried: Any = None
        for x_t in x:
            y_t, carried = frozen.step(x_t, carried)
            steps.append(y_t)
        np.testing.assert_array_equal(np.stack(steps), output)
        for value, reference in zip(as_tuple(carried), as_tuple(state), strict=True):
            np.testing.assert_array_equal(value, reference)


@pytest.mark.parametrize("weights", [None, *PRECISIONS])
@pytest.mark.parametrize("cell", [LSTM(projection=20), GRU()])
def test_files_give_the_same_bits(cell: Cell, weights: str | None, tmp_path: Path) -> None:
    rnn = Recurrent(cell, 33, 40, seed=0, backend="numba")
    frozen, path = rnn.freeze(weights), tmp_path / "frozen.safetensors"
    frozen.save(path)
    loaded = Frozen.load(path, backend="numba")
    assert repr(loaded) == repr(frozen)
    np.testing.assert_array_equal(loaded(sequence())[0], frozen(sequence())[0])
    loaded.save(tmp_path / "again.safetensors")
    np.testing.assert_equal(storage.read(tmp_path / "again.safetensors"), storage.read(path))
    if weights is None:
        assert Recurrent.load(path, backend="numpy").cell == rnn.cell
        assert loaded.compare(sequence()) == (0, 0)
        return
    for read in (Recurrent.load, Recurrent.from_state_dict):
        with pytest.raises(ValueError, match=f"frozen network with weights of {weights}: read it by rnncore.Frozen.l"):
            read(path)
    with pytest.raises(ValueError, match=f"compare: .*its file has the weights as {weights} alone"):
        loaded.compare(sequence())


def test_files_are_smaller(tmp_path: Path) -> None:
    rnn, sizes = Recurrent("lstm", 256, 256, seed=0, backend="numpy"), {}
    for weights in ("float32", *PRECISIONS):
        rnn.freeze(weights).save(tmp_path / weights)
        sizes[weights] = (tmp_path / weights).stat().st_size
    assert sizes["bfloat16"] < 0.51 * sizes["float32"]
    if "int8" in PRECISIONS:
        assert sizes["int8"] < 0.27 * sizes["float32"]


@pytest.mark.parametrize("weights", PRECISIONS)
def test_zeros_nothing_and_nan(weights: str) -> None:
    for backend in BACKENDS:
        frozen = Recurrent("gru", 5, 9, seed=0, backend=backend).freeze(weights)
        for shape in ((0, 2, 5), (3, 0, 5)):
            assert frozen(np.zeros(shape, np.float32))[0].shape == (*shape[:2], 9)
        x = np.zeros((3, 3, 5), np.float32)
        x[1, 1, 2] = np.nan
        output, _ = frozen(x)
        assert np.isfinite(output[:, [0, 2]]).all()
        assert np.isfinite(output[0]).all()
        assert np.isnan(output[1:, 1]).all()


@cell(states="h", gates="a", units="weight_u", scalars="weight_s")
def weighted(h: Any, a: Any, weight_u: Any, weight_s: Any) -> Any:
    return tanh(a * weight_u + weight_s * h)


@pytest.mark.parametrize("weights", PRECISIONS)
def test_only_matrices_are_narrow_in_a_file(weights: str, tmp_path: Path) -> None:
    rnn = Recurrent(weighted, 33, 8, seed=0, backend="numpy")
    frozen, path = rnn.freeze(weights), tmp_path / "rnn.safetensors"
    frozen.save(path)
    again = Frozen.load(path, backend="numpy", cell=weighted)
    np.testing.assert_array_equal(again(sequence())[0], frozen(sequence())[0])
    rnn.parameters["weight_hh_l0"][0, 0] = np.nan
    rnn.freeze(weights).save(path)  # without a warning


def test_refusals() -> None:
    known = one_of(("float32", *PRECISIONS))
    with pytest.raises(ValueError, match=f"^weights: expected {known}, got 'int4'$"):
        Recurrent("lstm", 2, 3, backend="numpy").freeze("int4")
    with pytest.raises(ValueError, match=r"^weights: expected 'float64' with dtype='float64', got 'bfloat16'$"):
        Recurrent("lstm", 2, 3, backend="numpy", dtype="float64").freeze("bfloat16")
    assert Recurrent("lstm", 2, 3, backend="numpy", compute="bfloat16").freeze().weights == "bfloat16"
    assert Recurrent("lstm", 2, 3, backend="numpy", compute="bfloat16").freeze("float32").weights == "float32"


def test_later_changes_do_not_reach_it() -> None:
    rnn = Recurrent("lstm", 33, 40, seed=0, backend="numba")
    frozen = rnn.freeze("bfloat16")
    before = frozen(sequence())[0]
    for values in rnn.parameters.values():
        values[...] = 0
    np.testing.assert_array_equal(frozen(sequence())[0], before)
    assert frozen.compare(sequence()).largest < 0.05

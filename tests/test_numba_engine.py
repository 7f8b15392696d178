"""The Numba engine: however threads, tiles and blocks divide the work, results are right and have the same bits."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from conftest import Close
from minimal_gated_unit import MinimalGatedUnit
from numba_networks import CELLS, everything, extra_inputs, make_cell

from rnncore import Recurrent
from rnncore.states import as_tuple
from rnncore_kernels.contract import Sizes
from rnncore_kernels.cpu import division, kernels, peak, plan
from rnncore_kernels.cpu.division import Division, divide, is_separate
from rnncore_kernels.cpu.layer import layer_sizes
from rnncore_kernels.cpu.products import vector_products
from rnncore_kernels.cpu.sizes import PANEL_ROWS
from rnncore_kernels.cpu.tables import forward_table
from rnncore_kernels.program.derive import make_program

pytestmark = pytest.mark.usefixtures("fresh_plans")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("grid", [(1, 1), (2, 1), (1, 2), (1, 4), (3, 2), (2, 5)])
def test_same_bits_however_threads_divide_the_work(
    cell: str, separate: bool, grid: tuple[int, int], monkeypatch: pytest.MonkeyPatch, nan_filled_empty: None
) -> None:
    sizes = (9, 7, 5, 83)
    monkeypatch.setattr(division, "divide", lambda *_, **__: Division(1, 1))
    expected = everything("numba", cell, sizes, num_threads=1)
    plan.forward_plan.cache_clear()
    plan.backward_plan.cache_clear()
    monkeypatch.setattr(
        division, "divide", lambda threads, *_, **__: Division(*grid) if threads > 1 else Division(1, 1)
    )
    monkeypatch.setattr(division, "is_separate", lambda *_: separate)
    monkeypatch.setattr(plan, "PROJECTION_ROWS", 11)
    monkeypatch.setattr(plan, "CHUNK_LEAST", 4)
    monkeypatch.setattr(plan, "CHUNK_BYTES", 1)
    divided = everything("numba", cell, sizes, num_threads=2 * grid[0] * grid[1])
    parameters = len(Recurrent(make_cell(cell, sizes[-1]), 5, 83, bidirectional=True, backend="numba").parameters)
    for value, reference in zip(divided[:-parameters], expected[:-parameters], strict=True):
        np.testing.assert_array_equal(value, reference)
    # The gradients of weights are summed chunk by chunk, and a chunk was made smaller here.
    for value, reference in zip(divided[-parameters:], expected[-parameters:], strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "cell"),
    [
        pytest.param(dtype, cell, marks=[] if dtype == "float32" or cell == "tangled" else [pytest.mark.slow])
        for dtype in ("float32", "float64")
        for cell in CELLS
    ],
)
def test_every_height_and_width_of_tiles(cell: str, dtype: str, close: Close, nan_filled_empty: None) -> None:
    for batch, hidden in itertools.product((1, 2, 3, 5, 8, 15, 50), (17, 75)):
        sizes = (2, batch, 3, hidden)
        numba, numpy = (everything(backend, cell, sizes, dtype=dtype) for backend in ("numba", "numpy"))
        for value, reference in zip(numba, numpy, strict=True):
            close(value, reference, "gradient")


@pytest.mark.parametrize("cell", CELLS)
def test_many_steps_are_summed_in_chunks(cell: str, close: Close, monkeypatch: pytest.MonkeyPatch) -> None:
    # More rows than a panel of their products has: there are some 700.
    monkeypatch.setattr(plan, "CHUNK_MOST", PANEL_ROWS + 64)
    numba, numpy = (everything(backend, cell, (60, 24, 5, 20), dtype="float64") for backend in ("numba", "numpy"))
    for value, reference in zip(numba, numpy, strict=True):
        close(value, reference, "gradient")


@pytest.mark.parametrize("cell", CELLS)
def test_a_row_has_the_same_bits_in_any_batch_that_the_same_unit_multiplies(cell: str) -> None:
    """Where there are tile registers, these multiply some batches, and vector registers others."""
    rnn = Recurrent(make_cell(cell, 83), 20, 83, backend="numba", seed=0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 60, 20)).astype(np.float32)
    cotangent = rng.standard_normal((12, 60, rnn(x[:1], inputs=extra_inputs(cell, (1, 60, 83), "f4"))[0].shape[-1]))
    cotangent = cotangent.astype(np.float32)

    def unit(rows: slice) -> str:
        return rnn.impl(12, rows.stop - rows.start).split()[0]

    def results(rows: slice) -> tuple[np.ndarray, ...]:
        given = extra_inputs(cell, (12, 60, 83), np.float32, rows=rows)
        output, state, tape = rnn.forward(x[:, rows], inputs=given)
        np.testing.assert_array_equal(rnn(x[:, rows], inputs=given)[0], output)
        return output, rnn.backward(tape, cotangent[:, rows]).x, *as_tuple(state)

    together = {unit(rows): results(rows) for rows in (slice(0, 51), slice(0, 60))}
    for rows in (slice(0, 1), slice(7, 9), slice(20, 25), slice(3, 51)):
        for value, reference in zip(results(rows), together[unit(rows)], strict=True):
            np.testing.assert_array_equal(value, reference[:, rows])


@pytest.mark.parametrize("cell", CELLS)
def test_steps_have_the_bits_of_the_sequence(cell: str) -> None:
    frozen = Recurrent(make_cell(cell, 50), 7, 50, backend="numba", seed=0).freeze()
    x = np.random.default_rng(0).standard_normal((6, 3, 7)).astype(np.float32)
    given = extra_inputs(cell, (6, 3, 50), np.float32)
    expected, final = frozen(x, inputs=given)
    state = None
    for t in range(6):
        here = None if given is None else {name: value[t] for name, value in given.items()}
        output, state = frozen.step(x[t], state, inputs=here)
        np.testing.assert_array_equal(output, expected[t])
    for value, reference in zip(as_tuple(state), as_tuple(final), strict=True):
        np.testing.assert_array_equal(value, reference)


def test_division_of_threads() -> None:
    small, large = 100_000, 100_000_000
    assert divide(1, 64, 8, 8, 100, large, small) == Division(1, 1)
    assert divide(8, 64, 8, 8, 1, 1000, small) == Division(1, 1)
    assert divide(2, 64, 8, 8, 100, large, small) == Division(2, 1)
    assert divide(2, 64, 8, 8, 100, large, large) == Division(1, 2)
    assert divide(2, 1, 8, 8, 100, large, small) == Division(1, 2)
    assert divide(16, 8, 32, 32, 100, large, small) == Division(4, 4)
    assert divide(16, 64, 4, 4, 100, large, large) == Division(4, 4)
    assert divide(16, 1, 4, 4, 100, large, large) == Division(1, 4)


def test_threads_meet_where_each_has_enough_to_do() -> None:
    small = 100_000
    assert divide(2, 1, 8, 8, 100_000, 1000, small) == Division(1, 1)
    assert divide(2, 1, 8, 8, 100_000, 39_999, small) == Division(1, 1)
    assert divide(2, 1, 8, 8, 100_000, 40_000, small) == Division(1, 2)
    assert divide(16, 1, 8, 8, 100_000, 60_000, small) == Division(1, 3)
    assert divide(16, 8, 32, 32, 100_000, 80_000, small) == Division(4, 1)


def test_units_are_divided_where_rows_would_leave_a_thread_with_more() -> None:
    small, step = 100_000, 1_000_000
    assert divide(2, 3, 8, 8, 100, step, small) == Division(1, 2)
    assert divide(2, 4, 8, 8, 100, step, small) == Division(2, 1)
    # Seven vectors in two groups leave one thread with four of them: no less than of seven rows.
    assert divide(2, 7, 7, 2, 100, step, small) == Division(2, 1)
    assert divide(2, 7, 8, 8, 100, step, small) == Division(1, 2)
    # The fourth group of seven is not divided for five rows; for seven it is.
    assert divide(2, 5, 7, 7, 100, step, small) == Division(2, 1)
    assert divide(2, 7, 7, 7, 100, step, small) == Division(1, 2)
    assert divide(2, 7, 7, 7, 100, step, small, whole_groups=True) == Division(2, 1)
    # It is not worth meeting for little, nor for one row of many.
    assert divide(2, 3, 8, 8, 100, 90_000, small) == Division(2, 1)
    assert divide(2, 33, 8, 8, 100, 100 * step, small) == Division(2, 1)
    # Tiles of rows: three would leave one thread with two.
    assert divide(2, 96, 8, 8, 100, step, small, row_tile=32) == Division(1, 2)


def test_kinds_of_input_projection() -> None:
    small, large = 100_000, 100_000_000
    assert not is_separate(Division(1, 1), 1, 64, small)
    assert is_separate(Division(1, 1), 2, 64, small)
    assert not is_separate(Division(1, 2), 2, 64, small)
    assert is_separate(Division(1, 2), 2, 64, large)


def test_peaks_of_the_machine() -> None:
    # No number is sure where others use the cores.
    found = [peak.fma_peak(dtype, 2) for dtype in ("float32", "float64")]
    found += [peak.read_bandwidth(size, 2) for size in (1, 1000, 1 << 20)]
    assert all(0 < value < float("inf") for value in found)


def test_kernels_that_measure_peaks_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another process has left their code on disk."""
    monkeypatch.setenv("RNNCORE_CACHE_DIR", str(tmp_path))
    library = peak._library.__wrapped__(kernels.host_shape(np.dtype(np.float32)))
    assert {*library.addresses} == {"peak", "read"}
    assert list(tmp_path.iterdir())


def test_impl_says_how_threads_divide_the_work() -> None:
    large = Recurrent("lstm", 1024, 1024, backend="numba", num_threads=2)
    assert large.impl(100, 1).endswith("-bit 1x2")
    assert large.impl(100, 64, training=True).split(", back ")[1] == "1x2"
    assert Recurrent("lstm", 8, 8, backend="numba", num_threads=1).impl(100, 1).endswith("-bit 1x1")


def test_cells_that_compute_the_same_share_their_code() -> None:
    programs = [make_program(MinimalGatedUnit()) for _ in range(2)]
    layers = [layer_sizes(program, Sizes(5, 3, np.dtype(np.float32))) for program in programs]
    products = vector_products(layers[0].shape)
    assert forward_table(layers[0], products, keep=False) is forward_table(layers[1], products, keep=False)


def test_a_large_step_has_several_threads_and_the_same_bits() -> None:
    x = np.random.default_rng(0).standard_normal((1, 512), np.float32)
    steps = []
    for threads in (1, 2):
        frozen = Recurrent("lstm", 512, 512, backend="numba", num_threads=threads, seed=0).freeze()
        output, state = frozen.step(x)
        steps.append([output, *as_tuple(state), frozen.step(x, state)[0]])
    for one, two in zip(*steps, strict=True):
        np.testing.assert_array_equal(one, two)
    assert " 1x2" in Recurrent("lstm", 512, 512, backend="numba", num_threads=2).impl(1, 1)

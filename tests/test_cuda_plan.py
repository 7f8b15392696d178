"""How the work of a layer is divided on a GPU: all of it, once, within the GPU's limits."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_program import normalized, projected, without_recurrent_weights

from rnncore.cells import GRU, LSTM, Cell, Elman
from rnncore_kernels.contract import Sizes
from rnncore_kernels.cuda.device import GpuLimits
from rnncore_kernels.cuda.launch import plan_of
from rnncore_kernels.cuda.libraries import WARPS
from rnncore_kernels.cuda.plan import LaunchPlan, divide_up
from rnncore_kernels.cuda.steps import backward_steps, forward_steps
from rnncore_kernels.program.derive import make_program

GPUS = {
    "T4": GpuLimits((7, 5), 40, 65_536),
    "A100": GpuLimits((8, 0), 108, 166_912),
    "H100": GpuLimits((9, 0), 132, 232_448),
    "laptop": GpuLimits((8, 9), 24, 101_376),
    "one multiprocessor": GpuLimits((8, 0), 1, 49_152),
}
CELLS: list[Cell] = [
    *(Elman(), LSTM(), GRU(), GRU(reset="before"), projected, normalized, without_recurrent_weights),
]


def plans(limits: GpuLimits, cell: Cell, dtype: str, batch: int, hidden: int, heads: int = 1) -> list[LaunchPlan]:
    """The plans of the forward and of the backward pass."""
    program, sizes = make_program(cell), Sizes(hidden, 1, np.dtype(dtype), heads)
    return [plan_of(limits, steps, sizes, batch) for steps in (forward_steps(program), backward_steps(program))]


@given(
    gpu=st.sampled_from(list(GPUS)),
    cell=st.sampled_from(CELLS),
    dtype=st.sampled_from(["float32", "float64"]),
    batch=st.integers(1, 600),
    hidden=st.integers(1, 2400),
)
def test_all_work_is_done_once_within_the_limits(gpu: str, cell: Cell, dtype: str, batch: int, hidden: int) -> None:
    limits = GPUS[gpu]
    for plan in plans(limits, cell, dtype, batch, hidden):
        tile, itemsize = plan.work.tile, np.dtype(dtype).itemsize
        rows, units = tile.rows << plan.log_rows, tile.units << plan.log_units
        assert 1 <= plan.blocks <= limits.multiprocessors
        assert plan.warps <= WARPS
        assert plan.log_rows + plan.log_units <= plan.warps.bit_length() - 1
        assert plan.operand_at % 16 == plan.sums_at % 16 == 0
        assert all(plan.chunk % product.tile.k_block == 0 for product in plan.work.products)
        # In shared memory stand the weights, the operand, the sums and the totals, one behind the other.
        end = 0
        for product, at in zip(plan.work.products, plan.weights_at, strict=True):
            assert product.tile.rows << plan.log_rows == rows
            assert product.tile.units << plan.log_units == units
            whole = divide_up(product.k, product.tile.k_block) * product.tile.k_block
            slices = divide_up(divide_up(product.units, units), plan.unit_groups)
            if plan.resident:
                assert at == end
                end += whole * product.tile.columns * units * slices * itemsize
            else:
                end = max(end, plan.chunk * product.tile.columns * units * itemsize)
        assert plan.operand_at >= end
        assert plan.sums_at >= plan.operand_at + rows * plan.chunk * itemsize
        parts = plan.warps >> (plan.log_rows + plan.log_units)
        columns = max((product.tile.columns for product in plan.work.products), default=0)
        assert plan.totals_at >= plan.sums_at + parts * rows * units * columns * itemsize
        assert plan.totals_at + rows * plan.work.totals * itemsize <= plan.shared_bytes <= limits.shared_bytes
        for total, size, groups in (
            (batch, rows, plan.row_groups),
            *((count, units, plan.unit_groups) for count in plan.work.units),
        ):
            slices = divide_up(total, size)
            computed = Counter(s for group in range(groups) for s in range(group, slices, groups))
            assert computed == dict.fromkeys(range(slices), 1)
        slices = divide_up(max(plan.work.units), units)
        assert plan.slices == slices
        assert max(len(range(g, slices, plan.unit_groups)) for g in range(plan.unit_groups)) <= plan.unit_slices


@given(
    cell=st.sampled_from([LSTM(), GRU(reset="before")]),
    head=st.integers(1, 40),
    heads=st.sampled_from([2, 3, 4, 8]),
    batch=st.integers(1, 40),
)
def test_a_slice_of_units_multiplies_all_that_its_heads_do(cell: Cell, head: int, heads: int, batch: int) -> None:
    for plan in plans(GPUS["laptop"], cell, "float32", batch, head * heads, heads):
        for product, span in zip(plan.work.products, plan.spans, strict=True):
            units, vector = product.tile.units << plan.log_units, product.tile.vector
            assert span % vector == 0
            assert span <= product.k
            for first in range(0, product.units, units):
                # As the kernel has it, see `cuda.kernels.product`.
                low = min(first // product.head * product.head_depth // vector * vector, product.k - span)
                last = min(first + units, heads * product.head) - 1
                assert low % vector == 0
                assert low <= first // product.head * product.head_depth or first > last
                assert (last // product.head + 1) * product.head_depth <= low + span
    large = plans(GPUS["H100"], LSTM(), "float32", 16, 4096, 32)
    assert [plan.resident for plan in large] == [True, True]


@pytest.mark.parametrize(
    ("gpu", "hidden", "resident"), [("H100", 1024, True), ("H100", 4096, False), ("laptop", 256, True)]
)
def test_weights_stay_where_they_fit(gpu: str, hidden: int, resident: bool) -> None:
    forward, _ = plans(GPUS[gpu], LSTM(), "float32", 16, hidden)
    assert forward.resident == resident
    assert forward.impl.startswith("resident" if resident else "streamed")


def test_small_layers_need_no_barrier() -> None:
    """Blocks with all units of their rows go on without waiting for others."""
    forward, backward = plans(GPUS["H100"], LSTM(), "float32", 64, 64)
    assert forward.unit_groups == backward.unit_groups == 1
    assert forward.row_groups > 1


def test_a_cell_without_products_uses_all_multiprocessors() -> None:
    forward, _ = plans(GPUS["H100"], without_recurrent_weights, "float32", 64, 1024)
    assert forward.blocks > 100
    assert forward.work.barriers == 0


def test_too_many_gates_for_the_memory_of_a_block_are_refused() -> None:
    with pytest.raises(ValueError, match=r"cell: 4 gates and 0 sums over units are too many for 1000 bytes"):
        plans(GpuLimits((8, 0), 1, 1000), LSTM(), "float32", 16, 64)

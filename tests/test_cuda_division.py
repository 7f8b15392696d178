"""How the work of a layer is divided on a GPU: all of it, once, within the GPU's limits."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.cells import GRU, LSTM, Cell, Elman
from rnncore_kernels.codegen.program import make_program
from rnncore_kernels.cuda.device import Limits
from rnncore_kernels.cuda.division import Division
from rnncore_kernels.cuda.kernels import WARPS
from rnncore_kernels.cuda.launch import backward_division, forward_division

GPUS = {
    "T4": Limits((7, 5), 40, 65_536),
    "A100": Limits((8, 0), 108, 166_912),
    "H100": Limits((9, 0), 132, 232_448),
    "laptop": Limits((8, 9), 24, 101_376),
    "one multiprocessor": Limits((8, 0), 1, 49_152),
}
CELLS: list[Cell] = [Elman(), LSTM(), GRU(), GRU(reset="before")]


def divisions(limits: Limits, cell: Cell, dtype: str, batch: int, padded: int) -> list[Division]:
    """Of the forward and of the backward pass."""
    program = make_program(cell)
    return [make(limits, program, np.dtype(dtype), batch, padded) for make in (forward_division, backward_division)]


@given(
    gpu=st.sampled_from(list(GPUS)),
    cell=st.sampled_from(CELLS),
    dtype=st.sampled_from(["float32", "float64"]),
    batch=st.integers(1, 600),
    vectors=st.integers(1, 600),
)
def test_all_work_is_done_once_within_the_limits(gpu: str, cell: Cell, dtype: str, batch: int, vectors: int) -> None:
    limits, padded = GPUS[gpu], vectors * (16 // np.dtype(dtype).itemsize)
    for division in divisions(limits, cell, dtype, batch, padded):
        tile = division.tiles[0]
        assert 1 <= division.blocks <= limits.multiprocessors
        assert division.warps <= WARPS
        assert division.log_rows + division.log_units <= division.warps.bit_length() - 1
        assert division.shared_bytes <= limits.shared_bytes
        assert 0 <= division.operand_at <= division.sums_at <= division.shared_bytes
        assert division.operand_at % 16 == division.sums_at % 16 == 0
        assert division.chunk > 0
        assert all(division.chunk % t.k_block == 0 for t in division.tiles)
        for total, size, groups in (
            (batch, tile.rows << division.log_rows, division.row_groups),
            (padded, tile.units << division.log_units, division.unit_groups),
        ):
            slices = -(-total // size)
            computed = Counter(s for group in range(groups) for s in range(group, slices, groups))
            assert computed == dict.fromkeys(range(slices), 1)
        slices = -(-padded // (tile.units << division.log_units))
        assert (
            max(len(range(g, slices, division.unit_groups)) for g in range(division.unit_groups))
            <= division.unit_slices
        )


@pytest.mark.parametrize(
    ("gpu", "hidden", "resident"), [("H100", 1024, True), ("H100", 4096, False), ("laptop", 256, True)]
)
def test_weights_stay_where_they_fit(gpu: str, hidden: int, resident: bool) -> None:
    forward, _ = divisions(GPUS[gpu], LSTM(), "float32", 16, hidden)
    assert forward.resident == resident
    assert forward.impl.startswith("resident" if resident else "streamed")


def test_small_layers_need_no_meeting() -> None:
    """Blocks with all units of their rows go on without waiting for others."""
    forward, backward = divisions(GPUS["H100"], LSTM(), "float32", 64, 64)
    assert forward.unit_groups == backward.unit_groups == 1
    assert forward.row_groups > 1

"""Every cell of the library on every engine, the executor of PTX included, against the oracle's equations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from conftest import IN_FLOAT64, Close
from test_against_oracle import check

from rnncore.cells import CELLS, CfC
from rnncore.verification.networks import VARIANTS, make_call

RICH = ("lstm_all", "lstm_projection", "layernorm_lstm", "layernorm_gru", "cornn", "lem", "slstm", "cfc", "fastgrnn")
"""Cells with sums over units, projections, computed operands, inputs, scalars or many states."""

LENGTHS = [2, 5, 0, 3]

EXECUTED = ("lstm_all", "layernorm_gru", "cfc")
"""Cells that stand for all where tests execute PTX: to compile one takes ten seconds."""


def skip_unless_executed(backend: str, name: str, names: Sequence[str] = EXECUTED) -> None:
    """Skip what the executor of PTX has no time for."""
    if backend == "ptx" and name not in names:
        pytest.skip("other cells stand for this one on the executor")


def with_dtype(name: str, dtype: str) -> Any:
    """A cell and a dtype; slow if that is float64 and the cell none of those that stand for all in it."""
    slow = dtype == "float64" and name not in IN_FLOAT64
    return pytest.param(name, dtype, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(
    ("name", "dtype"), [with_dtype(name, dtype) for name in VARIANTS for dtype in ("float32", "float64")]
)
def test_outputs_and_gradients(backend: str, name: str, dtype: str, close: Close, nan_filled_empty: None) -> None:
    skip_unless_executed(backend, name, (*CELLS, *EXECUTED))
    check(make_call(VARIANTS[name], 5, 3, hidden_size=7, dtype=dtype, backend=backend), close)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [with_dtype(name, "float64") for name in VARIANTS]
    + [with_dtype(name, "float32") for name in VARIANTS if name not in IN_FLOAT64],
)
def test_deep_ragged(backend: str, name: str, dtype: str, close: Close, nan_filled_empty: None) -> None:
    skip_unless_executed(backend, name)
    dtype = "float32" if backend == "ptx" else dtype
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "backend": backend, "dtype": dtype}
    check(make_call(VARIANTS[name], 5, 4, lengths=LENGTHS, **options), close, lengths=LENGTHS)


@pytest.mark.parametrize(("steps", "batch"), [(0, 2), (1, 1), (3, 0)])
@pytest.mark.parametrize("name", RICH)
def test_little(backend: str, name: str, steps: int, batch: int, close: Close) -> None:
    skip_unless_executed(backend, name)
    check(make_call(VARIANTS[name], steps, batch, backend=backend), close)


@pytest.mark.parametrize("name", RICH)
def test_without_biases(backend: str, name: str, close: Close) -> None:
    skip_unless_executed(backend, name)
    check(make_call(VARIANTS[name], 3, 2, bias=False, backend=backend), close)


def test_an_input_that_is_the_same_at_all_steps(backend: str, close: Close) -> None:
    call = make_call(CfC(), 4, 3, bidirectional=True, num_layers=2, backend=backend)
    call.inputs["dt"] = np.array([0.5, 1.0, 2.0], call.rnn.dtype)
    check(call, close)

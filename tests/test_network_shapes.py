"""Networks of other shapes: recurrent weights in heads, an x that holds the gates' parts of it, projections by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Close
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from own_cells import irregular, partial_gates
from test_against_oracle import check

from rnncore.cells import GRU, LSTM, SLSTM, Elman
from rnncore.verification.networks import VARIANTS, make_call

CELLS = {
    "lstm": LSTM(),
    "lstm_projection": LSTM(projection=6, peephole=True),
    "gru_after": GRU(),
    "gru_before": GRU(reset="before"),
    "elman": Elman("relu"),
    "slstm": SLSTM(),
    "layernorm_gru": VARIANTS["layernorm_gru"],
}


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    steps, batch = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    heads = draw(st.sampled_from([1, 2, 3, 6]))
    return {
        "cell": CELLS[draw(st.sampled_from(sorted(CELLS)))],
        "steps": steps,
        "batch": batch,
        "lengths": draw(st.none() | st.lists(st.integers(0, steps), min_size=batch, max_size=batch)),
        "resets": draw(st.sampled_from([None, "zeros", "given"])),
        "states": draw(st.booleans()),
        "input_size": draw(st.sampled_from([None, 0, 3])),
        "hidden_size": draw(st.sampled_from([6, 12, 18, 30])),
        "heads": heads,
        "num_layers": draw(st.integers(1, 2)),
        "bidirectional": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "seed": draw(st.integers(0, 1000)),
    }


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=calls(), unbatched=st.booleans(), layout=st.sampled_from(["", "strided", "fortran", "read-only"]))
def test_any_call(
    backend: str, options: dict[str, Any], unbatched: bool, layout: str, close: Close, nan_filled_empty: None
) -> None:
    unbatched = unbatched and options["batch"] == 1
    check(make_call(**options, backend=backend), close, lengths=options["lengths"], unbatched=unbatched, layout=layout)


@pytest.mark.parametrize(
    ("name", "hidden_size", "heads"), [("lstm", 40, 4), ("gru_before", 15, 3), ("lstm_projection", 24, 3)]
)
def test_heads_and_ready_parts_of_x(
    backend: str, name: str, hidden_size: int, heads: int, close: Close, nan_filled_empty: None
) -> None:
    lengths = [3, 1, 2]
    options: dict[str, Any] = {"hidden_size": hidden_size, "heads": heads, "lengths": lengths, "backend": backend}
    check(make_call(CELLS[name], 3, 3, input_size=None, **options), close, lengths=lengths)

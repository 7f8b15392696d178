"""The CUDA engine on the processor, where work is divided among blocks as on a GPU that is small, or large."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba_cuda")

import ptxengine
from conftest import Close
from networks import make_call
from ptxengine import PtxDevice
from test_against_oracle import check

from rnncore import Recurrent
from rnncore_kernels.cuda import forward
from rnncore_kernels.cuda.device import GpuLimits
from rnncore_kernels.cuda.plan import LaunchPlan, make_plan

LIMITS = {
    "resident": GpuLimits((8, 0), 6, 60_000),
    "streamed": GpuLimits((8, 0), 6, 7_000),
    "one block": GpuLimits((8, 0), 1, 12_000),
}
LENGTHS = [4, 1, 0, 3, 4, 2, 2, 4, 1, 3, 4]


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[LaunchPlan]:
    """Plans that were made, for the limits that a test puts on the device."""
    made: list[LaunchPlan] = []

    def remember(*arguments: Any) -> LaunchPlan:
        made.append(make_plan.__wrapped__(*arguments))
        return made[-1]

    monkeypatch.setattr("rnncore_kernels.cuda.launch.make_plan", remember)
    # Such small layers would be divided by rows alone.
    monkeypatch.setattr("rnncore_kernels.cuda.plan.BARRIER", 0)
    monkeypatch.setattr(ptxengine, "chosen", ptxengine.SCHEDULES)
    return made


def limit(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(ptxengine, "make_engine", lambda _: ptxengine.engine_on(PtxDevice(LIMITS[name])))


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("name", ["lstm", "gru_candidate_after", "gru_candidate_before", "elman_tanh"])
def test_divided(
    name: str, limits: str, plans: list[LaunchPlan], close: Close, monkeypatch: pytest.MonkeyPatch, ptx: None
) -> None:
    """Several blocks that wait for each other, several slices of rows and units, weights in shared memory or not, k in chunks."""
    limit(monkeypatch, limits)
    options: dict[str, Any] = {"hidden_size": 37, "bidirectional": True, "backend": "ptx", "dtype": "float32"}
    check(make_call(name, 4, len(LENGTHS), lengths=LENGTHS, **options), close, lengths=LENGTHS)
    assert all(plan.resident == (limits == "resident") for plan in plans)
    if limits == "one block":
        assert any(plan.unit_slices > 1 for plan in plans)
    else:
        assert any(plan.unit_groups > 1 for plan in plans)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["lstm", "gru_candidate_before"])
def test_few_rows(name: str, batch: int, plans: list[LaunchPlan], close: Close, ptx: None) -> None:
    check(make_call(name, 3, batch, hidden_size=70, backend="ptx"), close)
    assert all(plan.work.tile.thread_rows == 1 for plan in plans)
    assert any(plan.unit_groups > 1 for plan in plans)


def test_inference_in_spans(monkeypatch: pytest.MonkeyPatch, close: Close, ptx: None) -> None:
    """The input projection takes bounded memory: long sequences are computed in several launches."""
    monkeypatch.setattr(forward, "PROJECTION_BYTES", 2 * 4 * 6 * 8 * 4)
    lengths = [7, 3, 0, 5, 7, 2]
    check(
        make_call("lstm", 7, 6, hidden_size=8, lengths=lengths, bidirectional=True, backend="ptx"),
        close,
        lengths=lengths,
    )


def test_results_have_the_same_bits_again(ptx: None) -> None:
    call = make_call("gru_carry_after", 5, 6, hidden_size=24, backend="ptx")
    np.testing.assert_array_equal(call.rnn(call.x)[0], call.rnn(call.x)[0])


def test_impl_names_where_weights_are_and_how_the_work_is_divided(ptx: None) -> None:
    rnn = Recurrent("lstm", 8, 16, backend="ptx", seed=0)
    assert re.fullmatch(r"(resident|streamed) \d+x\d+", rnn.impl(10, 4))
    assert re.fullmatch(r"\w+ \d+x\d+, back \w+ \d+x\d+", rnn.impl(10, 4, training=True))


def test_all_gates_are_one_product_of_weights(monkeypatch: pytest.MonkeyPatch, ptx: None) -> None:
    call, multiply, shapes = make_call("lstm", 3, 2, input_size=4, hidden_size=6, backend="ptx"), PtxDevice.multiply, []

    def counted(device: PtxDevice, a: Any, b: Any, out: Any, **how: Any) -> None:
        shapes.append(out.shape)
        multiply(device, a, b, out, **how)

    output, _, tape = call.rnn.forward(call.x)
    monkeypatch.setattr(PtxDevice, "multiply", counted)
    call.rnn.backward(tape, output)
    # x, W_ih and W_hh, whose units are padded to vectors.
    assert shapes == [(6, 4), (4 * 8, 4), (4 * 8, 8)]

"""All that a cell may have, on the CUDA engine's kernels executed on the processor, against the NumPy engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba_cuda")

import ptxengine
from layer_calls import LayerCall
from ptxengine import PtxDevice
from test_program import (
    decaying,
    normalized,
    of_a_new_state,
    of_everything,
    one_gate_twice,
    oscillating,
    peephole,
    projected,
    without_input_weights,
    without_recurrent_weights,
)

from rnncore.cells import GRU, LSTM, Cell, cell, mean, project, tanh
from rnncore_kernels.cuda import launch
from rnncore_kernels.cuda.device import GpuLimits
from rnncore_kernels.cuda.plan import LaunchPlan, StepWork, _plans

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ptx")]


@cell(states="h", gates="a", units="u", scalars="s")
def centred(h: Any, a: Any, u: Any, s: Any) -> Any:
    """Sums over units, and no product of a state: blocks wait for each other within a step alone."""
    v = a.x + u * h
    return tanh(v - s * mean(v)) + 0.1 * mean(h)


@cell(states="y z", gates="n", unit_inputs="q")
def two_operands(y: Any, z: Any, n: Any, q: Any) -> Any:
    """Products of two states of different widths, and of one that is new."""
    z = tanh(project("z", z, 9) + project("down", y, 9))
    return tanh(n) * q + project("up", z), z


@cell(states="s h", gates="a")
def unread(s: Any, h: Any, a: Any) -> Any:
    """The output is not read in the next step, so its cotangent before the step is 0."""
    h = tanh(a.x + 0.5 * h)
    return h * h, h


CELLS: dict[str, Cell] = {
    "unit parameters": peephole,
    "scalar and row input": decaying,
    "unit input": two_operands,
    "sums": normalized,
    "sums without products": centred,
    "projection": projected,
    "no product": without_recurrent_weights,
    "gate without input weights": without_input_weights,
    "two products": GRU(reset="before"),
    "product of another state": oscillating,
    "product of a new state": of_a_new_state,
    "gate in two blocks": one_gate_twice,
    "state that is not read": unread,
    "everything": of_everything,
}
RAGGED = [4, 1, 0, 3, 4, 2, 2, 4, 1]
PLANS: dict[str, Callable[[LaunchPlan], bool]] = {
    "several blocks": lambda plan: plan.resident and plan.unit_groups > 1 and plan.row_groups > 1,
    "weights do not stay": lambda plan: not plan.resident and plan.unit_groups > 1,
    "several slices": lambda plan: plan.unit_slices > 1,
}
LIMITS = GpuLimits((8, 0), 6, 60_000)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that chooses one of `PLANS` for what is computed next."""
    monkeypatch.setattr(ptxengine, "chosen", ptxengine.SCHEDULES)

    def choose(name: str) -> None:
        def plan(limits: GpuLimits, work: StepWork) -> LaunchPlan:
            # With few multiprocessors, each has several slices to compute.
            few = replace(limits, multiprocessors=2) if name == "several slices" else limits
            return min(filter(PLANS[name], _plans(few, work)), key=lambda found: (found.warps, found.blocks))

        monkeypatch.setattr(launch, "make_plan", plan)

    return choose


@pytest.mark.parametrize("name", CELLS)
def test_whatever_a_cell_has(name: str, use: Callable[[str], None]) -> None:
    """Rows of different lengths, units that are no whole vectors, both directions, under each plan."""
    # Sums of many values that grow make an error of the last bit large, and each step makes it larger.
    hidden, steps = (21, 2) if name == "everything" else (37, 4)
    lengths = [min(length, steps) for length in RAGGED]
    for number, plan in enumerate(PLANS):
        use(plan)
        call = LayerCall(CELLS[name], steps, len(RAGGED), hidden, lengths=lengths, reverse=number % 2 == 1)
        call.check(ptxengine.engine_on(PtxDevice(LIMITS)))


@pytest.mark.parametrize("name", ["projection", "sums"])
def test_few_rows(name: str, use: Callable[[str], None]) -> None:
    use("several blocks" if name == "sums" else "several slices")
    LayerCall(CELLS[name], 3, 2, 33).check(ptxengine.engine_on(PtxDevice(LIMITS)))


@pytest.mark.parametrize("one", [LSTM(), GRU(reset="before"), normalized, projected], ids=repr)
def test_float64(one: Cell) -> None:
    LayerCall(one, 3, 5, 11, dtype="float64", lengths=[2, 3, 0, 3, 1]).check(ptxengine.make_engine(None))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("inputs", [0, 2])
def test_without_inputs_or_biases(inputs: int, bias: bool) -> None:
    LayerCall(GRU(), 3, 5, 6, inputs=inputs, bias=bias).check(ptxengine.make_engine(None))


@pytest.mark.parametrize(("steps", "batch"), [(0, 4), (3, 0), (1, 4)])
@pytest.mark.parametrize("name", ["everything", "projection"])
def test_nothing_to_compute(name: str, steps: int, batch: int) -> None:
    LayerCall(CELLS[name], steps, batch, 6).check(ptxengine.make_engine(None))


def test_inference_in_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long sequences are computed in several launches, which take their steps of the inputs."""
    monkeypatch.setattr("rnncore_kernels.cuda.forward.PROJECTION_BYTES", 2 * 4 * len(RAGGED) * 8 * 4)
    # With 7 units NumPy's float32 is 9e-5 off float64, by cancellation.
    LayerCall(CELLS["everything"], 4, len(RAGGED), 6, lengths=RAGGED, reverse=True).check(ptxengine.make_engine(None))


def test_a_row_without_a_step_keeps_its_cotangents_where_weights_are_infinite() -> None:
    call = LayerCall(LSTM(), 3, 4, 5, lengths=[3, 0, 1, 3])
    assert call.weights.weight_hh is not None
    call.weights.weight_hh[2, 3] = np.inf
    engine = ptxengine.make_engine(None)
    with np.errstate(all="ignore"):
        results = dict(call.results(engine))
    for index, given in enumerate(call.grad_state):
        np.testing.assert_array_equal(results[f"gradient state {index}"][1], given[1])


def test_results_have_the_same_bits_again(use: Callable[[str], None]) -> None:
    """Also sums over the units of a row, to which several blocks contribute."""
    use("several blocks")
    call, engine = LayerCall(normalized, 3, 9, 37), ptxengine.engine_on(PtxDevice(LIMITS))
    for (name, one), (_, other) in zip(call.results(engine), call.results(engine), strict=True):
        assert one is other is None or one.tobytes() == other.tobytes(), name

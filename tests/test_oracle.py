"""The oracle's equations of every cell: their automatic derivatives against finite differences of their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from conftest import Array

from rnncore.verification import equations, oracle, scalars

HIDDEN, INPUT = 3, 2
STEP, TOLERANCE = 1e-6, 2e-7
"""Central differences in float64 with this step are good to about 1e-9."""


@dataclass(frozen=True)
class Shapes:
    """A step of the oracle, with gates that have rows in W_ih and in W_hh, widths of states, and names of the rest."""

    step: oracle.Step
    x_gates: int
    h_gates: int
    states: tuple[int, ...] = (HIDDEN,)
    units: str = ""
    scalars: str = ""
    projections: tuple[tuple[str, int], ...] = ()
    row_inputs: str = ""

    def parameters(self, rng: np.random.Generator, below: int, suffix: str) -> dict[str, Array]:
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (self.x_gates * HIDDEN, below),
            "weight_hh": (self.h_gates * HIDDEN, self.states[0]),
            "bias_ih": (self.x_gates * HIDDEN,),
            "bias_hh": (self.h_gates * HIDDEN,),
            **dict.fromkeys(self.units.split(), (HIDDEN,)),
            **dict.fromkeys(self.scalars.split(), ()),
            **{f"weight_{name}": (width, HIDDEN) for name, width in self.projections},
        }
        return {f"{name}_{suffix}": rng.standard_normal(shape) for name, shape in shapes.items()}


TWO, FOUR = (HIDDEN,) * 2, (HIDDEN,) * 4
GAINS = {gates: " ".join(f"gain_{gate} shift_{gate}" for gate in gates) for gates in ("ifgoc", "rzxh")}

CELLS = {
    **{f"elman {name}": Shapes(equations.elman(name), 1, 1) for name in equations.ACTIVATIONS},
    "lstm": Shapes(equations.lstm(), 4, 4, TWO),
    "lstm peephole": Shapes(equations.lstm(peephole=True), 4, 4, TWO, "peephole_i peephole_f peephole_o"),
    "lstm coupled": Shapes(equations.lstm(coupled=True), 3, 3, TWO),
    "lstm all": Shapes(
        equations.lstm(peephole=True, coupled=True, projected=True),
        3,
        3,
        (2, HIDDEN),
        "peephole_i peephole_o",
        projections=(("hr", 2),),
    ),
    **{f"gru {u} {r}": Shapes(equations.gru(u, r), 3, 3) for u in ("candidate", "carry") for r in ("after", "before")},
    "mgu": Shapes(equations.mgu, 2, 2),
    "mingru": Shapes(equations.mingru, 2, 0),
    "ligru": Shapes(equations.ligru, 2, 2),
    "ugrnn": Shapes(equations.ugrnn, 2, 2),
    "janet": Shapes(equations.janet(1.0), 2, 2),
    "star": Shapes(equations.star, 2, 1),
    "ran tanh": Shapes(equations.ran("tanh"), 3, 2, TWO),
    "ran identity": Shapes(equations.ran("identity"), 3, 2, TWO),
    "indrnn": Shapes(equations.indrnn, 1, 0, units="u"),
    "fastgrnn": Shapes(equations.fastgrnn, 1, 1, units="b_z b_h", scalars="zeta nu"),
    "layernorm_lstm": Shapes(equations.layernorm_lstm, 4, 4, TWO, GAINS["ifgoc"]),
    "layernorm_gru": Shapes(equations.layernorm_gru, 3, 3, units=GAINS["rzxh"]),
    "slstm sigmoid": Shapes(equations.slstm("sigmoid"), 4, 4, FOUR),
    "slstm exp": Shapes(equations.slstm("exp"), 4, 4, FOUR),
    "ctrnn": Shapes(equations.ctrnn, 1, 1, units="rate"),
    "lem": Shapes(equations.lem(0.5), 4, 4, TWO),
    "cornn": Shapes(equations.cornn(0.1, 2.7, 4.7), 1, 1, TWO, projections=(("zh", HIDDEN),)),
    "cfc": Shapes(equations.cfc, 3, 3, row_inputs="dt"),
    "lif": Shapes(equations.lif(1.0, 10.0), 1, 1, TWO, "decay"),
}


@pytest.mark.parametrize(("name", "constant_inputs"), [*((name, False) for name in CELLS), ("cfc", True)])
def test_gradients_are_those_of_the_values(name: str, constant_inputs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes, rng = CELLS[name], np.random.default_rng(0)
    monkeypatch.setattr(equations, "spike", smooth_spike)
    # A second layer is the same for all cells; that of one with a projection reads an input of another width.
    lengths, layers = [3, 2], 2 if name in ("lstm all", "gru candidate before") else 1
    parameters: dict[str, Array] = {}
    for layer in range(layers):
        below = INPUT if layer == 0 else 2 * shapes.states[0]
        for end in ("", "_reverse"):
            parameters |= shapes.parameters(rng, below, f"l{layer}{end}")
    x = rng.standard_normal((3, 2, INPUT))
    # Positive, as the normaliser of the sLSTM is.
    state, grad_state = (
        tuple(make(size=(2 * layers, 2, width)) for width in shapes.states)
        for make in (rng.uniform, rng.standard_normal)
    )
    grad_output = rng.standard_normal((3, 2, 2 * shapes.states[0]))
    inputs = {n: rng.uniform(size=(2,) if constant_inputs else (3, 2)) for n in shapes.row_inputs.split()}

    def run() -> oracle.Result:
        return oracle.run(
            shapes.step, parameters, x, state, lengths, grad_output, grad_state,
            hidden_size=HIDDEN, num_layers=layers, bidirectional=True, row_inputs=inputs,
        )  # fmt: skip

    def loss() -> float:
        found = run()
        terms = [(found.output, grad_output), *zip(found.state, grad_state, strict=True)]
        return float(sum((value * cotangent).sum() for value, cotangent in terms))

    result = run()
    # Values that move together, with their gradients: those of all layers and directions.
    kinds = {"x": [(x, result.grad_x)]}
    kinds |= {f"state {k}": [pair] for k, pair in enumerate(zip(state, result.grad_state, strict=True))}
    for named, grads in ((parameters, result.grad_parameters), (inputs, result.grad_inputs)):
        assert named.keys() == grads.keys()
        for key, values in named.items():
            kinds.setdefault(key.partition("_l")[0], []).append((values, grads[key]))
    for kind, pairs in kinds.items():
        expected, sides = 0.0, [0.0, 0.0]
        directions = [rng.standard_normal(values.shape) for values, _ in pairs]
        befores = [values.copy() for values, _ in pairs]
        for (_, grad), direction in zip(pairs, directions, strict=True):
            expected += float((grad * direction).sum())
            assert grad.any() or not grad.size, kind
        for side, sign in enumerate((1, -1)):
            for (values, _), before, direction in zip(pairs, befores, directions, strict=True):
                values[...] = before + sign * STEP * direction
            sides[side] = loss()
        for (values, _), before in zip(pairs, befores, strict=True):
            values[...] = before
        numeric = (sides[0] - sides[1]) / (2 * STEP)
        assert abs(numeric - expected) <= TOLERANCE * max(1.0, abs(expected)), kind


def smooth_spike(a: scalars.Scalar, slope: float) -> scalars.Scalar:
    """A function whose derivative is the surrogate, in the place of the step whose it is not."""
    (source,) = scalars.spike(a, slope).sources
    return scalars.Scalar(a.value / (1 + slope * abs(a.value)), (source,))


def test_a_spike_and_its_surrogate() -> None:
    for value, expected in ((0.5, 1.0), (0.0, 0.0), (-0.5, 0.0)):
        spike = scalars.spike(scalars.Scalar(value), 10.0)
        assert spike.value == expected
        assert spike.sources[0][1] == 1 / (1 + 10 * abs(value)) ** 2


@pytest.mark.parametrize("value", [-800.0, -30.0, -1.0, 0.0, 1.0, 30.0, 800.0])
def test_log_sigmoid_neither_cancels_nor_overflows(value: float) -> None:
    found = scalars.log_sigmoid(scalars.Scalar(value))
    exact = -np.logaddexp(np.longdouble(0), np.longdouble(-value))
    assert abs(found.value - exact) <= 1e-15 * abs(exact) + 1e-300
    assert abs(found.sources[0][1] - np.exp(-np.logaddexp(0, value))) <= 1e-15


def test_unit_inputs() -> None:
    """A cell whose output is its input: gradients are the cotangents, summed over time if it is constant."""

    def step(w: oracle.Layer, x: Any, state: Any) -> Any:
        return (w.inputs["given"],)

    grad_output = np.arange(12.0).reshape(3, 2, 2)
    for shape, expected in (((3, 2, 2), grad_output), ((2, 2), grad_output.sum(0))):
        state = (np.zeros((1, 2, 2)),)
        given = {"given": np.ones(shape)}
        result = oracle.run(
            step, {}, np.zeros((3, 2, 1)), state, [3, 3], grad_output, state, hidden_size=2, unit_inputs=given
        )
        assert (result.output == 1).all()
        assert (result.grad_inputs["given"] == expected).all()


def test_lstm_step_by_hand() -> None:
    """One unit, all weights 1, no biases: x = 0.5, h = 0.25, c = -1 gives pre-activations of 0.75."""
    parameters = {name: np.ones((4, 1)) for name in ("weight_ih_l0", "weight_hh_l0")}
    x, h, c, zero = (np.full((1, 1, 1), value) for value in (0.5, 0.25, -1.0, 0.0))
    result = oracle.run(equations.lstm(), parameters, x, (h, c), [1], zero, (zero, zero), hidden_size=1)
    gate = 1 / (1 + np.exp(-0.75))
    new = gate * -1 + gate * np.tanh(0.75)
    assert abs(result.state[1].item() - new) < 1e-15
    assert abs(result.output.item() - gate * np.tanh(new)) < 1e-15


def test_an_inactive_unit_passes_no_cotangent_on() -> None:
    inactive, active = scalars.Scalar(-1.0), scalars.Scalar(1.0)
    scalars.back_propagate([(scalars.relu(inactive), np.inf), (scalars.relu(active), np.inf)])
    assert (inactive.grad, active.grad) == (0, np.inf)

"""The program of a cell: what is kept, how much is computed, where a step is cut, and that its gradient is right."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnncore_kernels.cells import (
    GRU,
    LSTM,
    Cell,
    Elman,
    abs,
    cell,
    clamp,
    cos,
    exp,
    heaviside,
    layer_norm,
    log,
    log_sigmoid,
    maximum,
    mean,
    minimum,
    project,
    relu,
    sigmoid,
    silu,
    sin,
    softplus,
    sqrt,
    tanh,
    total,
    where,
)
from rnncore_kernels.contract import BackwardRun, Inputs, LayerWeights, Rows, Run, Sizes
from rnncore_kernels.numpy.engine import NumpyEngine
from rnncore_kernels.program.derive import make_program
from rnncore_kernels.program.program import KINDS, Pass, Program, units_of


@cell(states="h c", gates="i f g o", units="p_i p_f p_o")
def peephole(h: Any, c: Any, i: Any, f: Any, g: Any, o: Any, p_i: Any, p_f: Any, p_o: Any) -> Any:
    new = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * tanh(g)
    return sigmoid(o + p_o * new) * tanh(new), new


@cell(states="h", gates="z n")
def without_recurrent_weights(h: Any, z: Any, n: Any) -> Any:
    return h + sigmoid(z.x) * (n.x - h)


@cell(states="h", gates="z n")
def without_input_weights(h: Any, z: Any, n: Any) -> Any:
    return h + sigmoid(z.h) * (tanh(n) - h)


@cell(states="h c", gates="i f g o", units="w_i w_f w_g w_o w_c b_c")
def normalized(
    h: Any, c: Any, i: Any, f: Any, g: Any, o: Any, w_i: Any, w_f: Any, w_g: Any, w_o: Any, w_c: Any, b_c: Any
) -> Any:
    new = sigmoid(layer_norm(f, w_f)) * c + sigmoid(layer_norm(i, w_i)) * tanh(layer_norm(g, w_g))
    return sigmoid(layer_norm(o, w_o)) * tanh(layer_norm(new, w_c, b_c)), new


@cell(states="h c", gates="i f g o")
def projected(h: Any, c: Any, i: Any, f: Any, g: Any, o: Any) -> Any:
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return project("hr", sigmoid(o) * tanh(c), 5), c


@cell(states="h", gates="a", units="rate", row_inputs="dt", scalars="s")
def decaying(h: Any, a: Any, rate: Any, dt: Any, s: Any) -> Any:
    return exp(-exp(rate) * dt) * h + sigmoid(s) * tanh(a)


@cell(states="y z", gates="a")
def oscillating(y: Any, z: Any, a: Any) -> Any:
    z = z + 0.1 * (tanh(a + project("z", z)) - y - 0.5 * z)
    return y + 0.1 * z, z


@cell(states="y z", gates="d e c o")
def of_a_new_state(y: Any, z: Any, d: Any, e: Any, c: Any, o: Any) -> Any:
    d, e = sigmoid(d), sigmoid(e)
    z = (1 - d) * z + d * tanh(c)
    return (1 - e) * y + e * tanh(o.of(z)), z


@cell(states="h c n m", gates="i f z o")
def exponential(h: Any, c: Any, n: Any, m: Any, i: Any, f: Any, z: Any, o: Any) -> Any:
    new_m = maximum(log_sigmoid(f) + m, i)
    i, f = exp(i - new_m), exp(log_sigmoid(f) + m - new_m)
    c, n = f * c + i * tanh(z), f * n + i
    return sigmoid(o) * c / n, c, n, new_m


@cell(states="h v", gates="a b", unit_inputs="q", row_inputs="s", scalars="k")
def of_everything(h: Any, v: Any, a: Any, b: Any, q: Any, s: Any, k: Any) -> Any:
    u = softplus(a) * q + where(b > 0.1, b.x, silu(b)) - log_sigmoid(v) + relu(u_of(v))
    m = mean(u * s) + k
    w = sin(v) * m + maximum(u, h) * abs(v) + minimum(a.of(tanh(v)), 0.3) + clamp(u, -0.5, 0.7) * m
    return tanh(w) + sqrt(1 + v**2) * project("p", tanh(w) * total(s * v)), cos(w) * log(2 + v * v)


def u_of(v: Any) -> Any:
    return where(v <= 0, v - 1, v + 1)


@cell(states="h", gates="z n")
def one_gate_twice(h: Any, z: Any, n: Any) -> Any:
    return tanh(n + n.of(sigmoid(z)))


SMALL: list[Cell] = [
    *(Elman("tanh"), Elman("relu"), LSTM()),
    *(GRU(update, reset) for update in ("candidate", "carry") for reset in ("after", "before")),
    *(peephole, without_recurrent_weights, without_input_weights, normalized, projected, decaying, oscillating),
    *(of_a_new_state, exponential, of_everything, one_gate_twice),
]


@pytest.mark.parametrize(
    ("one", "saved", "operations"),
    [(Elman(), 0, 3), (LSTM(), 4, 23), (GRU(), 4, 17), (GRU(reset="before"), 3, 19), (exponential, 4, 41)],
)
def test_as_little_is_kept_and_computed_as_by_hand(one: Cell, saved: int, operations: int) -> None:
    program = make_program(one)
    assert len(program.saved) == saved
    assert _operations(program.backward) <= operations


@pytest.mark.parametrize(
    ("one", "products", "widths"),
    [
        (LSTM(), (0,), (-1,)),
        (GRU(reset="before"), (0, 1), (-1, -1)),
        (without_recurrent_weights, (None,), (-1,)),
        (projected, (0, 1), (-1, 5)),
        (normalized, (0, None, None, None, None), (-1,) * 5),
        (oscillating, (0, 1), (-1, -1)),
    ],
)
def test_a_step_is_cut_at_products_of_computed_values_and_at_sums(
    one: Cell, products: tuple[int | None, ...], widths: tuple[int, ...]
) -> None:
    phases = make_program(one).forward.phases
    assert tuple(phase.product for phase in phases) == products
    assert tuple(phase.width for phase in phases) == widths


@pytest.mark.parametrize("one", SMALL, ids=repr)
@pytest.mark.parametrize(("lengths", "reverse"), [(None, False), ([2, 4, 0], True)])
def test_the_derived_gradient_is_that_of_finite_differences(one: Cell, lengths: Any, reverse: bool) -> None:
    layer = Layer(make_program(one), lengths, reverse)
    for array, gradient in layer.gradients():
        step = layer.random(*array.shape)
        if array is layer.x:
            step *= layer.inside[..., None]
        numeric = layer.slope(array, step)
        np.testing.assert_allclose((gradient * step).sum(), numeric, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("one", SMALL, ids=repr)
def test_a_program_is_its_text(one: Cell) -> None:
    program = make_program(one)
    copy: Program = pickle.loads(pickle.dumps(program))
    assert (copy, hash(copy)) == (program, hash(program))
    others = {make_program(other).text for other in SMALL if other is not one}
    assert program.text not in others


def test_the_gradient_of_heaviside_is_its_surrogate() -> None:
    def spiking(surrogate: Any) -> Cell:
        @cell(states="s v", gates="a")
        def lif(s: Any, v: Any, a: Any) -> Any:
            v = 0.9 * v * (1 - s) + a
            return heaviside(v - 0.1, surrogate=surrogate), v

        return lif

    def smooth(v: Any) -> Any:
        return 1 / (1 + abs(v)) ** 2

    def slope(surrogate: Any) -> Any:
        layer = Layer(make_program(spiking(surrogate)), None, False)
        return layer.gradients()[0][1]

    one, double, none = slope(smooth), slope(lambda v: 2 * smooth(v)), slope(None)
    assert np.abs(one).max() > 0.01
    assert not np.allclose(one, double)
    assert np.abs(none).max() < np.abs(one).max()


def _operations(passes: Pass) -> int:
    return sum(kind not in KINDS for phase in passes.phases for kind, _ in phase.code.nodes)


class Layer:
    """A layer of a program on the NumPy engine, in float64, and a loss of all that it returns."""

    def __init__(self, program: Program, lengths: Any, reverse: bool) -> None:
        self.steps, self.batch, self.sizes = 4, 3, Sizes(6, 4, np.dtype(np.float64))
        self._rng, self.program, self.engine, self.reverse = np.random.default_rng(0), program, NumpyEngine(), reverse
        hidden, inputs = self.sizes.hidden, self.sizes.inputs
        widths = [units_of(width, hidden) for width in program.states]
        gx, gh = len(program.x_gates) * hidden, len(program.h_gates) * hidden
        self.weights = LayerWeights(
            *(self.random(gx, inputs) if gx else None, self.random(gh, widths[0]) if gh else None),
            *(self.random(gx) if gx else None, self.random(gh) if gh else None),
            tuple(self.random(units_of(a, hidden), units_of(b, hidden)) for a, b in program.projections),
            tuple(self.random(hidden) for _ in range(program.units)),
            tuple(self.random() for _ in range(program.scalars)),
        )
        shape = self.steps, self.batch
        self.inputs = Inputs(
            tuple(self.random(*shape) for _ in range(program.row_inputs)),
            tuple(self.random(*shape, units_of(width, hidden)) for width in program.unit_inputs),
        )
        self.x, self.state = self.random(*shape, inputs), [self.random(self.batch, width) for width in widths]
        self.grad_output, self.grad_state = self.random(*shape, widths[0]), [self.random(*s.shape) for s in self.state]
        self.rows, ends = Rows(), np.full(self.batch, self.steps)
        if lengths is not None:
            ends = np.array(lengths)
            self.rows = Rows(np.argsort(-ends, kind="stable"), (ends > np.arange(self.steps)[:, None]).sum(axis=1))
        self.inside = np.arange(self.steps)[:, None] < ends
        self.x *= self.inside[..., None]

    def random(self, *shape: int) -> Any:
        return np.asarray(self._rng.standard_normal(shape) / 2)

    def _run(self, packed: Any) -> Run[Any]:
        output = np.full(self.grad_output.shape, np.nan)
        state = tuple(s.copy() for s in self.state)
        return Run(packed, self.x, state, output, None, self.rows, self.reverse, self.inputs)

    def loss(self) -> float:
        run = self._run(self.engine.pack(self.program, self.sizes, self.weights, copy=False, backward=False))
        self.engine.infer([run])
        assert run.output is not None
        pairs = [(run.output, self.grad_output), *zip(run.state, self.grad_state, strict=True)]
        return float(sum((a * b).sum() for a, b in pairs))

    def slope(self, array: Any, step: Any, size: float = 1e-6) -> float:
        """The derivative of the loss by an array in the direction of a step."""
        array += size * step
        above = self.loss()
        array -= 2 * size * step
        below = self.loss()
        array += size * step
        return (above - below) / (2 * size)

    def gradients(self) -> list[tuple[Any, Any]]:
        """All arrays that the loss depends on, each with its gradient."""
        packed = self.engine.pack(self.program, self.sizes, self.weights, copy=True, backward=True)
        (residuals,) = self.engine.forward([self._run(packed)])
        grad_state = tuple(g.copy() for g in self.grad_state)
        (found,) = self.engine.backward([BackwardRun(packed, residuals, self.grad_output, grad_state)])
        pairs: list[tuple[Any, Any]] = [(self.x, found.x), *zip(self.state, grad_state, strict=True)]
        flat: Callable[[LayerWeights], list[Any]] = lambda w: [*w[:4], *w.projections, *w.units, *w.scalars]  # noqa: E731
        pairs += [(a, g) for a, g in zip(flat(self.weights), flat(found.weights), strict=True) if a is not None]
        for given, gradients in zip(self.inputs, found.inputs, strict=True):
            pairs += zip(given, gradients, strict=True)
        return pairs

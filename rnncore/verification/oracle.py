"""The equations as scalar loops in float64, with gradients by automatic differentiation of the scalars.

It shares nothing with the engines: no array operation, no hand-written backward, no sorting of rows, no import.
Reverse accumulation as in A. Griewank and A. Walther, Evaluating Derivatives, SIAM 2008, chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Vector = list["Scalar"]


class Scalar:
    """A number that remembers what it was computed from: pairs of a Scalar and the derivative by it."""

    __slots__ = ("grad", "sources", "value")

    def __init__(self, value: float, sources: tuple[tuple[Scalar, float], ...] = ()) -> None:
        self.value = value
        self.sources = sources
        self.grad = 0.0

    def __add__(self, other: Scalar) -> Scalar:
        return Scalar(self.value + other.value, ((self, 1.0), (other, 1.0)))

    def __mul__(self, other: Scalar) -> Scalar:
        return Scalar(self.value * other.value, ((self, other.value), (other, self.value)))


def one_minus(a: Scalar) -> Scalar:
    """1 - a."""
    return Scalar(1.0 - a.value, ((a, -1.0),))


def tanh(a: Scalar) -> Scalar:
    """Hyperbolic tangent; its derivative 1 / cosh^2 would overflow beyond 300, where it is 0."""
    value = math.tanh(a.value)
    return Scalar(value, ((a, 1.0 / math.cosh(a.value) ** 2 if abs(a.value) < 300 else 0.0),))


def sigmoid(a: Scalar) -> Scalar:
    """1 / (1 + exp(-a)), whose exponential would overflow below -700, where it is 0."""
    value = 1.0 / (1.0 + math.exp(-a.value)) if a.value > -700 else 0.0
    return Scalar(value, ((a, value * (1.0 - value)),))


def relu(a: Scalar) -> Scalar:
    """max(a, 0), with the derivative 0 at 0; where it is 0 it depends on nothing, infinite cotangents included."""
    return Scalar(max(a.value, 0.0), ((a, 1.0),) if a.value > 0 else ())


def identity(a: Scalar) -> Scalar:
    """What an Elman network without an activation does."""
    return a


def dot(weights: Vector, values: Vector, bias: Scalar) -> Scalar:
    """bias + sum of products, as one node: the graph stays small."""
    total = bias.value
    sources = [(bias, 1.0)]
    for w, v in zip(weights, values, strict=True):
        total += w.value * v.value
        sources += [(w, v.value), (v, w.value)]
    return Scalar(total, tuple(sources))


def back_propagate(outputs: Sequence[tuple[Scalar, float]]) -> None:
    """Set `grad` of everything that the outputs depend on, for these cotangents."""
    order: list[Scalar] = []
    seen: set[int] = set()
    stack = [(node, False) for node, _ in outputs]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((source, False) for source, _ in node.sources)
    for node, cotangent in outputs:
        node.grad += cotangent
    for node in reversed(order):
        for source, derivative in node.sources:
            source.grad += derivative * node.grad


@dataclass
class Weights:
    """One layer and direction; `row(gate, unit)` is W_ih's and W_hh's row and both biases."""

    ih: list[Vector]
    hh: list[Vector]
    b_ih: Vector
    b_hh: Vector
    hidden: int

    def products(self, gate: int, unit: int, x: Vector, h: Vector) -> tuple[Scalar, Scalar]:
        """W_ih x + b_ih and W_hh h + b_hh of one gate and unit."""
        row = gate * self.hidden + unit
        return dot(self.ih[row], x, self.b_ih[row]), dot(self.hh[row], h, self.b_hh[row])


Step = Callable[[Weights, Vector, tuple[Vector, ...]], tuple[Vector, ...]]
"""A cell: the state after a step from the weights, the input and the state before."""


def elman(activation: str) -> Step:
    """Elman 1990: h' = act(W_ih x + b_ih + W_hh h + b_hh)."""
    act = {"tanh": tanh, "relu": relu, "sigmoid": sigmoid, "identity": identity}[activation]

    def step(w: Weights, x: Vector, state: tuple[Vector, ...]) -> tuple[Vector, ...]:
        (h,) = state
        new = []
        for unit in range(w.hidden):
            of_x, of_h = w.products(0, unit, x, h)
            new.append(act(of_x + of_h))
        return (new,)

    return step


def lstm(w: Weights, x: Vector, state: tuple[Vector, ...]) -> tuple[Vector, ...]:
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; gates in the order i, f, g, o."""
    h, c = state
    new_h, new_c = [], []
    for unit in range(w.hidden):
        a = [of_x + of_h for of_x, of_h in (w.products(gate, unit, x, h) for gate in range(4))]
        i, f, g, o = sigmoid(a[0]), sigmoid(a[1]), tanh(a[2]), sigmoid(a[3])
        new_c.append(f * c[unit] + i * g)
        new_h.append(o * tanh(new_c[-1]))
    return new_h, new_c


def gru(update: str, reset: str) -> Step:
    """Cho et al. 2014, gates r, z, n, with either convention of the update gate z and of the place of the reset r.

    update="candidate": h' = (1-z) h + z n, as in Chung et al. 2014; "carry": h' = (1-z) n + z h, as in PyTorch.
    reset="before": n reads W_hn (r h) + b_hn; "after": r (W_hn h + b_hn).
    """

    def step(w: Weights, x: Vector, state: tuple[Vector, ...]) -> tuple[Vector, ...]:
        (h,) = state
        gates = [[of_x + of_h for of_x, of_h in (w.products(g, u, x, h) for u in range(w.hidden))] for g in (0, 1)]
        r, z = [sigmoid(a) for a in gates[0]], [sigmoid(a) for a in gates[1]]
        reset_h = [r_u * h_u for r_u, h_u in zip(r, h, strict=True)]
        new = []
        for u in range(w.hidden):
            if reset == "before":
                of_x, of_h = w.products(2, u, x, reset_h)
                n = tanh(of_x + of_h)
            else:
                of_x, of_h = w.products(2, u, x, h)
                n = tanh(of_x + r[u] * of_h)
            if update == "candidate":
                new.append(one_minus(z[u]) * h[u] + z[u] * n)
            else:
                new.append(one_minus(z[u]) * n + z[u] * h[u])
        return (new,)

    return step


@dataclass
class Result:
    """Arrays as the network returns them: time first, states (L*D, B, H) each."""

    output: Array
    state: tuple[Array, ...]
    grad_x: Array
    grad_state: tuple[Array, ...]
    grad_parameters: dict[str, Array]


def run(
    step: Step,
    parameters: dict[str, Array],
    x: Array,
    state: tuple[Array, ...],
    lengths: Sequence[int],
    grad_output: Array,
    grad_state: tuple[Array, ...],
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    masks: Sequence[Array] | None = None,
) -> Result:
    """Compute a network and its gradients, row by row.

    Args:
        step: the cell.
        parameters: by PyTorch's names; without biases they are 0.
        x: (T, B, I).
        state: (L*D, B, H) each.
        lengths: steps of each row.
        grad_output: (T, B, D*H) cotangent of the output.
        grad_state: cotangent of the final state.
        num_layers: L.
        bidirectional: two directions.
        masks: (T, B, D*H) factors on the input of each layer above the first.
    """
    scalars = {name: _scalars(values) for name, values in parameters.items()}
    steps, batch = x.shape[:2]
    hidden = state[0].shape[2]
    directions = 2 if bidirectional else 1
    xs, states = _scalars(x), [_scalars(s) for s in state]
    output = np.zeros((steps, batch, directions * hidden))
    final = [np.array(s, dtype=np.float64) for s in state]
    seeds: list[tuple[Scalar, float]] = []
    for row in range(batch):
        below = [xs[t][row] for t in range(lengths[row])]
        for layer in range(num_layers):
            if layer and masks is not None:
                factors = masks[layer - 1]
                below = [
                    [v * Scalar(float(m)) for v, m in zip(values, factors[t, row], strict=True)]
                    for t, values in enumerate(below)
                ]
            outputs: list[Vector] = [[] for _ in below]
            for direction in range(directions):
                suffix = f"l{layer}" + ("_reverse" if direction else "")
                index = layer * directions + direction
                weights = _weights(scalars, suffix, hidden)
                current = tuple(s[index][row] for s in states)
                for t in range(len(below)) if direction == 0 else reversed(range(len(below))):
                    current = step(weights, below[t], current)
                    outputs[t] = outputs[t] + current[0]
                for f, values, cotangent in zip(final, current, grad_state, strict=True):
                    f[index, row] = [v.value for v in values]
                    seeds += zip(values, cotangent[index, row].tolist(), strict=True)
            below = outputs
        for t, values in enumerate(below):
            output[t, row] = [v.value for v in values]
            seeds += zip(values, grad_output[t, row].tolist(), strict=True)
    back_propagate(seeds)
    return Result(
        output,
        tuple(final),
        _grads(xs, x.shape),
        tuple(_grads(s, v.shape) for s, v in zip(states, state, strict=True)),
        {name: _grads(nested, parameters[name].shape) for name, nested in scalars.items()},
    )


def _weights(scalars: dict[str, Any], suffix: str, hidden: int) -> Weights:
    rows = len(scalars[f"weight_hh_{suffix}"])
    zeros = [Scalar(0.0) for _ in range(rows)]
    return Weights(
        scalars[f"weight_ih_{suffix}"],
        scalars[f"weight_hh_{suffix}"],
        scalars.get(f"bias_ih_{suffix}", zeros),
        scalars.get(f"bias_hh_{suffix}", zeros),
        hidden,
    )


def _scalars(values: Any) -> Any:
    return [_scalars(v) for v in values] if np.ndim(values) else Scalar(float(values))


def _grads(nested: Any, shape: tuple[int, ...]) -> Array:
    flat: list[float] = []

    def collect(item: Any) -> None:
        if isinstance(item, Scalar):
            flat.append(item.grad)
        else:
            for part in item:
                collect(part)

    collect(nested)
    return np.array(flat, dtype=np.float64).reshape(shape)

"""The oracle: networks as scalar loops in float64, row by row, with gradients of everything by the scalars.

It shares nothing with the engines: no array operation, no hand-written backward, no sorting of rows, no import. The
equations of the cells are in `equations`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .regularisation import NONE, Regularisation
from .rounding import ALL_DIGITS, ROUNDINGS, Rounding
from .scalars import Scalar, Vector, back_propagate, dot, each

Array = NDArray[Any]


class Layer:
    """The parameters of a layer and direction by their names without its suffix, and the inputs of a row and step.

    Attributes:
        hidden: H.
        heads: blocks on the diagonal of each gate's recurrent weights.
        inputs: a number by the name of each row input, H numbers by that of each unit input.
        factors: of each unit of what W_hh multiplies.
        rounding: of what weights multiply; they are rounded already.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any],
        hidden: int,
        factors: Sequence[float],
        heads: int = 1,
        rounding: Rounding = ALL_DIGITS,
    ) -> None:
        self._parameters, self._rounding = parameters, rounding
        self.hidden, self.factors, self.heads = hidden, factors, heads
        self.inputs: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """A parameter: nested lists of scalars, as deep as its shape is long."""
        return self._parameters[name]

    def of_x(self, block: int, x: Vector) -> Vector:
        """W_ih x + b_ih of one gate: the rows of its block, blocks counted among those that W_ih has.

        Without input weights x is these products of all gates, one after the other.
        """
        if "weight_ih" not in self._parameters:
            return x[block * self.hidden : (block + 1) * self.hidden]
        x = self._rounding.vector(x)
        return self._product("ih", block, lambda _: x)

    def of_h(self, block: int, h: Vector) -> Vector:
        """W_hh h + b_hh of one gate, blocks counted among those that W_hh has; a head's rows multiply its part of h."""
        of_unit, size = self.hidden // self.heads, len(h) // self.heads
        kept = self._rounding.vector([v * factor for v, factor in zip(h, self.factors, strict=True)])
        return self._product("hh", block, lambda unit: kept[unit // of_unit * size :][:size])

    def gate(self, block: int, x: Vector, h: Vector) -> Vector:
        """W_ih x + b_ih + W_hh h + b_hh of a gate whose block is the same in both."""
        return each(lambda of_x, of_h: of_x + of_h, self.of_x(block, x), self.of_h(block, h))

    def project(self, name: str, values: Vector) -> Vector:
        """The product with the matrix `weight_<name>`, without a bias."""
        values = self._rounding.vector(values)
        return [dot(row, values, Scalar(0.0), self._rounding.cotangent) for row in self[f"weight_{name}"]]

    def _product(self, name: str, block: int, of_unit: Callable[[int], Vector]) -> Vector:
        """The rows of a block times what the unit of each multiplies, plus biases."""
        weights, biases = self[f"weight_{name}"], self._parameters.get(f"bias_{name}")
        rows = ((unit, block * self.hidden + unit) for unit in range(self.hidden))
        cotangent = self._rounding.cotangent
        return [dot(weights[r], of_unit(unit), biases[r] if biases else Scalar(0.0), cotangent) for unit, r in rows]


Step = Callable[[Layer, Vector, tuple[Vector, ...]], tuple[Vector, ...]]
"""A cell: the states after a step from the layer, the input and the states before; the first is the output."""


@dataclass
class Result:
    """Arrays as the network returns them: time first, states (L*D, B, width) each, inputs by name.

    `states` are all states of the last layer at each step, (T, B, D*width), the first of which is the output;
    `inference` are the results of inference, without gradients, where others draw random numbers.
    """

    output: Array
    state: tuple[Array, ...]
    grad_x: Array
    grad_state: tuple[Array, ...]
    grad_parameters: dict[str, Array]
    grad_inputs: dict[str, Array] = field(default_factory=dict)
    grad_reset_state: tuple[Array, ...] = ()
    states: tuple[Array, ...] = ()
    inference: Result | None = None


def run(
    step: Step,
    parameters: Mapping[str, Array],
    x: Array,
    state: tuple[Array, ...],
    lengths: Sequence[int],
    grad_output: Array,
    grad_state: tuple[Array, ...],
    *,
    hidden_size: int,
    heads: int = 1,
    num_layers: int = 1,
    bidirectional: bool = False,
    reverse: bool = False,
    regularisation: Regularisation = NONE,
    row_inputs: Mapping[str, Array] | None = None,
    unit_inputs: Mapping[str, Array] | None = None,
    resets: Array | None = None,
    reset_state: tuple[Array, ...] = (),
    grad_states: tuple[Array, ...] = (),
    burn_in: int = 0,
    truncate: int | None = None,
    precision: str | None = None,
) -> Result:
    """Compute a network and its gradients, row by row.

    Args:
        step: the cell.
        parameters: by name; without biases they are 0.
        x: (T, B, I).
        state: (L*D, B, width) each; the output of a direction is as wide as the first.
        lengths: steps of each row.
        grad_output: (T, B, D*width) cotangent of the output.
        grad_state: cotangents of the final states.
        hidden_size: H.
        heads: blocks on the diagonal of each gate's recurrent weights.
        num_layers: L.
        bidirectional: whether D is 2.
        reverse: whether the first direction runs back, too.
        regularisation: of the call.
        row_inputs: (T, B), or (B,) for all steps, by name; every layer and direction reads them.
        unit_inputs: (T, B, H), or (B, H) for all steps, by name; likewise.
        resets: (T, B), True where a sequence begins within a row: nothing passes from the step before to this one, in
            neither direction.
        reset_state: like `state`, what each sequence but the first that a direction meets begins with; () is zeros.
        grad_states: cotangents of `Result.states` but the first, which is the output; () is zeros.
        burn_in: first steps through which no gradient passes.
        truncate: steps, counted from the end of burn-in, after which back-propagation is cut; None for never.
        precision: of the factors of products, "bfloat16" or, for inference, "int8"; None for all digits.
    """
    given = {**(row_inputs or {}), **(unit_inputs or {})}
    deep = {**dict.fromkeys(row_inputs or {}, 2), **dict.fromkeys(unit_inputs or {}, 3)}
    scalars, inputs = ({name: _scalars(values) for name, values in named.items()} for named in (parameters, given))
    rounding = ROUNDINGS[precision]
    rounded = {
        name: [*map(rounding.vector, values)] if name.startswith("weight_") and parameters[name].ndim == 2 else values
        for name, values in scalars.items()
    }
    steps, batch = x.shape[:2]
    directions = 2 if bidirectional else 1
    xs, states, begun = _scalars(x), [_scalars(s) for s in state], [_scalars(s) for s in reset_state]
    all_states = tuple(np.zeros((steps, batch, directions * s.shape[2])) for s in state)
    final = [np.array(s, dtype=np.float64) for s in state]
    seeds: list[tuple[Scalar, float]] = []
    for row in range(batch):
        below = [xs[t][row] for t in range(lengths[row])]
        every: list[list[Vector]] = []
        for number in range(num_layers):
            for t, values in enumerate(below):
                factors = regularisation.input_factors(len(values), number, row, t)
                below[t] = [v * factor for v, factor in zip(values, factors, strict=True)]
            every = [[[] for _ in below] for _ in state]
            for direction in range(directions):
                suffix = f"_l{number}" + ("_reverse" if direction else "")
                index = number * directions + direction
                own = {name.removesuffix(suffix): values for name, values in rounded.items() if name.endswith(suffix)}
                width = state[0].shape[2]
                factors = regularisation.operand_factors(width, number, direction, row)
                layer = Layer(own, hidden_size, factors, heads, rounding)
                current = tuple(s[index][row] for s in states)
                runs_back = direction == 1 or reverse
                for t in reversed(range(len(below))) if runs_back else range(len(below)):
                    # Between steps t - 1 and t in one direction, between t + 1 and t in the other.
                    later = t + 1 if runs_back else t
                    if resets is not None and later < len(below) and resets[later, row]:
                        zeros = tuple([Scalar(0.0) for _ in values] for values in current)
                        current = tuple(s[index][row] for s in begun) or zeros
                    if t and t >= burn_in and (t - burn_in) % (truncate or steps) == 0:
                        current = tuple([Scalar(v.value) for v in values] for values in current)
                    layer.inputs = {
                        name: values[t][row] if given[name].ndim == deep[name] else values[row]
                        for name, values in inputs.items()
                    }
                    current = tuple(
                        regularisation.new_state(k, old, new, number, direction, row, t)
                        for k, (old, new) in enumerate(zip(current, step(layer, below[t], current), strict=True))
                    )
                    for of_state, values in zip(every, current, strict=True):
                        of_state[t] = of_state[t] + values
                for f, values, cotangent in zip(final, current, grad_state, strict=True):
                    f[index, row] = [v.value for v in values]
                    if lengths[row] > burn_in or not burn_in:
                        seeds += zip(values, cotangent[index, row].tolist(), strict=True)
            below = every[0]
        cotangents = (grad_output, *grad_states)
        for number, (of_state, target) in enumerate(zip(every, all_states, strict=True)):
            for t, values in enumerate(of_state):
                target[t, row] = [v.value for v in values]
                if t >= burn_in and number < len(cotangents):
                    seeds += zip(values, cotangents[number][t, row].tolist(), strict=True)
    back_propagate(seeds)
    return Result(
        all_states[0],
        tuple(final),
        _grads(xs, x.shape),
        tuple(_grads(s, v.shape) for s, v in zip(states, state, strict=True)),
        {name: _grads(nested, parameters[name].shape) for name, nested in scalars.items()},
        {name: _grads(nested, given[name].shape) for name, nested in inputs.items()},
        tuple(_grads(s, v.shape) for s, v in zip(begun, reset_state, strict=True)),
        all_states,
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

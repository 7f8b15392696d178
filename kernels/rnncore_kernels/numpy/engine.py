"""The engine of `backend="numpy"`: the equations and one loop over the steps, the reference that is read first.

Values of a step are (n, width), n the rows that have the step, the longest first. Weights are used transposed: a row
times a matrix. All products run on one thread of BLAS, which splits sums otherwise for each number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..contract import Array, BackwardRun, Engine, Inputs, LayerGradients, LayerWeights, Run, Sizes
from ..precision import ROUNDINGS
from ..program.program import KINDS, Code, Place, Program, rows_of, units_of
from ..quiet import quiet
from .blas import single_threaded
from .operations import OPERATIONS

PROJECTION_BYTES = 1 << 21
"""Bytes of W_ih x + b_ih up to which several steps are one product: few for the cache, enough for BLAS."""

KEPT = frozenset({"state", "new", "operand", "saved", "total", "row", "unit_input"})
"""Kinds of values that the backward pass may read."""

Values = dict[Place, Any]
"""Values of a step by kind and number, see `program.program`."""


@dataclass(frozen=True)
class NumpyPacked:
    """A layer's weights, as the steps use them.

    Attributes:
        weights: as they came, matrices rounded.
        rounded: rounds what they are multiplied with, see `precision`.
        x_bias: (Gx*H,) added to W_ih x; it includes b_hh where a block of a product begins with W_ih x.
        blocks: (heads, width, width of the operand) matrices of each block of a product, of a head's share of units.
        biases: (H,) added to a block; None where x_bias includes it, or there is none.
        constants: parameters that code reads.
    """

    program: Program
    sizes: Sizes
    weights: LayerWeights
    rounded: Callable[[Array], Array]
    x_bias: Array | None
    blocks: tuple[Array, ...]
    biases: tuple[Array | None, ...]
    constants: Values


class Residuals(NamedTuple):
    """The backward pass's data: the call's arrays, and the values of each step."""

    run: Run[NumpyPacked]
    steps: list[Values]


class NumpyEngine(Engine[NumpyPacked, Residuals]):
    """See `contract.Engine`."""

    xp: ModuleType = np
    min_block_steps = 16
    compared_bytes = 1 << 20

    @quiet
    def pack(self, program: Program, sizes: Sizes, weights: LayerWeights, *, copy: bool, backward: bool) -> NumpyPacked:
        if copy:
            weights = _mapped(weights, np.copy)
        rounded = _same if sizes.precision is None else ROUNDINGS[sizes.precision]
        weights = weights.with_matrices(rounded)
        hidden, x_bias, blocks, biases = sizes.hidden, None, [], []
        if weights.bias_ih is not None:
            x_bias = weights.bias_ih.copy()
        for block in program.blocks:
            bias = None
            if block.gate is not None and weights.bias_hh is not None:
                bias = weights.bias_hh[rows_of(block.gate, hidden)]
                if block.x is not None and x_bias is not None:
                    x_bias[rows_of(block.x, hidden)] += bias
                    bias = None
            matrix, heads = weights.of_block(block, hidden), block.heads_of(sizes.heads)
            blocks.append(matrix.reshape(heads, len(matrix) // heads, matrix.shape[1]))
            biases.append(bias)
        constants: Values = {("inverse_size", 0): 1 / hidden}
        constants |= {("unit", k): unit for k, unit in enumerate(weights.units)}
        constants |= {("scalar", k): scalar for k, scalar in enumerate(weights.scalars)}
        return NumpyPacked(program, sizes, weights, rounded, x_bias, tuple(blocks), tuple(biases), constants)

    def impl(self, program: Program, sizes: Sizes, steps: int, batch: int, *, training: bool) -> str:
        return "1 thread"

    @quiet
    def infer(self, runs: Sequence[Run[NumpyPacked]]) -> None:
        for run in runs:
            single_threaded(_forward, run, None)

    @quiet
    def forward(self, runs: Sequence[Run[NumpyPacked]]) -> list[Residuals]:
        results = [Residuals(run, []) for run in runs]
        for run, residuals in zip(runs, results, strict=True):
            single_threaded(_forward, run, residuals.steps)
        return results

    def states(self, packed: NumpyPacked, residuals: Residuals) -> tuple[Array, ...]:
        run, steps = residuals
        result = tuple(np.zeros((*run.x.shape[:2], s.shape[1]), s.dtype) for s in run.state)
        for (t, n), values in zip(_times(run), steps, strict=True):
            for k, every in enumerate(result):
                every[t, _pick(run, 0, n)] = values["new", k]
        return result

    @quiet
    def backward(self, runs: Sequence[BackwardRun[NumpyPacked, Residuals]]) -> list[LayerGradients]:
        return [single_threaded(_backward, run) for run in runs]


def _forward(run: Run[NumpyPacked], tape: list[Values] | None) -> None:
    """Compute a run; `tape` gets the values that the backward pass reads, in the order of computing."""
    program, hidden = run.packed.program, run.packed.sizes.hidden
    phases = program.forward.phases if tape is not None else program.inference
    before, everyone = 0, _pick(run, 0)
    state = [s[everyone].copy() for s in run.state]
    for t, n, x in _x_parts(run):
        values = {**run.packed.constants, **_inputs(run, run.inputs, t, n)}
        values |= {("state", k): s[:n].copy() for k, s in enumerate(state)}
        values |= {("x", k): x[:, rows_of(k, hidden)] for k in range(len(program.x_gates))}
        for phase in phases:
            for total in phase.totals:
                values["total", total] = _sum(values["carried", program.forward.totals[total]])
            if phase.product is not None:
                _multiply(run.packed, phase.product, values)
            compute(phase.code, values, (n, units_of(phase.width, hidden)), run.packed.sizes.dtype)
        for k, s in enumerate(state):
            s[:n] = values["new", k]
        if run.output is not None:
            run.output[t, _pick(run, 0, n)] = state[0][:n]
            run.output[t, _pick(run, n)] = 0
        if run.last is not None and run.reverse:
            run.last[_pick(run, before, n)] = state[0][before:n]
        before = n
        if tape is not None:
            tape.append({place: value for place, value in values.items() if place[0] in KEPT})
    for target, s in zip(run.state, state, strict=True):
        target[everyone] = s
    if run.last is not None and not run.reverse and len(run.x):
        some = _active(run, 0)
        run.last[_pick(run, 0, some)] = state[0][:some]


def _multiply(packed: NumpyPacked, number: int, values: Values) -> None:
    """The blocks of a product of a step."""
    product = packed.program.products[number]
    operand = packed.rounded(values[product.operand])
    for k in product.blocks:
        weights = packed.blocks[k]
        result = _side_by_side(_by_head(operand, len(weights)) @ weights.swapaxes(1, 2))
        x, bias = packed.program.blocks[k].x, packed.biases[k]
        if bias is not None:
            result += bias
        if x is not None:
            result += values["x", x]
        values["product", k] = result


def _backward(run: BackwardRun[NumpyPacked, Residuals]) -> LayerGradients:
    """The gradients of a run; overwrites the cotangents of its states."""
    forward, tape = run.residuals
    packed, program = run.packed, run.packed.program
    everyone, hidden = _pick(forward, 0), packed.sizes.hidden
    grad = [g[everyone].copy() for g in run.grad_state]
    columns: list[list[Array]] = [[] for _ in program.columns]
    times = list(_times(forward))
    for (t, n), kept in zip(reversed(times), reversed(tape), strict=True):
        values = {**packed.constants, **kept, **({} if run.inputs is None else _inputs(forward, run.inputs, t, n))}
        # Copied, as a column may be a state's cotangent, which is overwritten.
        values |= {("grad", k): g[:n].copy() for k, g in enumerate(grad)}
        if run.grad_output is not None:
            values["grad", 0] = values["grad", 0] + run.grad_output[t, _pick(forward, 0, n)]
        new = [np.zeros_like(g[:n]) for g in grad]
        for phase in program.backward.phases:
            for total in phase.totals:
                values["grad_total", total] = _sum(values["carried", program.backward.totals[total]])
            back = None if phase.product is None else _multiply_back(packed, phase.product, values)
            if phase.into is not None:
                new[phase.into] += back
            elif phase.product is not None:
                values["back", phase.product] = back
            compute(phase.code, values, (n, units_of(phase.width, hidden)), packed.sizes.dtype)
            for output in phase.code.outputs:
                if output.kind == "grad_state":
                    new[output.number] += values["grad_state", output.number]
        for g, value in zip(grad, new, strict=True):
            g[:n] = value
        for k, column in enumerate(columns):
            column.append(values["column", k])
    for target, g in zip(run.grad_state, grad, strict=True):
        target[everyone] = g
    return _gradients(forward, tape, times, columns, run.grad_units)


def _multiply_back(packed: NumpyPacked, number: int, values: Values) -> Array:
    """The cotangent of the operand of a product, from those of its blocks."""
    program = packed.program
    parts = (
        _by_head(packed.rounded(values["column", program.column_of_block[k]]), len(packed.blocks[k])) @ packed.blocks[k]
        for k in program.products[number].blocks
    )
    back: Array = next(parts)
    for part in parts:
        back += part
    return _side_by_side(back)


def _by_head(values: Array, heads: int) -> Array:
    """(heads, rows, units / heads), a view of (rows, units)."""
    rows, units = values.shape
    return values.reshape(rows, heads, units // heads).swapaxes(0, 1)


def _side_by_side(values: Array) -> Array:
    """The inverse of `_by_head`."""
    heads, rows, units = values.shape
    return values.swapaxes(0, 1).reshape(rows, heads * units)


def _gradients(
    run: Run[NumpyPacked],
    tape: list[Values],
    times: list[tuple[int, int]],
    columns: list[list[Array]],
    grad_units: tuple[Array, ...],
) -> LayerGradients:
    """Sums and products over all steps of the columns, (rows of all steps, width) each, from the last step on.

    Rows past their end are left out: 0 times an infinite state would be NaN.
    """
    program, sizes, rounded = run.packed.program, run.packed.sizes, run.packed.rounded
    weights = _mapped(run.packed.weights, np.zeros_like)
    for array in grad_units:
        array[...] = 0
    others = map(np.zeros_like, run.inputs.units[len(grad_units) :])
    inputs = Inputs(tuple(map(np.zeros_like, run.inputs.rows)), (*grad_units, *others))
    places = [(t, _pick(run, 0, n), n) for t, n in reversed(times)]
    x = rounded(_joined([run.x[t, rows] for t, rows, _ in places], sizes.inputs, sizes.dtype))
    grad_x = np.zeros((len(x), sizes.inputs), sizes.dtype)

    def scattered(target: Array, flat: Array) -> None:
        first = 0
        for t, rows, n in places:
            target[t, rows] = flat[first : first + n]
            first += n

    row_parts: dict[int, Array] = {}
    for column, parts in zip(program.columns, columns, strict=True):
        d = _joined(parts, units_of(column.width, sizes.hidden), sizes.dtype)
        if column.x is not None:
            rows = rows_of(column.x, sizes.hidden)
            weight_ih, bias_ih = weights.weight_ih, weights.bias_ih
            assert weight_ih is not None
            assert run.packed.weights.weight_ih is not None
            weight_ih[rows] = rounded(d).T @ x
            grad_x += rounded(d) @ run.packed.weights.weight_ih[rows]
            if bias_ih is not None:
                bias_ih[rows] = d.sum(axis=0)
        if column.block is not None:
            block = program.blocks[column.block]
            product = next(p for p in program.products if column.block in p.blocks)
            width = units_of(product.operand_width, sizes.hidden)
            operand = _joined([values[product.operand] for values in reversed(tape)], width, sizes.dtype)
            # Added, as a gate may multiply several operands.
            gradient, heads = weights.of_block(block, sizes.hidden), len(run.packed.blocks[column.block])
            factors = _by_head(rounded(d), heads).swapaxes(1, 2), _by_head(rounded(operand), heads)
            gradient += (factors[0] @ factors[1]).reshape(gradient.shape)
            if block.gate is not None and weights.bias_hh is not None:
                weights.bias_hh[rows_of(block.gate, sizes.hidden)] += d.sum(axis=0)
        elif column.kind == "unit":
            weights.units[column.number][...] = d.sum(axis=0)
        elif column.kind == "scalar":
            weights.scalars[column.number][...] += d.sum()
        elif column.kind == "row":
            row_parts[column.number] = row_parts.get(column.number, 0) + d.sum(axis=1)
        elif column.kind == "unit_input":
            scattered(inputs.units[column.number], d)
    for index, flat in row_parts.items():
        scattered(inputs.rows[index], flat)
    result = np.zeros(run.x.shape, sizes.dtype)
    scattered(result, grad_x)
    return LayerGradients(result, weights, inputs)


def compute(code: Code, values: Values, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
    """Add the results of code to the values of a step, as arrays of a shape."""
    done: list[Any] = []
    values["index", 0] = np.arange(shape[1], dtype=f"u{dtype.itemsize}").view(dtype)
    for operation, arguments in code.nodes:
        if operation in KINDS:
            done.append(values[operation, int(arguments[0])])
        else:
            done.append(OPERATIONS[operation](*(done[a] if isinstance(a, int) else a for a in arguments)))
    for kind, index, node in code.outputs:
        value = done[node]
        values[kind, index] = value if np.shape(value) == shape else np.broadcast_to(np.asarray(value, dtype), shape)


def _x_parts(run: Run[NumpyPacked]) -> Iterator[tuple[int, int, Array]]:
    """Each step in the order of computing, its number of rows, and W_ih x_t + bias for these, (n, Gx*H)."""
    packed = run.packed
    weight, dtype = packed.weights.weight_ih, packed.sizes.dtype
    if weight is None:
        yield from ((t, n, np.empty((n, 0), dtype)) for t, n in _times(run))
        return
    times = list(_times(run))
    most = max((n for _, n in times), default=0)
    block = max(1, PROJECTION_BYTES // max(1, most * len(weight) * dtype.itemsize))
    for first in range(0, len(times), block):
        here = times[first : first + block]
        parts = packed.rounded(np.concatenate([run.x[t, _pick(run, 0, n)] for t, n in here])) @ weight.T
        if packed.x_bias is not None:
            parts += packed.x_bias
        start = 0
        for t, n in here:
            yield t, n, parts[start : start + n]
            start += n


def _times(run: Run[NumpyPacked]) -> Iterator[tuple[int, int]]:
    """Each step in the order of computing, and its number of rows."""
    steps = len(run.x)
    for t in range(steps - 1, -1, -1) if run.reverse else range(steps):
        yield t, _active(run, t)


def _active(run: Run[NumpyPacked], t: int) -> int:
    sizes = run.rows.batch_sizes
    return run.x.shape[1] if sizes is None else int(sizes[t])


def _pick(run: Run[NumpyPacked], first: int, last: int | None = None) -> Array | slice:
    """An index of the rows from the first to the last, the longest row first."""
    return slice(first, last) if run.rows.order is None else run.rows.order[first:last]


def _inputs(run: Run[NumpyPacked], inputs: Inputs, t: int, n: int) -> Values:
    """Row inputs (n, 1) and unit inputs (n, H) of a step."""
    rows = _pick(run, 0, n)
    values: Values = {("row", k): array[t, rows][:, None] for k, array in enumerate(inputs.rows)}
    return values | {("unit_input", k): array[t, rows] for k, array in enumerate(inputs.units)}


def _sum(value: Array) -> Array:
    total: Array = value.sum(axis=1, keepdims=True)
    return total


def _joined(parts: list[Array], width: int, dtype: np.dtype[Any]) -> Array:
    return np.concatenate(parts) if parts else np.empty((0, width), dtype)


def _same(values: Array) -> Array:
    return values


def _mapped(weights: LayerWeights, function: Callable[[Array], Array]) -> LayerWeights:
    """The weights with a function of each array in its place."""

    def all_of(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(function(a) for a in arrays)

    ih, hh, b_ih, b_hh = (None if w is None else function(w) for w in weights[:4])
    return LayerWeights(ih, hh, b_ih, b_hh, *map(all_of, weights[4:]))

"""The engine of `backend="numpy"`: the equations and one loop over the steps, the reference that is read first.

Values of a step are (n, width), n the rows that have the step, the longest first. Weights are used transposed: a row
times a matrix. All products run on one thread of BLAS, which splits sums otherwise for each number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np

from ..contract import Array, BackwardRun, Engine, Inputs, LayerGradients, LayerWeights, Run, Sizes
from ..program.program import Program, rows_of, units_of
from ..quiet import quiet
from .blas import single_threaded
from .gradients import gradients
from .operations import Values, compute
from .packed import NumpyPacked, by_head, pack, side_by_side

PROJECTION_BYTES = 1 << 21
"""Bytes of W_ih x + b_ih up to which several steps are one product: few for the cache, enough for BLAS."""

KEPT = frozenset({"state", "new", "operand", "saved", "total", "row", "unit_input"})
"""Kinds of values that the backward pass may read."""


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
        return pack(program, sizes, weights, copy=copy)

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
        result = side_by_side(by_head(operand, len(weights)) @ weights.swapaxes(1, 2))
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
    places = [(t, _pick(forward, 0, n), n) for t, n in reversed(times)]
    return gradients(forward, tape, places, columns, run.grad_units)


def _multiply_back(packed: NumpyPacked, number: int, values: Values) -> Array:
    """The cotangent of the operand of a product, from those of its blocks."""
    program = packed.program
    parts = (
        by_head(packed.rounded(values["column", program.column_of_block[k]]), len(packed.blocks[k])) @ packed.blocks[k]
        for k in program.products[number].blocks
    )
    back: Array = next(parts)
    for part in parts:
        back += part
    return side_by_side(back)


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

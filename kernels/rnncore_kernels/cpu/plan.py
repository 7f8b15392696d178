"""From a run to the words that its kernel is called with, and the memory that these refer to."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..contract import Array, BackwardRun, LayerGradients, LayerWeights, Rows, Run, State
from .division import Division, divide
from .fields import BACKWARD, FORWARD, RUN
from .packed import CpuPacked, Words, address, aligned, make_words

FORWARD_FIELDS, BACKWARD_FIELDS = RUN + FORWARD, RUN + BACKWARD

PROJECTION_ROWS = 192
"""Rows of x that are multiplied together where the input projection is a product of its own."""

FUSED_BYTES = 1 << 20
"""Most weights of both products for which one pass over both is faster than two products."""

CHUNK_BYTES = 1 << 20
"""Cotangents of pre-activations that the backward pass keeps before it turns to the products over all steps."""

BLOCK_ROWS = 48  # as in code.forward
PANEL_ROWS = 256  # as in code.backward


@dataclass(frozen=True, eq=False)
class Residuals:
    """What the backward pass reads.

    Attributes:
        x: (T, B, I), the caller's.
        rows, reverse: as in `Run`.
        count: rows of all steps together.
        blocks: the states before each step and after the last, one array for all states.
        operands: what later stages multiplied W_hh with.
        kept: what the stages kept.
    """

    x: Array
    rows: Rows
    reverse: bool
    count: int
    blocks: Array
    operands: Array
    kept: Array


@dataclass(frozen=True, eq=False)
class Job:
    """A run, ready for its kernel.

    Attributes:
        words: what the kernel is called with.
        threads: how many threads it expects, all at once.
        memory: what the words refer to.
        result: what the caller gets of it.
    """

    words: Words
    threads: int
    memory: Any
    result: Any = None


def forward_job(run: Run[CpuPacked], threads: int, *, keep: bool) -> Job:
    """The job of `Engine.infer`, or with `keep` of `Engine.forward`, whose result is Residuals."""
    packed = run.packed
    shape, program = packed.shape, packed.program
    steps, batch, inputs = run.x.shape
    hidden, units = packed.hidden, packed.units
    row = units * shape.vector_bytes
    division = _divide(run, threads)
    separate = _is_separate(packed, steps, batch, division)
    table_rows = max(1, batch if not separate else max(batch, PROJECTION_ROWS))
    widest = max(stage.columns * max(1, shape.columns // len(stage.gates)) for stage in program.stages)
    scratch_size = _round(24 * table_rows + BLOCK_ROWS * max(widest, 4 * shape.columns) * shape.vector_bytes)
    projected_rows = table_rows
    projected_size = _round(projected_rows * program.columns * row) if separate else 0
    count = _count(run.rows, steps, batch) if keep else 0
    most = _most_rows(run.rows, batch)
    block_rows = count + most if keep else 2 * batch
    operand_rows = count if keep else batch
    later = len(program.stages) - 1
    carries = sum(stage.inputs - 1 for stage in program.stages[1:])
    sizes = {
        "blocks": program.states * block_rows * row,
        "operands": later * operand_rows * row,
        "kept": count * program.kept * row,
        "carries": carries * batch * row,
        "projected": division.row_threads * projected_size,
        "scratch": division.threads * scratch_size,
        "barriers": 64 * (division.row_threads + 1),
    }
    memory = {name: aligned(size) for name, size in sizes.items() if size > 0 or name in ("blocks", "operands", "kept")}
    memory["barriers"][:] = 0
    arrays = make_words([address(s) for s in run.state])
    at = {name: address(array) for name, array in memory.items()}
    w_x, w_h, bias = packed.forward_places
    values = {
        **_common(packed, run.x, run.rows, run.reverse, division, arrays, at, row),
        "w_x": w_x,
        "w_h": w_h,
        "bias": bias,
        "stage_table": packed.tables.keep if keep else packed.tables.infer,
        "state_value": block_rows * row,
        "pair": 0 if keep else 1,
        "operand_value": operand_rows * row,
        "carry_value": batch * row,
        "out": 0 if run.output is None else address(run.output),
        "out_step": 0 if run.output is None else run.output.strides[0],
        "out_row": 0 if run.output is None else run.output.strides[1],
        "last": 0 if run.last is None else address(run.last),
        "last_row": 0 if run.last is None else run.last.strides[0],
        "projected_rows": projected_rows,
        "projected_size": projected_size,
        "scratch_size": scratch_size,
        "scratch_rows": table_rows,
    }
    words = make_words([values.get(name, at.get(name, 0)) for name in FORWARD_FIELDS])
    residuals = (
        Residuals(run.x, run.rows, run.reverse, count, memory["blocks"], memory["operands"], memory["kept"])
        if keep
        else None
    )
    return Job(words, division.threads, (memory, arrays, run), residuals)


def backward_job(run: BackwardRun[CpuPacked, Residuals], threads: int) -> Job:
    """The job of `Engine.backward`, whose result is LayerGradients."""
    packed, residuals = run.packed, run.residuals
    shape, program = packed.shape, packed.program
    x = residuals.x
    steps, batch, inputs = x.shape
    hidden, units = packed.hidden, packed.units
    row = units * shape.vector_bytes
    gates = program.gates * hidden
    gradients = _empty_gradients(packed, x, residuals.rows)
    division = _divide_back(packed, steps, batch, threads)
    pre_row = program.columns * row
    chunk = max(PANEL_ROWS, min(4 * PANEL_ROWS, CHUNK_BYTES // max(1, pre_row)))
    most = max(chunk, batch)
    panel = PANEL_ROWS * shape.columns * shape.vector_bytes
    scratch_size = _round(8 * (3 + len(program.stages)) * most + max(8 * batch, panel, 8 * BLOCK_ROWS + (BLOCK_ROWS + 1) * shape.columns * shape.vector_bytes))
    carried = program.states + sum(stage.inputs for stage in program.stages[1:])
    memory = {
        "grads": aligned(carried * batch * row),
        "pre": aligned(most * pre_row),
        "scratch": aligned(division.threads * scratch_size),
        "barriers": aligned(64 * (division.row_threads + 1)),
    }
    memory["barriers"][:] = 0
    at = {name: address(array) for name, array in memory.items()}
    at |= {name: address(getattr(residuals, name)) for name in ("blocks", "operands", "kept")}
    arrays = make_words([address(s) for s in run.grad_state])
    block_rows = residuals.count + _most_rows(residuals.rows, batch)
    w_h_back, w_x_back, _ = packed.back_places
    weights = gradients.weights
    values = {
        **_common(packed, x, residuals.rows, residuals.reverse, division, arrays, at, row),
        "state_value": block_rows * row,
        "operand_value": residuals.count * row,
        "grad_out": 0 if run.grad_output is None else address(run.grad_output),
        "grad_out_step": 0 if run.grad_output is None else run.grad_output.strides[0],
        "grad_out_row": 0 if run.grad_output is None else run.grad_output.strides[1],
        "grad_value": batch * row,
        "w_h_back": w_h_back,
        "w_x_back": w_x_back,
        "chunk_rows": chunk,
        "rows": residuals.count,
        "block_rows": block_rows,
        "grad_x": address(gradients.x),
        "grad_x_step": gradients.x.strides[0],
        "grad_x_row": gradients.x.strides[1],
        "grad_w_ih": address(weights.weight_ih),
        "grad_w_hh": address(weights.weight_hh),
        "grad_b_ih": 0 if weights.bias_ih is None else address(weights.bias_ih),
        "grad_b_hh": 0 if weights.bias_hh is None else address(weights.bias_hh),
        "scratch_size": scratch_size,
    }
    words = make_words([values.get(name, at.get(name, 0)) for name in BACKWARD_FIELDS])
    return Job(words, division.threads, (memory, arrays, run), gradients)


def _common(
    packed: CpuPacked, x: Array, rows: Rows, reverse: bool, division: Division, arrays: Words, at: dict[str, int], row: int
) -> dict[str, int]:
    steps, batch, inputs = x.shape
    return {
        "steps": steps,
        "batch": batch,
        "hidden": packed.hidden,
        "input": inputs,
        "units": packed.units,
        "reverse": int(reverse),
        "row_threads": division.row_threads,
        "unit_threads": division.unit_threads,
        "barriers": at["barriers"],
        "order": 0 if rows.order is None else address(rows.order),
        "sizes": 0 if rows.batch_sizes is None else address(rows.batch_sizes),
        "x": address(x),
        "x_step": x.strides[0],
        "x_row": x.strides[1],
        "state_arrays": ctypes.addressof(arrays),
        "stages": len(packed.program.stages),
        "stage_table": packed.tables.keep,
        "states": packed.program.states,
        "columns": packed.program.columns,
        "kept_values": packed.program.kept,
    }


def _empty_gradients(packed: CpuPacked, x: Array, rows: Rows) -> LayerGradients:
    gates, dtype = packed.program.gates * packed.hidden, packed.shape.dtype
    grad_x = np.empty(x.shape, dtype) if rows.batch_sizes is None else np.zeros(x.shape, dtype)
    make = np.empty if x.shape[0] * x.shape[1] else np.zeros
    bias = [make(gates, dtype) if packed.has_bias else None for _ in range(2)]
    weights = LayerWeights(make((gates, packed.inputs), dtype), make((gates, packed.hidden), dtype), *bias)
    return LayerGradients(grad_x, weights)


def _divide(run: Run[CpuPacked], threads: int) -> Division:
    packed = run.packed
    steps, batch, inputs = run.x.shape
    weights = packed.program.gates * packed.hidden * (packed.hidden + inputs)
    groups = min(
        -(-packed.units // max(1, packed.shape.columns // len(stage.gates))) for stage in packed.program.stages
    )
    return divide(threads, batch, groups, steps, 2 * batch * weights, weights * packed.shape.itemsize)


def _divide_back(packed: CpuPacked, steps: int, batch: int, threads: int) -> Division:
    weights = packed.program.gates * packed.hidden * packed.hidden
    groups = -(-packed.units // packed.shape.columns)
    return divide(threads, batch, groups, steps, 2 * batch * weights, weights * packed.shape.itemsize)


def _is_separate(packed: CpuPacked, steps: int, batch: int, division: Division) -> bool:
    """Whether the input projection is a product of its own, over several steps at a time."""
    if steps <= 1:
        return False
    weights = packed.forward.size // division.unit_threads
    return weights > FUSED_BYTES or batch // division.row_threads < 6


def _count(rows: Rows, steps: int, batch: int) -> int:
    return steps * batch if rows.batch_sizes is None else int(rows.batch_sizes.sum())


def _most_rows(rows: Rows, batch: int) -> int:
    return batch if rows.batch_sizes is None else int(rows.batch_sizes.max(initial=0))


def _round(size: int) -> int:
    return -(-size // 64) * 64


__all__ = ["Job", "Residuals", "State", "backward_job", "forward_job"]

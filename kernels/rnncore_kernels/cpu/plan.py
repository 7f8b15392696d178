"""From a run to the words that its kernel is called with, and the memory that these refer to.

What follows from sizes alone is a template, kept for the next call: a step should take microseconds.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..contract import Array, BackwardRun, LayerGradients, LayerWeights, Rows, Run
from .division import Division, divide, is_separate
from .fields.run import (
    BACKWARD_WORDS,
    BARRIERS,
    BATCH,
    BLOCK_ROWS,
    BLOCKS,
    CARRIES,
    CARRY_VALUE,
    CHUNK_ROWS,
    FORWARD_WORDS,
    GRAD_OUT,
    GRAD_VALUE,
    GRAD_W_IH,
    GRAD_X,
    GRADS,
    HIDDEN,
    INPUT,
    KEPT,
    KEPT_ROW,
    LAST,
    OPERAND_VALUE,
    OPERANDS,
    ORDER,
    OUT,
    OUT_ROW,
    PAIR,
    PANEL_ROWS,
    PRE,
    PRE_ROW,
    PROJECTED,
    PROJECTED_ROW,
    PROJECTED_ROWS,
    PROJECTED_SIZE,
    REVERSE,
    ROW_THREADS,
    ROWS,
    SCRATCH,
    SCRATCH_ROWS,
    SCRATCH_SIZE,
    STAGE_TABLE,
    STAGES,
    STATE_ARRAYS,
    STATE_ROWS,
    STATE_VALUE,
    STATES,
    STEPS,
    UNIT_THREADS,
    UNITS,
    W_H_BACK,
    W_X,
    X_ROW,
    X,
)
from .layer import Layer
from .memory import Words, address, make_words, round_up
from .packed import CpuPacked
from .recycling import Memory
from .toolchain import Kernel

PROJECTION_ROWS = 192
"""Rows of x that are multiplied together where the input projection is a product of its own."""

CHUNK_BYTES = 1 << 20
"""Cotangents of pre-activations that the backward pass keeps before it turns to the products over all steps."""

CHUNK_LEAST, CHUNK_MOST = 256, 1024
"""Rows of all steps of a chunk, whatever they need; the rows of one step if these are more."""


class Residuals(NamedTuple):
    """What the backward pass reads.

    Attributes:
        x: (T, B, I), the caller's.
        rows, reverse: as in `Run`.
        total: rows of all steps together.
        memory: the states before each step and after the last, what later stages multiplied W_hh with, and what the
            stages kept, at `operands` and `kept` bytes.
    """

    x: Array
    rows: Rows
    reverse: bool
    total: int
    memory: Memory
    operands: int
    kept: int


class Template(NamedTuple):
    """What the words of a call are made from.

    Attributes:
        words: as far as they follow from sizes; those in `local` are offsets.
        local: places of the words that are addresses in memory of the call's own.
        size: of that memory, in bytes.
        barriers: offset and size of what must be zero in it.
        threads: how many the kernel expects.
        residuals: size of the memory of residuals, offsets of operands and kept in it.
    """

    words: list[int]
    local: tuple[int, ...]
    size: int
    barriers: tuple[int, int]
    threads: int
    residuals: tuple[int, int, int]


class Job(NamedTuple):
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
    result: Any


def forward_job(run: Run[CpuPacked], threads: int, *, keep: bool) -> Job:
    """The job of `Engine.infer`, or with `keep` of `Engine.forward`, whose result is Residuals."""
    packed, x, state, output, last, rows, reverse = run
    layer = packed.layer
    steps, batch, _ = x.shape
    count, most = _count(rows, steps, batch)
    template = _forward_template(layer, steps, batch, count if keep else -1, most, threads)
    words, memory = _begin(template)
    residuals = None
    if keep:
        size, operands, kept = template.residuals
        residuals = Residuals(x, rows, reverse, count, Memory(size), operands, kept)
        _set_residuals(words, residuals)
    words[REVERSE] = int(reverse)
    words[W_X : W_X + 3] = packed.w_x, packed.w_h, packed.bias
    arrays = _set_inputs(words, x, rows, state)
    if output is not None:
        words[OUT : OUT + 3] = address(output), *output.strides[:2]
    if last is not None:
        words[LAST : LAST + 2] = address(last), last.strides[0]
    return Job(make_words(words), template.threads, (memory, arrays, run), residuals)


class StepJob:
    """One step of inference, ready to be called again with other arrays: its words and memory stay.

    Attributes:
        batch: B.
        busy: held by the call that uses it.
    """

    def __init__(self, run: Run[CpuPacked]) -> None:
        self.batch = run.x.shape[1]
        self.busy = threading.Lock()
        job = forward_job(run._replace(reverse=False), 1, keep=False)
        self._words, (_, self._states, _) = job.words, job.memory
        self._memory = job.memory
        self._address = ctypes.addressof(job.words)

    def run(self, run: Run[CpuPacked], kernel: Kernel) -> None:
        """Compute a run of one step of the same batch, all rows and an output."""
        words, x, output = self._words, run.x, run.output
        assert output is not None
        words[X], words[OUT] = address(x), address(output)
        words[X_ROW], words[OUT_ROW] = x.strides[1], output.strides[1]
        states = self._states
        for index, state in enumerate(run.state):
            states[index] = address(state)
        kernel(self._address, 0)


def backward_job(run: BackwardRun[CpuPacked, Residuals], threads: int) -> Job:
    """The job of `Engine.backward`, whose result is LayerGradients."""
    packed, residuals, grad_output, grad_state = run
    layer = packed.layer
    x, rows, reverse, count = residuals[:4]
    steps, batch, _ = x.shape
    gradients = _empty_gradients(packed, x, rows)
    template = _backward_template(layer, steps, batch, count, _count(rows, steps, batch)[1], threads)
    words, memory = _begin(template)
    _set_residuals(words, residuals)
    words[REVERSE] = int(reverse)
    arrays = _set_inputs(words, x, rows, grad_state)
    if grad_output is not None:
        words[GRAD_OUT : GRAD_OUT + 3] = address(grad_output), *grad_output.strides[:2]
    words[W_H_BACK : W_H_BACK + 2] = packed.w_h_back, packed.w_x_back
    words[GRAD_X : GRAD_X + 3] = address(gradients.x), *gradients.x.strides[:2]
    words[GRAD_W_IH : GRAD_W_IH + 4] = [0 if w is None else address(w) for w in gradients.weights]
    return Job(make_words(words), template.threads, (memory, arrays, run), gradients)


def impl(layer: Layer, steps: int, batch: int, threads: int, *, training: bool) -> str:
    """Width of vectors, threads by rows x by units, whether one pass computes both products; so for backward."""
    division, separate = forward_division(layer, steps, batch, threads)
    words = f"{8 * layer.shape.vector_bytes}-bit {division}{'' if separate else ' fused'}"
    return f"{words}, back {_backward_division(layer, steps, batch, threads)}" if training else words


def forward_division(layer: Layer, steps: int, batch: int, threads: int) -> tuple[Division, bool]:
    """How threads divide a run, and whether the input projection is separate."""
    step_flops, weight_bytes = 2 * batch * layer.weights, layer.weights * layer.shape.itemsize
    division = divide(threads, batch, layer.groups, steps, step_flops, weight_bytes)
    return division, is_separate(division, steps, batch, weight_bytes)


def _backward_division(layer: Layer, steps: int, batch: int, threads: int) -> Division:
    step_flops = 2 * batch * layer.recurrent_weights
    return divide(threads, batch, layer.back_groups, steps, step_flops, layer.recurrent_bytes)


def _begin(template: Template) -> tuple[list[int], Memory]:
    """The words of a call so far, and its memory."""
    memory = Memory(template.size)
    start = address(memory.array)
    words = template.words.copy()
    for place in template.local:
        words[place] += start
    if template.threads > 1:
        first, size = template.barriers
        memory.array[first : first + size] = 0
    return words, memory


def _set_residuals(words: list[int], residuals: Residuals) -> None:
    start = address(residuals.memory.array)
    words[BLOCKS], words[OPERANDS], words[KEPT] = start, start + residuals.operands, start + residuals.kept


def _set_inputs(words: list[int], x: Array, rows: Rows, state: Sequence[Array]) -> Words:
    words[X : X + 3] = address(x), *x.strides[:2]
    if rows.batch_sizes is not None:
        words[ORDER] = 0 if rows.order is None else address(rows.order)
        words[ORDER + 1] = address(rows.batch_sizes)
    arrays = make_words([address(s) for s in state])
    words[STATE_ARRAYS] = ctypes.addressof(arrays)
    return arrays


@functools.lru_cache(maxsize=4096)
def _forward_template(layer: Layer, steps: int, batch: int, count: int, most: int, threads: int) -> Template:
    """For inference, where `count` is -1, or training with that many rows of all steps together."""
    keep = count >= 0
    row = layer.row_bytes
    division, separate = forward_division(layer, steps, batch, threads)
    table_rows = max(1, batch, PROJECTION_ROWS if separate else 0)
    projected = round_up(table_rows * layer.columns_bytes) if separate else 0
    scratch = round_up(24 * table_rows + BLOCK_ROWS * layer.pre_vectors * layer.shape.vector_bytes)
    block_rows = count + most if keep else 2 * batch
    operand_rows = count if keep else batch
    blocks = layer.program.states * block_rows * row
    operands = layer.later_stages * operand_rows * row
    values = _common(layer, steps, batch, division) | {
        STAGE_TABLE: layer.keep_table if keep else layer.infer_table,
        STATE_VALUE: block_rows * row,
        PAIR: 0 if keep else 1,
        OPERAND_VALUE: operand_rows * row,
        CARRY_VALUE: batch * row,
        PROJECTED_ROW: layer.columns_bytes,
        PROJECTED_ROWS: table_rows,
        PROJECTED_SIZE: projected,
        SCRATCH_SIZE: scratch,
        SCRATCH_ROWS: table_rows,
    }
    sizes = {
        CARRIES: layer.carries * batch * row,
        PROJECTED: division.row_threads * projected,
        SCRATCH: division.threads * scratch,
        BARRIERS: 64 * (division.row_threads + 1),
    }
    residuals = (0, 0, 0)
    if keep:
        places_kept = (round_up(blocks), round_up(blocks) + round_up(operands))
        residuals = (places_kept[1] + count * layer.kept_row, *places_kept)
    else:
        sizes |= {BLOCKS: blocks, OPERANDS: operands}
    return _template(values, sizes, FORWARD_WORDS, division.threads, residuals)


@functools.lru_cache(maxsize=4096)
def _backward_template(layer: Layer, steps: int, batch: int, count: int, most: int, threads: int) -> Template:
    row, vectors = layer.row_bytes, layer.shape.columns * layer.shape.vector_bytes
    division = _backward_division(layer, steps, batch, threads)
    chunk = max(CHUNK_LEAST, min(CHUNK_MOST, CHUNK_BYTES // max(1, layer.columns_bytes)))
    rows = max(chunk, batch)
    tables = 8 * (2 + len(layer.program.stages) + 1) * rows
    scratch = round_up(tables + max(8 * batch, PANEL_ROWS * vectors, 8 * BLOCK_ROWS + (BLOCK_ROWS + 1) * vectors))
    values = _common(layer, steps, batch, division) | {
        STAGE_TABLE: layer.keep_table,
        STATE_VALUE: (count + most) * row,
        OPERAND_VALUE: count * row,
        GRAD_VALUE: batch * row,
        PRE_ROW: layer.pre_row,
        CHUNK_ROWS: chunk,
        ROWS: count,
        STATE_ROWS: count + most,
        SCRATCH_SIZE: scratch,
    }
    sizes = {
        GRADS: (layer.program.states + layer.carried) * batch * row,
        PRE: rows * layer.pre_row,
        SCRATCH: division.threads * scratch,
        BARRIERS: 64 * (division.row_threads + 1),
    }
    return _template(values, sizes, BACKWARD_WORDS, division.threads, (0, 0, 0))


def _template(
    values: Mapping[int, int],
    sizes: Mapping[int, int],
    count: int,
    threads: int,
    residuals: tuple[int, int, int],
) -> Template:
    """From the words that are known, the sizes of what others are addresses of, and the number of words."""
    offsets, total = {}, 0
    for place, size in sizes.items():
        if size > 0:
            offsets[place] = total
            total += round_up(size)
    words = [values.get(place, offsets.get(place, 0)) for place in range(count)]
    barriers = (offsets[BARRIERS], sizes[BARRIERS])
    return Template(words, tuple(offsets), total, barriers, threads, residuals)


def _common(layer: Layer, steps: int, batch: int, division: Division) -> dict[int, int]:
    return {
        STEPS: steps,
        BATCH: batch,
        HIDDEN: layer.hidden,
        INPUT: layer.inputs,
        UNITS: layer.units,
        ROW_THREADS: division.row_threads,
        UNIT_THREADS: division.unit_threads,
        STAGES: len(layer.program.stages),
        STATES: layer.program.states,
        KEPT_ROW: layer.kept_row,
    }


def _empty_gradients(packed: CpuPacked, x: Array, rows: Rows) -> LayerGradients:
    layer = packed.layer
    gates, dtype = layer.program.gates * layer.hidden, layer.shape.dtype
    grad_x = np.empty(x.shape, dtype) if rows.batch_sizes is None else np.zeros(x.shape, dtype)
    make = np.empty if x.shape[0] * x.shape[1] else np.zeros
    bias = [make(gates, dtype) if packed.has_bias else None for _ in range(2)]
    weights = LayerWeights(make((gates, layer.inputs), dtype), make((gates, layer.hidden), dtype), *bias)
    return LayerGradients(grad_x, weights)


def _count(rows: Rows, steps: int, batch: int) -> tuple[int, int]:
    """Rows of all steps together, and the most of one step."""
    if rows.batch_sizes is None:
        return steps * batch, batch
    return int(rows.batch_sizes.sum()), int(rows.batch_sizes.max(initial=0))

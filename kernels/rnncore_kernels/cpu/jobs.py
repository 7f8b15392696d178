"""From a run to the words that its kernel is called with, and the memory that these refer to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..contract import Array, BackwardRun, LayerGradients, LayerWeights, Rows, Run
from .fields.balance import AWAKE, PART_WORDS
from .fields.run import (
    BF16_ROWS,
    BIAS,
    BLOCKS,
    CANCEL,
    GRAD_B_HH,
    GRAD_B_IH,
    GRAD_OUT,
    GRAD_OUT_ROW,
    GRAD_OUT_STEP,
    GRAD_W_HH,
    GRAD_W_IH,
    GRAD_X,
    GRAD_X_ROW,
    GRAD_X_STEP,
    KEPT,
    LAST,
    LAST_ROW,
    OPERANDS,
    ORDER,
    OUT,
    OUT_ROW,
    OUT_STEP,
    REVERSE,
    SIZES,
    STATE_ARRAYS,
    TURN,
    W_H,
    W_H_BACK,
    W_H_BACK_BF16,
    W_H_BF16,
    W_X,
    W_X_BACK,
    W_X_BACK_BF16,
    W_X_BF16,
    X_ROW,
    X_STEP,
    X,
)
from .memory import Words, address, make_words, words_address
from .packed import CpuPacked, bf16_weights
from .plan import Template, backward_template, forward_template
from .recycling import empty, take


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
    memory: Array
    operands: int
    kept: int


class Job(NamedTuple):
    """A run, ready for its kernel.

    Attributes:
        words: what the kernel is called with.
        template: what they were made from.
        memory: of the call's own.
        others: what else the words refer to.
        result: what the caller gets of it.
    """

    words: Words
    template: Template
    memory: Array
    others: Any
    result: Any

    @property
    def threads(self) -> int:
        """How many the kernel expects, all at once."""
        return self.template.threads

    def keep_balance(self) -> int:
        """Let the next call of these sizes begin with what this one's threads took in the end of what they share.

        Returns the cycles that they waited for one another awake, all together.
        """
        balance, parts = self.template.balance, self.template.parts
        memoryview(balance).cast("B")[:] = self.memory.data[parts : parts + 8 * len(balance)]
        return sum(balance[AWAKE::PART_WORDS])

    def cancel(self) -> None:
        """Have the kernel return soon, whatever it has computed."""
        self.words[CANCEL] = 1


def forward_job(run: Run[CpuPacked], threads: int, *, keep: bool) -> Job:
    """The job of `Engine.infer`, or with `keep` of `Engine.forward`, whose result is Residuals."""
    packed, x, state, output, last, rows, reverse = run
    layer = packed.layer
    steps, batch, _ = x.shape
    count, most = _count(rows, steps, batch) if keep else (-1, 0)
    template = forward_template(layer, steps, batch, count, most, threads)
    words, memory = _begin(template)
    residuals = None
    if keep:
        size, operands, kept = template.residuals
        residuals = Residuals(x, rows, reverse, count, take(size), operands, kept)
        _set_residuals(words, residuals)
    words[REVERSE] = int(reverse)
    if steps == 1:
        words[TURN] = next(packed.turns)
    words[W_X], words[W_H], words[BIAS] = packed.w_x, packed.w_h, packed.bias
    bf16 = None
    if words[BF16_ROWS]:
        bf16 = bf16_weights(packed, threads)
        words[W_X_BF16], words[W_H_BF16] = bf16.w_x, bf16.w_h
    arrays = _set_inputs(words, x, rows, state)
    if output is not None:
        words[OUT], (words[OUT_STEP], words[OUT_ROW], _) = address(output), output.strides
    if last is not None:
        words[LAST], words[LAST_ROW] = address(last), last.strides[0]
    return Job(words, template, memory, (arrays, run, bf16), residuals)


class StepJob:
    """Steps of inference on one thread, see `contract.Stepper`: words and memory stay from one to the next."""

    def __init__(self, packed: CpuPacked, batch: int) -> None:
        self._packed, self._batch = packed, batch
        self._kernel = packed.layer.forward_kernels.functions["forward"]
        # A step takes one out and puts it back; one that was interrupted does not.
        self._ready = [self._make()]

    def __call__(self, x: Array, state: Sequence[Array], output: Array) -> None:
        try:
            job = self._ready.pop()
        except IndexError:
            job = self._make()
        words, words_at, states, _ = job
        words[X], words[OUT] = address(x), address(output)
        for index, array in enumerate(state):
            states[index] = address(array)
        words[TURN] += 1
        self._kernel(words_at, 0)
        self._ready.append(job)

    def _make(self) -> tuple[Words, int, Words, Job]:
        """The words of a step, their address, those of its states, and what they refer to."""
        layer, batch, dtype = self._packed.layer, self._batch, self._packed.layer.shape.dtype
        x, output = (np.empty((1, batch, width), dtype) for width in (layer.inputs, layer.hidden))
        state = tuple(np.empty((batch, layer.hidden), dtype) for _ in range(layer.program.states))
        job = forward_job(Run(self._packed, x, state, output, None, Rows(), False), 1, keep=False)
        return job.words, words_address(job.words), job.others[0], job


def backward_job(run: BackwardRun[CpuPacked, Residuals], threads: int) -> Job:
    """The job of `Engine.backward`, whose result is LayerGradients."""
    packed, residuals, grad_output, grad_state = run
    layer = packed.layer
    x, rows, reverse, count = residuals[:4]
    steps, batch, _ = x.shape
    gradients = _empty_gradients(packed, x, rows)
    template = backward_template(layer, steps, batch, count, _count(rows, steps, batch)[1], threads)
    words, memory = _begin(template)
    _set_residuals(words, residuals)
    words[REVERSE] = int(reverse)
    arrays = _set_inputs(words, x, rows, grad_state)
    if grad_output is not None:
        words[GRAD_OUT], (words[GRAD_OUT_STEP], words[GRAD_OUT_ROW], _) = address(grad_output), grad_output.strides
    words[W_H_BACK], words[W_X_BACK] = packed.w_h_back, packed.w_x_back
    bf16 = None
    if words[BF16_ROWS]:
        bf16 = bf16_weights(packed, threads)
        words[W_H_BACK_BF16], words[W_X_BACK_BF16] = bf16.w_h_back, bf16.w_x_back
    words[GRAD_X], (words[GRAD_X_STEP], words[GRAD_X_ROW], _) = address(gradients.x), gradients.x.strides
    for place, array in zip((GRAD_W_IH, GRAD_W_HH, GRAD_B_IH, GRAD_B_HH), gradients.weights, strict=True):
        words[place] = 0 if array is None else address(array)
    return Job(words, template, memory, (arrays, run, bf16), gradients)


def _begin(template: Template) -> tuple[Words, Array]:
    """The words of a call so far, and its memory."""
    memory = take(template.size)
    start = address(memory)
    words = template.words[:]
    for place in template.local:
        words[place] += start
    if template.threads > 1:
        first, size = template.barriers
        memory[first : first + size] = 0
        first = template.parts
        # NumPy would release the GIL for a long copy, and another call may be writing there.
        memory.data[first : first + 8 * len(template.balance)] = memoryview(template.balance).cast("B")
    return words, memory


def _set_residuals(words: Words, residuals: Residuals) -> None:
    start = address(residuals.memory)
    words[BLOCKS], words[OPERANDS], words[KEPT] = start, start + residuals.operands, start + residuals.kept


def _set_inputs(words: Words, x: Array, rows: Rows, state: Sequence[Array]) -> Words:
    words[X], (words[X_STEP], words[X_ROW], _) = address(x), x.strides
    if rows.batch_sizes is not None:
        words[ORDER] = 0 if rows.order is None else address(rows.order)
        words[SIZES] = address(rows.batch_sizes)
    arrays = make_words([address(s) for s in state])
    words[STATE_ARRAYS] = words_address(arrays)
    return arrays


def _empty_gradients(packed: CpuPacked, x: Array, rows: Rows) -> LayerGradients:
    layer = packed.layer
    gates, dtype = layer.program.gates * layer.hidden, layer.shape.dtype
    grad_x = empty(x.shape, dtype) if rows.batch_sizes is None else np.zeros(x.shape, dtype)
    make = empty if x.shape[0] * x.shape[1] else np.zeros
    bias = [make((gates,), dtype) if packed.has_bias else None for _ in range(2)]
    weights = LayerWeights(make((gates, layer.inputs), dtype), make((gates, layer.hidden), dtype), *bias)
    return LayerGradients(grad_x, weights)


def _count(rows: Rows, steps: int, batch: int) -> tuple[int, int]:
    """Rows of all steps together, and the most of one step."""
    if rows.batch_sizes is None:
        return steps * batch, batch
    return int(rows.batch_sizes.sum()), int(rows.batch_sizes.max(initial=0))

"""From a run to the arguments of its kernel, and the memory that these refer to."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..alignment import address
from ..contract import Array, BackwardRun, Inputs, Rows, Run
from .arguments import ForwardArguments, RunArguments, SomeArguments
from .buffer_pool import take
from .memory import Words, make_words, words_address
from .packed import CpuPacked, converted_weights
from .plan import Plan, backward_plan, forward_plan
from .tables import Table
from .targets import Targets, input_table
from .toolchain import Kernel

FIRST_THREAD: Any = ctypes.c_int64(0)
"""The number of the only thread, as kernels take it: ctypes need not make it of a Python int."""


class Residuals(NamedTuple):
    """What the backward pass reads.

    Attributes:
        x: (T, B, I), the caller's.
        inputs, rows, reverse: as in `Run`.
        total: rows of all steps together.
        memory: the states before each step and after the last, operands, and what else the forward pass kept.
    """

    x: Array
    inputs: Inputs
    rows: Rows
    reverse: bool
    total: int
    memory: Array


class Job(NamedTuple):
    """A run, ready for its kernel.

    Attributes:
        call: what the kernel is called with.
        kernel: its address, and a function that calls it; runs of one call may have different ones.
        plan: what it was made from.
        memory: of the call's own.
        others: what else its arguments refer to.
        finish: makes what the caller gets of it, when the kernel has run.
    """

    call: RunArguments
    kernel: tuple[int, Kernel]
    plan: Plan[Any]
    memory: Array
    others: Any
    finish: Any

    @property
    def threads(self) -> int:
        """How many the kernel expects, all at once."""
        return self.plan.threads

    def clear(self) -> None:
        """Make its memory as at first, for another call."""
        self.call.awake = 0
        _clear(self.plan, self.memory)

    def compute(self) -> None:
        """Run it on this thread alone."""
        self.kernel[1](self.call.address, 0)

    @property
    def cancel(self) -> int:
        """Address of the word that is not 0 to have the kernel return soon, whatever it has computed."""
        return self.call.address + 8 * self.call.names.index("cancel")


class Ready(NamedTuple):
    """A job that is used again.

    Attributes:
        job: without a result.
        call: its arguments.
        place: their address, as kernels take it.
        function: its kernel.
        states: addresses of the states.
    """

    job: Job
    call: ForwardArguments
    place: Any
    function: Kernel
    states: Words


def forward_job(run: Run[CpuPacked], threads: int, *, keep: bool) -> Job:
    """The job of `Engine.infer`, or with `keep` of `Engine.forward`, whose result is Residuals."""
    packed, x, state, output, last, rows, reverse, inputs, tape = run
    layer = packed.layer
    steps, batch, _ = x.shape
    count, most = _count(rows, steps, batch) if keep else (-1, 0)
    plan = forward_plan(layer, steps, batch, count, most, threads)
    call, memory = _begin(plan)
    residuals = None
    if keep:
        residuals = Residuals(x, inputs, rows, reverse, count, take(plan.history) if tape is None else tape)
        call.history = address(residuals.memory)
    call.reverse = int(reverse)
    if steps == 1:
        call.turn = next(packed.turns)
    others = _set_weights(call, packed, plan, threads), *_set_arrays(call, x, rows, state, inputs)
    if output is not None:
        call.out, (call.out_step, call.out_row, _) = address(output), output.strides
    if last is not None:
        call.last, call.last_row = address(last), last.strides[0]
    kernel = layer.kernel("forward", plan.products)
    return Job(call, kernel, plan, memory, (others, run), lambda: residuals)


def recalled(run: Run[CpuPacked]) -> Residuals:
    """The residuals of a run that was computed with its tape."""
    assert run.tape is not None
    steps, batch, _ = run.x.shape
    return Residuals(run.x, run.inputs, run.rows, run.reverse, _count(run.rows, steps, batch)[0], run.tape)


class PreparedRun:
    """A run of inference, see `contract.Prepared`: arguments and memory stay from call to call."""

    def __init__(self, packed: CpuPacked, steps: int, batch: int, threads: int) -> None:
        self._packed, self._sizes, self._threads = packed, (steps, batch), threads
        # A call takes one out and puts it back; one that was interrupted does not.
        self._ready = [self._make()]

    def __call__(self, x: Array, state: Sequence[Array], output: Array) -> None:
        """Compute it on one thread, which it must be of."""
        ready = self.take(x, state, output)
        ready.function(ready.place, FIRST_THREAD)
        self._ready.append(ready)

    def take(self, x: Array, state: Sequence[Array], output: Array) -> Ready:
        """The run, ready for its kernel; goes back by `put`."""
        try:
            ready = self._ready.pop()
        except IndexError:
            ready = self._make()
        call, states = ready.call, ready.states
        call.x, call.out = address(x), address(output)
        for index, array in enumerate(state):
            states[index] = address(array)
        # Odd and even steps read weights in opposite orders, and begin with those that the last call read last.
        call.turn += self._sizes[0]
        return ready

    def put(self, ready: Ready) -> None:
        """Let the next call have it."""
        self._ready.append(ready)

    def _make(self) -> Ready:
        layer, (steps, batch) = self._packed.layer, self._sizes
        plan = forward_plan(layer, steps, batch, -1, 0, self._threads)
        call, memory = _begin(plan)
        weights = _set_weights(call, self._packed, plan, self._threads)
        itemsize, width = layer.shape.itemsize, layer.width(layer.program.output_width)
        call.x_row, call.out_row = layer.inputs * itemsize, width * itemsize
        call.x_step, call.out_step = batch * call.x_row, batch * call.out_row
        states = make_words([0] * len(layer.program.states))
        call.state_arrays = words_address(states)
        kernel = layer.kernel("forward", plan.products)
        job = Job(call, kernel, plan, memory, weights, None)
        return Ready(job, call, ctypes.c_int64(call.address), kernel[1], states)


def backward_job(run: BackwardRun[CpuPacked, Residuals], threads: int) -> Job:
    """The job of `Engine.backward`, whose result is LayerGradients."""
    packed, residuals, grad_output, grad_state, needs, _, grad_units = run
    x, inputs, rows, reverse, count, history = residuals
    inputs = inputs if run.inputs is None else run.inputs
    steps, batch, _ = x.shape
    plan = backward_plan(packed.layer, steps, batch, count, _count(rows, steps, batch)[1], threads)
    call, memory = _begin(plan)
    call.history, call.reverse = address(history), int(reverse)
    others = _set_weights(call, packed, plan, threads), *_set_arrays(call, x, rows, grad_state, inputs)
    if grad_output is not None:
        call.grad_out, (call.grad_out_step, call.grad_out_row, _) = address(grad_output), grad_output.strides
    targets = Targets(packed, x, inputs, rows, grad_units)
    if needs.x:
        call.grad_x, (call.grad_x_step, call.grad_x_row, _) = address(targets.gradients.x), targets.gradients.x.strides
    if needs.weights:
        call.matrices = targets.matrices
    call.grad_inputs = targets.inputs.address
    call.sums, call.sum_table = targets.sums.count, targets.sums.address
    kernel = packed.layer.kernel("backward", plan.products)
    return Job(call, kernel, plan, memory, (others, run, targets), targets.finish)


def _begin(plan: Plan[SomeArguments]) -> tuple[SomeArguments, Array]:
    """The arguments of a call so far, and its memory."""
    memory = take(plan.size)
    start = address(memory)
    call = plan.call.copy()
    for name, offset in plan.local:
        setattr(call, name, start + offset)
    if plan.threads > 1:
        _clear(plan, memory)
    return call, memory


def _clear(plan: Plan[Any], memory: Array) -> None:
    """Make the memory as a kernel of several threads expects it."""
    memory[plan.barriers : plan.barriers + plan.barrier_bytes] = 0


def _set_weights(call: RunArguments, packed: CpuPacked, plan: Plan[Any], threads: int) -> Array | None:
    """Returns what the arguments refer to."""
    call.packed = call.weights = packed.address
    if plan.products.rows_bytes is None:
        return None
    weights = converted_weights(packed, plan.products, threads)
    call.weights = address(weights)
    return weights


def _set_arrays(
    call: RunArguments, x: Array, rows: Rows, state: Sequence[Array], inputs: Inputs
) -> tuple[Words, Table | None]:
    """Returns what the arguments refer to, first the addresses of the states."""
    call.x, (call.x_step, call.x_row, _) = address(x), x.strides
    if rows.batch_sizes is not None:
        call.order = 0 if rows.order is None else address(rows.order)
        call.sizes = address(rows.batch_sizes)
    arrays = make_words([address(s) for s in state])
    call.state_arrays = words_address(arrays)
    if not call.extra_inputs:
        return arrays, None
    table = input_table(inputs)
    call.input_table = table.address
    return arrays, table


def _count(rows: Rows, steps: int, batch: int) -> tuple[int, int]:
    """Rows of all steps together, and the most of one step."""
    if rows.batch_sizes is None:
        return steps * batch, batch
    return int(rows.batch_sizes.sum()), int(rows.batch_sizes.max(initial=0))

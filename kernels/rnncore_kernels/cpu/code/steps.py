"""The state of a thread in a call, and how threads that share rows wait for one another."""

from __future__ import annotations

from ..arguments import STEP_BYTES, RunArguments, StepArguments
from ..fields.balance import PART_BYTES
from .balance import edge
from .emitted import compiled
from .waiting import begin_waiting, meet, open_barrier


@compiled("begin_step")
def begin_step(run: RunArguments, step: StepArguments, thread: int) -> None:
    """What does not change from one step to the next."""
    step.thread, step.unit_thread = thread % run.row_threads, thread // run.row_threads
    step.barrier, step.arrivals = run.barriers + 64 * step.thread, 0
    step.part = run.parts + (step.thread * run.unit_threads + step.unit_thread) * PART_BYTES
    step.prepared = 0
    if run.prepared != 0:
        step.prepared = run.prepared + thread * run.prepared_size
    step.scratch = run.scratch + thread * run.scratch_size + STEP_BYTES
    begin_waiting(step.part)
    divide_anew(run, step)


@compiled("divide_anew")
def divide_anew(run: RunArguments, step: StepArguments) -> None:
    """Which part of the units is the thread's, by what all have published."""
    parts, j = run.parts + step.thread * run.unit_threads * PART_BYTES, step.unit_thread
    step.low, step.high = edge(parts, run.unit_threads, j), edge(parts, run.unit_threads, j + 1)


@compiled("wait")
def wait(run: RunArguments, step: StepArguments) -> None:
    """Wait for the threads that share rows."""
    step.arrivals = meet(step.barrier, step.arrivals, run.unit_threads, step.part)


@compiled("close_all")
def close_all(run: RunArguments, step: StepArguments) -> None:
    """Let nobody wait any more: the call is cancelled."""
    open_barrier(step.barrier)
    open_barrier(run.barriers + 64 * run.row_threads)

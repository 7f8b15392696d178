"""The state of a thread in a call, and how threads wait for one another."""

from __future__ import annotations

from ..arguments import STEP_BYTES, RunArguments, StepArguments
from .emitted import address_of, compiled
from .memory import add_word
from .system import cycles
from .waiting import HURRIED_SPINS, HURRIED_YIELDS, SPINS, YIELDS, arrive, open_barrier, wait_for

FEW_SLEEPS = 3
"""A thread that fell asleep so often in one call waits less long awake: the others lack a core, and may need its."""

awake_of = address_of(RunArguments, "awake")
"""`awake_of(run)`: the address of that word, to which all threads add."""


@compiled("begin_step")
def begin_step(run: RunArguments, step: StepArguments, thread: int) -> None:
    """What does not change from one step to the next."""
    step.thread, step.unit_thread = thread % run.row_threads, thread // run.row_threads
    step.barrier, step.arrivals = run.barriers + 64 * step.thread, 0
    step.awake, step.sleeps = 0, 0
    step.prepared = 0
    if run.prepared != 0:
        step.prepared = run.prepared + thread * run.prepared_size
    step.scratch = run.scratch + thread * run.scratch_size + STEP_BYTES


@compiled("end_step")
def end_step(run: RunArguments, step: StepArguments) -> None:
    """Tell the host for how long the thread waited awake."""
    if step.awake != 0:
        add_word(awake_of(run), step.awake)


@compiled("barrier_wait")
def barrier_wait(step: StepArguments, barrier: int, arrivals: int, threads: int) -> int:
    """Wait until all threads have come here; returns the count of arrivals to pass next time.

    Only safe where all threads run at once, or are given a core when another sleeps: threads of the system are.
    """
    if threads > 1:
        here = cycles()
        arrivals += threads
        arrive(barrier)
        asleep = 0
        if step.sleeps < FEW_SLEEPS:
            asleep = wait_for(barrier, arrivals, SPINS, YIELDS)
        else:
            asleep = wait_for(barrier, arrivals, HURRIED_SPINS, HURRIED_YIELDS)
        if asleep != 0:
            step.sleeps += 1
            step.awake += asleep - here
        else:
            step.awake += cycles() - here
    return arrivals


@compiled("wait")
def wait(run: RunArguments, step: StepArguments) -> None:
    """Wait for the threads that share rows."""
    step.arrivals = barrier_wait(step, step.barrier, step.arrivals, run.unit_threads)


@compiled("close_all")
def close_all(run: RunArguments, step: StepArguments) -> None:
    """Let nobody wait any more: the call is cancelled."""
    open_barrier(step.barrier)
    open_barrier(run.barriers + 64 * run.row_threads)

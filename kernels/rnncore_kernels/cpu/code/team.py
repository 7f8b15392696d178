"""Tasks on a team of OpenMP's threads, that of PyTorch: two pools would take the cores from one another.

The members of a team run at once, so that tasks may wait for one another. Who has the team is the word of `code.pool`.
"""

from __future__ import annotations

from ..arguments import size_of
from ..pool_arguments import TaskArguments, TeamArguments
from .emitted import address_of, compiled, emitted
from .ir import I64, call_function
from .memory import add_word, call_kernel, set_word, swap_word_if, word
from .pool import NAP
from .system import cycles, float_mode, set_float_mode, thread_time, wall_time
from .waiting import arrive, count_of, sleep_until

TASK_BYTES = size_of(TaskArguments)

ask = emitted("ask", ("address",), lambda b, address: call_function(b, address, [], 32), returns=True, inline=True)
"""`ask(address)`: the int that the function at an address returns."""
save_thread = emitted(
    "save_thread", ("address",), lambda b, address: call_function(b, address, [], 64), returns=True, inline=True
)
restore_thread = emitted(
    "restore_thread", ("address", "thread"), lambda b, a, thread: call_function(b, a, [thread], 0), inline=True
)
parallel = emitted(
    "parallel",
    ("address", "member", "job", "threads"),
    lambda b, address, *arguments: call_function(b, address, [*arguments, I64(0)], 0),
    inline=True,
)
"""`parallel(address, member, job, threads)`: run a function in all threads of a team; returns when all have."""


core_time_of, done_of = address_of(TeamArguments, "core_time"), address_of(TeamArguments, "done")
"""`core_time_of(job)`, `done_of(job)`: addresses of these words, which several threads write."""


@compiled("run_team")
def run_team(job: TeamArguments, _: int) -> None:
    """Run a job's tasks on the caller's team; none if others have it, or it is too small."""
    if swap_word_if(job.pool, 0, 1) != 0:
        job.mode = float_mode()
        if job.watch != 0:
            job.wall_time = wall_time()
            job.cycles = cycles()
        if job.waits != 0:
            job.thread = save_thread(job.save_thread)
        parallel(job.parallel, job.member, job, job.asked)
        if job.watch != 0:
            job.wall_time = wall_time() - job.wall_time
            job.cycles = cycles() - job.cycles
        add_word(job.pool, -1)
        if job.waits != 0:
            restore_thread(job.restore_thread, job.thread)


@compiled("member")
def member(job: TeamArguments, _: int) -> None:
    """Run the task of a member of the team; nothing where not every task has one."""
    number, first = ask(job.number), 1 if job.waits != 0 else 0
    if ask(job.size) >= job.tasks + first:
        if number < first:
            _wait(job)
        elif number < job.tasks + first:
            _run_task(job, job.task_table + TASK_BYTES * (number - first))


@compiled("run_team_task")
def _run_task(job: TeamArguments, task: int) -> None:
    mode, before = float_mode(), 0
    set_float_mode(job.mode)
    if job.watch != 0:
        before = thread_time()
    call_kernel(word(task, 0), word(task, 1), word(task, 2))
    if job.watch != 0:
        add_word(core_time_of(job), thread_time() - before)
    set_float_mode(mode)
    arrive(done_of(job))


@compiled("wait_for_team")
def _wait(job: TeamArguments) -> None:
    """Wait until all tasks are done; when a handler of a signal raises an exception, cancel them."""
    raised = 0
    while count_of(done_of(job)) < job.tasks:
        sleep_until(done_of(job), job.tasks, NAP)
        if raised == 0:
            restore_thread(job.restore_thread, job.thread)
            raised = ask(job.check_signals)
            job.thread = save_thread(job.save_thread)
            if raised != 0:
                for k in range(job.cancels):
                    set_word(word(job.cancel_table, k), 0, 1)

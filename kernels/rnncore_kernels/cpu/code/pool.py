"""The code that the threads of `threads.Pool` run: a worker waits for work, and the caller hands it out.

Who has the pool follows from how many workers run, one word that compiled code alone changes: no interruption of Python
can leave the pool held. The structures are in `pool_arguments`.
"""

from __future__ import annotations

from ..arguments import size_of
from ..pool_arguments import FINISHED, MASK_WORDS, REFUSED, STARTED, JobArguments, Mailbox, PoolWords, TaskArguments
from .calls import task_at
from .emitted import address_of, compiled, emitted
from .ir import I64
from .memory import add_word, call_kernel, copy, set_word, swap_word_if, word
from .system import (
    MASK_BYTES,
    current_core,
    cycles,
    float_mode,
    get_cores,
    set_cores,
    set_float_mode,
    thread_number,
    thread_time,
    wall_time,
)
from .waiting import SPINS, YIELDS, arrive, count_of, sleep_until, wait_for

IDLE_YIELDS = 600
"""Turns of a worker between calls: 300 microseconds on a core that nobody else wants, as to be woken takes 50."""

NAP = 50_000_000
"""Nanoseconds after which a caller that only waits looks whether Python has something to do."""

TASK_BYTES, POOL_BYTES = size_of(TaskArguments), size_of(PoolWords)

posted_of, done_of = address_of(Mailbox, "posted"), address_of(Mailbox, "done")
task_of, time_of = address_of(Mailbox, "kernel"), address_of(Mailbox, "time")
core_time_of = address_of(JobArguments, "core_time")
"""Addresses of fields."""

end_of = emitted(
    "end_of_job", ("job",), lambda b, job: b.add(job, I64(size_of(JobArguments))), returns=True, inline=True
)
mailbox_at = emitted("mailbox_at", ("address",), lambda b, address: address, returns=Mailbox, inline=True)


@compiled("serve")
def serve(mailbox: Mailbox, _: int) -> None:
    """Run what is posted to a mailbox; never returns."""
    call = 0
    mailbox.core = current_core() + 1
    mailbox.number = thread_number()
    while True:
        call += 1
        wait_for(posted_of(mailbox), call, SPINS, IDLE_YIELDS)
        set_float_mode(mailbox.mode)
        if mailbox.watched != 0:
            mailbox.core = current_core() + 1
        _run_task(task_at(task_of(mailbox), 0), mailbox.watched, time_of(mailbox))
        add_word(mailbox.running, -1)
        arrive(done_of(mailbox))


@compiled("run_task")
def _run_task(task: TaskArguments, watched: int, time: int) -> None:
    """Call a task's kernel, and write at the address `time` for how long it had a core, if that is wanted."""
    before = 0
    if watched != 0:
        before = thread_time()
    call_kernel(task.kernel, task.arguments, task.thread)
    if watched != 0:
        set_word(time, 0, thread_time() - before)


@compiled("spread")
def _spread(job: JobArguments) -> None:
    """Let each worker run on a core of its own, or on those that nobody of the job has, if there are enough.

    Linux wakes a thread where it last was, or on the core that it is woken from. On a machine of few cores it often
    leaves it there, though another thread has that core, and others are idle.
    """
    workers, free = job.workers, job.pool + POOL_BYTES
    allowed = free + MASK_BYTES
    get_cores(free)
    copy(allowed, free, MASK_BYTES)
    if task_at(end_of(job), 0).kernel != 0:
        _take_core(free, current_core())
    for w in range(workers):
        mailbox = mailbox_at(word(_mailboxes(job), w))
        if _take_core(free, mailbox.core - 1) == 0:
            core = _first_core(free)
            _take_core(free, core)
            mailbox.core = core + 1
    for w in range(workers):
        mailbox = mailbox_at(word(_mailboxes(job), w))
        core = mailbox.core - 1
        if core >= 0:
            _add_core(free, core)
            _keep_on(mailbox, free)
            _take_core(free, core)
        else:
            _keep_on(mailbox, allowed)


@compiled("keep_on")
def _keep_on(mailbox: Mailbox, cores: int) -> None:
    """Let a worker run on these cores alone, unless it was told so last."""
    told = 1
    for k in range(MASK_WORDS):
        told = 31 * told + word(cores, k)
    # A worker that has just been made has no number yet: 0 would be the caller.
    if told != mailbox.told and mailbox.number > 0:
        set_cores(mailbox.number, cores)
        mailbox.told = told


@compiled("first_core")
def _first_core(cores: int) -> int:
    """The first core of a set; -1 if it is empty."""
    for core in range(64 * MASK_WORDS):
        if (word(cores, core >> 6) >> (core & 63)) & 1 != 0:
            return core
    return -1


@compiled("add_core")
def _add_core(cores: int, core: int) -> None:
    set_word(cores, core >> 6, word(cores, core >> 6) | (1 << (core & 63)))


@compiled("take_core")
def _take_core(free: int, core: int) -> int:
    """Take a core out of a set; 0 if it was not there."""
    if core < 0 or core >= 64 * MASK_WORDS:
        return 0
    bit = 1 << (core & 63)
    if word(free, core >> 6) & bit == 0:
        return 0
    set_word(free, core >> 6, word(free, core >> 6) & ~bit)
    return 1


@compiled("start")
def start(job: JobArguments, _: int) -> None:
    """Post a job's tasks to its workers, unless others have the pool."""
    workers = job.workers
    if swap_word_if(job.pool, 0, workers) == 0:
        job.result = REFUSED
    else:
        mode = float_mode()
        if job.watch != 0:
            job.wall_time = wall_time()
            job.cycles = cycles()
            _spread(job)
        for w in range(workers):
            mailbox = mailbox_at(word(_mailboxes(job), w))
            copy(task_of(mailbox), task_at(end_of(job), w + 1), TASK_BYTES)
            mailbox.mode = mode
            mailbox.running = job.pool
            mailbox.watched = job.watch
            set_word(_mailboxes(job), workers + w, count_of(posted_of(mailbox)) + 1)
            arrive(posted_of(mailbox))
        job.result = STARTED


@compiled("dispatch")
def dispatch(job: JobArguments, _: int) -> None:
    """Run a job's tasks, one of them on this thread, and return when all are done, unless others have the pool."""
    start(job, 0)
    if job.result == STARTED:
        _run_task(task_at(end_of(job), 0), job.watch, core_time_of(job))
        workers = job.workers
        for w in range(workers):
            wait_for(done_of(word(_mailboxes(job), w)), word(_mailboxes(job), workers + w), SPINS, YIELDS)
        _finish(job)


@compiled("await")
def await_job(job: JobArguments, _: int) -> None:
    """Sleep until a started job is done, a signal comes or some time has passed."""
    workers, late = job.workers, 0
    for w in range(workers):
        done, call = done_of(word(_mailboxes(job), w)), word(_mailboxes(job), workers + w)
        if late == 0:
            sleep_until(done, call, NAP)
        if count_of(done) < call:
            late = 1
    if late == 0:
        _finish(job)


@compiled("finish")
def _finish(job: JobArguments) -> None:
    """All tasks are done: add up what they took, if the job is watched."""
    if job.watch != 0:
        for w in range(job.workers):
            job.core_time += mailbox_at(word(_mailboxes(job), w)).time
        job.wall_time = wall_time() - job.wall_time
        job.cycles = cycles() - job.cycles
    job.result = FINISHED


@compiled("mailboxes")
def _mailboxes(job: JobArguments) -> int:
    """The address of the workers' mailboxes' addresses, then the numbers of their calls."""
    address: int = end_of(job) + TASK_BYTES * (1 + job.workers)
    return address

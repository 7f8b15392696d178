"""What the threads of `threads.Pool` run: a worker waits for work, and the caller hands it out.

Who has the pool follows from how many workers run, one word that compiled code alone changes: no interruption of Python
can leave the pool held. The words are named in `fields.mailbox`.
"""

from __future__ import annotations

from ..fields.mailbox import (
    CORE,
    CORE_TIME,
    CYCLES,
    DONE,
    FINISHED,
    JOB_WORDS,
    MODE,
    MOVED,
    NUMBER,
    POOL,
    POSTED,
    REFUSED,
    RESULT,
    RUNNING,
    STARTED,
    TASK,
    TASK_WORDS,
    TIME,
    WALL_TIME,
    WATCH,
    WATCHED,
    WORKERS,
)
from .emitted import compiled
from .memory import add_word, call_kernel, copy, set_word, swap_word_if, word
from .system import (
    MASK_BYTES,
    MASK_WORDS,
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


@compiled("serve")
def serve(mailbox: int, _: int) -> None:
    """Run what is posted to a mailbox; never returns."""
    call = 0
    set_word(mailbox, CORE, current_core() + 1)
    set_word(mailbox, NUMBER, thread_number())
    while True:
        call += 1
        wait_for(mailbox + 8 * POSTED, call, SPINS, IDLE_YIELDS)
        set_float_mode(word(mailbox, MODE))
        if word(mailbox, WATCHED) != 0:
            set_word(mailbox, CORE, current_core() + 1)
        _run_task(mailbox + 8 * TASK, word(mailbox, WATCHED), mailbox + 8 * TIME)
        add_word(word(mailbox, RUNNING), -1)
        arrive(mailbox + 8 * DONE)


@compiled("run_task")
def _run_task(task: int, watched: int, time: int) -> None:
    """Call a task's kernel, and write at the address `time` for how long it had a core, if that is wanted."""
    before = 0
    if watched != 0:
        before = thread_time()
    call_kernel(word(task, 0), word(task, 1), word(task, 2))
    if watched != 0:
        set_word(time, 0, thread_time() - before)


@compiled("spread")
def _spread(job: int) -> None:
    """Let no worker wake on the core of another or of the caller, if there are more, nor where the caller may not be.

    Linux wakes a thread where it last was. On a machine of few cores it often leaves it there, though another thread
    has that core, and others are idle.
    """
    workers, free = word(job, WORKERS), word(job, POOL) + 64
    allowed = free + MASK_BYTES
    get_cores(free)
    copy(allowed, free, MASK_BYTES)
    alone = workers == 1 and word(_task(job, 0), 0) == 0
    if word(_task(job, 0), 0) != 0:
        _take_core(free, current_core())
    for w in range(workers):
        mailbox = word(_mailboxes(job), w)
        number, core = word(mailbox, NUMBER), word(mailbox, CORE) - 1
        # A worker that has just been made has no number yet: 0 would be the caller.
        if number <= 0 or core < 0:
            continue
        if _take_core(free, core) == 0:
            left = 0
            for k in range(MASK_WORDS):
                left |= word(free, k)
            if left != 0:
                set_cores(number, free)
                set_word(mailbox, MOVED, 1)
        elif alone and word(mailbox, MOVED) != 0:
            # Beside others it stays away from them: it would be woken on the caller's core again.
            set_cores(number, allowed)
            set_word(mailbox, MOVED, 0)


@compiled("take_core")
def _take_core(free: int, core: int) -> int:
    """Take a core out of a set; 0 if it was not there."""
    if core < 0 or core >= 64 * MASK_WORDS:
        return 1
    bit = 1 << (core & 63)
    if word(free, core >> 6) & bit == 0:
        return 0
    set_word(free, core >> 6, word(free, core >> 6) & ~bit)
    return 1


@compiled("start")
def start(job: int, _: int) -> None:
    """Post a job's tasks to its workers, unless others have the pool."""
    workers = word(job, WORKERS)
    if swap_word_if(word(job, POOL), 0, workers) == 0:
        set_word(job, RESULT, REFUSED)
    else:
        mode = float_mode()
        if word(job, WATCH) != 0:
            set_word(job, WALL_TIME, wall_time())
            set_word(job, CYCLES, cycles())
            _spread(job)
        for w in range(workers):
            mailbox, task = word(_mailboxes(job), w), _task(job, w + 1)
            copy(mailbox + 8 * TASK, task, 8 * TASK_WORDS)
            set_word(mailbox, MODE, mode)
            set_word(mailbox, RUNNING, word(job, POOL))
            set_word(mailbox, WATCHED, word(job, WATCH))
            set_word(_mailboxes(job), workers + w, count_of(mailbox + 8 * POSTED) + 1)
            arrive(mailbox + 8 * POSTED)
        set_word(job, RESULT, STARTED)


@compiled("dispatch")
def dispatch(job: int, _: int) -> None:
    """Run a job's tasks, one of them on this thread, and return when all are done, unless others have the pool."""
    start(job, 0)
    if word(job, RESULT) == STARTED:
        _run_task(_task(job, 0), word(job, WATCH), job + 8 * CORE_TIME)
        workers = word(job, WORKERS)
        for w in range(workers):
            wait_for(word(_mailboxes(job), w) + 8 * DONE, word(_mailboxes(job), workers + w), SPINS, YIELDS)
        _finish(job)


@compiled("await")
def await_job(job: int, _: int) -> None:
    """Sleep until a started job is done, a signal comes or some time has passed."""
    workers, late = word(job, WORKERS), 0
    for w in range(workers):
        done, call = word(_mailboxes(job), w) + 8 * DONE, word(_mailboxes(job), workers + w)
        if late == 0:
            sleep_until(done, call, NAP)
        if count_of(done) < call:
            late = 1
    if late == 0:
        _finish(job)


@compiled("finish")
def _finish(job: int) -> None:
    """All tasks are done: add up what they took, if the job is watched."""
    if word(job, WATCH) != 0:
        total = word(job, CORE_TIME)
        for w in range(word(job, WORKERS)):
            total += word(word(_mailboxes(job), w), TIME)
        set_word(job, CORE_TIME, total)
        set_word(job, WALL_TIME, wall_time() - word(job, WALL_TIME))
        set_word(job, CYCLES, cycles() - word(job, CYCLES))
    set_word(job, RESULT, FINISHED)


@compiled("task")
def _task(job: int, number: int) -> int:
    """The caller's task, 0, or a worker's."""
    return job + 8 * (JOB_WORDS + TASK_WORDS * number)


@compiled("mailboxes")
def _mailboxes(job: int) -> int:
    """Addresses of the workers' mailboxes, then the numbers of their calls."""
    workers: int = word(job, WORKERS)
    return job + 8 * (JOB_WORDS + TASK_WORDS * (1 + workers))

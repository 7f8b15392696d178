"""Structures that threads share: tasks, mailboxes, jobs for a pool or a team; see `code.pool` and `code.team`."""

from __future__ import annotations

from .arguments import Arguments, Line, structure


@structure
class TaskArguments(Arguments):
    """A call of a kernel by a thread."""

    __slots__ = ()
    kernel: int
    arguments: int
    thread: int  # number of the thread


@structure
class Mailbox(Arguments):
    """The words of a worker, see `code.pool`; it begins at a cache line."""

    __slots__ = ()
    posted: Line  # number of the last call that was posted, see `code.waiting`
    done: Line  # number of the last call that is done
    kernel: int  # TaskArguments of the call
    arguments: int
    thread: int
    mode: int  # the caller's floating-point mode
    running: int  # address of the number of workers that run
    watched: int  # whether `time` is wanted: to ask for it takes a microsecond
    time: int  # nanoseconds for which the last call that was watched had a core
    number: int  # the system's number of the worker
    core: int  # number of the core that it was last on or shall be on, plus 1
    told: int  # a sum of the cores that it may run on; 0 at first


@structure
class PoolWords(Arguments):
    """The words of a pool; behind them stand two sets of cores, MASK_WORDS each."""

    __slots__ = ()
    running: Line  # number of workers that run


@structure
class JobArguments(Arguments):
    """Tasks for a pool. Behind it stand TaskArguments of the caller, zeros if it only waits, and of each worker.

    Then comes the address of each worker's mailbox, and the number of each one's call.
    """

    __slots__ = ()
    workers: int  # number of them
    pool: int  # address of PoolWords
    result: int  # REFUSED if others have the pool, and nothing was run; STARTED; or FINISHED
    watch: int  # whether the following are wanted
    wall_time: int  # nanoseconds that the call took
    core_time: int  # nanoseconds for which its threads had a core, all together
    cycles: int  # the clock of `code.system.cycles` before, then how long the call took on it


MASK_WORDS = 16
"""Words of a set of cores, a bit for each."""

REFUSED, STARTED, FINISHED = range(3)
"""Results of a job."""


@structure
class TeamArguments(Arguments):
    """A job for a team of OpenMP's threads, see `code.team`."""

    __slots__ = ()
    tasks: int  # number of them
    task_table: int  # TaskArguments of each
    pool: int  # address of the number of workers that run
    watch: int  # not 0 if times are wanted
    wall_time: int  # nanoseconds that the call took
    core_time: int  # nanoseconds for which its threads had a core, all together
    cycles: int
    mode: int  # the caller's floating-point mode
    done: int  # number of tasks that are done, see `code.waiting`
    waits: int  # whether the caller only waits, and handles signals meanwhile; it holds the GIL before and after
    asked: int  # threads to ask for, 0 for as many as the team has
    parallel: int  # OpenMP's functions: run a team, its number of threads, a thread's own number
    size: int
    number: int
    member: int  # address of `code.team.member`
    save_thread: int  # Python's functions: let go of the GIL, have it again, handle signals
    restore_thread: int
    check_signals: int
    thread: int  # the thread's state, while it does not hold the GIL
    cancels: int  # number of words that are set to 1 to hasten the end
    cancel_table: int  # their addresses

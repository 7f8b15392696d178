"""Words that the pool's threads share, see `code.pool`. What one waits for and another writes has a cache line."""

from __future__ import annotations

MAILBOX_WORDS = 32
POSTED, DONE = 0, 8
TASK_WORDS = 3
TASK = 16
MODE, RUNNING, WATCHED, TIME, NUMBER, CORE, MOVED = range(TASK + TASK_WORDS, 26)
"""A task is a kernel, the address of its words and the number of its thread. A worker's mailbox has these words.

    POSTED, DONE          number of the last call posted, of the last one done, see `code.waiting`
    TASK                  what the call runs
    MODE                  the caller's floating-point mode
    RUNNING               address of the number of workers that run
    WATCHED               not 0 if TIME is wanted: to ask for it takes a microsecond
    TIME                  nanoseconds for which the last call that was watched had a core
    NUMBER, CORE          the system's number of the worker, and that of the core it was last on, plus 1
    MOVED                 not 0 while the worker is kept away from the cores of others
"""

POOL_WORDS = 8 + 2 * 16
"""Words of a pool: the number of workers that run, in a cache line, and two sets of cores."""

JOB_WORDS = 7
WORKERS, POOL, RESULT, WATCH, WALL_TIME, CORE_TIME, CYCLES = range(JOB_WORDS)
"""The words of a job. Behind these stand the caller's task (zeros if it only waits) and each worker's, then the address
of each worker's mailbox, and the number of each one's call.

    WORKERS               how many
    POOL                  address of the pool's words
    RESULT                REFUSED if others have the pool, and nothing was run; STARTED; or FINISHED
    WATCH                 not 0 if the following are wanted
    WALL_TIME, CORE_TIME  nanoseconds that the call took, and for which its threads had a core, all together
    CYCLES                what `code.system.cycles` showed before, then how long the call took on it
"""

REFUSED, STARTED, FINISHED = range(3)

"""The engine's threads: a pool that serves one call at a time, and never waits for Python.

Numba's threading layers are not used: forking a process kills or hangs the child after OpenMP, the workqueue aborts on
concurrent calls, and none promises that all threads run at once, which the barrier of the kernels needs. Threads of
the system do: one that waits gives its core away. Python does not know of them, so neither gevent nor the end of the
interpreter concerns them. Where PyTorch is loaded, tasks run on its threads instead, see `openmp`.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from . import kernels, openmp, toolchain
from .arguments import Arguments, size_of
from .memory import Words, make_words, words_address
from .pool_arguments import FINISHED, MASK_WORDS, REFUSED, STARTED, JobArguments, Mailbox, PoolWords, TeamArguments
from .target import host_target

START_SECONDS = 0.01
"""Seconds that a new worker has to begin, before it gets work all the same."""

RESULT, WALL_TIME, CORE_TIME, CYCLES = map(JobArguments.names.index, ("result", "wall_time", "core_time", "cycles"))
"""Words of a job, which is an array: ctypes takes longer to make a structure."""

RAISING = ctypes.PYFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)
"""The type of a kernel that is called with the GIL, and raises the exception that it leaves behind."""

Task = tuple[int, int, int]
"""Address of a kernel, address of its words, number of the thread."""


def asked_threads(num_threads: int | None) -> int:
    """Most threads that calls may ever use: what was asked for, else NUMBA_NUM_THREADS, else no limit."""
    if num_threads is not None:
        return num_threads
    named = os.environ.get("NUMBA_NUM_THREADS", "")
    return int(named) if named.isascii() and named.isdigit() and int(named) > 0 else sys.maxsize


class Times(NamedTuple):
    """What tasks took; zeros if nobody watched.

    Attributes:
        seconds: of all of them together, on a clock on the wall.
        core_seconds: for which their threads had cores, added up.
        cycles: what `seconds` is in `code.system.cycles`.
    """

    seconds: float
    core_seconds: float
    cycles: int


class Pool:
    """Workers that wait for kernels to run. Waiting, they stay awake for a fraction of a millisecond, then sleep."""

    def __init__(self) -> None:
        self._mailboxes: list[int] = []
        self._spare = 0
        self._running = _lasting_words(size_of(PoolWords) // 8 + 2 * MASK_WORDS)
        self._library: toolchain.Library | None = None
        self._waited_for: Any = None

    def try_run(
        self,
        tasks: Sequence[Task],
        *,
        watch: bool = False,
        cancel: Sequence[int] | None = None,
        keep: object = None,
    ) -> Times | None:
        """Run tasks at once; None, with nothing run, if others use the pool or the system gives no more threads.

        With `watch`, see what they take, and to it that the threads have cores of their own if there are enough.

        With `cancel`, this thread only waits, and handles signals meanwhile. An exception of theirs is raised when the
        tasks have ended: words at the addresses in `cancel` are set to 1 to hasten that. `keep` refers to all memory
        that they use.
        """
        team = openmp.team()
        if team is not None and team.most_threads() > 1:
            return self._run_team(team, tasks, watch=watch, cancel=cancel)
        own, posted = ([tasks[0]], tasks[1:]) if cancel is None else ([(0, 0, 0)], tasks)
        try:
            functions = self._require(len(posted)).functions
        except OSError:
            return None
        mailboxes = self._mailboxes[: len(posted)]
        words = [word for task in (*own, *posted) for word in task]
        job = make_words([len(posted), self._running, 0, watch, 0, 0, 0, *words, *mailboxes, *[0] * len(posted)])
        if cancel is None:
            # Posting, working and waiting is one call, which nothing interrupts.
            functions["dispatch"](words_address(job), 0)
        else:
            self._wait(job, functions, cancel, keep)
        return None if job[RESULT] == REFUSED else Times(job[WALL_TIME] * 1e-9, job[CORE_TIME] * 1e-9, job[CYCLES])

    def _wait(self, job: Words, functions: dict[str, toolchain.Kernel], cancel: Sequence[int], keep: object) -> None:
        # The workers' memory stays even if a second signal interrupts the wait for them; what is here already may be
        # theirs too, if the pool is not free.
        before, self._waited_for = self._waited_for, (self._waited_for, job, keep)
        address = words_address(job)

        def is_done() -> bool:
            return job[RESULT] != STARTED

        # Not `while`: what is raised between its turns is outside `try` in Python 3.13.
        try:
            functions["start"](address, 0)
            for _ in iter(is_done, True):
                functions["await"](address, 0)
        except BaseException:
            for word in cancel:
                ctypes.c_int64.from_address(word).value = 1
            for _ in iter(is_done, True):
                functions["await"](address, 0)
            raise
        finally:
            if job[RESULT] == FINISHED:
                self._waited_for = None
            elif job[RESULT] == REFUSED:
                self._waited_for = before
            else:
                # A second interruption: workers compute on, perhaps longer than the interpreter lives.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._waited_for))

    def _run_team(
        self, team: openmp.Team, tasks: Sequence[Task], *, watch: bool, cancel: Sequence[int] | None
    ) -> Times | None:
        """The same on the threads that PyTorch computes with. With `cancel` there is one more, as this one waits."""
        library = self._library = self._library or kernels.thread_kernels(host_target())
        table, cancels = make_words([word for task in tasks for word in task]), make_words(cancel or ())
        job = TeamArguments(tasks=len(tasks), task_table=words_address(table), pool=self._running, watch=watch)
        for name, address in team.addresses.items():
            setattr(job, name, address)
        job.member = library.addresses["member"]
        if cancel is None:
            library.functions["run_team"](job.address, 0)
        else:
            job.waits, job.asked, job.cancels, job.cancel_table = (
                1,
                len(tasks) + 1,
                len(cancels),
                words_address(cancels),
            )
            # Called with the GIL, it raises an exception that the handler of a signal raised.
            RAISING(library.addresses["run_team"])(job.address, 0)
        if job.done != len(tasks):
            return None
        return Times(job.wall_time * 1e-9, job.core_time * 1e-9, job.cycles)

    def _require(self, workers: int) -> toolchain.Library:
        """Have at least so many workers; returns their code. OSError if the system does not give them."""
        library = self._library = self._library or kernels.thread_kernels(host_target())
        while len(self._mailboxes) < workers:
            # An interruption loses it: no two workers have one mailbox.
            mailbox, self._spare = self._spare or _lasting_words(size_of(Mailbox) // 8), 0
            try:
                _start_thread(library.functions["serve"], library.addresses["serve"], mailbox)
            except OSError:
                self._spare = mailbox
                raise
            self._mailboxes.append(mailbox)
            _wait_for_number(mailbox)
        return library

    def after_fork(self) -> None:
        """In a forked child there are no workers: begin anew."""
        self.__init__()  # type: ignore[misc]


def _lasting_words(count: int) -> int:
    """Address of words in cache lines of their own, never freed: workers may read them when the interpreter ends."""
    memory = (ctypes.c_int64 * (count + 16))()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))
    return ctypes.addressof(memory) + -ctypes.addressof(memory) % 64


def _wait_for_number(mailbox: int) -> None:
    """Wait until a new worker has told its number and core, by which it is kept apart from others; not for long."""
    number = ctypes.c_int64.from_address(mailbox + 8 * Mailbox.names.index("number"))
    end = time.monotonic() + START_SECONDS
    while number.value == 0 and time.monotonic() < end:
        time.sleep(0.0001)


def _start_thread(serve: toolchain.Kernel, address: int, mailbox: int) -> None:
    """Start a worker as a thread of the system, or of Python where the system has another way.

    Raises:
        OSError: there are no more.
    """
    try:
        system = ctypes.CDLL(None)
        create, detach = system.pthread_create, system.pthread_detach
    except (AttributeError, OSError, TypeError):
        try:
            threading.Thread(target=serve, args=(mailbox, 0), name="rnncore", daemon=True).start()
        except RuntimeError as error:
            raise OSError(f"the system gives no more threads: {error}") from error
        return
    thread = ctypes.c_void_p()
    status = create(ctypes.byref(thread), None, ctypes.c_void_p(address), ctypes.c_void_p(mailbox))
    if status != 0:
        raise OSError(status, f"the system gives no more threads: {os.strerror(status)}")
    detach(thread)


POOL = Pool()
"""The process's pool."""


def run(library: toolchain.Library, kernel: str, call: Arguments, threads: int) -> None:
    """Run a kernel whose threads need not run at once: one after the other if another call has the pool."""
    address, function = call.address, library.functions[kernel]
    if threads == 1 or POOL.try_run([(library.addresses[kernel], address, k) for k in range(threads)]) is None:
        for thread in range(threads):
            function(address, thread)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.after_fork)

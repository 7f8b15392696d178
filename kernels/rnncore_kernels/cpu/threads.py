"""The engine's threads: a pool that serves one call at a time, and never waits for Python.

Numba's threading layers are not used: forking a process kills or hangs the child after OpenMP, the workqueue aborts on
concurrent calls, and none promises that all threads run at once, which the barrier of the kernels needs. Threads of
the system do: one that waits yields its core.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterable, Sequence

from ..host import usable_cores
from . import kernels, toolchain
from .fields.mailbox import MAILBOX_WORDS, READ_END, WRITE_END
from .memory import Words, make_words, words_address
from .target import host_target

Task = tuple[int, int, int]
"""Address of a kernel, address of its words, number of the thread."""


def most_threads(num_threads: int | None) -> int:
    """Threads that a call may use: what was asked for, else NUMBA_NUM_THREADS, else one per core."""
    if num_threads is not None:
        return num_threads
    named = os.environ.get("NUMBA_NUM_THREADS", "")
    return int(named) if named.isascii() and named.isdigit() and int(named) > 0 else usable_cores()


class Pool:
    """Workers that wait for kernels to run. Waiting, they spin for a fraction of a millisecond, then sleep."""

    def __init__(self) -> None:
        self.busy = threading.Lock()
        self._mailboxes: list[ctypes.Array[ctypes.c_int64]] = []
        self._library: toolchain.Library | None = None

    def run(self, tasks: Sequence[Task]) -> None:
        """Run tasks at once, the first on this thread. The caller holds `busy`."""
        workers = len(tasks) - 1
        library = self._require(workers)
        words = [workers, *(word for task in tasks for word in task)]
        words += [ctypes.addressof(mailbox) for mailbox in self._mailboxes[:workers]]
        job = make_words(words)
        # Post, work and wait in one call: an interruption in between would leave workers with arrays that are gone.
        library.functions["dispatch"](words_address(job), 0)

    def try_run(self, batches: Iterable[Sequence[Task]]) -> bool:
        """Run the tasks of each batch at once, batch after batch.

        False, with nothing run, if another call is here or the system gives no more threads.
        """
        if not self.busy.acquire(blocking=False):
            return False
        try:
            all_batches = list(batches)
            try:
                self._require(max(map(len, all_batches)) - 1)
            except OSError:
                # The system gives no pipe or no thread.
                return False
            for tasks in all_batches:
                self.run(tasks)
        finally:
            self.busy.release()
        return True

    def _require(self, workers: int) -> toolchain.Library:
        """Have at least so many workers; returns their code."""
        library = self._library = self._library or kernels.thread_kernels(host_target())
        while len(self._mailboxes) < workers:
            self._start(library.functions["serve"])
        return library

    def _start(self, serve: toolchain.Kernel) -> None:
        mailbox = (ctypes.c_int64 * MAILBOX_WORDS)()
        mailbox[READ_END], mailbox[WRITE_END] = ends = os.pipe()
        try:
            threading.Thread(target=_serve, args=(serve, mailbox), name="rnncore", daemon=True).start()
        except RuntimeError as error:
            for end in ends:
                os.close(end)
            raise OSError(f"the system gives no more threads: {error}") from error
        self._mailboxes.append(mailbox)

    def after_fork(self) -> None:
        """In a forked child there are no workers: begin anew."""
        for mailbox in self._mailboxes:
            for end in (READ_END, WRITE_END):
                with contextlib.suppress(OSError):
                    os.close(mailbox[end])
        self.__init__()  # type: ignore[misc]


def _serve(serve: toolchain.Kernel, mailbox: ctypes.Array[ctypes.c_int64]) -> None:
    """What a worker runs: its frame keeps the mailbox, also if the call that starts it is interrupted."""
    serve(ctypes.addressof(mailbox), 0)


POOL = Pool()
"""The process's pool."""


def run(library: toolchain.Library, kernel: str, words: Words, threads: int) -> None:
    """Run a kernel whose threads need not run at once: one after the other if another call has the pool."""
    address = words_address(words)
    tasks = [(library.addresses[kernel], address, thread) for thread in range(threads)]
    if threads == 1 or not POOL.try_run([tasks]):
        for thread in range(threads):
            library.functions[kernel](address, thread)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.after_fork)

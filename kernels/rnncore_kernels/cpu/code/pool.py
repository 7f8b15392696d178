"""What the threads of `threads.Pool` run: a worker waits for work, and the caller hands it out.

A worker has a mailbox of words: the number of the last call posted, the kernel, its words, the worker's number, the
number of the last call done, whether the worker sleeps, the two ends of the pipe that wakes it, and room for the byte
that is read from one and written to the other.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..fields.mailbox import (
    ARGS,
    ASLEEP,
    DONE,
    KERNEL,
    POSTED,
    READ,
    READ_END,
    THREAD,
    WRITE_END,
    WRITTEN,
)
from .emitted import compiled, emitted
from .ir import I64, call_external, pointer
from .memory import call_kernel, read_word, relax, set_word, swap_word, wait_for, word

SPINS_BEFORE_SLEEP = 10_000
"""Turns of a worker that waits: on x86 250 to 500 microseconds, as to be woken takes 50 to 100."""


def _read_byte(b: Any, file: Any, place: Any) -> None:
    """Block until there is a byte in the pipe, or an error."""
    call_external(b, "read", I64, [b.trunc(file, ir.IntType(32)), pointer(b, place), I64(1)])


def _write_byte(b: Any, file: Any, place: Any) -> None:
    call_external(b, "write", I64, [b.trunc(file, ir.IntType(32)), pointer(b, place), I64(1)])


read_byte = emitted("read_byte", ("file", "place"), _read_byte)
write_byte = emitted("write_byte", ("file", "place"), _write_byte)


@compiled("serve")
def serve(mailbox: int, _: int) -> None:
    """Run what is posted to a mailbox; never returns."""
    call = word(mailbox, DONE)
    while True:
        spins = 0
        while read_word(mailbox + 8 * POSTED) == call:
            spins += 1
            relax()
            if spins > SPINS_BEFORE_SLEEP:
                swap_word(mailbox + 8 * ASLEEP, 1)
                # Whoever posts now sees the sleeper and writes a byte; whoever posted just before did not.
                if read_word(mailbox + 8 * POSTED) == call:
                    read_byte(word(mailbox, READ_END), mailbox + 8 * READ)
                swap_word(mailbox + 8 * ASLEEP, 0)
                spins = 0
        call += 1
        call_kernel(word(mailbox, KERNEL), word(mailbox, ARGS), word(mailbox, THREAD))
        swap_word(mailbox + 8 * DONE, call)


@compiled("dispatch")
def dispatch(job: int, _: int) -> None:
    """Run tasks, the first on this thread, and return when all are done.

    `job` is the number of workers, then kernel, words and number of each task, then the addresses of the mailboxes.
    """
    workers = word(job, 0)
    mailboxes = job + 8 * (4 + 3 * workers)
    for w in range(workers):
        mailbox, task = word(mailboxes, w), job + 8 * (4 + 3 * w)
        set_word(mailbox, KERNEL, word(task, 0))
        set_word(mailbox, ARGS, word(task, 1))
        set_word(mailbox, THREAD, word(task, 2))
        swap_word(mailbox + 8 * POSTED, word(mailbox, POSTED) + 1)
        if read_word(mailbox + 8 * ASLEEP) == 1:
            write_byte(word(mailbox, WRITE_END), mailbox + 8 * WRITTEN)
    call_kernel(word(job, 1), word(job, 2), word(job, 3))
    for w in range(workers):
        mailbox = word(mailboxes, w)
        wait_for(mailbox + 8 * DONE, word(mailbox, POSTED))

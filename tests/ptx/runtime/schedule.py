"""The scheduler: all threads of all blocks are resident, one runs at a time, for a turn of random length.

A turn ends where the thread waits, or where it has run its number of instructions and comes to a jump back, to a strong
operation, or has polled in vain. Who is next is random; a launch stays in a block for some turns or changes between
blocks at once, as its seed has it, but leaves one whose thread has polled in vain.
"""

from __future__ import annotations

from rnncore_kernels.cpu.code.emitted import compiled

from . import layout as at
from .clocks import fail, join_block, join_grid
from .warps import arrive_in_warp
from .words import call_step, set_word, word

IDLE_TURNS = 100
"""Turns of threads that have polled in vain and done nothing since, before that is called a livelock: so many for each."""


@compiled("ptx.random")
def random(launched: int) -> int:
    """31 random bits."""
    state = word(launched, at.C_STATE)
    state ^= state << 13
    state ^= (state >> 7) & 0x1FFFFFFFFFFFFFF
    state ^= state << 17
    set_word(launched, at.C_STATE, state)
    return (state >> 32) & 0x7FFFFFFF


@compiled("ptx.noise")
def noise(thread: int, bits: int, salt: int) -> int:
    """31 bits that depend on the launch's seed, on an operand and on the operation, and on nothing else."""
    mixed = (bits ^ (salt * 0x9E3779B97F4A7C1) ^ word(word(thread, at.T_CONTEXT), at.C_SEED)) * 0x2545F4914F6CDD1D
    mixed = (mixed ^ ((mixed >> 29) & 0x7FFFFFFFF)) * 0x369DEA0F31A53F85
    return (mixed >> 33) & 0x7FFFFFFF


@compiled("ptx.make_ready")
def make_ready(launched: int, block: int, thread: int) -> None:
    """Enter a thread into the list of those of its block that can run."""
    count = word(block, at.B_READY)
    set_word(thread, at.T_STATUS, at.RUNS)
    set_word(word(block, at.B_LIST), count, thread)
    set_word(block, at.B_READY, count + 1)
    if count == 0:
        place = word(launched, at.C_ACTIVE_COUNT)
        set_word(word(launched, at.C_ACTIVE), place, block)
        set_word(block, at.B_PLACE, place)
        set_word(launched, at.C_ACTIVE_COUNT, place + 1)


@compiled("ptx.remove")
def remove(launched: int, block: int, place: int) -> None:
    """Take the thread at a place out of that list."""
    count, ready = word(block, at.B_READY) - 1, word(block, at.B_LIST)
    set_word(ready, place, word(ready, count))
    set_word(block, at.B_READY, count)
    if count == 0:
        active, last = word(launched, at.C_ACTIVE), word(launched, at.C_ACTIVE_COUNT) - 1
        moved, hole = word(active, last), word(block, at.B_PLACE)
        set_word(active, hole, moved)
        set_word(moved, at.B_PLACE, hole)
        set_word(block, at.B_PLACE, -1)
        set_word(launched, at.C_ACTIVE_COUNT, last)


@compiled("ptx.make_all_ready")
def make_all_ready(launched: int, block: int) -> None:
    """Let all threads of a block go on."""
    first, size = word(block, at.B_FIRST), word(launched, at.C_THREAD_BYTES)
    for i in range(word(launched, at.C_THREADS)):
        make_ready(launched, block, first + i * size)


@compiled("ptx.arrive_at_barrier")
def arrive_at_barrier(launched: int, block: int, thread: int) -> None:
    """A thread waits at bar.sync."""
    site, arrived = word(thread, at.T_SITE), word(block, at.B_ARRIVED) + 1
    if word(block, at.B_EXITED) != 0:
        fail(thread, at.BARRIER_AFTER_EXIT, site, 0, 0)
    elif arrived > 1 and word(block, at.B_SITE) != site:
        fail(thread, at.DIVERGENT_BARRIER, site, 0, word(block, at.B_SITE))
    elif arrived == word(launched, at.C_THREADS):
        set_word(block, at.B_ARRIVED, 0)
        join_block(block)
        make_all_ready(launched, block)
    else:
        set_word(block, at.B_ARRIVED, arrived)
        set_word(block, at.B_SITE, site)


@compiled("ptx.arrive_at_grid")
def arrive_at_grid(launched: int, thread: int) -> None:
    """A thread waits for the whole grid."""
    site, arrived, blocks = word(thread, at.T_SITE), word(launched, at.C_AT_GRID) + 1, word(launched, at.C_BLOCKS)
    if word(launched, at.C_EXITED) != 0:
        fail(thread, at.BARRIER_AFTER_EXIT, site, 0, 0)
    elif arrived > 1 and word(launched, at.C_GRID_SITE) != site:
        fail(thread, at.DIVERGENT_BARRIER, site, 0, word(launched, at.C_GRID_SITE))
    elif arrived == blocks * word(launched, at.C_THREADS):
        set_word(launched, at.C_AT_GRID, 0)
        join_grid(launched)
        for i in range(blocks):
            make_all_ready(launched, word(launched, at.C_FIRST_BLOCK) + 8 * at.B_WORDS * i)
    else:
        set_word(launched, at.C_AT_GRID, arrived)
        set_word(launched, at.C_GRID_SITE, site)


@compiled("ptx.exit_thread")
def exit_thread(launched: int, block: int, thread: int) -> None:
    """A thread has ended."""
    set_word(block, at.B_EXITED, word(block, at.B_EXITED) + 1)
    set_word(launched, at.C_EXITED, word(launched, at.C_EXITED) + 1)
    set_word(launched, at.C_LIVE, word(launched, at.C_LIVE) - 1)
    if word(block, at.B_ARRIVED) != 0:
        fail(thread, at.EXIT_AT_BARRIER, word(block, at.B_SITE), 0, 0)
    elif word(launched, at.C_AT_GRID) != 0:
        fail(thread, at.EXIT_AT_BARRIER, word(launched, at.C_GRID_SITE), 0, 0)


@compiled("ptx.wait")
def wait(launched: int, block: int, thread: int) -> None:
    """What follows from a thread's having come to where it waits, or to its end."""
    status = word(thread, at.T_STATUS)
    set_word(thread, at.T_SPINS, 0)
    if status == at.AT_BARRIER:
        arrive_at_barrier(launched, block, thread)
    elif status == at.AT_GRID:
        arrive_at_grid(launched, thread)
    elif status == at.AT_WARP:
        mask = arrive_in_warp(thread)
        size = word(launched, at.C_THREAD_BYTES)
        first = thread - (word(thread, at.T_INDEX) & 31) * size
        for lane in range(32):
            if (mask >> lane) & 1:
                make_ready(launched, block, first + lane * size)
    else:
        exit_thread(launched, block, thread)


@compiled("ptx.launch")
def launch(launched: int, unused: int) -> None:
    """Run all threads to their ends, or to an error."""
    for i in range(word(launched, at.C_BLOCKS)):
        make_all_ready(launched, word(launched, at.C_FIRST_BLOCK) + 8 * at.B_WORDS * i)
    idle, executed = 0, 0
    block = word(word(launched, at.C_ACTIVE), random(launched) % word(launched, at.C_BLOCKS))
    longest, stay, step = word(launched, at.C_QUANTUM), word(launched, at.C_STAY), word(launched, at.C_STEP)
    ready = word(launched, at.C_LIVE)
    while word(launched, at.C_ACTIVE_COUNT) != 0:
        bits = random(launched)
        if idle != 0 or word(block, at.B_READY) == 0 or (bits & stay) == 0:
            block = word(word(launched, at.C_ACTIVE), (bits >> 8) % word(launched, at.C_ACTIVE_COUNT))
        bits = random(launched)
        place = (bits & 0xFFFF) % word(block, at.B_READY)
        thread = word(word(block, at.B_LIST), place)
        quantum = 1 + (bits >> 16) % longest
        set_word(thread, at.T_QUANTUM, quantum)
        call_step(step, thread, 0)
        executed += quantum - word(thread, at.T_QUANTUM)
        if word(launched, at.C_ERROR) != at.NO_ERROR:
            break
        if word(thread, at.T_STATUS) != at.RUNS:
            idle = 0
            remove(launched, block, place)
            wait(launched, block, thread)
            if word(launched, at.C_ERROR) != at.NO_ERROR:
                break
        elif word(thread, at.T_SPINS) == 0:
            idle = 0
        else:
            idle += 1
            if idle > IDLE_TURNS * (ready + 10):
                fail(thread, at.STUCK, word(thread, at.T_POLLED), 0, 0)
                break
        if executed > word(launched, at.C_BUDGET):
            fail(thread, at.OVER_BUDGET, 0, 0, 0)
            break
    set_word(launched, at.C_EXECUTED, word(launched, at.C_EXECUTED) + executed)
    if word(launched, at.C_ERROR) == at.NO_ERROR and word(launched, at.C_LIVE) != 0:
        fail(word(launched, at.C_FIRST_THREAD), at.STUCK, 0, 0, 0)


@compiled("ptx.ticks")
def ticks(thread: int) -> int:
    """A clock that grows."""
    launched = word(thread, at.T_CONTEXT)
    set_word(launched, at.C_CLOCK_COUNTER, word(launched, at.C_CLOCK_COUNTER) + 1 + random(launched) % 64)
    return word(launched, at.C_CLOCK_COUNTER)

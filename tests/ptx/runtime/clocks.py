"""The order of accesses: vector clocks, in as few words as synchronisation in a grid needs.

An access A happens before B where a chain of these leads from A to B: the order of one thread; a barrier of the block, of
the warp or of the grid; and an acquire pattern that observes the value of a release pattern, or a value that atomic
operations made of it. That is base causality order of the PTX memory model. Patterns are those of PTX: an operation with
.release, or a fence and later a strong write by the same thread; an operation with .acquire, or a strong read and later
a fence by the same thread. `red` reads nothing that can be acquired. A strong write that is no atomic operation ends
what was released at the address before it.

Each thread counts a clock, which grows where it releases and at barriers. What a thread knows of the others is a vector
clock: up to which clock their accesses happened before its next one. A full vector has an entry for each thread; here it
has one for each block (all of its threads are known up to this clock), one for each warp, and one for each thread that
released something on its own account, in a slot. Which is exact: a barrier of the block raises the block's entry, a
barrier of a whole warp the warp's, and everything else what the releasing thread published, its own slot among it.
What all threads of a block know since its last barrier is one vector, `T_BASE`; only a thread that has acquired since
then has one of its own on top, `T_OWN`.

Not followed, so that a correct program that leans on it would be reported: fences and operations of the scopes of
clusters and blocks (refused in translation, but for atomics in shared memory, which no other block reaches); a plain
relaxed write by which a thread extends its own earlier `.release` to the same address; the order between two fence.sc
that have no value observed between them; and a plain write to a variable of synchronisation that is ordered only by
having seen its last value relaxed.
"""

from __future__ import annotations

from rnncore_kernels.cpu.code.emitted import compiled

from . import layout as at
from .words import clear, copy, set_word, word


@compiled("ptx.fail")
def fail(thread: int, error: int, site: int, address: int, other: int) -> int:
    """Note an error, unless there is one, and end the thread's turn. Returns memory that may be read and written."""
    launched = word(thread, at.T_CONTEXT)
    if word(launched, at.C_ERROR) == at.NO_ERROR:
        set_word(launched, at.C_ERROR, error)
        set_word(launched, at.C_ERROR_THREAD, word(thread, at.T_ID))
        set_word(launched, at.C_ERROR_SITE, site)
        set_word(launched, at.C_ERROR_ADDRESS, address)
        set_word(launched, at.C_ERROR_OTHER, other)
    set_word(thread, at.T_QUANTUM, 0)
    return word(launched, at.C_SCRATCH)


@compiled("ptx.set_clock")
def set_clock(thread: int, clock: int) -> None:
    """Set a thread's clock, and its stamps."""
    if clock >= at.MAX_CLOCK:
        fail(thread, at.CLOCK_OVERFLOW, 0, 0, 0)
    time, name = clock << at.CLOCK_SHIFT, word(thread, at.T_ID)
    set_word(thread, at.T_CLOCK, clock)
    set_word(thread, at.T_STAMP, time | (name << at.THREAD_SHIFT) | at.SINGLE)
    set_word(thread, at.T_WARP_STAMP, time | ((name & ~31) << at.THREAD_SHIFT) | at.WARP)
    set_word(thread, at.T_BLOCK_STAMP, time | ((name & ~1023) << at.THREAD_SHIFT) | at.BLOCK)


@compiled("ptx.thread_of")
def thread_of(launched: int, name: int) -> int:
    """The record of the thread of a name, `block << 10 | thread`."""
    index = (name >> 10) * word(launched, at.C_THREADS) + (name & 1023)
    return word(launched, at.C_FIRST_THREAD) + index * word(launched, at.C_THREAD_BYTES)


@compiled("ptx.has")
def has(launched: int, vector: int, name: int, clock: int) -> int:
    """Whether a vector clock knows of a thread up to a clock."""
    block = name >> 10
    if clock <= word(vector, block):
        return 1
    blocks, warps = word(launched, at.C_BLOCKS), word(launched, at.C_WARPS)
    if clock <= word(vector, blocks + block * warps + ((name & 1023) >> 5)):
        return 1
    slot = word(thread_of(launched, name), at.T_SLOT)
    return 1 if slot >= 0 and clock <= word(vector, blocks + blocks * warps + slot) else 0


@compiled("ptx.knows")
def knows(thread: int, name: int, clock: int) -> int:
    """Whether what a thread did up to a clock happened before what `thread` does now."""
    mine = word(thread, at.T_ID)
    if name == mine:
        return 1
    base = word(thread, at.T_BASE)
    if clock <= word(base, name >> 10):
        return 1
    if (name >> 5) == (mine >> 5) and clock <= word(thread, at.T_WARP_FLOOR):
        return 1
    launched, own = word(thread, at.T_CONTEXT), word(thread, at.T_OWN)
    if own != 0 and has(launched, own, name, clock) == 1:
        return 1
    return has(launched, base, name, clock)


@compiled("ptx.ordered")
def ordered(thread: int, stamp: int) -> int:
    """Whether the accesses of a stamp happened before what the thread does now.

    A stamp of several threads stands for all of their warp or block that exist: of a warp of which only some have read,
    all must have synchronised.
    """
    clock, name = stamp >> at.CLOCK_SHIFT, (stamp >> at.THREAD_SHIFT) & at.THREAD_MASK
    kind = stamp & at.KINDS
    if kind == at.SINGLE:
        return knows(thread, name, clock)
    if clock <= word(word(thread, at.T_BASE), name >> 10):
        return 1
    last = name + (31 if kind == at.WARP else 1023)
    last = min(last, (name & ~1023) + word(word(thread, at.T_CONTEXT), at.C_THREADS) - 1)
    for each in range(name, last + 1):
        if knows(thread, each, clock) == 0:
            return 0
    return 1


@compiled("ptx.length")
def length(launched: int) -> int:
    """Entries of a vector clock: its blocks', its warps' and those of the slots that have been given away."""
    return word(launched, at.C_BLOCKS) * (1 + word(launched, at.C_WARPS)) + word(launched, at.C_SLOTS)


@compiled("ptx.join")
def join(launched: int, target: int, source: int) -> None:
    """Raise a vector clock to another."""
    for i in range(length(launched)):
        value = word(source, i)
        if value > word(target, i):
            set_word(target, i, value)


@compiled("ptx.vector")
def vector(thread: int, table: int, index: int) -> int:
    """The memory of a vector clock that the word of a table names, allocated at its first use; 0 after an error."""
    found = word(table, index)
    if found == 0:
        launched = word(thread, at.T_CONTEXT)
        found = word(launched, at.C_ARENA)
        after = found + 8 * word(launched, at.C_CLOCK_WORDS)
        if after > word(launched, at.C_ARENA_END):
            fail(thread, at.TOO_MANY_CLOCKS, 0, 0, 0)
            return 0
        set_word(launched, at.C_ARENA, after)
        set_word(table, index, found)
    return found


@compiled("ptx.empty")
def empty(thread: int, table: int, index: int) -> int:
    """`vector`, with all entries 0."""
    found = vector(thread, table, index)
    if found != 0:
        clear(found, 8 * length(word(thread, at.T_CONTEXT)))
    return found


@compiled("ptx.acquire")
def acquire(thread: int, source: int) -> None:
    """Let a thread know what a vector clock knows."""
    if word(thread, at.T_OWN) == 0:
        set_word(thread, at.T_OWN, empty(thread, thread, at.T_OWN_STORE))
    if word(thread, at.T_OWN) != 0:
        join(word(thread, at.T_CONTEXT), word(thread, at.T_OWN), source)


@compiled("ptx.tell")
def tell(thread: int, target: int) -> None:
    """Raise a vector clock to what a thread knows, its own accesses apart."""
    launched = word(thread, at.T_CONTEXT)
    join(launched, target, word(thread, at.T_BASE))
    if word(thread, at.T_OWN) != 0:
        join(launched, target, word(thread, at.T_OWN))
    blocks, name = word(launched, at.C_BLOCKS), word(thread, at.T_ID)
    warp = blocks + (name >> 10) * word(launched, at.C_WARPS) + ((name & 1023) >> 5)
    if word(thread, at.T_WARP_FLOOR) > word(target, warp):
        set_word(target, warp, word(thread, at.T_WARP_FLOOR))


@compiled("ptx.sign")
def sign(thread: int, target: int, clock: int) -> None:
    """Enter a thread's own accesses up to a clock into a vector clock."""
    launched = word(thread, at.T_CONTEXT)
    slot = word(thread, at.T_SLOT)
    if slot < 0:
        slot = word(launched, at.C_SLOTS)
        if slot >= word(launched, at.C_MAX_SLOTS):
            fail(thread, at.TOO_MANY_CLOCKS, 0, 0, 0)
            return
        set_word(launched, at.C_SLOTS, slot + 1)
        set_word(thread, at.T_SLOT, slot)
    place = word(launched, at.C_BLOCKS) * (1 + word(launched, at.C_WARPS)) + slot
    if clock > word(target, place):
        set_word(target, place, clock)


@compiled("ptx.fence")
def fence(thread: int) -> None:
    """A fence: acquire what strong reads before it have seen; strong writes after it release what is known here."""
    if word(thread, at.T_PENDING) != 0:
        acquire(thread, word(thread, at.T_PENDING))
        set_word(thread, at.T_PENDING, 0)
    store = empty(thread, thread, at.T_FENCE_STORE)
    if store != 0:
        tell(thread, store)
        set_word(thread, at.T_FENCE, store)
        set_word(thread, at.T_FENCE_CLOCK, word(thread, at.T_CLOCK))
        set_clock(thread, word(thread, at.T_CLOCK) + 1)


@compiled("ptx.join_block")
def join_block(block: int) -> None:
    """A barrier of a block: every thread knows what each of them knew and did."""
    first = word(block, at.B_FIRST)
    launched = word(first, at.T_CONTEXT)
    base, size = word(first, at.T_BASE), word(launched, at.C_THREAD_BYTES)
    count, newest = word(launched, at.C_THREADS), 0
    for i in range(count):
        thread = first + i * size
        newest = max(newest, word(thread, at.T_CLOCK))
        if word(thread, at.T_OWN) != 0:
            join(launched, base, word(thread, at.T_OWN))
            set_word(thread, at.T_OWN, 0)
    set_word(base, word(block, at.B_NUMBER), newest)
    for i in range(count):
        set_clock(first + i * size, newest + 1)


@compiled("ptx.join_grid")
def join_grid(launched: int) -> None:
    """A barrier of the grid."""
    blocks = word(launched, at.C_BLOCKS)
    first = word(launched, at.C_FIRST_BLOCK)
    for i in range(blocks):
        join_block(first + 8 * at.B_WORDS * i)
    total = word(word(first, at.B_FIRST), at.T_BASE)
    for i in range(1, blocks):
        join(launched, total, word(word(first + 8 * at.B_WORDS * i, at.B_FIRST), at.T_BASE))
    for i in range(1, blocks):
        base = word(word(first + 8 * at.B_WORDS * i, at.B_FIRST), at.T_BASE)
        copy(base, total, 8 * length(launched))


@compiled("ptx.join_warp")
def join_warp(launched: int, first: int, lanes: int, mask: int) -> None:
    """A barrier of those lanes of a warp that a mask names, of `lanes` that exist."""
    size = word(launched, at.C_THREAD_BYTES)
    newest, anyone_owns, whole = 0, 0, (mask & ((1 << lanes) - 1)) == (1 << lanes) - 1
    for lane in range(lanes):
        thread = first + lane * size
        if (mask >> lane) & 1:
            newest = max(newest, word(thread, at.T_CLOCK))
            anyone_owns |= word(thread, at.T_OWN)
    leader = 0
    if anyone_owns != 0 or not whole:
        # What they know together, in the first of them; then a copy for each.
        for lane in range(lanes):
            thread = first + lane * size
            if (mask >> lane) & 1:
                if leader == 0:
                    leader = thread
                    if word(leader, at.T_OWN) == 0:
                        set_word(leader, at.T_OWN, empty(leader, leader, at.T_OWN_STORE))
                if word(leader, at.T_OWN) == 0:
                    return
                tell(thread, word(leader, at.T_OWN))
                if not whole:
                    sign(thread, word(leader, at.T_OWN), word(thread, at.T_CLOCK))
    for lane in range(lanes):
        thread = first + lane * size
        if (mask >> lane) & 1:
            if leader != 0 and thread != leader:
                acquire(thread, word(leader, at.T_OWN))
            if whole:
                set_word(thread, at.T_WARP_FLOOR, newest)
            set_clock(thread, newest + 1)

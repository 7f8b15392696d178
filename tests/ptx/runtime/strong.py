"""Operations by which threads communicate: atomics, and loads and stores that are relaxed, acquire, release or volatile.

They do not race with one another. With plain accesses they do, so a cell with strong operations has, beside what shadow.py
keeps of it, one stamp a block for those that wrote and one for those that read. It also has the vector clock of what was
released with its value; a value of several cells has it with the first of them. Values of different sizes at one address
are not told apart.
"""

from __future__ import annotations

from rnncore_kernels.cpu.code.emitted import compiled

from . import layout as at
from .access import check_poison, global_region, in_shared, load_local, store_local
from .clocks import acquire, empty, fail, join, ordered, set_clock, sign, tell
from .shadow import check_write, find_entry, remember
from .words import set_word, word


@compiled("ptx.synchronise")
def synchronise(thread: int, entry: int, what: int) -> None:
    """Acquire what was released with a cell's value, and release what is known here with the value that is written."""
    launched = word(thread, at.T_CONTEXT)
    released = word(entry, at.S_CLOCK)
    if what & at.READS and not what & at.REDUCES and released != 0:
        if what & at.ACQUIRES:
            acquire(thread, released)
        else:
            if word(thread, at.T_PENDING) == 0:
                set_word(thread, at.T_PENDING, empty(thread, thread, at.T_PENDING_STORE))
            if word(thread, at.T_PENDING) != 0:
                join(launched, word(thread, at.T_PENDING), released)
    if not what & at.WRITES:
        return
    if not what & at.READS:
        # What an atomic operation makes of a value carries on what was released with it; another value does not.
        set_word(entry, at.S_CLOCK, 0)
        released = 0
    if what & at.RELEASES or word(thread, at.T_FENCE) != 0:
        target = released
        if target == 0:
            target = empty(thread, entry, at.S_CLOCK_STORE)
        if target == 0:
            return
        if what & at.RELEASES:
            tell(thread, target)
            sign(thread, target, word(thread, at.T_CLOCK))
            set_clock(thread, word(thread, at.T_CLOCK) + 1)
        else:
            join(launched, target, word(thread, at.T_FENCE))
            sign(thread, target, word(thread, at.T_FENCE_CLOCK))
        set_word(entry, at.S_CLOCK, target)


@compiled("ptx.strong_cell")
def strong_cell(thread: int, cell: int, reads: int, step: int, rows: int, site: int, address: int, what: int) -> int:
    """Check and remember a strong operation on one cell. Returns the cell's record, 0 after an error."""
    last = word(cell, 0)
    if what & at.WRITES:
        if check_write(thread, cell, reads, step, rows, site, address) == 0:
            return 0
    elif (last & at.KINDS) != 0 and ordered(thread, last & ~at.STRONG) == 0:
        fail(thread, at.RACE_READ_AFTER_WRITE, site, address, last)
        return 0
    entry = find_entry(thread, cell, 1)
    if entry != 0:
        row = 0 if what & at.WRITES else word(word(thread, at.T_CONTEXT), at.C_BLOCKS)
        remember(thread, entry, at.S_WORDS + row + (word(thread, at.T_ID) >> 10), site)
        set_word(cell, 0, last | at.STRONG)
    return entry


@compiled("ptx.strong_cells")
def strong_cells(
    thread: int, cells: int, reads: int, step: int, rows: int, count: int, site: int, address: int, what: int
) -> None:
    """A strong operation on all cells of a value."""
    first = strong_cell(thread, cells, reads, step, rows, site, address, what)
    for i in range(1, count):
        strong_cell(thread, cells + 8 * i, reads + 8 * i, step, rows, site, address, what)
    if first != 0:
        synchronise(thread, first, what)


@compiled("ptx.strong_global")
def strong_global(thread: int, address: int, size: int, site: int, what: int) -> int:
    """Where the bytes of a strong operation on global memory are."""
    launched = word(thread, at.T_CONTEXT)
    region = global_region(thread, address, size, site)
    if region == 0 or (what & at.READS and check_poison(thread, address, size, site, region) == 0):
        return word(launched, at.C_SCRATCH)
    if word(region, at.R_WRITEABLE) == 0:
        return fail(thread, at.READ_ONLY, site, address, 0) if what & at.WRITES else address
    shift = word(launched, at.C_CELL_SHIFT)
    first = 8 * ((address >> shift) - (word(region, at.R_BASE) >> shift))
    step, rows = word(region, at.R_ROW_BYTES), word(launched, at.C_BLOCKS)
    cells, reads = word(region, at.R_WRITES) + first, word(region, at.R_READS) + first
    strong_cells(thread, cells, reads, step, rows, max(size >> shift, 1), site, address, what)
    return address


@compiled("ptx.strong_shared")
def strong_shared(thread: int, offset: int, size: int, site: int, what: int) -> int:
    """Where the bytes of a strong operation on shared memory are."""
    launched = word(thread, at.T_CONTEXT)
    if in_shared(thread, offset, size, site) == 0:
        return word(launched, at.C_SCRATCH)
    block, shift = word(thread, at.T_BLOCK), word(launched, at.C_CELL_SHIFT)
    count, first = max(size >> shift, 1), 8 * (offset >> shift)
    cells, reads = word(block, at.B_WRITES) + first, word(block, at.B_READS) + first
    if what & at.READS:
        for i in range(count):
            if word(cells, i) == 0:
                return fail(thread, at.UNINITIALISED_MEMORY, site, offset, 0)
    strong_cells(thread, cells, reads, 0, 1, count, site, offset, what)
    return word(thread, at.T_SHARED) + offset


@compiled("ptx.strong")
def strong(thread: int, address: int, size: int, site: int, what: int) -> int:
    """Where the bytes of a strong operation on a generic address are."""
    if address >= at.LOCAL_WINDOW:
        if what & at.READS:
            return load_local(thread, address - at.LOCAL_WINDOW, size, site)
        return store_local(thread, address - at.LOCAL_WINDOW, size, site)
    if address >= at.SHARED_WINDOW:
        return strong_shared(thread, address - at.SHARED_WINDOW, size, site, what)
    return strong_global(thread, address, size, site, what)


@compiled("ptx.sleep")
def sleep(thread: int) -> None:
    """End a thread's turn early, without counting the rest of it as executed."""
    launched = word(thread, at.T_CONTEXT)
    set_word(launched, at.C_EXECUTED, word(launched, at.C_EXECUTED) - word(thread, at.T_QUANTUM))
    set_word(thread, at.T_QUANTUM, 0)


@compiled("ptx.poll")
def poll(thread: int, site: int, value: int, changed: int) -> None:
    """Note what a strong operation has read. A thread that finds the same again, and changes nothing, ends its turn."""
    same = word(thread, at.T_POLLED) == site and word(thread, at.T_POLLED_VALUE) == value
    if same and changed == 0:
        set_word(thread, at.T_SPINS, 1)
        sleep(thread)
    else:
        set_word(thread, at.T_SPINS, 0)
        set_word(thread, at.T_POLLED, site)
        set_word(thread, at.T_POLLED_VALUE, value)

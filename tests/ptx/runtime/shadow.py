"""What is remembered of each cell of memory, and the checks of plain accesses against it.

A cell is 4 bytes, or as few as the kernel's smallest access. Its last write is one stamp. Each block has one stamp of
its reads since then: of one thread, or of several of a warp or of the block at a clock that covers theirs. A read
that happened after those remembered takes their place, since who is ordered after it is ordered after them.

Two unordered accesses are a race where one writes, also where they write the same value. Each conflict is found when the
second access comes, whatever order the two come in: nothing depends on values.
"""

from __future__ import annotations

from rnncore_kernels.cpu.code.emitted import compiled

from . import layout as at
from .clocks import fail, ordered
from .words import set_word, word


@compiled("ptx.remember")
def remember(thread: int, table: int, index: int, site: int) -> None:
    """Add an access by the thread to a stamp of its block."""
    found = word(table, index) & at.WITHOUT_SITE
    mine = word(thread, at.T_STAMP)
    if found == 0 or ordered(thread, found) == 1:
        stamp = mine
    else:
        time = max(found >> at.CLOCK_SHIFT, word(thread, at.T_CLOCK)) << at.CLOCK_SHIFT
        name = (found >> at.THREAD_SHIFT) & at.THREAD_MASK
        same_warp = (name >> 5) == (word(thread, at.T_ID) >> 5)
        if (found & at.KINDS) != at.BLOCK and same_warp:
            stamp = time | ((name & ~31) << at.THREAD_SHIFT) | at.WARP
        else:
            stamp = time | ((name & ~1023) << at.THREAD_SHIFT) | at.BLOCK
    set_word(table, index, stamp | (site << at.SITE_SHIFT))


@compiled("ptx.find_entry")
def find_entry(thread: int, key: int, create: int) -> int:
    """The record of a cell's strong operations; 0 where there is none, or no place for one."""
    launched = word(thread, at.T_CONTEXT)
    mask = word(launched, at.C_SYNC_MASK)
    size = 8 * (at.S_WORDS + 2 * word(launched, at.C_BLOCKS))
    place = ((key >> 3) * 0x9E3779B1 >> 7) & mask
    while True:
        entry = word(launched, at.C_SYNC) + place * size
        if word(entry, at.S_KEY) == key:
            return entry
        if word(entry, at.S_KEY) == 0:
            break
        place = (place + 1) & mask
    if create == 0:
        return 0
    if 2 * word(launched, at.C_SYNC_COUNT) > mask:
        fail(thread, at.TOO_MANY_SYNCHRONISED, 0, 0, 0)
        return 0
    set_word(launched, at.C_SYNC_COUNT, word(launched, at.C_SYNC_COUNT) + 1)
    set_word(entry, at.S_KEY, key)
    return entry


@compiled("ptx.unordered")
def unordered(thread: int, table: int, count: int, step: int) -> int:
    """The first of some stamps, `step` bytes apart, that is not ordered before the thread; 0 if all are."""
    mine = word(thread, at.T_STAMP)
    for i in range(count):
        stamp = word(table + i * step, 0)
        if stamp != 0 and (stamp & at.WITHOUT_SITE) != mine and ordered(thread, stamp) == 0:
            return stamp
    return 0


@compiled("ptx.check_write")
def check_write(thread: int, cell: int, reads: int, step: int, rows: int, site: int, address: int) -> int:
    """Whether a weak or strong write to a cell comes after the weak accesses to it; forgets the reads. 1 if so."""
    last = word(cell, 0)
    if last & at.NON_COHERENT:
        fail(thread, at.WRITTEN_NON_COHERENT, site, address, last)
        return 0
    if (last & at.KINDS) != 0 and ordered(thread, last & ~at.STRONG) == 0:
        fail(thread, at.RACE_WRITE_AFTER_WRITE, site, address, last)
        return 0
    for i in range(rows):
        stamp = word(reads + i * step, 0)
        if stamp != 0:
            if (stamp & at.WITHOUT_SITE) != word(thread, at.T_STAMP) and ordered(thread, stamp) == 0:
                fail(thread, at.RACE_WRITE_AFTER_READ, site, address, stamp)
                return 0
            set_word(reads + i * step, 0, 0)
    return 1


@compiled("ptx.write_strong_cell")
def write_strong_cell(thread: int, cell: int, site: int, address: int) -> None:
    """A weak write to a cell that had strong operations: it must come after all of them.

    Who reads its value is then ordered after what they released anyway.
    """
    entry = find_entry(thread, cell, 0)
    blocks = word(word(thread, at.T_CONTEXT), at.C_BLOCKS)
    writers = entry + 8 * at.S_WORDS
    other = unordered(thread, writers, blocks, 8)
    if other != 0:
        fail(thread, at.RACE_WRITE_AFTER_WRITE, site, address, other)
    other = unordered(thread, writers + 8 * blocks, blocks, 8)
    if other != 0:
        fail(thread, at.RACE_WRITE_AFTER_READ, site, address, other)
    for i in range(2 * blocks):
        set_word(writers, i, 0)


@compiled("ptx.read_cells")
def read_cells(thread: int, cells: int, reads: int, count: int, site: int, address: int, shared: int) -> None:
    """Weak reads of neighbouring cells."""
    base = word(thread, at.T_BASE)
    mine, warp, block = word(thread, at.T_STAMP), word(thread, at.T_WARP_STAMP), word(thread, at.T_BLOCK_STAMP)
    for i in range(count):
        last = word(cells, i)
        if last == 0:
            if shared == 1:
                fail(thread, at.UNINITIALISED_MEMORY, site, address, 0)
                return
        else:
            name = (last >> at.THREAD_SHIFT) & at.THREAD_MASK
            if (
                (last >> at.CLOCK_SHIFT) > word(base, name >> 10)
                and (last & at.WITHOUT_SITE) != mine
                and ordered(thread, last & ~at.STRONG) == 0
            ):
                fail(thread, at.RACE_READ_AFTER_WRITE, site, address, last)
                return
            if last & at.STRONG:
                writers = find_entry(thread, cells + 8 * i, 0) + 8 * at.S_WORDS
                other = unordered(thread, writers, word(word(thread, at.T_CONTEXT), at.C_BLOCKS), 8)
                if other != 0:
                    fail(thread, at.RACE_READ_AFTER_WRITE, site, address, other)
                    return
        read = word(reads, i) & at.WITHOUT_SITE
        if read != block and read != mine and read != warp:
            remember(thread, reads, i, site)


@compiled("ptx.write_cells")
def write_cells(thread: int, cells: int, reads: int, step: int, rows: int, count: int, site: int, address: int) -> None:
    """Weak writes of neighbouring cells; `rows` stamps of reads of each, `step` bytes apart."""
    mine = word(thread, at.T_STAMP)
    set_word(thread, at.T_SPINS, 0)
    for i in range(count):
        last = word(cells, i)
        # A second write by the thread at the same clock: who came between has met the first.
        if (last & at.WITHOUT_SITE) != mine:
            if check_write(thread, cells + 8 * i, reads + 8 * i, step, rows, site, address) == 0:
                return
            if last & at.STRONG:
                write_strong_cell(thread, cells + 8 * i, site, address)
            set_word(cells, i, mine | (site << at.SITE_SHIFT))

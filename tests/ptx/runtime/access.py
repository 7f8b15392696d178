"""Loads and stores: where an address lies, and whether it may be accessed so.

Each returns the address of the bytes in this process. After an error that is memory that may be used and does not matter:
the kernel goes on to the end of its turn, and the launch ends there.
"""

from __future__ import annotations

from rnncore_kernels.cpu.code.emitted import compiled

from . import layout as at
from .clocks import fail
from .shadow import read_cells, write_cells
from .words import byte, half, set_byte, set_word, word


@compiled("ptx.find_region")
def find_region(thread: int, address: int, size: int, site: int) -> int:
    """The array that an access lies in; 0, and an error, if it lies in none."""
    launched = word(thread, at.T_CONTEXT)
    region = word(launched, at.C_REGIONS)
    for _ in range(word(launched, at.C_REGION_COUNT)):
        offset = address - word(region, at.R_BASE)
        if offset >= 0 and offset + size <= word(region, at.R_BYTES):
            set_word(word(launched, at.C_SITE_REGIONS), site, region)
            return region
        region += 8 * at.R_WORDS
    fail(thread, at.OUT_OF_BOUNDS, site, address, size)
    return 0


@compiled("ptx.global_region")
def global_region(thread: int, address: int, size: int, site: int) -> int:
    """`find_region`, the one of this instruction's last access first; 0 also if the address is not aligned."""
    if address & (size - 1):
        fail(thread, at.MISALIGNED, site, address, size)
        return 0
    region = word(word(word(thread, at.T_CONTEXT), at.C_SITE_REGIONS), site)
    offset = address - word(region, at.R_BASE)
    if offset >= 0 and offset + size <= word(region, at.R_BYTES):
        return region
    return find_region(thread, address, size, site)


@compiled("ptx.check_poison")
def check_poison(thread: int, address: int, size: int, site: int, region: int) -> int:
    """Whether no word of global memory that an access touches is one that nobody has written."""
    low, high = address & ~3, address + size
    end = word(region, at.R_BASE) + word(region, at.R_BYTES)
    while low < high:
        if low >= word(region, at.R_BASE) and low + 4 <= end and half(low, 0) == at.POISON:
            fail(thread, at.UNINITIALISED_MEMORY, site, low, 0)
            return 0
        low += 4
    return 1


@compiled("ptx.load_global")
def load_global(thread: int, address: int, size: int, site: int) -> int:
    """Where the bytes of a weak load of global memory are."""
    region = global_region(thread, address, size, site)
    if region == 0 or check_poison(thread, address, size, site, region) == 0:
        return word(word(thread, at.T_CONTEXT), at.C_SCRATCH)
    cells = word(region, at.R_WRITES)
    if cells != 0:
        shift = word(word(thread, at.T_CONTEXT), at.C_CELL_SHIFT)
        first = (address >> shift) - (word(region, at.R_BASE) >> shift)
        reads = word(region, at.R_READS) + (word(thread, at.T_ID) >> 10) * word(region, at.R_ROW_BYTES)
        read_cells(thread, cells + 8 * first, reads + 8 * first, max(size >> shift, 1), site, address, 0)
    return address


@compiled("ptx.store_global")
def store_global(thread: int, address: int, size: int, site: int) -> int:
    """Where the bytes of a weak store to global memory go."""
    region = global_region(thread, address, size, site)
    if region == 0:
        return word(word(thread, at.T_CONTEXT), at.C_SCRATCH)
    if word(region, at.R_WRITEABLE) == 0:
        return fail(thread, at.READ_ONLY, site, address, 0)
    launched = word(thread, at.T_CONTEXT)
    shift = word(launched, at.C_CELL_SHIFT)
    first = 8 * ((address >> shift) - (word(region, at.R_BASE) >> shift))
    cells, reads, step = (
        word(region, at.R_WRITES) + first,
        word(region, at.R_READS) + first,
        word(region, at.R_ROW_BYTES),
    )
    write_cells(thread, cells, reads, step, word(launched, at.C_BLOCKS), max(size >> shift, 1), site, address)
    return address


@compiled("ptx.load_constant")
def load_constant(thread: int, address: int, size: int, site: int) -> int:
    """Where the bytes of a non-coherent load of global memory are: of memory that no thread writes in this launch."""
    region = global_region(thread, address, size, site)
    if region == 0 or check_poison(thread, address, size, site, region) == 0:
        return word(word(thread, at.T_CONTEXT), at.C_SCRATCH)
    cells = word(region, at.R_WRITES)
    if cells != 0:
        shift = word(word(thread, at.T_CONTEXT), at.C_CELL_SHIFT)
        first = (address >> shift) - (word(region, at.R_BASE) >> shift)
        for i in range(first, first + max(size >> shift, 1)):
            last = word(cells, i)
            if last & (at.KINDS | at.STRONG):
                return fail(thread, at.WRITTEN_NON_COHERENT, site, address, last)
            name = word(thread, at.T_STAMP) & ~at.KINDS
            set_word(cells, i, name | (site << at.SITE_SHIFT) | at.NON_COHERENT)
    return address


@compiled("ptx.in_shared")
def in_shared(thread: int, offset: int, size: int, site: int) -> int:
    """Whether an access lies in shared memory, and is aligned."""
    if offset & (size - 1):
        fail(thread, at.MISALIGNED, site, offset, size)
        return 0
    if offset < 0 or offset + size > word(word(thread, at.T_CONTEXT), at.C_SHARED_BYTES):
        fail(thread, at.OUT_OF_BOUNDS, site, offset, size)
        return 0
    return 1


@compiled("ptx.load_shared")
def load_shared(thread: int, offset: int, size: int, site: int) -> int:
    """Where the bytes of a weak load of shared memory are."""
    launched = word(thread, at.T_CONTEXT)
    if in_shared(thread, offset, size, site) == 0:
        return word(launched, at.C_SCRATCH)
    block, shift = word(thread, at.T_BLOCK), word(launched, at.C_CELL_SHIFT)
    first = 8 * (offset >> shift)
    cells, reads = word(block, at.B_WRITES) + first, word(block, at.B_READS) + first
    read_cells(thread, cells, reads, max(size >> shift, 1), site, offset, 1)
    return word(thread, at.T_SHARED) + offset


@compiled("ptx.store_shared")
def store_shared(thread: int, offset: int, size: int, site: int) -> int:
    """Where the bytes of a weak store to shared memory go."""
    launched = word(thread, at.T_CONTEXT)
    if in_shared(thread, offset, size, site) == 0:
        return word(launched, at.C_SCRATCH)
    block, shift = word(thread, at.T_BLOCK), word(launched, at.C_CELL_SHIFT)
    first = 8 * (offset >> shift)
    cells, reads = word(block, at.B_WRITES) + first, word(block, at.B_READS) + first
    write_cells(thread, cells, reads, 0, 1, max(size >> shift, 1), site, offset)
    return word(thread, at.T_SHARED) + offset


@compiled("ptx.in_local")
def in_local(thread: int, offset: int, size: int, site: int) -> int:
    """Whether an access lies in the thread's own memory, and is aligned."""
    if offset & (size - 1):
        fail(thread, at.MISALIGNED, site, offset, size)
        return 0
    if offset < 0 or offset + size > word(word(thread, at.T_CONTEXT), at.C_LOCAL_BYTES):
        fail(thread, at.OUT_OF_BOUNDS, site, offset, size)
        return 0
    return 1


@compiled("ptx.load_local")
def load_local(thread: int, offset: int, size: int, site: int) -> int:
    """Where the bytes of a load of the thread's own memory are."""
    if in_local(thread, offset, size, site) == 0:
        return word(word(thread, at.T_CONTEXT), at.C_SCRATCH)
    for i in range(size):
        if byte(word(thread, at.T_LOCAL_WRITTEN), offset + i) == 0:
            return fail(thread, at.UNINITIALISED_MEMORY, site, offset + i, 0)
    return word(thread, at.T_LOCAL) + offset


@compiled("ptx.store_local")
def store_local(thread: int, offset: int, size: int, site: int) -> int:
    """Where the bytes of a store to the thread's own memory go."""
    if in_local(thread, offset, size, site) == 0:
        return word(word(thread, at.T_CONTEXT), at.C_SCRATCH)
    for i in range(size):
        set_byte(word(thread, at.T_LOCAL_WRITTEN), offset + i, 1)
    return word(thread, at.T_LOCAL) + offset


@compiled("ptx.load_generic")
def load_generic(thread: int, address: int, size: int, site: int) -> int:
    """A weak load of an address of any space."""
    if address >= at.LOCAL_WINDOW:
        return load_local(thread, address - at.LOCAL_WINDOW, size, site)
    if address >= at.SHARED_WINDOW:
        return load_shared(thread, address - at.SHARED_WINDOW, size, site)
    return load_global(thread, address, size, site)


@compiled("ptx.store_generic")
def store_generic(thread: int, address: int, size: int, site: int) -> int:
    """A weak store to an address of any space."""
    if address >= at.LOCAL_WINDOW:
        return store_local(thread, address - at.LOCAL_WINDOW, size, site)
    if address >= at.SHARED_WINDOW:
        return store_shared(thread, address - at.SHARED_WINDOW, size, site)
    return store_global(thread, address, size, site)

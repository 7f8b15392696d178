"""Records that translated kernels, the runtime and Python share, as indices of their 64-bit words.

**Stamps.** An access is remembered as one word: clock (23 bits), block (12), thread in the block (10), number of the
instruction (14) and kind (4). The thread's number is `block << 10 | thread` whatever the size of the blocks.
"""

from __future__ import annotations

MAX_BLOCKS = 1 << 12
MAX_THREADS = 1 << 10
MAX_SITES = 1 << 14
MAX_CLOCK = (1 << 23) - 1
SITE_SHIFT, THREAD_SHIFT, CLOCK_SHIFT = 4, 18, 40
THREAD_MASK = MAX_BLOCKS * MAX_THREADS - 1
SITE_MASK = (MAX_SITES - 1) << SITE_SHIFT
WITHOUT_SITE = ~SITE_MASK

# Kinds of stamps. One thread; several of one warp; several of one block.
SINGLE, WARP, BLOCK = 1, 2, 3
KINDS = 3
# Flags of the word of a cell's last write: there were strong operations; there were non-coherent reads.
STRONG, NON_COHERENT = 4, 8

# Windows of generic addresses.
SHARED_WINDOW = 1 << 60
LOCAL_WINDOW = 1 << 61
WINDOW = 1 << 32

POISON = 0x7FFA5A5D
"""A quiet NaN as a float32 and, twice, as a float64: the word of memory that nobody has written."""

# A thread. Its registers follow these words.
(
    T_CONTEXT,
    T_PC,  # block of the kernel to go on with
    T_STATUS,
    T_QUANTUM,  # instructions left of its turn
    T_ID,  # block << 10 | thread
    T_BLOCK,  # its block's record
    T_CLOCK,
    T_STAMP,  # stamps of an access now, as one thread, as one of its warp, as one of its block
    T_WARP_STAMP,
    T_BLOCK_STAMP,
    T_WARP_FLOOR,  # clock up to which all lanes of its warp are known
    T_BASE,  # vector clock of its block at the last barrier
    T_OWN,  # its own vector clock, where it knows more; else 0
    T_OWN_STORE,
    T_FENCE,  # its vector clock at its last fence; else 0
    T_FENCE_STORE,
    T_FENCE_CLOCK,
    T_PENDING,  # what its next fence acquires; else 0
    T_PENDING_STORE,
    T_SLOT,  # its place in vector clocks; -1 while it has none
    T_SHARED,  # memory of its block
    T_LOCAL,
    T_LOCAL_WRITTEN,  # a byte for each byte of its local memory
    T_PARAMETERS,
    T_SITE,  # instruction that it waits at
    T_MASK,  # of an exchange in the warp, with its operands
    T_OPERATION,
    T_VALUE,
    T_LANE,
    T_CLAMP,
    T_RESULT,
    T_RESULT_PREDICATE,
    T_POLLED,  # last poll: instruction and value
    T_POLLED_VALUE,
    T_SPINS,  # whether its last poll found nothing new, and it has neither written nor waited since
    T_INDEX,  # thread in its block
    T_WORDS,
) = range(37)

RUNS, AT_BARRIER, AT_GRID, AT_WARP, EXITED = range(5)

# Operations of a warp.
SHUFFLE_IDX, SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_BFLY, VOTE_ALL, VOTE_ANY, VOTE_UNI, VOTE_BALLOT, WARP_BARRIER = range(9)

# A block.
(
    B_READY,  # its threads that could run: how many, and their list
    B_LIST,
    B_ARRIVED,
    B_SITE,
    B_EXITED,
    B_PLACE,  # in the list of blocks with such threads; -1 outside of it
    B_FIRST,  # its first thread
    B_NUMBER,
    B_WRITES,  # cells of its shared memory
    B_READS,
    B_WORDS,
) = range(11)

# A launch.
(
    C_BLOCKS,
    C_THREADS,
    C_FIRST_THREAD,
    C_THREAD_BYTES,
    C_FIRST_BLOCK,
    C_REGIONS,
    C_REGION_COUNT,
    C_SITE_REGIONS,  # region that each instruction met last
    C_SHARED_BYTES,
    C_DYNAMIC_BYTES,
    C_LOCAL_BYTES,
    C_CELL_SHIFT,
    C_SEED,
    C_STATE,  # of the random generator
    C_QUANTUM,  # longest turn
    C_STAY,  # mask of random bits that must all be 0 to leave a block
    C_ACTIVE,  # list of blocks with threads that can run
    C_ACTIVE_COUNT,
    C_LIVE,
    C_AT_GRID,
    C_EXITED,
    C_GRID_SITE,
    C_EXECUTED,
    C_BUDGET,
    C_STEP,  # the kernel
    C_ARENA,  # words for vector clocks
    C_ARENA_END,
    C_CLOCK_WORDS,
    C_WARPS,  # of a block
    C_SLOTS,
    C_MAX_SLOTS,
    C_SYNC,  # table of cells with strong operations
    C_SYNC_MASK,
    C_SYNC_COUNT,
    C_SCRATCH,  # memory that nobody reads
    C_ERROR,
    C_ERROR_THREAD,
    C_ERROR_SITE,
    C_ERROR_ADDRESS,
    C_ERROR_OTHER,
    C_CLOCK_COUNTER,
    C_VARIABLES,  # addresses of global variables
    C_WORDS,
) = range(43)

# An array that the kernel was given.
R_BASE, R_BYTES, R_WRITES, R_READS, R_ROW_BYTES, R_WRITEABLE, R_WORDS = range(7)

# A cell with strong operations; two rows of stamps follow, of writers and of readers of each block.
S_KEY, S_CLOCK, S_CLOCK_STORE, S_WORDS = range(4)

# Errors.
(
    NO_ERROR,
    OUT_OF_BOUNDS,
    MISALIGNED,
    READ_ONLY,
    WRITTEN_NON_COHERENT,
    UNINITIALISED_MEMORY,
    UNINITIALISED_REGISTER,
    RACE_READ_AFTER_WRITE,
    RACE_WRITE_AFTER_WRITE,
    RACE_WRITE_AFTER_READ,
    DIVERGENT_BARRIER,
    BARRIER_AFTER_EXIT,
    EXIT_AT_BARRIER,
    WARP_MASK_WITHOUT_SELF,
    WARP_MASK_OF_NOBODY,
    SHUFFLE_FROM_OUTSIDE,
    STUCK,
    OVER_BUDGET,
    DIVISION_BY_ZERO,
    TRAP,
    TOO_MANY_CLOCKS,
    TOO_MANY_SYNCHRONISED,
    CLOCK_OVERFLOW,
) = range(23)

# What a strong operation does.
READS, WRITES, ACQUIRES, RELEASES, REDUCES = 1, 2, 4, 8, 16
